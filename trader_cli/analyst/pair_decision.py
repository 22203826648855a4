"""What a pair decides at fast closes, once everything about them is known: a signal, or why there is none. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.analyst.decision import DOWN, UP
from trader_cli.analyst.permission import Passed, Standing, expected_move, permitted_side
from trader_cli.analyst.timing import FastWord, triggers
from trader_cli.core.types import Abstention, Permission, Signal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from trader_cli.analyst.decision import Choice, TradeCosts
    from trader_cli.analyst.outcomes import Assessed
    from trader_cli.analyst.timing import Timing
    from trader_cli.analyst.trained_pair import TrainedPair
    from trader_cli.core.types import Side

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

FAST_ABSENT = Abstention(
    "fast_model_absent",
    "A fast frame is set, but the bundle has no fast model: the slow one permitted too little to learn from.",
)
_SIDES: dict[int, Side] = {1: "long", -1: "short"}


@dataclass(frozen=True)
class PairSaid:
    """What both halves say at m fast closes, before costs, and what the slow trade costs that is entered there.

    `slow`: of the last slow close before or at each, `since_ms`; `fast` of the fast close, `at_ms`; both UTC ms, (m,).
    `lapsed`: why the claim does not hold at each close, `None` where it does as far as it ever did. `allow_unproven`:
    where none holds the better side of each half counts, whatever it is worth.
    """

    pair: TrainedPair
    timing: Timing
    slow: Assessed
    since_ms: Ints
    fast: Assessed
    at_ms: Ints
    costs: TradeCosts
    allow_unproven: bool
    lapsed: Sequence[Abstention | None]

    @cached_property
    def unproven(self) -> NDArray[np.bool_]:
        """Where the better side counts although no claim holds, (m,)."""
        lapsed = np.array([one is not None for one in self.lapsed], dtype=np.bool_)
        return (lapsed | (not self.pair.claim.edge)) & self.allow_unproven

    @cached_property
    def told(self) -> NDArray[np.int8]:
        """The side that was permitted at the slow close, (m,), 0 where none was."""
        return np.where(self.unproven, self.slow.choice.side, permitted_side(self.slow.p, self.slow.choice))

    @cached_property
    def standing(self) -> Standing:
        """What of that stands."""
        slow, fast = self.pair.frames
        assert self.pair.fast is not None
        horizon = self.pair.horizon_bars
        passed = Passed(self.at_ms - self.since_ms, self.pair.fast.horizon_bars * fast.ms, slow.ms, horizon * slow.ms)
        sigma = self.slow.sigma * math.sqrt(horizon)
        return Standing.of(self.told, expected_move(self.slow.p, self.slow.choice), sigma, self.since_ms, passed)

    @cached_property
    def word(self) -> FastWord:
        """What the fast half says."""
        choice = self.fast.choice
        return FastWord(choice.side, choice.surer, expected_move(self.fast.p, choice))

    @cached_property
    def choice(self) -> Choice:
        """What both come to."""
        return self.timing.choose(self.standing, self.word.score(self.standing), self.costs)

    @cached_property
    def probability(self) -> Floats:
        """That an entry wins, (m,)."""
        return self.timing.probability(self.word.score(self.standing))

    @cached_property
    def enters(self) -> NDArray[np.bool_]:
        """Where to enter, (m,)."""
        better = self.standing.live & (self.word.side == self.standing.side)
        return np.where(self.unproven, better, triggers(self.word, self.standing, self.choice))

    def permission(self, at: int) -> Permission | None:
        """What stands at one of the closes."""
        side = int(self.standing.side[at])
        if side == 0:
            return None
        since, choice = int(self.since_ms[at]), self.slow.choice
        worth = float(expected_move(self.slow.p, choice)[at])
        budget = max(worth, 0.0) / max(float(choice.win[at] * choice.loss[at]), _SMALLEST)
        of_side = float(self.slow.p[at, UP if side > 0 else DOWN])
        return Permission(_SIDES[side], of_side, budget, since, since + self.pair.frames[0].ms)


_SMALLEST = 1e-12


def pair_outcomes(said: PairSaid, closes: Sequence[float]) -> list[Signal | Abstention]:
    """What is decided at each fast close, of these prices. What abstains alike is one value."""
    known: dict[Abstention, Abstention] = {}
    found: list[Signal | Abstention] = []
    for at, close in enumerate(closes):
        veto = _veto(said, at)
        found.append(_signal(said, at, close) if veto is None else known.setdefault(veto, veto))
    return found


def _veto(said: PairSaid, at: int) -> Abstention | None:
    """Reasons to abstain once both have spoken."""
    claim = said.pair.claim
    if not claim.edge and not said.unproven[at]:
        return Abstention("no_edge", f"The pair claims no edge: {claim.reason}.")
    if said.lapsed[at] is not None and not said.unproven[at]:
        return said.lapsed[at]
    if said.told[at] == 0:
        return Abstention("no_permission", "The slow model permits neither side at its last close.")
    if not said.standing.live[at]:
        late = (said.at_ms[at] - said.since_ms[at]) / 60_000
        when = f"{late:.0f} min ago: that has lapsed" if late >= 0 else "after this fast bar: fast bars are late"
        return Abstention("permission_lapsed", f"The slow model permitted a side {when}.")
    if said.enters[at]:
        return None
    side, worth = _SIDES[int(said.standing.side[at])], float(said.choice.expected_value[at]) * 1e4
    return Abstention(
        "no_trigger", f"{side.capitalize()} is permitted; entered now it would be worth {worth:.1f} bps after costs."
    )


def _signal(said: PairSaid, at: int, close: float) -> Signal:
    """The permitted side, entered now."""
    permission, choice, pair = said.permission(at), said.choice, said.pair
    assert permission is not None  # `_veto`
    slow, fast = pair.frames
    distance, horizon = float(said.slow.barrier[at]), pair.horizon_bars
    above, below = close * float(np.exp(distance)), close * float(np.exp(-distance))
    long, unproven = permission.side == "long", bool(said.unproven[at])
    return Signal(
        side=permission.side,
        probability_act=float(said.probability[at]),
        break_even_probability=float(choice.break_even[at]),
        expected_value_bps=float(choice.expected_value[at]) * 1e4,
        take_profit_price=above if long else below,
        stop_price=below if long else above,
        horizon_bars=horizon,
        unproven=unproven,
        sigma_horizon=float(said.slow.sigma[at]) * math.sqrt(horizon),
        sigma_uncertainty=pair.sigma_uncertainty,
        mean_win=float(choice.win[at]),
        mean_loss=float(choice.loss[at]),
        until_ms=min(int(said.at_ms[at]) + fast.ms, permission.from_ms + slow.ms),
        budget=None if unproven else permission.budget,
    )
