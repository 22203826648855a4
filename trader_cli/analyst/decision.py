"""From probabilities to a side: expected value after costs, and whether to act. Training and live run this."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trader_cli.analyst.funding_cost import FundingRates
    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.settings.model import CostSettings

    Floats = NDArray[np.float64]

UP, DOWN, FLAT = 0, 1, 2
_FUNDING_MS = 8 * 3_600_000


@dataclass(frozen=True)
class TradeCosts:
    """What a trade is expected to cost by its side, fractions of notional, each (n,) or one for all rows."""

    long: Floats | float
    short: Floats | float

    def of(self, side: NDArray[np.int8]) -> Floats:
        """Of sides (n,), +1 long and −1 short."""
        return np.where(side > 0, self.long, self.short)

    def at(self, rows: slice) -> TradeCosts:
        """Of some rows."""
        return TradeCosts(np.asarray(self.long)[rows], np.asarray(self.short)[rows])


@dataclass(frozen=True)
class Costs:
    """Fractions of notional: per unit of position traded, and funding by the symbol's own stamps and rates.

    `per_bar`: the funding that either side is assumed to pay for a bar held whose rates are not known. `factor`: by
    which what is paid is multiplied; `per_side` and `per_bar` hold it already.
    """

    per_side: float
    per_bar: float
    funding: FundingRates | None = None
    factor: float = 1.0

    @classmethod
    def of(
        cls, settings: CostSettings, timeframe: Timeframe, funding: FundingRates | None = None, factor: float = 1.0
    ) -> Costs:
        """From the settings' basis points; `factor` 2 for the doubled costs of the claim rule."""
        per_side = (settings.taker_fee_bps + settings.slippage_bps) * 1e-4 * factor
        per_bar = settings.funding_bps * 1e-4 * factor * timeframe.ms / _FUNDING_MS
        return cls(per_side, per_bar, funding, factor)

    def of_trades(self, rows: NDArray[np.int64], bars: int) -> TradeCosts:
        """In, out, and funding over so many bars after the close of each row (n,).

        Funding to be paid counts in full, funding to be received not at all: a barrier may be met before its stamp.
        """
        usual = np.full(len(rows), bars * self.per_bar)
        ahead = np.full(len(rows), np.nan) if self.funding is None else self.funding.ahead(rows, bars)
        known, paid = np.isfinite(ahead), ahead * self.factor
        long = np.where(known, np.maximum(paid, 0.0), usual)
        short = np.where(known, np.maximum(-paid, 0.0), usual)
        return TradeCosts(2 * self.per_side + long, 2 * self.per_side + short)

    def of_holding(self, exposure: Floats) -> Floats:
        """The funding of a position held over each bar (n,): what it paid, or received, at the stamps in it."""
        usual = np.abs(exposure) * self.per_bar
        if self.funding is None:
            return usual
        charged = exposure * self.funding.due
        held = np.where(charged > 0, charged * self.factor, charged)
        return np.where(np.isfinite(charged), held, usual)


@dataclass(frozen=True)
class Choice:
    """Per row, arrays of shape (n,): side (+1 long, −1 short), its expected value after costs, and break-even P."""

    side: NDArray[np.int8]
    expected_value: Floats
    break_even: Floats


def choose_side(probabilities: Floats, barrier: Floats, costs: TradeCosts) -> Choice:
    """The side with the higher expected value after its costs; shapes (n, 3) up/down/flat, (n,) log distance.

    break_even = (stop + cost) / (target + stop): the win rate at which taking the side returns nothing; none does (inf)
    where prices stand still.
    """
    up, down = np.expm1(barrier), -np.expm1(-barrier)
    long = probabilities[:, UP] * up - probabilities[:, DOWN] * down - costs.long
    short = probabilities[:, DOWN] * down - probabilities[:, UP] * up - costs.short
    side = np.where(long >= short, 1, -1).astype(np.int8)
    stop = np.where(side > 0, down, up)
    reach = up + down
    break_even = np.divide(stop + costs.of(side), reach, out=np.full(reach.shape, np.inf), where=reach != 0)
    return Choice(side, np.maximum(long, short), break_even)


def acts(choice: Choice, probability_act: Floats | None) -> NDArray[np.bool_]:
    """Whether to take each side: worth something after costs, and the meta-label model, if asked, above break-even."""
    worth = choice.expected_value > 0
    return worth if probability_act is None else worth & (probability_act > choice.break_even)
