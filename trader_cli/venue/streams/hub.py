"""Market streams while somebody listens: each is made once, at its own times, for all who listen to it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import orjson

from trader_cli.venue.streams.market_events import StreamSource

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trader_cli.venue.clocks import ServedClock
    from trader_cli.venue.simulated_market.symbol_market import SymbolMarket
    from trader_cli.venue.streams.market_events import Quotes
    from trader_cli.venue.streams.stream_names import Stream


class Listener(Protocol):
    """Who is told what a stream says."""

    def hear(self, name: str, message: bytes) -> None:
        """One message of a stream, as JSON. Never waits."""
        ...


@dataclass
class _Speaking:
    source: StreamSource
    listeners: list[Listener] = field(default_factory=list)


class StreamHub:
    """All market streams of a venue. Needs a running event loop from the first listener on."""

    def __init__(self, clock: ServedClock, markets: Mapping[str, SymbolMarket], quotes: Quotes) -> None:
        self._clock, self._markets, self._quotes = clock, markets, quotes
        self._speaking: dict[int, dict[Stream, _Speaking]] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def listen(self, stream: Stream, listener: Listener) -> None:
        """From now on `listener` hears a stream, once."""
        period_ms = stream.period_ms
        streams = self._speaking.setdefault(period_ms, {})
        if stream not in streams:
            since_ms = self._clock.now_ms() // period_ms * period_ms
            streams[stream] = _Speaking(StreamSource(stream, self._markets, self._quotes, since_ms))
        if listener not in streams[stream].listeners:
            streams[stream].listeners.append(listener)
        if period_ms not in self._tasks:
            self._tasks[period_ms] = asyncio.create_task(self._speak(period_ms))

    def leave(self, stream: Stream, listener: Listener) -> None:
        """`listener` hears it no more; a stream that nobody hears is forgotten."""
        streams = self._speaking.get(stream.period_ms, {})
        speaking = streams.get(stream)
        if speaking is not None and listener in speaking.listeners:
            speaking.listeners.remove(listener)
            if not speaking.listeners:
                del streams[stream]
        if not streams and stream.period_ms in self._tasks:
            self._tasks.pop(stream.period_ms).cancel()

    def close(self) -> None:
        """Nothing is said any more."""
        for task in self._tasks.values():
            task.cancel()
        self._tasks.clear()
        self._speaking.clear()

    async def _speak(self, period_ms: int) -> None:
        said_ms = self._clock.now_ms() // period_ms * period_ms
        while True:
            now_ms = self._clock.now_ms()
            await self._clock.sleep(((now_ms // period_ms + 1) * period_ms - now_ms) / 1000)
            at_ms = self._clock.now_ms() // period_ms * period_ms
            if at_ms > said_ms:
                said_ms = at_ms
                for stream, speaking in [*self._speaking[period_ms].items()]:
                    _say(stream, speaking, at_ms)


def _say(stream: Stream, speaking: _Speaking, at_ms: int) -> None:
    for told in speaking.source.at(at_ms):
        message = orjson.dumps(told)
        for listener in [*speaking.listeners]:
            listener.hear(stream.name, message)
