"""What the exchange's rules of a symbol allow: whether a plan may be opened there, and at what price at most. Pure.

The rules are those the exchange shows now; a plan may have been made under others.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.money.assets import CREDITS, amounts_text, margin_asset_of
from trader_cli.core.money.plans import Refused
from trader_cli.core.money.sizing import bracket_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trader_cli.core.money.orders import AccountState, LeverageBracket, SymbolRules
    from trader_cli.core.money.plans import PlanLevels, TradePlan

RULE_CODES = frozenset(
    {
        -1013,  # a filter of price, quantity or notional failed
        -1111,  # more digits than the symbol has
        -1121,  # no such symbol: delisted or renamed
        -1122,  # the symbol's status forbids it
        -2027,  # position above what the leverage allows
        -2028,  # leverage too low for the margin there is
        -4002,  # price above the largest
        -4003,  # quantity rounded to nothing
        -4004,  # quantity below the smallest
        -4005,  # quantity above the largest
        -4013,  # price below the smallest
        -4014,  # price not on the tick
        -4016,  # price above the band around the mark price
        -4023,  # quantity not on the step
        -4024,  # price below the band around the mark price
        -4087,  # only reduce-only orders are taken
        -4088,  # no orders are taken
        -4131,  # the best price is outside the band around the mark price
        -4140,  # the symbol's status forbids opening
        -4141,  # the symbol is closed
        -4164,  # notional below the smallest
    }
)
"""Refusals of the exchange after which the symbol's rules are read again: they may have changed under us."""

RULES_AGE_S = 180.0
"""How old the rules may be when a plan is made or entered, or a position is open; older ones are read again first."""
DELISTING_MARGIN_MS = 3_600_000
"""How long before a symbol's delivery a position must be over: entries stop, and the book thins, well before it."""
_STOPS_OF_AN_ENTRY = 3
_FURTHEST = Decimal("0.04")
"""How far from the mark price a limit order that leaves may be where the exchange lists no band."""


def trading(rules: SymbolRules) -> Refused | None:
    """Whether the symbol is one on which positions may be opened at all."""
    if rules.status != "TRADING" or rules.contract_type.endswith("DELIVERING"):
        found = rules.status if rules.status != "TRADING" else rules.contract_type
        return Refused(
            "not_trading", f"{rules.symbol} is not trading now (the exchange says {found}): no position is opened."
        )
    return None


def funded(symbol: str, margin_asset: str, account: AccountState, *, multi_assets: bool) -> Refused | None:
    """Whether this account can carry a contract as we trade it: isolated, by its own balance of the margin asset.

    Codes `multi_assets`, `credits_account`, `margin_asset`, `no_balance`. What is open is cared for all the same.
    """
    if multi_assets:
        return Refused(
            "multi_assets",
            "The account is in multi-assets mode, which has no isolated margin: no position is opened."
            " Switch it to single-asset mode.",
        )
    if CREDITS in account.wallets:
        return Refused(
            "credits_account",
            f"The account is in credits mode: it shows {CREDITS}, which is no money of a contract."
            " No position is opened there.",
        )
    if margin_asset != margin_asset_of(symbol):
        return Refused(
            "margin_asset",
            f"{symbol} is margined in {margin_asset or 'an asset that is not named'}; positions are"
            " opened in contracts whose name says in what they are margined.",
        )
    if account.of(margin_asset).wallet <= 0:
        shown = amounts_text({asset: wallet for asset, wallet in account.wallets.items() if wallet})
        return Refused(
            "no_balance", f"{symbol} is margined in {margin_asset}, of which the account holds none; it shows {shown}."
        )
    return None


def outlives(rules: SymbolRules, exit_by_ms: int) -> Refused | None:
    """Whether a position held until then would be over before the symbol is delisted."""
    if rules.delivery_ms is None or exit_by_ms + DELISTING_MARGIN_MS < rules.delivery_ms:
        return None
    left_h = (rules.delivery_ms - exit_by_ms) / 3_600_000
    when = f"{-left_h:.1f} h before" if left_h < 0 else f"only {left_h:.1f} h after"
    return Refused(
        "delisting",
        f"{rules.symbol} is delisted {when} this position would have to end, and is settled by force then:"
        " no position is opened there.",
    )


def leave_by_ms(rules: SymbolRules) -> int | None:
    """When a position must be left at the latest, because the symbol is delisted; None where no end is known."""
    return None if rules.delivery_ms is None else rules.delivery_ms - DELISTING_MARGIN_MS


def openable(
    rules: SymbolRules,
    brackets: Sequence[LeverageBracket],
    plan: TradePlan,
    now_ms: int,
    *,
    resting: int | None = None,
) -> Refused | None:
    """Whether a plan can be opened and protected under the rules of now: codes `not_trading`, `delisting`,
    `stops_impossible`, `leverage_above_bracket`.

    `resting` is how many conditional orders of the symbol wait at the exchange, `None` where that is not known.
    """
    refused = trading(rules) or outlives(rules, max(plan.exit_by_ms, now_ms))
    if refused is not None:
        return refused
    wrong = _impossible(rules, plan, resting)
    if wrong is not None:
        return Refused(
            "stops_impossible",
            f"By the exchange's rules of {rules.symbol} now, it or its stops could not be placed: {wrong}."
            " No position is opened; run `trader tactics` again.",
        )
    bracket = bracket_of(brackets, float(plan.quantity * plan.price)) if brackets else None
    if bracket is not None and plan.leverage > bracket.max_leverage:
        return Refused(
            "leverage_above_bracket",
            f"Leverage {plan.leverage} is above the bracket's {bracket.max_leverage} at this size."
            " Run `trader tactics` again.",
        )
    return None


