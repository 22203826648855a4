"""The analyst's word at each close of a span, from what is stored: bars, features and funding as known then."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.analyst.analysis import DOUBT_BARS, LEVEL_BARS, AnalysisInput, analyse
from trader_cli.analyst.fitted_families import history_bars
from trader_cli.analyst.funding_cost import FUNDING_ROWS
from trader_cli.analyst.rule_decision import RuleWord
from trader_cli.core.market.quality import doubtful_bars
from trader_cli.core.market.schemas import FEATURE_KEYS
from trader_cli.core.market.snapshot import MarketSnapshot
from trader_cli.features.bar_arrays import BarSeries

if TYPE_CHECKING:
    import polars as pl

    from trader_cli.backtest.model_spans import ModelSchedule
    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.core.types import Analysis
    from trader_cli.exchange.simulated_exchange import SimulatedExchange
    from trader_cli.features.rule import BarSignals
    from trader_cli.settings.room_options import AnalysisOptions


@dataclass(frozen=True)
class SymbolHistory:
    """BARS and FEATURES of a symbol, row for row, FUNDING if known, and the models that trade them.

    `signals`: what a rule of one's own says of each row, where one decides.
    """

    symbol: str
    timeframe: Timeframe
    bars: pl.DataFrame
    features: pl.DataFrame
    funding: pl.DataFrame | None
    models: ModelSchedule
    digests: dict[str, str]
    signals: BarSignals | None = None


@dataclass
class StoredAnalyses:
    """Analyses of symbols, each made once, when it is first asked for, with the market as the venue shows it then."""

    histories: dict[str, SymbolHistory]
    venue: SimulatedExchange
    options: AnalysisOptions
    _said: dict[str, Analysis] = field(default_factory=dict)

    def of(self, symbol: str) -> Analysis:
        """The analysis of the last bar that has closed by the venue's time."""
        said, close_ms = self._said.get(symbol), self.histories[symbol].timeframe.floor(self.venue.now_ms)
        if said is None or said.decision_time_ms != close_ms:
            said = self._said[symbol] = analyse(self._input(self.histories[symbol], close_ms), self.options)
        return said

    def _input(self, history: SymbolHistory, close_ms: int) -> AnalysisInput:
        timeframe, now, trading = history.timeframe, self.venue.now_ms, history.models.at(close_ms)
        opened = history.bars["open_time"].to_physical().to_numpy()
        row = int(np.searchsorted(opened, close_ms - timeframe.ms, side="right")) - 1
        first = max(0, row + 1 - max(LEVEL_BARS, history_bars(timeframe)))
        recent = history.bars[first : row + 1]
        values = history.features.row(row, named=True)
        return AnalysisInput(
            symbol=history.symbol,
            timeframe=timeframe,
            bars=BarSeries.of(recent),
            features={name: value for name, value in values.items() if name not in FEATURE_KEYS},
            model=trading.model,
            snapshot=self._snapshot(history.symbol),
            bar_age_ms=now - int(opened[row]) - timeframe.ms,
            book_age_ms=0,
            digests={**history.digests, "model": trading.digest},
            doubts=doubtful_bars(recent, timeframe, DOUBT_BARS),
            funding=self._funding(history, now),
            word=None if history.signals is None else RuleWord.at(history.signals, row),
        )

    def _snapshot(self, symbol: str) -> MarketSnapshot:
        """What a fetch would have stored."""
        venue = self.venue
        ticker, book, premium = venue.ticker(symbol), venue.order_book(symbol), venue.premium_index(symbol)
        return MarketSnapshot(
            source="",
            fetched_ms=venue.now_ms,
            day_volume_quote=ticker.quote_volume,
            bids=book.bids,
            asks=book.asks,
            funding_rate=premium.funding_rate,
            next_funding_ms=premium.next_funding_ms,
        )

    def _funding(self, history: SymbolHistory, now_ms: int) -> pl.DataFrame | None:
        if history.funding is None:
            return None
        times = history.funding.to_series(0).to_physical().to_numpy()
        known = int(np.searchsorted(times, now_ms, side="right"))
        return history.funding[max(0, known - FUNDING_ROWS) : known]
