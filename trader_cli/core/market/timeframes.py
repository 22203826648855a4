"""Time frames: their names, lengths and the frames above them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches

from trader_cli.core.errors import UsageError

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
SETTLE_MS = 500
"""How long after its close a bar is asked for: no look before that hears of it."""

_MINUTES = {
    "1m": 1,
    "3m": 3,
    "5m": 5,
    "15m": 15,
    "30m": 30,
    "1h": 60,
    "2h": 120,
    "4h": 240,
    "6h": 360,
    "8h": 480,
    "12h": 720,
    "1d": 1440,
}

# The two frames above, a factor of three to six apart: near enough to time an entry, far enough to tell something new.
_HIGHER = {
    "1m": ("5m", "30m"),
    "3m": ("15m", "1h"),
    "5m": ("30m", "2h"),
    "15m": ("1h", "4h"),
    "30m": ("2h", "8h"),
    "1h": ("4h", "1d"),
    "2h": ("8h", "1d"),
    "4h": ("12h", "1d"),
    "6h": ("12h", "1d"),
    "8h": ("1d",),
    "12h": ("1d",),
    "1d": (),
}


_LENGTH = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([smhdw])")
_UNITS = {"s": 1 / 60, "m": 1, "h": 60, "d": 1440, "w": 7 * 1440}
"""Minutes."""


@dataclass(frozen=True)
class Timeframe:
    """A bar length the exchange offers. Bars open at whole multiples of `ms` since the epoch, UTC."""

    name: str
    ms: int

    @classmethod
    def parse(cls, name: str) -> Timeframe:
        """`"15m"` → a time frame. Raises `UsageError` naming the known ones."""
        if name not in _MINUTES:
            near = _nearest(name)
            hint = f"Did you mean {' or '.join(near)}? " if near else ""
            raise UsageError(f"Unknown time frame {name!r}.", hint=f"{hint}Known: {', '.join(_MINUTES)}.")
        return cls(name, _MINUTES[name] * MINUTE_MS)

    @classmethod
    def of_ms(cls, ms: int) -> Timeframe | None:
        """The time frame of this length, or `None` if the exchange has none."""
        return next((cls(name, ms) for name, minutes in _MINUTES.items() if minutes * MINUTE_MS == ms), None)

    @property
    def higher(self) -> tuple[Timeframe, ...]:
        """The (at most two) higher frames whose closed bars become features by default."""
        return tuple(Timeframe.parse(name) for name in _HIGHER[self.name])

    def floor(self, time_ms: int) -> int:
        """The opening time of the bar that holds `time_ms`."""
        return time_ms - time_ms % self.ms

    def __str__(self) -> str:
        return self.name


def _nearest(name: str) -> list[str]:
    """The known ones of the length that is meant, or next below and above it; else one that is written much like it."""
    length = _LENGTH.fullmatch(name)
    if length is None:
        return get_close_matches(name, _MINUTES, n=1, cutoff=0.7)  # 1M is a month, no 1m
    wanted = float(length[1]) * _UNITS[length[2]]
    below = [known for known, minutes in _MINUTES.items() if minutes <= wanted][-1:]
    above = [known for known, minutes in _MINUTES.items() if minutes >= wanted][:1]
    return list(dict.fromkeys(below + above))


def known_timeframes() -> tuple[str, ...]:
    """Names of every known time frame, shortest first."""
    return tuple(_MINUTES)
