"""What to send next for one symbol of ours, given what is known of its orders: a pure step, whoever carries it out.

A position is covered by stops that the exchange has acknowledged, or it is left. The backstop and a whole exit are
tried all along: neither can open anything, and the exchange allows one close-position stop per direction. What is not
known counts against us: an entry of unknown fate may be open, a stop of unknown fate covers nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

ZERO = Decimal(0)
Kind = Literal["backstop", "stop", "take_profit", "exit", "drop_targets", "drop_backstop", "fit_stops", "fit_targets"]
_PAUSES_MS: dict[str, tuple[int, ...]] = {
    "exit": (0, 0, 1000, 2000, 4000),
    "backstop": (0, 500, 1000, 1000, 1500, 2000, 2000, 3000),
    "stop": (0, 1000, 2000, 4000),
    "take_profit": (0, 1000, 2000, 4000),
    "blind": (0, 250, 500, 500, 1000),
}
"""How long after a try that was refused, or whose waiting is over, the next one comes; the last holds from then on."""
_MOST_UNKNOWN_STOPS = 2


@dataclass(frozen=True)
class Attempts:
    """What was tried of one kind since it was needed: how often, when last, and how many of unknown fate there are.

    `waiting` is whether the last one's reply is still waited for.
    """

    count: int = 0
    last_ms: int = 0
    waiting: bool = False
    unknown: int = 0

    def due_ms(self, kind: str) -> int:
        """When the next one may be sent."""
        pauses = _PAUSES_MS[kind]
        return self.last_ms + pauses[min(self.count, len(pauses) - 1)]


@dataclass(frozen=True)
class ProtectionState:
    """One symbol of ours as it is known: quantities unsigned, times in milliseconds on the monotonic clock.

    `held` is open by any sign; `possible` may be open besides, an entry of unknown fate; `foreign` says that the symbol
    holds something that is not ours. `stopped` and `targeted` are behind acknowledged quantity stops and take-profits.
    `unprotected_since_ms` is when it was last known to be covered, `goal` what is to be left of it (`None`: all). What
    is only possible is answered by sends once `may_be_blind`: its reply has been waited for.
    """

    held: Decimal
    possible: Decimal
    foreign: bool
    backstop: bool
    stopped: Decimal
    targeted: Decimal
    unprotected_since_ms: int
    is_beyond_backstop: bool
    goal: Decimal | None
    tries: dict[str, Attempts]
    backstop_taken: bool = False
    has_targets: bool = False
    must_drop_targets: bool = False
    may_be_blind: bool = True

    @property
    def is_covered(self) -> bool:
        """Whether stops that are known to rest cover all that is open, or may be."""
        return self.backstop or (self.stopped >= self.held and not self.possible)

    @property
    def is_open(self) -> bool:
        """Whether anything of ours is open or may be."""
        return bool(self.held or self.possible)

    def tried(self, kind: str) -> Attempts:
        """What was tried of a kind."""
        return self.tries.get(kind, Attempts())


@dataclass(frozen=True)
class Step:
    """One thing to send: what, how much (exits, stops, take-profits), and whether an exit closes everything."""

    kind: Kind
    quantity: Decimal = ZERO
    whole: bool = False


def next_steps(s: ProtectionState, now_ms: int, deadline_ms: int) -> list[Step]:
    """Everything that should be sent now, most urgent first; none of it waits for another."""
    if not (s.held or (s.possible and s.may_be_blind)):
        return []
    return [*_exits(s, now_ms, deadline_ms), *_stops(s, now_ms), *_surplus(s)]


def _due(s: ProtectionState, kind: str, now_ms: int) -> bool:
    """Whether the next of a kind may be sent; a backstop for what is only possible is tried more often."""
    tried = s.tried(kind)
    pause = "blind" if kind == "backstop" and not s.held else kind
    return not tried.waiting and (not tried.count or now_ms >= tried.due_ms(pause))


def must_leave(s: ProtectionState, now_ms: int, deadline_ms: int) -> bool:
    """Whether it is to be closed because it cannot be covered, or price is beyond the last stop."""
    late = not s.is_covered and now_ms - s.unprotected_since_ms >= deadline_ms
    return late or (s.is_beyond_backstop and not s.is_covered)


def _exits(s: ProtectionState, now_ms: int, deadline_ms: int) -> list[Step]:
    leaving = must_leave(s, now_ms, deadline_ms)
    goal = ZERO if leaving else s.goal
    told_off = s.must_drop_targets and s.held > 0  # an exit for more than is open may have been refused for that
    most = s.held + (s.possible if goal == 0 and not told_off else ZERO)
    if goal is None or most <= goal or not _due(s, "exit", now_ms):
        return []
    whole = goal == 0 and not s.foreign
    if not whole and s.tried("exit").unknown:
        return []
    drop = [Step("drop_targets")] if s.must_drop_targets and s.has_targets else []
    return [*drop, Step("exit", most - goal, whole)]


def _stops(s: ProtectionState, now_ms: int) -> list[Step]:
    steps = []
    if not s.backstop and not s.foreign and not s.backstop_taken and _due(s, "backstop", now_ms):
        steps.append(Step("backstop"))
    stop = s.tried("stop")
    if s.held > s.stopped and stop.unknown < _MOST_UNKNOWN_STOPS and _due(s, "stop", now_ms):
        steps.append(Step("stop", s.held - s.stopped))
    waits = stop.waiting or s.tried("backstop").waiting  # a stop's reply is heard before a target is sent
    settled = s.is_covered and s.goal is None and not waits and not s.tried("take_profit").unknown
    if settled and s.held > s.targeted and _due(s, "take_profit", now_ms):
        steps.append(Step("take_profit", s.held - s.targeted))
    return steps


def _surplus(s: ProtectionState) -> list[Step]:
    """What is more than fits: a backstop would close what is foreign, stops for more than is held what is not ours.

    Each goes once what stays, or stands in for it, rests.
    """
    steps = []
    if s.foreign and s.backstop and s.stopped >= s.held and not s.possible:
        steps.append(Step("drop_backstop"))
    if s.is_covered and not s.possible and s.held:
        steps += [Step("fit_stops")] if s.stopped > s.held else []
        steps += [Step("fit_targets")] if s.targeted > s.held else []
    return steps


def to_drop(quantities: Sequence[Decimal], held: Decimal) -> list[int] | None:
    """Which of these stops, tightest first, to take away so that the rest cover just what is held; `None`: none do."""
    left, kept = held, set()
    for number, quantity in enumerate(quantities):
        if quantity <= left:
            left -= quantity
            kept.add(number)
    return None if left else [n for n in range(len(quantities)) if n not in kept]
