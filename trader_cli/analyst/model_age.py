"""How long a claim holds: `analyst.max_model_age` days after the last bar that was learned from.

An age is told at a close, which is what is decided: the same bar is decided alike however late it is looked at, in a
backtest as in live. How late that may be is `analyst.max_bar_age`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.core.market.gaps import utc_text
from trader_cli.core.model_validity import valid_until_ms
from trader_cli.core.types import MODEL_EXPIRED, Abstention

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trader_cli.analyst.trained_basis import TrainedBasis
    from trader_cli.settings.analyst_section import AnalystSettings


def expired(trained: TrainedBasis, closes: Sequence[int], options: AnalystSettings) -> list[Abstention | None]:
    """Why a claim does not hold any more at each close, `None` where it does. What it says of open positions goes on.

    What is said of all of them is one value.
    """
    until = valid_until_ms(trained.learned_to_ms, options.max_model_age)
    why = Abstention(
        MODEL_EXPIRED,
        f"The model of {trained.symbol} {trained.timeframe} has learned up to {utc_text(trained.learned_to_ms)} and was"
        f" valid until {utc_text(until)} (analyst.max_model_age {options.max_model_age:g} days). Run `trader train"
        f" {trained.symbol} --timeframe {trained.timeframe}`.",
    )
    return [why if close_ms > until else None for close_ms in closes]
