"""A backtest's market drawn again: whole days of its span in another order, and everything that is made from bars anew.

What each model trades is drawn from the days it traded, never from those it was trained on. Times stay, so hours of the
day and funding lie where they did; volumes go with their prices. All symbols get the same days.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from trader_cli.analyst.feature_engineering_orchestrator import FeatureEngineeringOrchestrator
from trader_cli.analyst.feature_inputs import stored_inputs
from trader_cli.core.errors import DataMissing
from trader_cli.core.market.bars import with_close_time
from trader_cli.core.market.schemas import BARS, milliseconds
from trader_cli.core.market.timeframes import DAY_MS
from trader_cli.pipelines.backtests.backtest_run import signals_of
from trader_cli.pipelines.stages.training_inputs import TrainingData
from trader_cli.storage.artifacts import stage_key
from trader_cli.storage.stored_columns import StoredColumns
from trader_cli.venue.simulated_market.symbol_market import SymbolMarket
from trader_cli.venue.simulated_market.tape import TapeBars

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trader_cli.backtest.stored_analyses import SymbolHistory
    from trader_cli.pipelines.backtests.prepared_backtest import PreparedBacktest
    from trader_cli.storage.artifacts import ArtifactStore
    from trader_cli.venue.simulated_market.tape import SymbolTape

    Ints = NDArray[np.int64]
    Moves = list[tuple[int, int, int]]

_IN_QUOTE = {"quote_volume", "taker_buy_quote"}


def resampled(prepared: PreparedBacktest, store: ArtifactStore, seed: int) -> PreparedBacktest:
    """The same backtest on days drawn again.

    Raises `DataMissing` where no model traded two whole days, or a symbol has no bars of the days before it was listed.
    """
    if prepared.entered:
        raise DataMissing(
            f"{', '.join(prepared.entered)} was listed within the span: it has no days to draw before that."
        )
    return played_by(prepared, store, drawn_days(model_spans(prepared), np.random.default_rng(seed)))


def model_spans(prepared: PreparedBacktest) -> list[tuple[int, int]]:
    """(from, to) of what the models trade: none of them was trained on a bar of its own."""
    since, until = prepared.span
    begins = {span.from_ms for history in prepared.histories.values() for span in history.models.spans}
    return list(pairwise(sorted({since, *(at for at in begins if since < at < until), until})))


def drawn_days(spans: list[tuple[int, int]], rng: np.random.Generator) -> Moves:
    """(from, to, source): the bars that open in [from, to) are those from `source` on. A span of under two days stays.

    Raises `DataMissing` where all of them do.
    """
    if all(end - start < 2 * DAY_MS for start, end in spans):
        raise DataMissing("No model traded two whole days: there is nothing to draw from.")
    moves: Moves = []
    for start, end in spans:
        whole = (end - start) // DAY_MS
        for day in range(-(-(end - start) // DAY_MS)):
            source = int(rng.integers(whole)) if whole > 1 else day
            begin = start + day * DAY_MS
            moves.append((begin, min(begin + DAY_MS, end), start + source * DAY_MS))
    return moves


def played_by(prepared: PreparedBacktest, store: ArtifactStore, moves: Moves) -> PreparedBacktest:
    """The same backtest where bars stand that were moved so."""
    tapes = {symbol: _moved(prepared.tape.symbols[symbol], moves) for symbol in prepared.request.symbols}
    tape = replace(prepared.tape, symbols={**prepared.tape.symbols, **tapes})
    histories = {
        symbol: _history(prepared, store, history, tapes[symbol]) for symbol, history in prepared.histories.items()
    }
    return replace(prepared, tape=tape, histories=histories)


def _moved(tape: SymbolTape, moves: Moves) -> SymbolTape:
    """Each block of bars follows on the close before it; prices on the tick."""
    bars, opened = tape.bars, tape.open_ms
    first = int(np.searchsorted(opened, moves[0][0]))
    rows, factors, times, level = [np.arange(first)], [np.ones(first)], [opened[:first]], 0.0
    for begin, end, source in moves:
        at, stop = np.searchsorted(opened, [source, source + end - begin]).tolist()
        if at == stop:
            continue
        before = float(bars.close[at - 1]) if at else float(bars.open[at])
        factor = (level or _close_before(bars, first, at)) / before
        level = float(bars.close[stop - 1]) * factor
        rows.append(np.arange(at, stop))
        factors.append(np.full(stop - at, factor))
        times.append(opened[at:stop] + begin - source)
    return tape.playing(_taken(tape, np.concatenate(rows), np.concatenate(factors), np.concatenate(times)))


def _close_before(bars: TapeBars, first: int, source: int) -> float:
    """The last close of what stays; at the very beginning of a tape that before the source."""
    return float(bars.close[first - 1] if first else bars.close[max(source - 1, 0)])


def _taken(tape: SymbolTape, rows: Ints, factors: NDArray[np.float64], times: Ints) -> TapeBars:
    bars, tick = tape.bars, tape.tick
    places = max(0, round(-np.log10(tick)))
    prices = {
        name: np.maximum(np.round(np.rint(getattr(bars, name)[rows] * factors / tick) * tick, places), tick)
        for name in ("open", "high", "low", "close")
    }
    recorded = {name: column[rows] * (factors if name in _IN_QUOTE else 1.0) for name, column in bars.recorded.items()}
    mark = {name: column[rows] * factors for name, column in bars.mark.items()}
    return TapeBars(times, volume=bars.volume[rows], recorded=recorded, mark=mark, **prices)


def _history(
    prepared: PreparedBacktest, store: ArtifactStore, history: SymbolHistory, tape: SymbolTape
) -> SymbolHistory:
    """Bars of the tape from the span's beginning on, and features and a rule's word made of them."""
    workspace, symbol, timeframe, (since, until) = prepared.workspace, history.symbol, history.timeframe, prepared.span
    made = SymbolMarket(tape).closed_bars("last", timeframe, since, until)
    fresh = with_close_time(_as_bars(made), timeframe)
    old = history.bars.filter(milliseconds(history.bars["open_time"]) < since)
    bars = pl.concat([old, fresh.select(old.columns).cast(old.schema)])
    named = {
        stage: store.manifest(history.digests[stage], stage_key(workspace.mode, symbol, timeframe, stage))
        for stage in ("bars", "features")
    }
    inputs = stored_inputs(store, workspace.mode, symbol, timeframe, named["bars"], bars)
    orchestrator = FeatureEngineeringOrchestrator(workspace)
    try:
        features = orchestrator.build(inputs.frame, timeframe)
    finally:
        orchestrator.close()
    series = TrainingData(
        symbol, timeframe, named["bars"], named["features"], bars, StoredColumns.of(features), history.funding
    )
    signals = signals_of(workspace, store, series, history.models)
    return replace(history, bars=bars, features=features, signals=signals)


def _as_bars(columns: dict[str, NDArray[np.float64]]) -> pl.DataFrame:
    opened = pl.Series("open_time", columns["open_ms"].astype(np.int64)).cast(BARS.columns["open_time"])
    return pl.DataFrame({"open_time": opened, **{name: col for name, col in columns.items() if name != "open_ms"}})
