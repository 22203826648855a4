"""The exchange's time, told from a clock that nobody sets: a person who steps this machine's clock changes nothing.

The narrowest of the last round trips counts, and none that took longer than a second. Where there is none, the
machine's clock is taken as it stood when it was last looked at, and time is not known.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trader_cli.core.ports import Clock

WIDEST_MS = 1000
"""A round trip that took longer says too little about when the exchange looked at its clock."""
_KEPT = 8  # round trips: the narrowest of a few is near the truth
_FORGOTTEN_MS = 3_600_000  # by then the clock may have drifted by more than a round trip tells
_LATE_MS = 4000
"""What was under way for so long may have come after its window, though its time was right."""
_REMEMBERED_MS = 60_000  # a refusal for the time stamp casts doubt for so long


@dataclass(frozen=True)
class RoundTrip:
    """The exchange said `server_ms` at some moment from `before_ms` to `after_ms` of the monotonic clock."""

    server_ms: int
    before_ms: int
    after_ms: int

    @property
    def width_ms(self) -> int:
        """How long it took."""
        return self.after_ms - self.before_ms

    @property
    def ahead_ms(self) -> int:
        """The exchange's time less monotonic time, as if it had looked at its clock half-way."""
        return self.server_ms - (self.before_ms + self.after_ms) // 2


class ExchangeTime:
    """What is known of the exchange's time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._trips: deque[RoundTrip] = deque(maxlen=_KEPT)
        self._narrowest: RoundTrip | None = None  # of `_trips`, until another comes or it is forgotten
        self._bound_ms: int | None = None
        self._refused_ms: int | None = None
        self._look_at_the_machine()

    def _look_at_the_machine(self) -> None:
        self._machine_ms = self._clock.now_ms() - self._clock.monotonic_ms()

    def learn(self, trip: RoundTrip) -> bool:
        """Take over a round trip; whether it was narrow enough to be used."""
        self._bound_ms = trip.server_ms - trip.after_ms
        if trip.width_ms > WIDEST_MS:
            return False
        self._trips.append(trip)
        self._narrowest = None
        return True

    def refused(self, sent_ms: int) -> None:
        """The exchange refused the time of a request sent at `sent_ms` of the monotonic clock.

        Where it was answered soon, our idea of the time is wrong: what was learned is forgotten, and the machine's
        clock looked at again. Where it was under way for long, it was late, and that says nothing. What has been
        learned since it was sent stands.
        """
        now_ms = self._clock.monotonic_ms()
        self._refused_ms = now_ms
        learned_since = any(trip.after_ms > sent_ms for trip in self._trips)
        if not learned_since and now_ms - sent_ms < _LATE_MS:
            self._trips.clear()
            self._narrowest = self._bound_ms = None
            self._look_at_the_machine()

    @property
    def _best(self) -> RoundTrip | None:
        """The narrowest; of equals the newest. Two clocks drift apart: an old one is used only where none is newer."""
        oldest_ms = self._clock.monotonic_ms() - _FORGOTTEN_MS
        if self._narrowest is None or self._narrowest.after_ms < oldest_ms:
            recent = [trip for trip in self._trips if trip.after_ms >= oldest_ms] or list(self._trips)[-1:]
            self._narrowest = min(reversed(recent), key=lambda trip: trip.width_ms, default=None)
        return self._narrowest

    @property
    def is_known(self) -> bool:
        """Whether the exchange told its time, and has not proved it wrong since."""
        return bool(self._trips)

    @property
    def is_trusted(self) -> bool:
        """Whether it is known, and the exchange has refused no request by its time for a while."""
        refused_ms = self._refused_ms
        return self.is_known and (refused_ms is None or self._clock.monotonic_ms() - refused_ms > _REMEMBERED_MS)

    @property
    def age_s(self) -> float:
        """Seconds since the exchange last told its time; infinite if it never did."""
        if not self._trips:
            return float("inf")
        return (self._clock.monotonic_ms() - self._trips[-1].after_ms) / 1000

    def now_ms(self) -> int:
        """The best guess."""
        best = self._best
        return self._clock.monotonic_ms() + (self._machine_ms if best is None else best.ahead_ms)

    def earliest_ms(self) -> int:
        """The earliest it can be, as far as we know."""
        best, now_ms = self._best, self._clock.monotonic_ms()
        if best is not None:
            return now_ms + best.ahead_ms - (best.width_ms + 1) // 2
        bound_ms = self._machine_ms if self._bound_ms is None else min(self._machine_ms, self._bound_ms)
        return now_ms + bound_ms

    @property
    def offset_ms(self) -> int:
        """The exchange's time less this machine's, now."""
        return self.now_ms() - self._clock.now_ms()
