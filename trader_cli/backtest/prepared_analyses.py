"""Analyses of every close of a span, decided together before anything is traded: those of `StoredAnalyses`, in arrays.

A close is decided as it is asked for half a second after it, which is when the loop asks. Whatever is asked at another
moment is analysed then and there, as ever.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.analyst.analysis import LEVEL_BARS, refuse_absent
from trader_cli.analyst.decision import DOWN, UP
from trader_cli.analyst.decisions_by_row import SeriesRows, SnapshotRows, decide_rows
from trader_cli.analyst.health import BAND, freshness, health_of
from trader_cli.analyst.outcomes import InputState, veto_on_inputs
from trader_cli.analyst.pair_rows import decide_pair_rows
from trader_cli.analyst.rule_decision import held_by
from trader_cli.analyst.trained_pair import TrainedPair
from trader_cli.core.market.symbols import delivery_ms_of
from trader_cli.core.market.timeframes import HOUR_MS, SETTLE_MS
from trader_cli.core.types import Abstention, Analysis, Probabilities, Signal
from trader_cli.exchange.shown_values import DEPTH
from trader_cli.venue.simulated_market.derived_series import FUNDING_INTERVAL_MS
from trader_cli.venue.simulated_market.many_moments import as_written, books_at, prices_at
from trader_cli.venue.simulated_market.number_format import DERIVED_PLACES, decimals

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from trader_cli.analyst.decisions_by_row import DecidedRows
    from trader_cli.analyst.trained_model import TrainedModel
    from trader_cli.backtest.stored_analyses import StoredAnalyses, SymbolHistory
    from trader_cli.core.types import Health, Permission
    from trader_cli.settings.room_options import AnalysisOptions
    from trader_cli.venue.simulated_market.rule_changes import RuleBook
    from trader_cli.venue.simulated_market.symbol_market import SymbolMarket

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


_AT_ONCE = 4096
_COMPARED = 100
"""About so many signals of a symbol are analysed once more, each alone."""
_LATER_MS = 1_300


@dataclass(frozen=True)
class DecidedInputs:
    """What n closes were decided from, as far as it is the same a little later, each (n,); see `DecidedRows`.

    `next_funding_ms` and `funding_rate` were told of the next payment.
    """

    told: list[Signal | Abstention]
    probabilities: Floats
    missing: Ints
    from_bars: dict[str, Floats]
    next_funding_ms: Ints
    funding_rate: Floats


@dataclass(frozen=True)
class PreparedSymbol:
    """One symbol at the closes first, first + bar … (n of them, UTC ms).

    `decided_ms`: the close of the last bar there was then; `price` its close; `marks` the mark price when it is asked,
    each (n,); `probabilities` of up, down and flat, (n, 3), NaN where nothing is told; `permissions` of a pair (n).
    """

    symbol: str
    first_ms: int
    bar_ms: int
    outcomes: list[Signal | Abstention]
    probabilities: Floats
    decided_ms: Ints
    price: Floats
    marks: Floats
    history: SymbolHistory
    inputs: DecidedInputs | None = None
    permissions: list[Permission | None] = field(default_factory=list)
    _losing: dict[tuple[int, float], Ints] = field(default_factory=dict, repr=False, compare=False)

    def at(self, close_ms: int) -> int:
        """The number of a close."""
        return (close_ms - self.first_ms) // self.bar_ms

    def mark_at(self, close_ms: int) -> float:
        """The mark price when a close is asked for."""
        return float(self.marks[self.at(close_ms)])

    @cached_property
    def signals(self) -> Ints:
        """Closes with a signal, UTC ms, ascending."""
        return self.first_ms + self.bar_ms * np.flatnonzero([isinstance(one, Signal) for one in self.outcomes])

    def losing(self, sign: int, least: float) -> Ints:
        """Closes at which a long (+1) or a short (−1) is told to lose with at least this probability, ascending."""
        key = sign, least
        if key not in self._losing:
            told = self.probabilities[:, DOWN if sign > 0 else UP]
            self._losing[key] = self.first_ms + self.bar_ms * np.flatnonzero(told >= least)
        return self._losing[key]

    def spoken_until(self, close_ms: int) -> int:
        """The last close up to one at which an opinion of what is held was told, UTC ms; before the first if none."""
        return self.first_ms + self.bar_ms * int(self._spoken[min(self.at(close_ms), len(self._spoken) - 1)])

    @cached_property
    def _spoken(self) -> Ints:
        """At each close, the number of the last one with probabilities. Shape (n,)."""
        told = ~np.isnan(self.probabilities[:, 0])
        return np.maximum.accumulate(np.where(told, np.arange(len(told)), -1))

    def outcome(self, close_ms: int) -> tuple[int, Signal | Abstention]:
        """(The close of the last bar there is at a close, UTC ms, and what is decided of it)."""
        number = self.at(close_ms)
        return int(self.decided_ms[number]), self.outcomes[number]

    def analysis(self, close_ms: int) -> Analysis:
        """What `analysis.decide` says at a close."""
        number = self.at(close_ms)
        return self._analysis(close_ms, self.outcomes[number], self.probabilities[number])

    def later(self, close_ms: int, alone: StoredAnalyses) -> Analysis | None:
        """What `analysis.decide` says of a close now, at `alone`'s venue; None where funding is another by now.

        Of what it is decided from, only the market's state is another a little later than at a close's own time.
        """
        number, inputs, history, now_ms = self.at(close_ms), self.inputs, self.history, alone.venue.now_ms
        if inputs is None or history.paid_between(close_ms + SETTLE_MS, now_ms):
            return None
        if alone.venue.next_funding(self.symbol) != (inputs.next_funding_ms[number], inputs.funding_rate[number]):
            return None
        row, age_ms = int(history.rows_at(np.array([close_ms]))[0]), now_ms - int(self.decided_ms[number])
        doubts, model = history.doubts.get(row, {}), history.models.at(close_ms).model
        state = InputState(self.symbol, history.timeframe, age_ms, doubts, model, int(inputs.missing[number]))
        veto = veto_on_inputs(state, alone.options.analyst, self._health_later(close_ms, alone))
        spoken = inputs.probabilities[number] if veto is None else np.full(3, np.nan)
        return self._analysis(close_ms, history.restricted(veto or inputs.told[number], close_ms), spoken)

    def _health_later(self, close_ms: int, alone: StoredAnalyses) -> Health | None:
        """Health now; None where it is not asked."""
        options, inputs, number = alone.options.analyst, self.inputs, self.at(close_ms)
        if inputs is None or not options.enable_market_health_analysis:
            return None
        from_bars = {name: float(told[number]) for name, told in inputs.from_bars.items()}
        return health_of(from_bars, alone.snapshot(self.symbol), freshness(0.0, options.max_book_age))

    def _analysis(self, close_ms: int, outcome: Signal | Abstention, probabilities: Floats) -> Analysis:
        trading, number = self.history.models.at(close_ms), self.at(close_ms)
        up, down, flat = probabilities.tolist()
        ruled = self.history.signals is not None
        return Analysis(
            symbol=self.symbol,
            timeframe=self.history.timeframe.name,
            decision_time_ms=int(self.decided_ms[number]),
            price=float(self.price[number]),
            outcome=outcome,
            probabilities=None if np.isnan(up) or ruled else Probabilities(up, down, flat),
            claim=trading.model.claim,
            digests={**self.history.digests, "model": trading.digest},
            held=held_by(up, down) if ruled else None,
            permission=self.permissions[number] if self.permissions else None,
        )


def prepare(
    history: SymbolHistory, market: SymbolMarket, book: RuleBook, span: tuple[int, int], options: AnalysisOptions
) -> PreparedSymbol:
    """A symbol at the closes (first, last) of a span, UTC ms; `book` is the rule book of its exchange."""
    frame, (first, last) = history.decides, span
    closes = np.arange(frame.floor(first), last + 1, frame.ms, dtype=np.int64)
    shown = _snapshots(market, book, closes + SETTLE_MS)
    parts = []
    for at in _by_model(history, closes):
        moments = _Moments(closes[at], _cut(shown, at))
        parts.append(
            _decided(history, moments, options) if history.fast is None else _paired(history, moments, options)
        )
    outcomes = [outcome for part in parts for outcome in part.outcomes]
    probabilities, spoken = (np.concatenate([getattr(p, name) for p in parts]) for name in ("probabilities", "spoken"))
    told = history.fast or history
    rows = told.rows_at(closes)
    return PreparedSymbol(
        history.symbol,
        int(closes[0]),
        frame.ms,
        [history.restricted(said, at) for said, at in zip(outcomes, closes.tolist(), strict=True)],
        np.where(spoken[:, None], probabilities, np.nan),
        told.series.open_ms[rows] + frame.ms,
        told.series.close[rows],
        prices_at(market.tape.mark_tape, closes + SETTLE_MS),
        history,
        _inputs(parts, probabilities, shown) if history.fast is None else None,
        [one for part in parts for one in part.permissions or [None] * len(part.outcomes)],
    )


@dataclass(frozen=True)
class _Moments:
    """Closes (m,) that one model decides, UTC ms, and what the market shows then."""

    closes: Ints
    shown: SnapshotRows

    def of(
        self,
        history: SymbolHistory,
        half: TrainedModel | None = None,
        drifted: Sequence[Abstention | None] = (),
    ) -> SeriesRows:
        """The last bars of a series that have closed by then."""
        model = history.models.at(int(self.closes[0])).model
        reads = half or model
        return SeriesRows(
            history.symbol,
            history.timeframe,
            history.series,
            history.rows_at(self.closes),
            model,
            lambda wanted: history.matrix(reads.base_features, wanted),
            history.doubts,
            history.funding,
            self.shown,
            LEVEL_BARS,
            history.signals,
            half,
            drifted,
        )


def _decided(history: SymbolHistory, moments: _Moments, options: AnalysisOptions) -> DecidedRows:
    given = moments.of(history, drifted=history.drifted(moments.closes.tolist(), options.analyst))
    refuse_absent(given.model, history.features.columns)
    return decide_rows(given, options)


def _paired(history: SymbolHistory, moments: _Moments, options: AnalysisOptions) -> DecidedRows:
    """Where a fast frame times entries."""
    pair = history.models.at(int(moments.closes[0])).model
    assert isinstance(pair, TrainedPair)
    assert history.fast is not None
    refuse_absent(pair.slow, history.features.columns)
    if pair.fast is not None:
        refuse_absent(pair.fast, history.fast.features.columns)
    return decide_pair_rows(moments.of(history, pair.slow), moments.of(history.fast, pair.fast or pair.slow), options)


def _inputs(parts: Sequence[DecidedRows], probabilities: Floats, shown: SnapshotRows) -> DecidedInputs:
    told = [one for part in parts for one in part.told]
    from_bars = {name: np.concatenate([part.from_bars[name] for part in parts]) for name in parts[0].from_bars}
    missing = np.concatenate([part.missing for part in parts])
    return DecidedInputs(told, probabilities, missing, from_bars, shown.next_funding_ms, shown.funding_rate)


def compare_alone(prepared: PreparedSymbol, alone: StoredAnalyses) -> None:
    """Raises `AssertionError` where a signal is not what the analysis of its close alone says; some are looked at.

    Every other one as it is asked a little later, too. `alone` is on a venue of its own, at the beginning of the span.
    """
    signals = prepared.signals
    for number, close_ms in enumerate(signals[:: max(1, len(signals) // _COMPARED)].tolist()):
        alone.venue.advance(close_ms + SETTLE_MS)
        _require_same(prepared.analysis(close_ms), alone.made(prepared.symbol, close_ms))
        if number % 2:
            alone.venue.advance(close_ms + SETTLE_MS + _LATER_MS)
            later = prepared.later(close_ms, alone)
            if later is not None:
                _require_same(later, alone.made(prepared.symbol, close_ms))


def _require_same(together: Analysis, alone: Analysis) -> None:
    if together != alone:
        raise AssertionError(f"{alone.symbol}, {alone.decision_time_ms}: alone {alone}; together {together}")


def _by_model(history: SymbolHistory, closes: Ints) -> list[slice]:
    """Runs of closes that one model trades."""
    begun = [int(np.searchsorted(closes, span.from_ms)) for span in history.models.spans[1:]]
    edges = [0, *begun, len(closes)]
    return [slice(a, b) for a, b in pairwise(edges) if b > a]


def _snapshots(market: SymbolMarket, book: RuleBook, times: Ints) -> SnapshotRows:
    """What a fetch would have stored at each time, as far as it decides."""
    parts = [_some_snapshots(market, book, times[at : at + _AT_ONCE]) for at in range(0, len(times), _AT_ONCE)]
    best, near = (_side_by_side([getattr(p, name) for p in parts]) for name in ("best", "near"))
    joined = {
        name: np.concatenate([getattr(p, name) for p in parts])
        for name in ("time_ms", "day_volume_quote", "funding_rate", "next_funding_ms")
    }
    return SnapshotRows(best=best, near=near, **joined)


def _side_by_side(parts: Sequence[tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    return np.concatenate([bids for bids, _ in parts]), np.concatenate([asks for _, asks in parts])


def _some_snapshots(market: SymbolMarket, book: RuleBook, times: Ints) -> SnapshotRows:
    tape = market.tape
    price, quantity = decimals(tape.tick), decimals(tape.step)
    books = books_at(tape, times, prices_at(tape, times), DEPTH)
    bids, asks = (
        (as_written(prices, price), as_written(sizes, quantity)) for prices, sizes in (books.bids, books.asks)
    )
    middle = (bids[0][:, 0] + asks[0][:, 0]) / 2
    near = (
        _notional(bids, bids[0] >= (middle * (1 - BAND))[:, None]),
        _notional(asks, asks[0] <= (middle * (1 + BAND))[:, None]),
    )
    following, rates = _funding(market, book, times)
    volumes = as_written(market.day_quote_volumes(times), price + quantity)
    return SnapshotRows(times, volumes, (bids[0][:, 0], asks[0][:, 0]), near, rates, following)


def _funding(market: SymbolMarket, book: RuleBook, times: Ints) -> tuple[Ints, Floats]:
    """(when it falls due next, the rate that is shown) at each time, shape (n,); 0 for a contract without."""
    symbol, funds = market.tape.symbol, int(delivery_ms_of(market.tape.symbol) is None)
    hours, which = np.unique(times // HOUR_MS, return_inverse=True)
    began = (hours * HOUR_MS).tolist()
    due = [book.next_funding_ms(symbol, at, FUNDING_INTERVAL_MS) for at in began]
    rates = [market.quoted_funding_rate(at, then) * funds for at, then in zip(began, due, strict=True)]
    return np.array(due, dtype=np.int64)[which] * funds, as_written(np.array(rates), DERIVED_PLACES)[which]


def _notional(side: tuple[Floats, Floats], near: NDArray[np.bool_]) -> Floats:
    """Σ price · size of the levels that are near, the best first. Shape (n,)."""
    summed, count = np.cumsum(side[0] * side[1], axis=1), near.sum(axis=1)
    return np.where(count > 0, summed[np.arange(len(count)), np.maximum(count - 1, 0)], 0.0)


def _cut(shown: SnapshotRows, at: slice) -> SnapshotRows:
    best, near = ((side[0][at], side[1][at]) for side in (shown.best, shown.near))
    return SnapshotRows(
        shown.time_ms[at], shown.day_volume_quote[at], best, near, shown.funding_rate[at], shown.next_funding_ms[at]
    )


@dataclass
class PreparedAnalyses:
    """Analyses of symbols that were prepared; what is asked at another moment than that is made by `alone`."""

    symbols: Mapping[str, PreparedSymbol]
    alone: StoredAnalyses
    passed_ms: int = 0
    """The last close that every symbol was asked for, at its time."""
    _said: dict[str, tuple[int, Analysis]] = field(default_factory=dict)

    def of(self, symbol: str, close_ms: int) -> Analysis:
        """As `StoredAnalyses.of`."""
        said = self._said.get(symbol)
        if said is None or said[0] != close_ms:
            at_its_time = close_ms <= self.passed_ms or self.alone.venue.now_ms == close_ms + SETTLE_MS
            one = self.at(symbol, close_ms) if at_its_time else self._later(symbol, close_ms)
            said = self._said[symbol] = close_ms, one
        return said[1]

    def _later(self, symbol: str, close_ms: int) -> Analysis:
        """What is said of a close now."""
        one = self.symbols[symbol]
        if one.inputs is None or close_ms == self.symbols[symbol].first_ms:
            return self.alone.of(symbol, close_ms)
        said = one.later(close_ms, self.alone)
        return self.alone.of(symbol, close_ms) if said is None else said

    def at(self, symbol: str, close_ms: int) -> Analysis:
        """What is said of a close at its time."""
        return self.symbols[symbol].analysis(close_ms)
