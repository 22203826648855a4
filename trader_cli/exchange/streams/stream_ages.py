"""How old what each stream has said is, by the exchange's own stamps: a pong is no news."""

from __future__ import annotations

from dataclasses import dataclass

STEADY_MS = {"markPrice": 10_000, "depth": 60_000}
"""What speaks at least every three seconds whatever happens, and after how long without a word it is stale."""


@dataclass(frozen=True)
class StreamAge:
    """One stream: when it was subscribed to, its last event by the exchange's time, and when that came (UTC ms).

    `since_ms`: since when it is stale; None while it is not. Streams that may rightly be silent are never stale.
    """

    name: str
    event_ms: int | None
    heard_ms: int | None
    since_ms: int | None


class StreamAges:
    """Of the streams of a connection. Times are the exchange's, as well as we know it."""

    def __init__(self) -> None:
        self._begun: dict[str, int] = {}
        self._last: dict[str, tuple[int, int]] = {}
        self._lost: dict[str, int] = {}

    def begin(self, name: str, now_ms: int) -> None:
        """It is up, for the first time or again. What speaks steadily is stale until it has spoken."""
        self._begun[name] = now_ms
        if _limit_ms(name) is None:
            self._lost.pop(name, None)

    def hear(self, name: str, event_ms: int, now_ms: int) -> bool:
        """It has said something; whether that is newer than all it had said before."""
        newer = event_ms > self._last.get(name, (0, 0))[0]
        self._lost.pop(name, None)
        self._last[name] = max(event_ms, self._last.get(name, (0, 0))[0]), now_ms
        return newer

    def lose(self, now_ms: int, *names: str) -> None:
        """Their connection is gone: they are stale, from when they were last heard where that was long ago."""
        for name in names:
            self._lost.setdefault(name, self._heard(name, now_ms) if self.is_overdue(name, now_ms) else now_ms)

    def is_overdue(self, name: str, now_ms: int) -> bool:
        """Whether it has been silent for too long since it was last up."""
        limit_ms = _limit_ms(name)
        return limit_ms is not None and now_ms - self._heard(name, now_ms) > limit_ms

    def _heard(self, name: str, now_ms: int) -> int:
        """When it was last heard, or came up."""
        return min(now_ms, max(self._begun.get(name, now_ms), self._last.get(name, (0, 0))[1]))

    def of(self, name: str, now_ms: int) -> StreamAge:
        """One stream's."""
        event_ms, heard_ms = self._last.get(name, (None, None))
        return StreamAge(name, event_ms, heard_ms, self._stale_since(name, now_ms))

    def all(self, now_ms: int) -> list[StreamAge]:
        """Every stream's, by name."""
        return [self.of(name, now_ms) for name in sorted(self._begun)]

    def _stale_since(self, name: str, now_ms: int) -> int | None:
        if name in self._lost or name not in self._begun:
            return self._lost.get(name, now_ms)
        return self._heard(name, now_ms) if self.is_overdue(name, now_ms) else None


def _limit_ms(name: str) -> int | None:
    """After how long without a word it is stale; None for what may rightly be silent."""
    return STEADY_MS.get(name.partition("@")[2].partition("@")[0])
