"""From probabilities to a side: expected value after costs, and whether to act. Training and live run this."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trader_cli.core.timeframes import Timeframe
    from trader_cli.settings.model import CostSettings

    Floats = NDArray[np.float64]

UP, DOWN, FLAT = 0, 1, 2
_FUNDING_MS = 8 * 3_600_000


@dataclass(frozen=True)
class Costs:
    """Fractions of notional: per unit of position traded, and per bar held."""

    per_side: float
    per_bar: float

    @classmethod
    def of(cls, settings: CostSettings, timeframe: Timeframe, factor: float = 1.0) -> Costs:
        """From the settings' basis points; `factor` 2 for the doubled costs of the claim rule."""
        per_side = (settings.taker_fee_bps + settings.slippage_bps) * 1e-4 * factor
        return cls(per_side, settings.funding_bps * 1e-4 * factor * timeframe.ms / _FUNDING_MS)

    def round_trip(self, bars: int) -> float:
        """In, out, and funding over so many bars."""
        return 2 * self.per_side + bars * self.per_bar


@dataclass(frozen=True)
class Choice:
    """Per row, arrays of shape (n,): side (+1 long, −1 short), its expected value after costs, and break-even P."""

    side: NDArray[np.int8]
    expected_value: Floats
    break_even: Floats


def choose_side(probabilities: Floats, barrier: Floats, cost: float) -> Choice:
    """The side with the higher expected value; shapes (n, 3) up/down/flat, (n,) log distance, one cost per trade.

    break_even = (stop + cost) / (target + stop): the win rate at which taking the side returns nothing.
    """
    up, down = np.expm1(barrier), -np.expm1(-barrier)
    long = probabilities[:, UP] * up - probabilities[:, DOWN] * down - cost
    short = probabilities[:, DOWN] * down - probabilities[:, UP] * up - cost
    side = np.where(long >= short, 1, -1).astype(np.int8)
    stop = np.where(side > 0, down, up)
    return Choice(side, np.maximum(long, short), (stop + cost) / (up + down))


def acts(choice: Choice, probability_act: Floats | None) -> NDArray[np.bool_]:
    """Whether to take each side: worth something after costs, and the meta-label model, if asked, above break-even."""
    worth = choice.expected_value > 0
    return worth if probability_act is None else worth & (probability_act > choice.break_even)
