"""The analyst's word at each close of a span, from what is stored: bars, features and funding as known then."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.analyst.analysis import LEVEL_BARS, AnalysisInput, decide
from trader_cli.analyst.fitted_families import history_bars
from trader_cli.analyst.funding_cost import FUNDING_ROWS
from trader_cli.analyst.health import HEALTH_COLUMNS
from trader_cli.analyst.model_watch import WatchedSeries, day_of, doubt_of, watch
from trader_cli.analyst.outcomes import DOUBT_BARS
from trader_cli.analyst.pair_analysis import PairInput, decide_pair
from trader_cli.analyst.rule_decision import RuleWord
from trader_cli.analyst.trained_model import TrainedModel
from trader_cli.analyst.trained_pair import TrainedPair
from trader_cli.core.market.doubtful_rows import doubts_by_row
from trader_cli.core.market.snapshot import MarketSnapshot
from trader_cli.core.market.timeframes import DAY_MS
from trader_cli.core.types import Abstention
from trader_cli.features.bar_arrays import PRICE_INPUTS, BarSeries
from trader_cli.storage.stored_columns import StoredColumns

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl
    from numpy.typing import NDArray

    from trader_cli.analyst.model_watch import Watched
    from trader_cli.backtest.model_spans import ModelSchedule, ModelSpan
    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.core.types import Analysis, Signal
    from trader_cli.exchange.simulated_exchange import SimulatedExchange
    from trader_cli.features.rule import BarSignals
    from trader_cli.settings.analyst_section import AnalystSettings
    from trader_cli.settings.room_options import AnalysisOptions
    from trader_cli.storage.stored_columns import Columns

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    _Known = dict[tuple[str, int], dict[int, Watched]]


@dataclass(frozen=True)
class SymbolHistory:
    """BARS and FEATURES of a symbol, row for row, FUNDING if known, and the models that trade them.

    `signals`: what a rule of one's own says of each row, where one decides. `member`: the closes [first, last) at which
    the symbol is among those that are traded; None: always. `begins_ms`: the first close that is decided of one that
    was listed within the span. `fast`: the same of the bars that time entries, if any do.
    """

    symbol: str
    timeframe: Timeframe
    bars: pl.DataFrame
    features: Columns
    funding: pl.DataFrame | None
    models: ModelSchedule
    digests: dict[str, str]
    signals: BarSignals | None = None
    _watched: dict[tuple[str, int], dict[int, Watched]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    member: tuple[tuple[int, int], ...] | None = None
    begins_ms: int = 0
    fast: SymbolHistory | None = None

    @property
    def decides(self) -> Timeframe:
        """At whose closes something is decided."""
        return self.timeframe if self.fast is None else self.fast.timeframe

    def timed_by(
        self,
        frame: Timeframe,
        bars: pl.DataFrame,
        features: Columns,
        funding: pl.DataFrame | None,
        digests: dict[str, str],
    ) -> SymbolHistory:
        """The same where entries are timed in these bars."""
        every = {**self.digests, **digests}
        of_fast = {"timeframe": frame, "bars": bars, "features": features, "funding": funding}
        return replace(self, digests=every, fast=replace(self, **of_fast, digests=every))  # type: ignore[arg-type]

    def restricted(self, outcome: Signal | Abstention, close_ms: int) -> Signal | Abstention:
        """What is said at a close, but for a signal of a symbol that is not among those traded then."""
        is_member = self.member is None or any(first <= close_ms < last for first, last in self.member)
        if is_member or isinstance(outcome, Abstention):
            return outcome
        return Abstention("outside_universe", "The symbol is not among the largest by volume at the last refit.")

    @cached_property
    def series(self) -> BarSeries:
        """The bars as arrays, with what health is told by beside them."""
        beside = [name for name in HEALTH_COLUMNS.values() if name in self.features.columns]
        bars = self.bars.with_columns(self.features.get_column(name) for name in beside)
        return BarSeries.of(bars, (*PRICE_INPUTS, *beside))

    @property
    def reach(self) -> int:
        """How many bars, its own included, an analysis of one sees."""
        return max(LEVEL_BARS, history_bars(self.timeframe))

    @cached_property
    def doubts(self) -> dict[int, dict[str, int]]:
        """What is doubtful about the bars before each row, as told then; rows without doubts are left out."""
        return doubts_by_row(self.bars, self.timeframe, self.reach, DOUBT_BARS)

    def drifted(self, closes: Sequence[int], options: AnalystSettings) -> list[Abstention | None]:
        """Why the forecasts of the model that trades these closes are not believed then, `None` where they are."""
        trading = self.models.at(closes[0])
        model = trading.model
        if not isinstance(model, TrainedModel):
            return [None] * len(closes)
        key = trading.digest, trading.from_ms
        if key not in self._watched:
            self._watched[key] = self._watch(model, trading)
        doubts = {day: doubt_of(model, known, options) for day, known in self._watched[key].items()}
        decided = self.series.open_ms[self.rows_at(np.asarray(closes))] + self.timeframe.ms
        return [doubts.get(day_of(close_ms)) for close_ms in decided.tolist()]

    def _watch(self, model: TrainedModel, trading: ModelSpan) -> dict[int, Watched]:
        """What is known of a model on each day on which it trades."""
        later = [span.from_ms for span in self.models.spans if span.from_ms > trading.from_ms]
        last = int(self.series.open_ms[-1]) + self.timeframe.ms
        first, stop = (day_of(ms) for ms in (trading.from_ms - DAY_MS, min([*later, last])))
        days = range(max(first, day_of(int(self.series.open_ms[0]))), stop + 1, DAY_MS)
        series = WatchedSeries(self.timeframe, self.series, lambda rows: self.matrix(model.base_features, rows))
        return {one.day_ms: one for one in watch(model, series, days)[0]} if days else {}

    def paid_between(self, after_ms: int, until_ms: int) -> bool:
        """Whether funding was paid in (after, until], as far as it is known."""
        first, stop = np.searchsorted(self.paid_ms, (after_ms, until_ms), side="right").tolist()
        return bool(first < stop)

    @cached_property
    def paid_ms(self) -> Ints:
        """When funding was paid, UTC ms."""
        none = np.zeros(0, dtype=np.int64)
        return none if self.funding is None else self.funding.to_series(0).to_physical().to_numpy()

    def let_features_go(self) -> None:
        """Hold the features no longer, where they can be read again."""
        if isinstance(self.features, StoredColumns):
            self.features.let_go()
        if self.fast is not None:
            self.fast.let_features_go()

    def rows_at(self, closes: Ints) -> Ints:
        """The last bar that has closed by each time (m,), UTC ms; −1 where none has."""
        return np.searchsorted(self.series.open_ms, closes - self.timeframe.ms, side="right") - 1

    def row(self, names: tuple[str, ...], row: int) -> dict[str, float | None]:
        """Features of a row by name, None where unknown; a name that is none of them is left out."""
        have = set(self.features.columns)
        return {name: self.features.get_column(name)[row] for name in names if name in have}

    def matrix(self, names: tuple[str, ...], rows: Ints) -> tuple[Floats, Ints]:
        """(Features (m, k) by name at some rows, NaN where unknown; how many of each row are unknown, (m,))."""
        x, unknown = np.empty((len(rows), len(names))), np.zeros(len(rows), dtype=np.int64)
        first, stop = (int(rows.min()), int(rows.max()) + 1) if len(rows) else (0, 0)
        for at, name in enumerate(names):
            part = self.features.get_column(name)[first:stop]
            x[:, at] = part.to_numpy()[rows - first]
            if part.null_count():
                unknown += part.is_null().to_numpy()[rows - first]
        return x, unknown


@dataclass
class StoredAnalyses:
    """Analyses of symbols, each made once, when it is first asked for, with the market as the venue shows it then."""

    histories: dict[str, SymbolHistory]
    venue: SimulatedExchange
    options: AnalysisOptions
    _said: dict[str, tuple[int, Analysis]] = field(default_factory=dict)

    def of(self, symbol: str, close_ms: int) -> Analysis:
        """The analysis of the bar that closed then, as it was made when it was first asked for."""
        said = self._said.get(symbol)
        if said is None or said[0] != close_ms:
            said = self._said[symbol] = close_ms, self.made(symbol, close_ms)
        return said[1]

    def made(self, symbol: str, close_ms: int) -> Analysis:
        """The analysis of the last bar that has closed by then, as it is made now."""
        history = self.histories[symbol]
        if history.fast is None:
            said = decide(self._input(history, close_ms), self.options)
        else:
            said = decide_pair(self._pair(history, history.fast, close_ms), self.options)
        return replace(said, outcome=history.restricted(said.outcome, close_ms))

    def _pair(self, history: SymbolHistory, fast: SymbolHistory, close_ms: int) -> PairInput:
        """What both halves see at a fast close."""
        pair = history.models.at(close_ms).model
        assert isinstance(pair, TrainedPair)
        return PairInput(self._input(history, close_ms, pair.slow), self._input(fast, close_ms, pair.fast))

    def _input(self, history: SymbolHistory, close_ms: int, half: TrainedModel | None = None) -> AnalysisInput:
        timeframe, now, trading = history.timeframe, self.venue.now_ms, history.models.at(close_ms)
        row = int(history.rows_at(np.array([close_ms]))[0])
        recent = history.series.cut(max(0, row + 1 - history.reach), row + 1)
        return AnalysisInput(
            symbol=history.symbol,
            timeframe=timeframe,
            bars=recent,
            features=history.row((half or trading.model).base_features, row),
            model=trading.model,
            snapshot=self.snapshot(history.symbol),
            bar_age_ms=now - int(recent.open_ms[-1]) - timeframe.ms,
            book_age_ms=0,
            digests={**history.digests, "model": trading.digest},
            doubts=history.doubts.get(row, {}),
            funding=self._funding(history, now),
            word=None if history.signals is None else RuleWord.at(history.signals, row),
            half=half,
            drifted=history.drifted([close_ms], self.options.analyst)[0],
        )

    def snapshot(self, symbol: str) -> MarketSnapshot:
        """What a fetch would have stored now."""
        venue = self.venue
        book, (following, rate) = venue.order_book(symbol), venue.next_funding(symbol)
        return MarketSnapshot(
            source="",
            fetched_ms=venue.now_ms,
            day_volume_quote=venue.day_quote_volume(symbol),
            bids=book.bids,
            asks=book.asks,
            funding_rate=rate,
            next_funding_ms=following,
        )

    def _funding(self, history: SymbolHistory, now_ms: int) -> pl.DataFrame | None:
        if history.funding is None:
            return None
        known = int(np.searchsorted(history.paid_ms, now_ms, side="right"))
        return history.funding[max(0, known - FUNDING_ROWS) : known]
