"""Whatever filters an exchange lists for a symbol: what opens, and its stops, pass them, or a sentence names the rule."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.trading.desk import plan_at

from trader_cli.core.money.exit_forms import Form, RefusedForms, exit_forms, next_form
from trader_cli.core.money.orders import SymbolRules
from trader_cli.core.money.plans import Refused
from trader_cli.core.money.trading_rules import entry_limit, exit_limit, openable
from trader_cli.exchange.account.account_replies import symbol_rules
from trader_cli.settings import as_settings

NOW = 1_704_067_200_000
TICKS = ("0.00000001", "0.0001", "0.05", "0.10", "0.25", "1", "2.5", "10")
STEPS = ("0.001", "0.01", "0.05", "0.2", "1", "25", "1000", "1000000")
SETTINGS = as_settings({})
Body = dict[str, Any]


def maybe(*values: str) -> st.SearchStrategy[str | None]:
    """One of these, zero, or no such line."""
    return st.sampled_from((*values, "0", None))


def filter_of(name: str, **lines: str | None) -> Body:
    return {"filterType": name, **{line: value for line, value in lines.items() if value is not None}}


@st.composite
def documents(draw: Any) -> Body:
    """One symbol of exchangeInfo. Filters, and lines of them, may be missing, zero, tiny or huge."""
    filters = [
        filter_of(
            "PRICE_FILTER",
            tickSize=draw(maybe(*TICKS)),
            minPrice=draw(maybe("0.0001", "1", "50")),
            maxPrice=draw(maybe("100", "20000", "1000000000")),
        ),
        filter_of(
            "LOT_SIZE",
            stepSize=draw(maybe(*STEPS)),
            minQty=draw(maybe("0.001", "1", "5000")),
            maxQty=draw(maybe("10", "100000", "1e12")),
        ),
        filter_of(
            "MARKET_LOT_SIZE",
            stepSize=draw(maybe(*STEPS)),
            minQty=draw(maybe("0.001", "1", "5000")),
            maxQty=draw(maybe("3", "1000", "1e12")),
        ),
        filter_of("MIN_NOTIONAL", notional=draw(maybe("5", "100"))),
        filter_of(
            "PERCENT_PRICE",
            multiplierUp=draw(maybe("1.0005", "1.05", "5")),
            multiplierDown=draw(maybe("0.9995", "0.95", "0.2")),
        ),
        filter_of("MAX_NUM_ALGO_ORDERS", limit=draw(maybe("1", "10", "200"))),
        filter_of("POSITION_RISK_CONTROL", positionControlSide="NONE"),
    ]
    return {
        "symbol": draw(st.sampled_from(("ETHUSDT", "1000SHIBUSDT", "BTCUSDT_260327", "币安人生USDT"))),
        "status": draw(st.sampled_from(("TRADING",) * 4 + ("SETTLING", "PENDING_TRADING", "NEW_WORD"))),
        "contractType": draw(st.sampled_from(("PERPETUAL", "PERPETUAL", "TRADIFI_PERPETUAL", "PERPETUAL DELIVERING"))),
        "deliveryDate": draw(st.sampled_from((4_133_404_800_000, 0, NOW + 7_200_000))),
        "pricePrecision": 8,
        "quantityPrecision": 3,
        "quoteAsset": "USDT",
        "marginAsset": "USDT",
        "filters": draw(st.lists(st.sampled_from(filters), unique_by=lambda f: f["filterType"], max_size=len(filters))),
    }


def broken(body: Body, name: str, **values: Decimal) -> list[str]:
    """Which lines of a filter these values do not keep, as the exchange reads them: zero switches a line off."""
    found = next((f for f in body["filters"] if f["filterType"] == name), {})
    number = {line: Decimal(found[line]) for line in found if line != "filterType"}
    ways = {
        "tickSize": lambda v, r: v % r,
        "stepSize": lambda v, r: v % r,
        "minPrice": lambda v, r: v < r,
        "minQty": lambda v, r: v < r,
        "maxPrice": lambda v, r: v > r,
        "maxQty": lambda v, r: v > r,
        "multiplierUp": lambda v, r: v > r,
        "multiplierDown": lambda v, r: v < r,
    }
    return [f"{name} {line}" for line, v in values.items() if number.get(line) and ways[line](v, number[line])]


def price_faults(body: Body, price: Decimal) -> list[str]:
    return broken(body, "PRICE_FILTER", tickSize=price, minPrice=price, maxPrice=price) + ([] if price > 0 else ["> 0"])


def quantity_faults(body: Body, name: str, quantity: Decimal) -> list[str]:
    return broken(body, name, stepSize=quantity, minQty=quantity, maxQty=quantity) + ([] if quantity > 0 else ["> 0"])


@given(
    documents(),
    st.sampled_from(("long", "short")),
    st.decimals("0.02", "90000", places=4),
    st.decimals("0.001", "2000000", places=3),
    st.sampled_from((0, 9)),
)
def test_what_opens_and_its_stops_pass_every_filter(
    body: Body, side: str, mark: Decimal, quantity: Decimal, resting: int
) -> None:
    rules = symbol_rules(body)
    plan = plan_of(rules, side, mark, quantity)
    refused = openable(rules, (), plan, NOW, resting=resting)
    if refused is not None:
        assert isinstance(refused, Refused)
        assert rules.symbol in refused.sentence
        return
    assert body["status"] == "TRADING"
    assert body["deliveryDate"] != NOW + 7_200_000
    limit = entry_limit(plan, rules, plan.price)
    band = "multiplierUp" if side == "long" else "multiplierDown"
    assert not price_faults(body, limit)
    assert not broken(body, "PERCENT_PRICE", **{band: limit / mark})
    assert not quantity_faults(body, "LOT_SIZE", plan.quantity)
    assert not quantity_faults(body, "MARKET_LOT_SIZE", plan.quantity), "its stop and its exit are market orders"
    for level in (plan.stop_price, plan.backstop_price, plan.take_profit_price):
        assert not price_faults(body, level)
    up = 1 if side == "long" else -1
    stop, backstop = (plan.price - plan.stop_price) * up, (plan.price - plan.backstop_price) * up
    assert 0 < stop < backstop, "levels keep their order on whatever tick"
    assert (plan.take_profit_price - plan.price) * up > 0
    assert (limit - plan.price) * up >= -plan.max_drift, "else it could never fill"
    most = next((f.get("limit") for f in body["filters"] if f["filterType"] == "MAX_NUM_ALGO_ORDERS"), None)
    assert most in {None, "0"} or resting + 3 <= int(most)


def plan_of(rules: SymbolRules, side: str, mark: Decimal, quantity: Decimal) -> Any:
    """A plan as tactics make it: levels on ticks, the quantity in whole steps."""
    away = mark / 50 * (1 if side == "long" else -1)
    levels = (rules.price_down(level) for level in (mark - away, mark - away * 2, mark + away * 2))
    stop, backstop, target = levels
    return plan_at(
        SETTINGS,
        mark,
        NOW,
        side=side,
        quantity=str(rules.quantity_down(quantity)),
        symbol=rules.symbol,
        price=mark,
        stop_price=stop,
        backstop_price=backstop,
        take_profit_price=target,
        max_drift=mark / 100,
    )


def nearest(body: Body, name: str, held: Decimal) -> Decimal | None:
    """The least quantity no smaller than this that a filter takes, else the largest it takes; None: it takes none."""
    row = next((f for f in body["filters"] if f["filterType"] == name), {})
    step, least, most = (Decimal(row.get(line) or 0) for line in ("stepSize", "minQty", "maxQty"))
    fits = max(held, least)
    fits += (step - fits % step) % step if step else 0
    if most and fits > most:
        fits = most - (most % step if step else 0)
    return fits if fits > 0 and fits >= least else None


def lots_of(lot: dict[str, str], market: dict[str, str]) -> Body:
    filters = [{"filterType": "LOT_SIZE", **lot}, {"filterType": "MARKET_LOT_SIZE", **market}]
    return {"symbol": "ETHUSDT", "quantityPrecision": 3, "pricePrecision": 2, "filters": filters}


def banded(up: str, down: str) -> Body:
    band = {"filterType": "PERCENT_PRICE", "multiplierUp": up, "multiplierDown": down}
    return {**lots_of({}, {}), "filters": [band]}


def refusal(body: Body, form: Form, mark: Decimal, sign: int, *, thin: bool = False) -> int | None:
    """How an exchange with these filters answers this form of an exit that can only reduce."""
    is_limit = form.price is not None
    if thin and not is_limit:
        return -4131
    found = quantity_faults(body, "LOT_SIZE" if is_limit else "MARKET_LOT_SIZE", form.quantity)
    if found:
        codes = {"stepSize": -4023, "minQty": -4004, "maxQty": -4005, "0": -4003}
        return codes[found[0].split()[-1]]
    if form.price is None:
        return None
    if price_faults(body, form.price):
        return -4014
    band = ("multiplierDown", -4024) if sign > 0 else ("multiplierUp", -4016)
    return band[1] if broken(body, "PERCENT_PRICE", **{band[0]: form.price / mark}) else None


@given(documents(), st.decimals("0.001", "5000000", places=3))
@example(lots_of({"minQty": "2500"}, {"stepSize": "1000", "minQty": "0.5"}), Decimal(40))
@example(lots_of({"maxQty": "100"}, {"stepSize": "1000", "maxQty": "1000000"}), Decimal(40))
@example(lots_of({}, {"stepSize": "1000", "maxQty": "100"}), Decimal(333))
@example(lots_of({}, {"stepSize": "10", "minQty": "15"}), Decimal(7))
def test_what_reduces_is_sent_in_the_nearest_form_there_is_and_as_it_is_where_there_is_none(
    body: Body, held: Decimal
) -> None:
    rules = symbol_rules(body)
    whole = exit_forms(rules, held, 1, Decimal(100), whole=True, downward=False)
    part = exit_forms(rules, held, 1, Decimal(100), whole=False, downward=False)
    fits = nearest(body, "MARKET_LOT_SIZE", held)
    assert whole[0].price is None
    assert fits is None or whole[0].quantity == fits
    assert {held, *([] if fits is None else [fits])} <= {form.quantity for form in whole if form.price is None}
    assert (nearest(body, "LOT_SIZE", held) or held) in {form.quantity for form in whole if form.price is not None}
    assert all(0 < form.quantity <= held for form in part), "a part is never more: what is beside it is not ours"
    assert all(form.quantity > 0 for form in whole)


@given(
    documents(),
    documents(),
    st.decimals("0.001", "5000", places=3),
    st.decimals("0.02", "90000", places=4),
    st.sampled_from((1, -1)),
    st.booleans(),
    st.decimals("-0.01", "0.01", places=4),
)
@example(lots_of({}, {}), banded("1.01", "0.99"), Decimal(1), Decimal(100), 1, True, Decimal(0))
@example(lots_of({}, {}), banded("1.03", "0.97"), Decimal(1), Decimal(100), -1, True, Decimal("-0.001"))
def test_whatever_the_exchange_enforces_a_position_is_left_if_any_form_of_it_passes(
    known: Body, enforced: Body, held: Decimal, mark: Decimal, sign: int, thin: bool, moved: Decimal
) -> None:
    """The filters may be other ones than we know, and the mark price moved since it was seen."""
    forms = exit_forms(symbol_rules(known), held, sign, mark, whole=True, downward=False)
    now, heard = mark * (1 + moved), RefusedForms()
    for _ in range(len(forms) + 1):
        form = next_form(forms, heard)
        if form is None:
            break
        code = refusal(enforced, form, now, sign, thin=thin)
        if code is None:
            return
        heard = heard.after(form, code)
    assert all(refusal(enforced, form, now, sign, thin=thin) for form in forms)
    assert thin or next_form(forms, heard) is None, "only then it is dust"


@given(
    documents(),
    st.decimals("0.02", "90000", places=4),
    st.sampled_from((1, -1)),
    st.sampled_from((Decimal(1), Decimal("0.5"), Decimal(0))),
)
def test_a_limit_order_that_leaves_lies_at_the_edge_of_the_band(
    body: Body, mark: Decimal, sign: int, reach: Decimal
) -> None:
    rules = symbol_rules(body)
    price = exit_limit(rules, sign, mark, reach)
    share = (rules.band_down or Decimal("0.96")) if sign > 0 else (rules.band_up or Decimal("1.04"))
    edge = mark + (mark * share - mark) * reach
    lowest, highest = rules.min_price or rules.tick, rules.max_price or Decimal("Infinity")
    ticks = [rules.price_up(edge), rules.price_down(edge)]
    inside = [p for p in ticks if lowest <= p <= highest and (p - edge) * sign >= 0]
    assert price > 0
    assert price % rules.tick == 0
    if inside:
        assert price in inside
        assert abs(price - edge) < rules.tick
        assert not price_faults(body, price)


@pytest.mark.parametrize("line", [{"tickSize": "x"}, {"tickSize": "-0.1"}, {"tickSize": "NaN"}])
def test_what_cannot_be_read_is_an_error(line: Body) -> None:
    with pytest.raises(ValueError, match=r"number|zero"):
        symbol_rules({"symbol": "ETHUSDT", "filters": [{"filterType": "PRICE_FILTER", **line}]})
