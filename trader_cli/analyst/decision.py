"""From probabilities to a side: expected value after costs, and whether to act. Training and live run this."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.analyst.calibration import PRIOR_ROWS
from trader_cli.features.blocked_matmul import inner

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

    def at(self, rows: slice | NDArray[np.bool_]) -> TradeCosts:
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
class Payoffs:
    """What a side gains where its outcome comes, and loses where it does not, in σ of the horizon.

    Means as they are learned, alike for both sides; stretched, what makes gains move with the probability as they do.
    """

    long_win: float
    long_loss: float
    short_win: float
    short_loss: float

    @classmethod
    def of(cls, outcome: NDArray[np.int8], gains: tuple[Floats, Floats], sigma: Floats, weight: Floats) -> Payoffs:
        """The means over labelled rows (n,): outcomes, gains of a long and of a short, σ of the horizon, weights.

        Each is shrunk to the mean size of all moves, as if `PRIOR_ROWS` more rows had shown that. Longs and shorts gain
        alike: what one of them gained more was a drift, and drifts of the past say little of those to come.
        """
        long, short = gains[0] / sigma, gains[1] / sigma
        usual = inner(weight, np.abs(long)) / float(weight.sum())

        def mean(moves: Floats, rows: NDArray[np.bool_]) -> float:
            kept = weight * rows
            return (inner(kept, moves) + PRIOR_ROWS * usual) / (float(kept.sum()) + PRIOR_ROWS)

        up, down = outcome > 0, outcome < 0
        win = (mean(long, up) + mean(short, down)) / 2
        loss = (mean(-long, ~up) + mean(-short, ~down)) / 2
        return cls(win, loss, win, loss)

    @property
    def reach(self) -> float:
        """From loss to win, the mean of both sides."""
        return (self.long_win + self.long_loss + self.short_win + self.short_loss) / 2

    def worth(self, base_rates: Floats) -> tuple[float, float]:
        """What a long and a short are worth before costs at base rates (3,)."""
        up, down = float(base_rates[UP]), float(base_rates[DOWN])
        long = up * self.long_win - (1 - up) * self.long_loss
        return long, down * self.short_win - (1 - down) * self.short_loss

    def drift(self, base_rates: Floats) -> float:
        """The move that base rates (3,) expect."""
        long, short = self.worth(base_rates)
        return (long - short) / 2

    def stretched(self, factor: float, base_rates: Floats) -> Payoffs:
        """Such that sides are worth the same at base rates (3,), and `factor` times as much more for what is beyond."""
        up, down = float(base_rates[UP]), float(base_rates[DOWN])
        long, short = self.worth(base_rates)
        long_reach, short_reach = (
            factor * (win + loss) for win, loss in ((self.long_win, self.long_loss), (self.short_win, self.short_loss))
        )
        found = (
            (1 - up) * long_reach + long,
            up * long_reach - long,
            (1 - down) * short_reach + short,
            down * short_reach - short,
        )
        return Payoffs(*(max(size, 0.0) for size in found))


@dataclass(frozen=True)
class Choice:
    """Per row, arrays of shape (n,): side (+1 long, −1 short), its expected value after costs, and break-even P.

    `win` and `loss` are the mean gain and loss of the side, fractions of notional before costs; `surer`: the side is
    likelier than it is by base rates; `least`: what it must be worth to be taken.
    """

    side: NDArray[np.int8]
    expected_value: Floats
    break_even: Floats
    win: Floats
    loss: Floats
    surer: NDArray[np.bool_]
    least: Floats


def choose_side(
    probabilities: Floats, base_rates: Floats, payoffs: Payoffs, sigma: Floats, costs: TradeCosts, least: float = 0.0
) -> Choice:
    """The side with the higher expected value after its costs.

    Probabilities (n, 3) of up, down and flat, their base rates (3,), σ of the horizon (n,), the least worth
    in σ. What does not end in the side's outcome is a loss, flat as well. break_even = (loss + cost) / (win + loss):
    the win rate at which taking the side returns nothing; none does (inf) where prices stand still.
    """
    win = np.stack([payoffs.long_win * sigma, payoffs.short_win * sigma])
    loss = np.stack([payoffs.long_loss * sigma, payoffs.short_loss * sigma])
    p, base = probabilities[:, [UP, DOWN]].T, np.repeat(base_rates[[UP, DOWN]][:, None], len(sigma), axis=1)
    cost = np.stack(np.broadcast_arrays(costs.long, costs.short, sigma)[:2])
    worth = p * win - (1 - p) * loss - cost
    taken = (worth[0] < worth[1]).astype(np.int64)[None]
    win, loss, cost, worth, p, base = (
        np.take_along_axis(both, taken, axis=0)[0] for both in (win, loss, cost, worth, p, base)
    )
    reach = win + loss
    break_even = np.divide(loss + cost, reach, out=np.full(reach.shape, np.inf), where=reach != 0)
    side = np.where(taken[0] == 0, 1, -1).astype(np.int8)
    return Choice(side, worth, break_even, win, loss, p > base, least * sigma)


def acts(choice: Choice, probability_act: Floats | None = None) -> NDArray[np.bool_]:
    """Whether to take each side: worth enough after costs, surer than by base rates, and above break-even by the act
    model where that decides."""
    worth = (choice.expected_value > choice.least) & choice.surer
    return worth if probability_act is None else worth & (probability_act > choice.break_even)
