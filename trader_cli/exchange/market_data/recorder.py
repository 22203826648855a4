"""The recorder: what the exchange showed, as tape events in order of receive time, one JSON line each, by UTC day."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from trader_cli.core.market.events import BarClosedEvent, BookEvent, MarkEvent

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl

    from trader_cli.core.market.events import TapeEvent
    from trader_cli.core.market.quotes import OrderBook, PremiumIndex
    from trader_cli.core.market.timeframes import Timeframe

_LEVELS = 20


class TapeRecorder:
    """Appends events to `<folder>/<day>.jsonl`. A bar is written once; times never go back within a file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._last_bar: dict[tuple[str, str], int] = {}
        self._last_ms = 0

    def record(self, event: TapeEvent) -> None:
        """Write an event, unless it is a bar that was written before."""
        if isinstance(event, BarClosedEvent):
            series = event.symbol, event.timeframe
            if event.open_time_ms <= self._last_bar.get(series, -1):
                return
            self._last_bar[series] = event.open_time_ms
        self._last_ms = max(self._last_ms, event.time_ms)
        day = datetime.fromtimestamp(self._last_ms / 1000, UTC).strftime("%Y-%m-%d")
        self._folder.mkdir(parents=True, exist_ok=True)
        line = {"kind": type(event).__name__, **asdict(event), "time_ms": self._last_ms}
        with (self._folder / f"{day}.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def book(shown: OrderBook, now_ms: int) -> list[TapeEvent]:
    """A book as an event."""
    return [BookEvent(now_ms, shown.symbol, shown.bids[:_LEVELS], shown.asks[:_LEVELS])]


def mark(shown: PremiumIndex, now_ms: int) -> list[TapeEvent]:
    """A mark price as an event."""
    return [MarkEvent(now_ms, shown.symbol, shown.mark_price, derived=False)]


def bars(symbol: str, timeframe: Timeframe, shown: pl.DataFrame, now_ms: int) -> list[TapeEvent]:
    """The newest bar as an event, if it has closed within the last interval: older ones are history, not seen live."""
    if shown.is_empty():
        return []
    opened = int(shown["open_time"].to_physical()[-1])
    if now_ms - (opened + timeframe.ms) > timeframe.ms:
        return []
    prices = shown.select("open", "high", "low", "close", "volume").row(-1)
    return [BarClosedEvent(now_ms, symbol, timeframe.name, opened, *prices)]
