"""When a backtest does what: the moments of `trader run --forever`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trader_cli.core.market.timeframes import SETTLE_MS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trader_cli.core.market.timeframes import Timeframe


@dataclass(frozen=True)
class Schedule:
    """When what is done: at closes of `timeframe`; looks and further tries, in ms, and bars a signal is valid at most.

    `slow`: in whose bars signals are told, and at whose closes the account stands, where faster ones time entries.
    `begins`: the first close, UTC ms, at which anything is thought of symbols that were listed within the span.
    """

    timeframe: Timeframe
    look_ms: int
    again_ms: int
    validity_bars: float
    begins: Mapping[str, int] = field(default_factory=dict)
    slow: Timeframe | None = None

    @property
    def bar_ms(self) -> int:
        """Of the bars that signals are told in."""
        return (self.slow or self.timeframe).ms

    def stands(self, close_ms: int) -> bool:
        """Whether how the account stands is written down at a close."""
        return close_ms % self.bar_ms == 0

    def closed_by(self, now_ms: int) -> int:
        """The last close whose bar can be asked for."""
        return self.timeframe.floor(now_ms - SETTLE_MS)

    def next_close_ms(self, now_ms: int) -> int:
        """When the bar that is under way, or has only just closed, can be asked for."""
        return self.closed_by(now_ms) + self.timeframe.ms + SETTLE_MS


@dataclass
class LookGrid:
    """When what is held is looked at: `every_ms` after the last look, or after the entry that opened the account."""

    every_ms: int
    looked_ms: int

    @property
    def next_ms(self) -> int:
        """The next look."""
        return self.looked_ms + self.every_ms

    def at_or_after(self, time_ms: int) -> int:
        """The first look that is not before a time."""
        return self.next_ms + max(0, -((self.next_ms - time_ms) // self.every_ms)) * self.every_ms
