"""The forms in which an order that reduces may be sent under a symbol's filters, and which comes next. Pure.

A reduce-only order may ask for more than is held: the exchange cuts it. Where no quantity passes the filters, what is
held is sent as it is. Only where the exchange has refused every form is nothing left to send.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.money.trading_rules import exit_limit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trader_cli.core.money.orders import SymbolRules

LOT_CODES = frozenset(
    {
        -1013,  # a filter failed; which one only the words say
        -1111,  # more digits than the step has
        -4003,  # not above zero
        -4004,  # below the least
        -4005,  # above the most, of market orders a smaller one
        -4023,  # not on the step
    }
)
"""Refusals of a quantity. Numbers as in "Error Codes" of the exchange's USDⓈ-M futures documentation."""
PRICE_CODES = frozenset(
    {
        -1013,  # a filter failed; which one only the words say
        -4002,  # above the most
        -4013,  # below the least
        -4014,  # not on the tick
        -4016,  # above the band around the mark price
        -4024,  # below the band around the mark price
    }
)
"""Refusals of a limit order's price. The same page."""
NO_COUNTERPARTY = -4131
"""A market order's best price lies outside the band (PERCENT_PRICE): the book is thin."""
NOTHING_TO_REDUCE = frozenset({-2022, -4118})
"""Reduce-only refused: nothing is open, or other reduce-only orders cover it already."""
_REACHES = (Decimal(1), Decimal("0.5"), Decimal(0))
"""How far into the band a limit order goes, the furthest first: the mark price may have moved since."""


@dataclass(frozen=True)
class Form:
    """One form: a market order, or with `reach` a limit order at this price."""

    quantity: Decimal
    reach: Decimal | None = None
    price: Decimal | None = None


@dataclass(frozen=True)
class RefusedForms:
    """What the exchange has refused of one exit: quantities (of limit orders, or not) and reaches of limit orders.

    `thin`: the book is too thin for a market order. `downward`: more than is open may have been asked for.
    """

    quantities: frozenset[tuple[bool, Decimal]] = frozenset()
    reaches: frozenset[Decimal] = frozenset()
    thin: bool = False
    downward: bool = False

    def after(self, form: Form, code: int) -> RefusedForms:
        """With one more refusal. A thin book says nothing about limit orders, of which all are tried anew."""
        is_limit = form.reach is not None
        if code == NO_COUNTERPARTY:
            return RefusedForms(frozenset(q for q in self.quantities if not q[0]), thin=True, downward=self.downward)
        if code in NOTHING_TO_REDUCE:
            return replace(self, downward=True)
        if form.reach is not None and code in PRICE_CODES:
            return replace(self, reaches=self.reaches | {form.reach})
        if code in LOT_CODES:
            return replace(self, quantities=self.quantities | {(is_limit, form.quantity)})
        return self

    def has_refused(self, form: Form) -> bool:
        """Whether this form was refused."""
        return (form.reach is not None, form.quantity) in self.quantities or form.reach in self.reaches


def exit_forms(
    rules: SymbolRules | None, quantity: Decimal, sign: int, mark: Decimal, *, whole: bool, downward: bool
) -> tuple[Form, ...]:
    """Every form of an exit of a long (`sign` +1) or a short, the nearest first; one that is not `whole` never is more.

    Without rules the quantity as it is, since it is what the exchange showed.
    """
    if rules is None:
        return (Form(quantity),)
    market, limit, both = rules.market_lots or rules.lots, rules.limit_lots or rules.lots, rules.lots
    ups, downs = (market.up(quantity), both.up(quantity)), (market.down(quantity), both.down(quantity))
    ways = (*downs, quantity, *ups) if downward else (*ups, quantity, *downs)
    made = [Form(lots) for lots in _distinct(ways if whole else (*downs, quantity))]
    if mark <= 0:
        return tuple(made)
    priced = (limit.up(quantity), quantity, limit.down(quantity)) if whole else (limit.down(quantity), quantity)
    prices = [(reach, exit_limit(rules, sign, mark, reach)) for reach in _REACHES]
    made += [Form(lots, reach, price) for reach, price in prices for lots in _distinct(priced)]
    return tuple(made)


def next_form(forms: Iterable[Form], heard: RefusedForms) -> Form | None:
    """The first that was not refused, limit orders first in a thin book; None where every one was."""
    left = [form for form in forms if not heard.has_refused(form)]
    return min(left, key=lambda form: heard.thin and form.reach is None, default=None)


def _distinct(found: Iterable[Decimal | None]) -> list[Decimal]:
    return list(dict.fromkeys(lots for lots in found if lots is not None))
