"""What to do about a span that cannot be traded: commands with their days, as they can be copied."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from trader_cli.core.errors import DataMissing
from trader_cli.core.market.quality import unfit_bars
from trader_cli.core.market.schemas import milliseconds
from trader_cli.core.market.timeframes import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trader_cli.core.errors import TooFewBars
    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.pipelines.stages.training_inputs import TrainingData
    from trader_cli.settings.analyst_section import AnalystSettings

_BEFORE_MS = 60 * DAY_MS
"""How much is fetched before a span of which nothing is stored: some of it is to be learned from."""


def day_text(time_ms: int) -> str:
    """`2024-01-31`, as options of time take it."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d")


def fetching(symbols: Sequence[str], timeframe: Timeframe, since_ms: int | None = None) -> str:
    """The commands that store bars of symbols, from a day on or up to now, and make their features."""
    named, options = " ".join(map(shlex.quote, symbols)), f"--timeframe {timeframe}"
    since = "" if since_ms is None else f" --since {day_text(since_ms)}"
    return f"`trader fetch {named} {options}{since}` and `trader features {named} {options}`"


def nothing_stored(
    symbols: Sequence[str], timeframe: Timeframe, stored: tuple[int, int], span: tuple[int | None, int | None]
) -> str:
    """Where the bars that are stored (first, last close) do not meet the span that is wanted: it is past or ahead."""
    since, until = span
    if since is not None and since >= stored[1]:
        return f"Use a --since before {day_text(stored[1])}, or run {fetching(symbols, timeframe)}."
    begin = until if since is None else since
    early = (stored[0] if begin is None else min(begin, stored[0])) - _BEFORE_MS
    return f"Use an --until after {day_text(stored[0])}, or run {fetching(symbols, timeframe, early)}."


def too_few_before(
    series: TrainingData, lack: TooFewBars, span: tuple[int, int], wanted_ms: int, options: AnalystSettings
) -> str:
    """Where a model has too few bars to be made of before the span: a later beginning, if the span has one, or more.

    `wanted_ms`: where it was to begin, if more were stored.
    """
    bar_ms, first = series.timeframe.ms, int(milliseconds(series.bars["open_time"])[0])
    by_count = max(span[0], first) + lack.lacking * bar_ms
    enough = by_count if lack.of_rule else _enough_at(series, options)
    early = min(wanted_ms, span[0]) - ((by_count if enough is None else enough) - first)
    fetched = f"{fetching([series.symbol], series.timeframe, early)}, if there are bars of then"
    later = None if enough is None else -(-enough // DAY_MS) * DAY_MS
    return (
        f"Run {fetched}." if later is None or later >= span[1] else f"Use --since {day_text(later)}, or run {fetched}."
    )


def _enough_at(series: TrainingData, options: AnalystSettings) -> int | None:
    """The first close by which a model has enough to be trained on; None where all of the series is not enough."""
    from trader_cli.analyst.training import MIN_ROWS, make_dataset
    from trader_cli.features.bar_arrays import BarSeries

    bars, unfit = BarSeries.of(series.bars), unfit_bars(series.bars, series.timeframe).to_numpy()
    try:
        data, _ = make_dataset(bars, series.features, options, series.timeframe.ms, unfit)
    except DataMissing:
        return None
    return int(bars.open_ms[data.start[MIN_ROWS - 1] + options.longest_horizon]) + series.timeframe.ms
