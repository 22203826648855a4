"""What is fetched besides the bars: other history and the market as it is. None of it takes the bars away."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trader_cli.core.errors import (
    DataError,
    DataInvalid,
    DataMissing,
    ExchangeRejected,
    ExchangeUnavailable,
    NotListed,
    TraderError,
    UsageError,
)
from trader_cli.core.market.symbols import spot_markets
from trader_cli.pipelines.stages.history_source import KINDS
from trader_cli.pipelines.stages.market_snapshot import SNAPSHOTS, store_snapshot, store_state
from trader_cli.pipelines.stages.series_update import Span

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trader_cli.core.identity.manifests import Manifest
    from trader_cli.pipelines.market_access import Market
    from trader_cli.pipelines.stages.history_source import HistoryReader, SeriesKind
    from trader_cli.pipelines.stages.stored_series import StoredSeries

_SAME_COIN = 1.5
"""Spot and perpetual of one coin are never so many times apart, but for hours of a crash."""


@dataclass
class SupplementaryData:
    """Reads and publishes what was wanted besides `bars`, one after the other.

    `wanted` are names of `KINDS` and `SNAPSHOTS`, `requested` those that a person or the settings name now. What the
    exchange does not have is said in the reader's notes; what went wrong is also in `troubles`, and may be had later.
    `rows` counts rows and new rows of each kind.
    """

    series: StoredSeries
    market: Market
    reader: HistoryReader
    span: Span
    bars: Manifest
    wanted: tuple[str, ...]
    requested: frozenset[str]
    rows: dict[str, dict[str, int]] = field(default_factory=dict)
    troubles: list[TraderError] = field(default_factory=list)

    async def all(self) -> None:
        """Every kind, the market's state, every snapshot."""
        gone = self.reader.gone
        for name in self.wanted:
            if name in KINDS:
                await self._said(f"No {name} was stored:", self._kind, name)
        if gone is not None:
            return  # it has no state any more
        await self._said("The state of the market was not stored:", self._state, "market")
        for name in self.wanted:
            if name in SNAPSHOTS:
                await self._said(f"No {name} was stored:", self._snapshot, name)

    async def _said(self, what: str, work: Callable[[str], Awaitable[None]], name: str) -> None:
        """Do it; if it fails, say so and go on."""
        try:
            await work(name)
        except (UsageError, DataMissing, ExchangeRejected) as error:
            self.reader.notes.append(f"{what} {error.sentence}")
        except (ExchangeUnavailable, DataError) as error:
            self.reader.notes.append(f"{what} {error.sentence}")
            self.troubles.append(error)

    async def _kind(self, name: str) -> None:
        kind, span = KINDS[name], self._span_of(name)
        stored = self.series.stored(kind, [])
        self.rows[name] = {"rows": 0 if stored is None else stored.rows, "new": 0}
        manifest, new = await (self._spot if kind.market == "spot" else self._update)(name, span)
        if manifest is not None:
            self.series.publish(kind, manifest, span.first_ms)
            self.rows[name] = {"rows": manifest.rows, "new": new}

    async def _update(self, name: str, span: Span) -> tuple[Manifest | None, int]:
        manifest, update = await self.series.update(KINDS[name], self.reader, span)
        return manifest, update.new_rows

    async def _spot(self, name: str, span: Span) -> tuple[Manifest | None, int]:
        """By the name that the spot market has it under: what is 1000SHIB here may be SHIB there."""
        *others, last = spot_markets(self.series.symbol)
        for candidate in others:
            said = len(self.reader.notes)
            self.reader.spot = candidate
            try:
                manifest, new = await self._update(name, span)
            except (NotListed, DataMissing):
                manifest, new = None, 0
            if manifest is not None:
                return manifest, new
            del self.reader.notes[said:]
        self.reader.spot = last
        manifest, new = await self._update(name, span)
        if others and manifest is not None:
            self._require_same_coin(KINDS[name], manifest, last[0])
        if others and new:
            self.reader.notes.append(f"The spot bars are those of {last[0]}, of {last[1]} coins each.")
        return manifest, new

    def _require_same_coin(self, kind: SeriesKind, spot: Manifest, name: str) -> None:
        """Raises `DataMissing` where a market found by its name alone is of something else: its prices tell."""
        store = self.series.store
        closes = [store.read(one.tail()).select("open_time", "close") for one in (self.bars, spot)]
        both = closes[0].join(closes[1], on="open_time", how="inner", suffix="_spot")
        ratio = (both["close_spot"] / both["close"]).median()
        if isinstance(ratio, float) and not 1 / _SAME_COIN < ratio < _SAME_COIN:
            self.series.forget(kind)
            raise DataMissing(
                f"The spot market has {name}, but of another coin: its price is {ratio:.3g} times as high."
            )

    def _span_of(self, name: str) -> Span:
        """The span of a kind: no more than there are bars for, and only onwards where it is not asked for now."""
        kind, span, step = KINDS[name], self.span, self.series.timeframe.ms
        first = max(span.first_ms, self.bars.first_ms or 0)
        if name not in self.requested:
            stored = self.series.stored(kind, [])
            first = max(first, (stored.first_ms if stored is not None else None) or first)
        more = 0 if kind.is_bars else step
        return Span(first, span.last_ms + more, span.latest_ms + more, repair=span.repair)

    async def _state(self, _name: str) -> None:
        self.reader.notes += await store_state(self.series.store, self.market, self.series.key, self.series.symbol)

    async def _snapshot(self, name: str) -> None:
        series = self.series
        lost, rows = await store_snapshot(series.store, self.market, series.key, series.symbol, name)
        self.reader.notes += lost
        self.rows[name] = {"rows": rows, "new": rows}


def but_for(troubles: list[TraderError]) -> TraderError:
    """What is told of a fetch that stored the bars and could not read something else now."""
    sentence = " ".join(dict.fromkeys(error.sentence for error in troubles))
    unavailable = any(isinstance(error, ExchangeUnavailable) for error in troubles)
    return (ExchangeUnavailable if unavailable else DataInvalid)(
        sentence, hint="The bars were stored. Fetch again for the rest."
    )
