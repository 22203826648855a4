"""Loss limits: whether what was lost today, or since the highest equity, halts trading. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.assets import CREDITS, DOLLARS, QUOTE, assets_to_price, digits_of, valued
from trader_cli.core.timeframes import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from trader_cli.core.assets import Flow
    from trader_cli.core.orders import AccountState

    Prices = Mapping[str, Mapping[str, Decimal]]


@dataclass(frozen=True)
class LossLimits:
    """Shares of equity: of a UTC day, and from the highest equity."""

    daily: float
    drawdown: float


def breach(
    flows: Iterable[tuple[int, Decimal]], wallet: Decimal, unrealized: Decimal, limits: LossLimits, now_ms: int, *,
    since_ms: int = 0,
) -> str | None:  # fmt: skip
    """The sentence of the first limit that is broken, if one is; see `breaches`."""
    return next(iter(breaches(flows, wallet, unrealized, limits, now_ms, since_ms=since_ms).values()), None)


def breaches(
    flows: Iterable[tuple[int, Decimal]], wallet: Decimal, unrealized: Decimal, limits: LossLimits, now_ms: int, *,
    since_ms: int = 0, asset: str = QUOTE,
) -> dict[str, str]:  # fmt: skip
    """The sentences of the limits that are broken, by name: "day" with its number, and "drawdown".

    `flows` are our (time, amount) changes of the wallet of `asset`, oldest first; `wallet` is the balance after all of
    them. What was lost before `since_ms`, when a person last lifted a halt, has been looked at and counts no more.
    """
    booked, found = list(flows), {}
    start = wallet - sum((amount for _, amount in booked), Decimal(0))
    level = peak = opened = start
    for time_ms, amount in booked:
        level += amount
        if time_ms < max(now_ms // DAY_MS * DAY_MS, since_ms):
            opened += amount
        peak = max(peak, level) if time_ms >= since_ms else level
    equity = wallet + unrealized
    if opened > 0 and opened - equity >= opened * Decimal(str(limits.daily)):
        lost, whole = digits_of(opened - equity, asset), digits_of(opened, asset)
        found[f"day {now_ms // DAY_MS}"] = f"the loss of this UTC day, {lost}, reached {limits.daily:.1%} of {whole}"
    if peak > 0 and peak - equity >= peak * Decimal(str(limits.drawdown)):
        fallen = f"equity fell by {digits_of(peak - equity, asset)} from its highest, {digits_of(peak, asset)}"
        found["drawdown"] = f"{fallen}: {limits.drawdown:.1%} are allowed"
    return found


def breaches_by_asset(
    flows: Iterable[Flow], account: AccountState, prices: Prices, limits: LossLimits, now_ms: int, *, since_ms: int = 0
) -> dict[str, str]:
    """The sentences of the limits that are broken in any margin asset; see `breaches`.

    Each margin asset has its own equity, day and highest: no share of all of them together can be lost without one of
    them having lost as much, so none needs a price. What contracts cost in another asset (fees in BNB) counts at its
    price in the margin asset, `prices[margin][other]`, which the sentence names. An account in credits mode has one
    equity of its credits and dollars.
    """
    booked = list(flows)
    if CREDITS in account.wallets:
        booked, account, prices = _in_credits(booked, account, prices)
    found: dict[str, str] = {}
    at_work = {state.asset for state in (account, *account.others) if state.unrealized_profit}  # also where fees are 0
    for margin in sorted({QUOTE, *at_work, *(flow.margin_asset for flow in booked)}):
        state, known = account.of(margin), prices.get(margin, {})
        own = [(f.time_ms, f.amount) for f in booked if f.margin_asset == f.asset == margin]
        counted = valued(booked, margin, known)
        elsewhere = sum((amount for _, amount in counted), Decimal(0)) - sum((amount for _, amount in own), Decimal(0))
        wallet = state.wallet + elsewhere  # as if it had been paid from here
        broken = breaches(counted, wallet, state.unrealized_profit, limits, now_ms, since_ms=since_ms, asset=margin)
        named = sorted(assets_to_price(booked, margin) & set(known))
        at = "".join(f", {asset} at {known[asset]:f}" for asset in named)
        words = f" ({margin}{at})" if named or margin != QUOTE else ""
        tail = "" if margin == QUOTE else f" {margin}"
        found |= {f"{name}{tail}": f"{why}{words}" for name, why in broken.items()}
    return found


def _in_credits(
    flows: Iterable[Flow], account: AccountState, prices: Prices
) -> tuple[list[Flow], AccountState, Prices]:
    """The same with every dollar counted as a credit: which of both the account was paid in says only its mode then."""
    alike = {CREDITS, *DOLLARS}

    def named(asset: str) -> str:
        return CREDITS if asset in alike else asset

    rows = (account, *account.others)
    wallet, free, profit = (
        sum((getattr(row, name) for row in rows if row.asset in alike), Decimal(0))
        for name in ("wallet", "available", "unrealized_profit")
    )
    others = tuple(row for row in account.others if row.asset not in alike)
    known = {other: price for asset in sorted(alike) for other, price in prices.get(asset, {}).items()}
    return (
        [replace(flow, asset=named(flow.asset), margin_asset=named(flow.margin_asset)) for flow in flows],
        replace(account, wallet=wallet, available=free, unrealized_profit=profit, asset=CREDITS, others=others),
        {**prices, CREDITS: known},
    )
