"""Which fast frame times entries inside what a series' own models permit, by the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.analyst.permission import fast_bars_in
from trader_cli.core.errors import ConfigurationError
from trader_cli.core.market.timeframes import Timeframe

if TYPE_CHECKING:
    from trader_cli.settings.analyst_section import AnalystSettings


def fast_frame(options: AnalystSettings, rule: str | None, slow: Timeframe) -> Timeframe | None:
    """The fast frame of a series of bars, None where none is set.

    Raises `UsageError` for one that does not fit into it, `ConfigurationError` beside a rule of one's own.
    """
    if not options.fast_timeframe:
        return None
    if rule is not None:
        raise ConfigurationError(
            f"The rule {rule} decides at its own bars: no fast frame times its entries.",
            hint="Leave analyst.fast_timeframe empty, or set rule.name to null.",
        )
    fast = Timeframe.parse(options.fast_timeframe)
    fast_bars_in(slow, fast)
    return fast
