"""What trading cost, by kind, from the rows of a run. Money in the quote asset, positive where it was paid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from trader_cli.core.market.schemas import milliseconds

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SIGN = pl.when(pl.col("side") == "BUY").then(1.0).otherwise(-1.0)
SLIPPAGE = (pl.col("price") - pl.col("reference")) * SIGN * pl.col("quantity")
"""Of a fill: what half the spread, the depth of the book and a gap cost against the price its order was sent at."""


@dataclass(frozen=True)
class CostsByKind:
    """`slippage` lies within the realised profit, since it is in the prices; the others are taken from it.

    `liquidation` is what the exchange took besides, at forced orders; `funding` is negative where it was received.
    """

    taker_fees: float
    maker_fees: float
    slippage: float
    funding: float
    liquidation: float

    @property
    def fees(self) -> float:
        """Everything that was charged, but funding."""
        return self.taker_fees + self.maker_fees + self.liquidation


def costs_by_kind(fills: pl.DataFrame, trades: pl.DataFrame) -> CostsByKind:
    """Of the FILLS and TRADES of `records`."""
    maker = float(fills.filter(pl.col("maker"))["fee"].sum())
    charged = float(fills["fee"].sum())
    return CostsByKind(
        taker_fees=charged - maker,
        maker_fees=maker,
        slippage=float(fills.select(SLIPPAGE.sum()).item()),
        funding=float(trades["funding"].sum()),
        liquidation=float(trades["fees"].sum()) - charged,
    )


def cost_per_bar(fills: pl.DataFrame, equity: pl.DataFrame) -> Floats:
    """Fees and slippage of the fills between each two rows of equity (n ≥ 1): shape (n − 1,)."""
    times = milliseconds(equity["time"])
    row = np.searchsorted(times, milliseconds(fills["time"]), side="left") - 1
    cost = fills.select(SLIPPAGE + pl.col("fee")).to_series().to_numpy()
    inside = (row >= 0) & (row < len(times) - 1)
    return np.bincount(row[inside], weights=cost[inside], minlength=len(times) - 1).astype(np.float64)
