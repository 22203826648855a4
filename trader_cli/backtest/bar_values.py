"""What a backtest on bare bars works with, and what it comes to.

Times are UTC milliseconds, prices and money in the quote asset, quantities in units of the base asset, rates and
distances fractions. Arrays over bars have shape (n,).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


class Reason(IntEnum):
    """Why a trade ended."""

    SIGNAL = 0
    STOP = 1
    TARGET = 2
    LIQUIDATION = 3
    STILL_OPEN = 4


@dataclass(frozen=True)
class Bars:
    """Bars oldest first. `funding_rate` is what longs pay of the notional at the open of a bar, 0 where none is due."""

    open_ms: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    funding_rate: Floats

    def __len__(self) -> int:
        return len(self.open)


@dataclass(frozen=True)
class BarTerms:
    """Account and costs. `share` of the wallet backs each position, `leverage` times that is its notional, in steps.

    Fees are of the notional, the maker's where a target is met; every other fill is `slippage` worse than its level.
    Margin is isolated, and at the rate `maintenance` the position is liquidated: all of its margin is lost.
    """

    wallet: float = 10_000.0
    share: float = 1.0
    leverage: float = 1.0
    step: float = 0.001
    taker_fee: float = 0.0004
    maker_fee: float = 0.0002
    slippage: float = 0.0
    maintenance: float = 0.005


@dataclass(frozen=True)
class BarTrades:
    """Trades in the order of their entries, columns of shape (k,).

    One fills at the open of bar `entry` and ends in bar `exit`; what is still open has n there and the last close as
    exit price. `sign` is +1 long, −1 short, `reason` a `Reason`; `funding` what was paid, `wallet` what the account had
    afterwards, for an open one without what is not realised.
    """

    entry: Ints
    exit: Ints
    sign: Ints
    quantity: Floats
    entry_price: Floats
    exit_price: Floats
    fees: Floats
    funding: Floats
    realised: Floats
    wallet: Floats
    reason: Ints

    def __len__(self) -> int:
        return len(self.entry)


@dataclass(frozen=True)
class BarResult:
    """Trades, and the account's equity at the close of each bar, shape (n,)."""

    trades: BarTrades
    equity: Floats
