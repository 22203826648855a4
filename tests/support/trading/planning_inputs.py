"""What a plan is made from as one value, account, price and depth, so that a test can change any of it."""

from __future__ import annotations

from dataclasses import dataclass

from trader_cli.tactician.planning_inputs import AccountInputs, Depth


@dataclass(frozen=True, kw_only=True)
class Shown(AccountInputs):
    """Account and price, and of the market's depth what `Depth` holds."""

    asks: float
    bids: float
    day_volume: float

    @property
    def depth(self) -> Depth:
        """How much the market takes."""
        return Depth(self.asks, self.bids, self.day_volume)
