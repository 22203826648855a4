"""Whether: what a slow model permits at its closes, a side for a stated time, and what of it stands at a fast close.

Permissions that anything is learned from, or judged by, are told out of fold: by models that had seen nothing later.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.analyst.decision import DOWN, UP, TradeCosts, choose_side
from trader_cli.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from trader_cli.analyst.decision import Choice
    from trader_cli.analyst.walk_forward import Fold, Learner, OutOfSample
    from trader_cli.core.market.timeframes import Timeframe

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


COSTLESS = TradeCosts(0.0, 0.0)
"""What halves of a pair expect is told before costs: the trade pays them once."""


def fast_bars_in(slow: Timeframe, fast: Timeframe) -> int:
    """How many fast bars a slow one holds, 2 or more. Raises `UsageError` for frames that do not fit."""
    if fast.ms >= slow.ms:
        raise UsageError(
            f"The fast frame {fast} is not finer than {slow}.",
            hint="Set analyst.fast_timeframe to 1m, 3m or 5m, or leave it empty.",
        )
    if slow.ms % fast.ms:
        raise UsageError(
            f"Bars of {slow} do not hold whole bars of the fast frame {fast}.",
            hint="Set analyst.fast_timeframe to one that divides it, or leave it empty.",
        )
    return slow.ms // fast.ms


def expected_move(p: Floats, choice: Choice) -> Floats:
    """What the chosen side is worth before costs, (n,), of its probabilities (n, 3): a fraction of notional."""
    of_side = np.where(choice.side > 0, p[:, UP], p[:, DOWN])
    return np.asarray(of_side * choice.win - (1 - of_side) * choice.loss)


def permitted_side(p: Floats, choice: Choice) -> NDArray[np.int8]:
    """The side that is permitted, (m,), 0 where none is: likelier than by base rates, worth something before costs."""
    return np.where(choice.surer & (expected_move(p, choice) > 0), choice.side, 0).astype(np.int8)


@dataclass(frozen=True)
class Passed:
    """How long after their slow closes moments are, (m,); how far ahead a fast model looks; how long permissions
    last, and the horizon they are told of. All in ms."""

    ms: Ints
    ahead_ms: int
    lasts_ms: int
    horizon_ms: int


@dataclass(frozen=True)
class Standing:
    """What a permission says at fast closes, arrays (m,): its side, 0 where none stands; what it is worth before costs
    in the time that is left of its horizon; σ of that horizon. NaN where none stands. `since`: its slow close, UTC ms.
    """

    side: NDArray[np.int8]
    worth: Floats
    sigma: Floats
    since: Ints

    @classmethod
    def of(cls, side: NDArray[np.int8], worth: Floats, sigma: Floats, since: Ints, passed: Passed) -> Standing:
        """Of what was told at slow closes `since` (m,), as it is at fast closes so much later."""
        live = (side != 0) & (passed.ms >= 0) & (passed.ms < passed.lasts_ms)
        left = np.clip(1 - (passed.ms + passed.ahead_ms) / passed.horizon_ms, 0.0, 1.0)
        return cls(
            np.where(live, side, 0).astype(np.int8),
            np.where(live, worth * left, np.nan),
            np.where(live, sigma, np.nan),
            np.where(live, since, 0),
        )

    @property
    def live(self) -> NDArray[np.bool_]:
        """Where a permission stands, (m,)."""
        return np.asarray(self.side != 0)

    def at(self, rows: NDArray[np.bool_] | Ints) -> Standing:
        """Of some rows."""
        return Standing(self.side[rows], self.worth[rows], self.sigma[rows], self.since[rows])


@dataclass(frozen=True)
class Permissions:
    """What is permitted at slow closes `from_ms` (n,), ascending, each for `lasts_ms`: until the next one speaks anew.

    A side, 0 for none; what it is `worth` before costs, a fraction of notional; and σ of the horizon.
    """

    from_ms: Ints
    side: NDArray[np.int8]
    worth: Floats
    sigma: Floats
    lasts_ms: int
    horizon_ms: int

    @classmethod
    def out_of_fold(
        cls, learner: Learner, out: OutOfSample, folds: Sequence[Fold], closes_ms: Ints, slow: Timeframe
    ) -> Permissions:
        """Of what models that had not seen the rows (n,) said of them, closed at `closes_ms`."""
        data, known, horizon = learner.data, out.known, learner.options.longest_horizon
        assert (out.learned_to[known] < data.start[known]).all(), "a permission of a row that was learned from"
        side, worth = np.zeros(len(data), np.int8), np.full(len(data), np.nan)
        for fold, model in zip(folds, out.models, strict=True):
            test = fold.test
            if model is not None:
                p = out.probabilities[test]
                choice = choose_side(p, model.base_rates, model.payoffs, data.sigma[test], COSTLESS)
                worth[test], side[test] = expected_move(p, choice), permitted_side(p, choice)
        return cls(closes_ms, side, worth, data.sigma, slow.ms, horizon * slow.ms)

    def at(self, closes_ms: Ints, ahead_ms: int) -> Standing:
        """What stands at fast closes (m,), UTC ms; what it is worth counts from `ahead_ms` after them on."""
        which = np.searchsorted(self.from_ms, closes_ms, side="right") - 1
        found = np.maximum(which, 0)
        since = self.from_ms[found]
        passed = Passed(closes_ms - since, ahead_ms, self.lasts_ms, self.horizon_ms)
        return Standing.of(self.side[found], self.worth[found], self.sigma[found], since, passed)
