"""Money by asset: which asset a contract is margined in, and amounts of several added only at a price that is named.

Pure. A contract's margin asset is what the exchange calls the quote of its name: ETHUSDC is margined in USDC.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

QUOTE = "USDT"
"""The asset of an account of which nothing else is known, and of a name that tells no other."""
DOLLARS = ("USDT", "USDC")
"""Margin assets of which one is counted as one dollar. What another asset is worth in them says a named price."""
CREDITS = "BNFCR"
"""What an account in credits mode is paid in instead of dollars, one for one."""
_QUOTES = ("USDT", "USDC", "FDUSD", "BUSD", "TUSD", "USD1", "USDE", "BTC", "ETH", "BNB")


@dataclass(frozen=True)
class Flow:
    """What a fill or an income did to a wallet: so much of `asset`, for a contract margined in `margin_asset`."""

    time_ms: int
    amount: Decimal
    asset: str
    margin_asset: str


@lru_cache(maxsize=4096)
def margin_asset_of(symbol: str) -> str:
    """The margin asset by a contract's name, the delivery date of a quarterly one left aside; USDT if it tells none."""
    name = symbol.partition("_")[0]
    return next((quote for quote in _QUOTES if name.endswith(quote) and name != quote), QUOTE)


def settled_in(symbol: str, paid_in: str | None) -> str:
    """The asset of a contract's profit: credits where its fee or income is `paid_in` these, else its margin asset."""
    return CREDITS if paid_in == CREDITS else margin_asset_of(symbol)


def dollar_pair(asset: str) -> str | None:
    """The contract whose mark price tells what an asset is worth in dollars; None for a dollar, which needs none."""
    return None if asset in DOLLARS or asset == CREDITS else f"{asset}{QUOTE}"


@dataclass(frozen=True)
class Dollars:
    """What one of an asset is worth in dollars, `prices` by asset, each that of its `dollar_pair`."""

    prices: Mapping[str, Decimal] = field(default_factory=dict)

    def of(self, asset: str) -> Decimal:
        """Dollars for one of an asset. Raises `KeyError` where no price is known."""
        return Decimal(1) if dollar_pair(asset) is None else self.prices[asset]

    def elsewhere(self, asset: str, notionals: Mapping[str, Decimal]) -> Decimal:
        """Dollars of what is held in contracts of other margin assets than this one; `notionals` by symbol."""
        held = ((margin_asset_of(symbol), at) for symbol, at in notionals.items())
        return sum((at * self.of(margin) for margin, at in held if margin != asset), Decimal(0))

    @property
    def said(self) -> str:
        """Every price by name, such as " (BTC by BTCUSDT at 40000.1)"; "" where all are dollars."""
        named = [f"{asset} by {dollar_pair(asset)} at {price:f}" for asset, price in sorted(self.prices.items())]
        return f" ({', '.join(named)})" if named else ""


def digits_of(amount: Decimal, asset: str) -> str:
    """An amount with the digits that matter: cents of a dollar, all eight of what is worth more."""
    return f"{amount:.2f}" if dollar_pair(asset) is None else f"{amount:.8f}"


def by_asset(flows: Iterable[Flow]) -> dict[str, Decimal]:
    """Sums by asset, the largest part of an account first: margin assets before what only fees are paid in."""
    sums: dict[str, Decimal] = {}
    booked = list(flows)
    for flow in booked:
        sums[flow.asset] = sums.get(flow.asset, Decimal(0)) + flow.amount
    margins = {flow.margin_asset for flow in booked}
    return {asset: sums[asset] for asset in sorted(sums, key=lambda a: (a not in margins, a != QUOTE, a))}


def assets_to_price(flows: Iterable[Flow], margin_asset: str) -> set[str]:
    """The assets in which contracts of this margin asset have cost something, besides itself."""
    return {f.asset for f in flows if f.margin_asset == margin_asset} - {margin_asset}


def valued(flows: Iterable[Flow], margin_asset: str, prices: Mapping[str, Decimal]) -> list[tuple[int, Decimal]]:
    """(time, amount) in a margin asset of what its contracts did, whatever it was paid in, oldest first.

    `prices` are of the other assets in this one; what has none is left out: see `assets_to_price`.
    """
    known = {**prices, margin_asset: Decimal(1)}
    return [
        (f.time_ms, f.amount * known[f.asset]) for f in flows if f.margin_asset == margin_asset and f.asset in known
    ]


def amounts_text(amounts: Mapping[str, Decimal]) -> str:
    """Amounts with their assets, such as "-12.5 USDT, -0.0004 BNB"; "0" if there are none."""
    return ", ".join(f"{amount:f} {asset}" for asset, amount in amounts.items()) or "0"