def _impossible(rules: SymbolRules, plan: TradePlan, resting: int | None) -> str | None:
    """Why one of the stops would be refused."""
    levels = (
        ("entry's limit", entry_limit(plan, rules, plan.price)),
        ("backstop", plan.backstop_price),
        ("stop", plan.stop_price),
        ("target", plan.take_profit_price),
    )
    for name, level in levels:
        if level != rules.price_down(level):
            return f"the {name} {level:f} is not on the tick {rules.tick:f}"
        if level <= 0 or (rules.min_price is not None and level < rules.min_price):
            return f"the {name} {level:f} is below the lowest price it takes"
        if rules.max_price is not None and level > rules.max_price:
            return f"the {name} {level:f} is above the highest price it takes, {rules.max_price:f}"
    wrong = senseless(rules, plan)
    if wrong is not None:
        return wrong
    if plan.quantity != rules.quantity_down(plan.quantity):
        return f"the quantity {plan.quantity:f} is not on the step {rules.step:f}"
    if plan.quantity <= 0 or plan.quantity < rules.min_quantity:
        return f"the quantity {plan.quantity:f} is below the smallest it takes, {rules.min_quantity:f}"
    if plan.quantity > rules.max_market_quantity:
        return f"the quantity {plan.quantity:f} is above the largest it takes, {rules.max_market_quantity:f}"
    if (
        resting is not None
        and rules.max_stop_orders is not None
        and resting + _STOPS_OF_AN_ENTRY > rules.max_stop_orders
    ):
        return f"{resting} conditional orders wait there already, and {rules.max_stop_orders} are the most it takes"
    return None


def senseless(rules: SymbolRules, plan: TradePlan | PlanLevels) -> str | None:
    """Why levels on the symbol's ticks are on the wrong side of each other: its tick is too coarse for this plan."""
    up, limit = plan.sign > 0, entry_limit(plan, rules, plan.price)
    inner, outer = ("below", "above") if up else ("above", "below")
    wrong = (
        ("backstop", plan.backstop_price, inner, "stop", plan.stop_price),
        ("stop", plan.stop_price, inner, "price", plan.price),
        ("target", plan.take_profit_price, outer, "price", plan.price),
        ("entry's limit", limit, outer, "price less its drift", plan.price - plan.sign * plan.max_drift),
    )
    for name, level, side, other, bound in wrong:
        allowed = level > bound if side == "above" else level < bound
        if not allowed and not (name == "entry's limit" and level == bound):
            return (
                f"the {name} {level:f} of a {plan.side} is not {side} its {other} {bound:f}; the tick is {rules.tick:f}"
            )
    return None


def entry_limit(plan: TradePlan | PlanLevels, rules: SymbolRules, mark: Decimal) -> Decimal:
    """The price of the entry's IOC limit order: the plan's, moved by its drift, on a tick, within the exchange's band.

    Rounded away from paying more: down for a long, up for a short. At this price or a better one it fills, or not.
    """
    if plan.sign > 0:
        highest = (plan.price + plan.max_drift, rules.band_up and mark * rules.band_up, rules.max_price)
        return rules.price_down(min(bound for bound in highest if bound is not None))
    lowest = (plan.price - plan.max_drift, rules.band_down and mark * rules.band_down, rules.min_price)
    exact = max(bound for bound in lowest if bound is not None)
    return rules.price_up(exact)


def exit_limit(rules: SymbolRules, sign: int, mark: Decimal, reach: Decimal = Decimal(1)) -> Decimal:
    """The price of a limit order that leaves a long (`sign` +1) or a short (−1) where a market order is not taken.

    On a tick, between the lowest and the highest price, and within the band: at its edge, or with `reach` below 1 so
    much of the way from the mark price to there.
    """
    share = (rules.band_down or 1 - _FURTHEST) if sign > 0 else (rules.band_up or 1 + _FURTHEST)
    exact = mark + (mark * share - mark) * reach
    price = max(rules.price_up(exact) if sign > 0 else rules.price_down(exact), rules.tick)
    if rules.max_price is not None:
        price = min(price, rules.price_down(rules.max_price))
    return price if rules.min_price is None else max(price, rules.price_up(rules.min_price))


@dataclass(frozen=True)
class Prices:
    """Mark, index and last trade price of a symbol, and the ages of what was shown, in milliseconds."""

    mark: Decimal
    index: Decimal
    last: Decimal
    mark_age_ms: int
    last_age_ms: int


def trustworthy(symbol: str, prices: Prices, most_apart: float, oldest_ms: int) -> Refused | None:
    """Whether the prices are fresh and agree: codes `stale_price` and `prices_apart`; `most_apart` is a share of mark.

    Where they disagree, one of them is wrong, or the stop (triggered by mark) fills far from its level.
    """
    for name, age_ms in (("mark", prices.mark_age_ms), ("last", prices.last_age_ms)):
        if age_ms > oldest_ms:
            return Refused("stale_price", f"The {name} price of {symbol} is {age_ms / 1000:.0f} s old.")
    seen = (prices.mark, prices.index, prices.last)
    if min(seen) <= 0 or max(seen) - min(seen) > prices.mark * Decimal(str(most_apart)):
        return Refused(
            "prices_apart",
            f"{symbol}: mark {prices.mark:f}, index {prices.index:f} and last price {prices.last:f} lie"
            f" further apart than {most_apart:.2%} (execution.max_price_spread): no position is opened.",
        )
    return None
