"""The exchange engine: money is conserved, time may be cut as one likes, and every refusal has the exchange's code."""

from __future__ import annotations

import hashlib
import hmac
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trader_cli.core.errors import ConfigurationError
from trader_cli.venue.engine.books import ZERO, Account
from trader_cli.venue.engine.engine import Engine
from trader_cli.venue.engine.fill_rules import FILLS, OLDEST_FIRST, FillRules
from trader_cli.venue.engine.margin import liquidation_price
from trader_cli.venue.engine.triggers import Touch
from trader_cli.venue.server.private_routes import COMMANDS, READS
from trader_cli.venue.server.public_routes import PublicRoutes, VenueRejection
from trader_cli.venue.server.trading_desk import Request, TradingDesk, is_private
from trader_cli.venue.server.wallets import fresh_account
from trader_cli.venue.simulated_market.brackets import BRACKETS, maintenance_margin
from trader_cli.venue.simulated_market.market_port import Beyond
from trader_cli.venue.simulated_market.rule_changes import RuleBook, RuleChange
from trader_cli.venue.simulated_market.symbol_market import SymbolMarket
from trader_cli.venue.simulated_market.synthetic import synthetic_tape

TAPE = synthetic_tape(("ETHUSDT", "BTCUSDT"), 6, 0.5, 3)
MARKETS = {name: SymbolMarket(symbol) for name, symbol in TAPE.symbols.items()}
START = TAPE.at(0.4)
HOUR = 3_600_000


def engine(balance: int = 10_000, leverage: int = 5) -> Engine:
    made = Engine(MARKETS, Account(Decimal(balance)), START)
    do(made, "POST", "/fapi/v1/marginType", symbol="ETHUSDT", marginType="ISOLATED")
    do(made, "POST", "/fapi/v1/leverage", symbol="ETHUSDT", leverage=leverage)
    return made


def do(one: Engine, method: str, path: str, **parameters: Any) -> Any:
    handler = READS[path] if method == "GET" else COMMANDS[method, path]
    return handler(one, {name: str(value) for name, value in parameters.items()})


def market(one: Engine, side: str, quantity: str, **extra: Any) -> Any:
    return do(one, "POST", "/fapi/v1/order", symbol="ETHUSDT", side=side, type="MARKET", quantity=quantity, **extra)


def limit(one: Engine, side: str, quantity: str, price: Any, force: str = "GTC", **extra: Any) -> Any:
    return do(
        one,
        "POST",
        "/fapi/v1/order",
        symbol="ETHUSDT",
        side=side,
        type="LIMIT",
        quantity=quantity,
        price=price,
        timeInForce=force,
        **extra,
    )


def stop(one: Engine, side: str, trigger: Any, kind: str = "STOP_MARKET", **extra: Any) -> Any:
    return do(
        one,
        "POST",
        "/fapi/v1/algoOrder",
        symbol="ETHUSDT",
        side=side,
        type=kind,
        triggerPrice=trigger,
        algoType="CONDITIONAL",
        workingType="MARK_PRICE",
        **extra,
    )


def at(price: Decimal, factor: float) -> Decimal:
    return (price * Decimal(str(factor))).quantize(Decimal("0.01"))


def snapshot(one: Engine) -> tuple[Any, ...]:
    books = one.account
    return books.wallet, books.fills, books.income, books.positions, books.orders, books.algos


def conserved(one: Engine, balance: int) -> bool:
    return one.account.wallet == balance + sum((i.amount for i in one.account.income), ZERO)


def test_a_round_trip_costs_spread_and_fees_and_nothing_else() -> None:
    one = engine()
    bought, sold = market(one, "BUY", "2"), market(one, "SELL", "2", reduceOnly="true")
    buy, sell = Decimal(bought["avgPrice"]), Decimal(sold["avgPrice"])
    fees = (buy + sell) * 2 * Decimal("0.0005")
    assert buy > sell
    assert one.account.wallet == pytest.approx(10_000 - 2 * (buy - sell) - fees, abs=Decimal("0.0000001"))
    assert conserved(one, 10_000)
    assert do(one, "GET", "/fapi/v3/positionRisk") == []


@given(st.lists(st.integers(1, 6 * HOUR), min_size=1, max_size=12), st.sampled_from(["BUY", "SELL"]))
@settings(max_examples=25, deadline=None)
def test_it_does_not_matter_how_time_is_cut(cuts: list[int], side: str) -> None:
    def played(stops: list[int]) -> tuple[Any, ...]:
        one = engine(leverage=20)
        other = "SELL" if side == "BUY" else "BUY"
        entry = Decimal(market(one, side, "3")["avgPrice"])
        near, far = (0.995, 1.01) if side == "BUY" else (1.005, 0.99)
        stop(one, other, at(entry, near), quantity="1", reduceOnly="true")
        stop(one, other, at(entry, far), "TAKE_PROFIT_MARKET", quantity="1", reduceOnly="true")
        limit(one, side, "1", at(entry, 0.99 if side == "BUY" else 1.01))
        for moment in stops:
            one.advance(START + moment)
        return snapshot(one)

    total = sum(cuts)
    running = [sum(cuts[: i + 1]) for i in range(len(cuts))]
    assert played(running) == played([total])


@pytest.mark.parametrize(
    ("side", "kind", "factor"),
    [
        ("BUY", "STOP_MARKET", 0.997),
        ("SELL", "STOP_MARKET", 1.003),
        ("BUY", "TAKE_PROFIT_MARKET", 1.003),
        ("SELL", "TAKE_PROFIT_MARKET", 0.997),
    ],
)
def test_a_conditional_order_fills_when_the_mark_reaches_it_and_not_before(side: str, kind: str, factor: float) -> None:
    one = engine()
    entry = Decimal(market(one, side, "1")["avgPrice"])
    trigger = at(entry, factor)
    stop(one, "SELL" if side == "BUY" else "BUY", trigger, kind, closePosition="true")
    one.advance(START + 40 * HOUR)
    (algo,) = one.account.algos.values()
    assert algo.status == "FINISHED", "this tape reaches the trigger within 40 hours"
    closing = one.account.fills[-1]
    below = algo.triggers_below
    assert closing.time_ms == algo.trigger_ms
    seen = [
        t for t in MARKETS["ETHUSDT"].trades(algo.trigger_ms, START, None, None, 10**6) if t.time_ms < algo.trigger_ms
    ]
    crossed = [t for t in seen if (t.price <= float(trigger) if below else t.price >= float(trigger))]
    assert crossed == []
    assert one.account.position("ETHUSDT").amount == 0
    assert conserved(one, 10_000)


@pytest.mark.parametrize("side", ["BUY", "SELL"])
@pytest.mark.parametrize("rules", [FILLS, OLDEST_FIRST])
def test_of_two_stops_that_one_step_of_the_price_passes_the_nearer_closes(side: str, rules: FillRules) -> None:
    """And under older rules the older, at its own level."""
    one = engine()
    one.fills = rules
    entry, sign = Decimal(market(one, side, "1")["avgPrice"]), 1 if side == "BUY" else -1
    level = at(entry, 1 - sign * 0.003)
    closing = "SELL" if side == "BUY" else "BUY"
    stop(one, closing, level, closePosition="true")
    stop(one, closing, level + sign * Decimal("0.01"), quantity="1", reduceOnly="true")
    one.advance(START + 40 * HOUR)
    backstop, nearer = (algo.status for algo in one.account.algos.values())
    assert (backstop, nearer) == (("EXPIRED", "FINISHED") if rules is FILLS else ("FINISHED", "EXPIRED"))
    assert one.account.position("ETHUSDT").amount == 0


def test_a_resting_order_fills_only_when_price_trades_through_it() -> None:
    one = engine()
    last = one.mark("ETHUSDT")
    made = limit(one, "BUY", "0.5", at(last, 0.998))
    assert made["status"] == "NEW"
    one.advance(START + 60 * HOUR)
    shown = do(one, "GET", "/fapi/v1/order", symbol="ETHUSDT", orderId=made["orderId"])
    assert shown["status"] == "FILLED", "this tape trades through the price within 60 hours"
    first = one.account.fills[0]
    before = MARKETS["ETHUSDT"].trades(first.time_ms, START, None, None, 10**6)
    assert min(t.price for t in before) < float(at(last, 0.998))
    assert first.maker
    assert first.price == at(last, 0.998)


def test_time_in_force() -> None:
    one = engine()
    ask = Decimal(str(MARKETS["ETHUSDT"].book(START, 5)[1][0][0])).quantize(Decimal("0.01"))
    assert limit(one, "BUY", "0.1", ask, "GTX")["status"] == "EXPIRED"
    assert limit(one, "BUY", "0.1", ask - 1, "GTX")["status"] == "NEW"
    assert limit(one, "BUY", "0.1", ask - 1, "IOC")["status"] == "EXPIRED"
    size = Decimal(str(MARKETS["ETHUSDT"].book(START, 5)[1][0][1])).quantize(Decimal("0.001"))
    rich = engine(balance=10**8)
    assert limit(rich, "BUY", size + 1, ask, "FOK")["status"] == "EXPIRED"
    assert limit(rich, "BUY", size, ask, "FOK")["status"] == "FILLED"
    part = limit(rich, "BUY", size + 1, ask)
    assert (part["status"], Decimal(part["executedQty"])) == ("PARTIALLY_FILLED", size)
    assert limit(one, "BUY", "0.1", ask, "IOC")["status"] == "FILLED"


def test_a_reduce_only_order_never_turns_a_position() -> None:
    one = engine()
    market(one, "BUY", "1")
    sold = market(one, "SELL", "3", reduceOnly="true")
    assert (sold["executedQty"], sold["status"]) == ("1", "EXPIRED")
    assert one.account.position("ETHUSDT").amount == 0
    with pytest.raises(VenueRejection, match="ReduceOnly"):
        market(one, "SELL", "1", reduceOnly="true")


def test_without_reduce_only_a_position_turns() -> None:
    one = engine()
    market(one, "BUY", "1")
    market(one, "SELL", "3")
    position = one.account.position("ETHUSDT")
    assert position.amount == -2
    assert position.isolated == pytest.approx(2 * position.entry / 5, rel=Decimal("0.001"))
    assert conserved(one, 10_000)


def test_funding_is_paid_by_the_side_that_owes_it() -> None:
    flows = {}
    for side in ("BUY", "SELL"):
        one = engine()
        market(one, side, "1")
        one.advance((START // (8 * HOUR) + 1) * 8 * HOUR)
        (flow,) = [i for i in one.account.income if i.kind == "FUNDING_FEE"]
        rate = MARKETS["ETHUSDT"].funding_rate(flow.time_ms)
        assert float(flow.amount) == pytest.approx(
            (-1 if side == "BUY" else 1) * rate * float(one.mark("ETHUSDT")), rel=1e-6
        )
        flows[side] = flow.amount
    assert flows["BUY"] == -flows["SELL"]


def test_liquidation_takes_what_stood_behind_the_position_and_no_more() -> None:
    ended = []
    for side in ("BUY", "SELL"):
        one = engine(leverage=100)
        market(one, side, "1")
        stake, wallet = one.account.position("ETHUSDT").isolated, one.account.wallet
        level = liquidation_price(one.account, one.account.position("ETHUSDT"))
        one.advance(START + 60 * HOUR)
        order = list(one.account.orders.values())[-1]
        if order.client_id.startswith("autoclose-"):
            assert one.account.wallet == pytest.approx(wallet - stake, abs=Decimal("0.0000001"))
            assert one.account.position("ETHUSDT").amount == 0
            ended.append((side, level))
        assert conserved(one, 10_000)
    assert ended, "this tape moves 1 % in both directions within 60 hours"


def test_margin_at_the_liquidation_price_is_the_maintenance_margin() -> None:
    for leverage, quantity in ((3, "1"), (20, "20"), (50, "60")):
        one = engine(balance=1_000_000, leverage=leverage)
        market(one, "BUY", quantity)
        position = one.account.position("ETHUSDT")
        level = liquidation_price(one.account, position)
        margin = position.isolated + position.amount * (level - position.entry)
        assert margin == pytest.approx(maintenance_margin(position.amount * level), rel=Decimal("1e-9"))


def test_maintenance_margin_has_no_jump_between_brackets() -> None:
    for bracket in BRACKETS[:-1]:
        here, above = (maintenance_margin(bracket.cap + d) for d in (ZERO, Decimal("0.000001")))
        assert above - here < Decimal("0.00001")


REFUSALS: dict[str, tuple[dict[str, Any], int]] = {
    "no symbol": ({"symbol": ""}, -1102),
    "wrong symbol": ({"symbol": "NOPE"}, -1121),
    "wrong side": ({"side": "HOLD"}, -1117),
    "wrong type": ({"type": "ICEBERG"}, -1116),
    "a stop here": ({"type": "STOP_MARKET"}, -4120),
    "no quantity": ({"quantity": ""}, -1102),
    "a word": ({"quantity": "much"}, -1100),
    "NaN": ({"quantity": "NaN"}, -1100),
    "zero": ({"quantity": "0"}, -4003),
    "off the step": ({"quantity": "0.0001"}, -1111),
    "too much": ({"quantity": "9999999"}, -4005),
    "too small": ({"quantity": "0.001"}, -4164),
    "too dear": ({"quantity": "500"}, -2019),
    "bad id": ({"newClientOrderId": "a b"}, -4015),
    "long id": ({"newClientOrderId": "x" * 37}, -4015),
    "hedge side": ({"positionSide": "LONG"}, -4061),
    "nothing to reduce": ({"reduceOnly": "true"}, -2022),
    "bad flag": ({"reduceOnly": "maybe"}, -1130),
    "off the tick": ({"type": "LIMIT", "price": "2000.001", "timeInForce": "GTC"}, -4014),
    "no force": ({"type": "LIMIT", "price": "2000"}, -1102),
    "far off": ({"type": "LIMIT", "price": "9000", "timeInForce": "GTC"}, -4016),
}


@pytest.mark.parametrize("why", REFUSALS)
def test_every_refusal_has_the_exchanges_code_and_changes_nothing(why: str) -> None:
    change, code = REFUSALS[why]
    one = engine()
    before = (one.account.wallet, dict(one.account.orders), one.account.fills.copy())
    with pytest.raises(VenueRejection) as refused:
        do(
            one,
            "POST",
            "/fapi/v1/order",
            **{"symbol": "ETHUSDT", "side": "BUY", "type": "MARKET", "quantity": "1", **change},
        )
    assert refused.value.code == code
    assert (one.account.wallet, one.account.orders, one.account.fills) == before


def test_client_ids_are_unique_among_open_orders_only() -> None:
    one = engine()
    price = at(one.mark("ETHUSDT"), 0.97)
    made = limit(one, "BUY", "0.1", price, newClientOrderId="mine")
    with pytest.raises(VenueRejection) as refused:
        limit(one, "BUY", "0.1", price, newClientOrderId="mine")
    assert refused.value.code == -4116
    do(one, "DELETE", "/fapi/v1/order", symbol="ETHUSDT", orderId=made["orderId"])
    assert limit(one, "BUY", "0.1", price, newClientOrderId="mine")["status"] == "NEW"
    with pytest.raises(VenueRejection) as gone:
        do(one, "DELETE", "/fapi/v1/order", symbol="ETHUSDT", orderId=made["orderId"])
    assert gone.value.code == -2011


def test_one_backstop_per_direction_and_none_that_would_trigger_at_once() -> None:
    one = engine()
    mark = one.mark("ETHUSDT")
    with pytest.raises(VenueRejection) as flat:
        stop(one, "SELL", at(mark, 0.9), closePosition="true")
    market(one, "BUY", "1")
    stop(one, "SELL", at(mark, 0.9), closePosition="true")
    with pytest.raises(VenueRejection) as second:
        stop(one, "SELL", at(mark, 0.95), closePosition="true")
    with pytest.raises(VenueRejection) as beyond:
        stop(one, "SELL", at(mark, 1.05), quantity="1", reduceOnly="true")
    with pytest.raises(VenueRejection) as both:
        stop(one, "SELL", at(mark, 0.9), closePosition="true", quantity="1")
    assert [e.value.code for e in (flat, second, beyond, both)] == [-4509, -4130, -2021, -4136]
    stop(one, "SELL", at(mark, 1.1), "TAKE_PROFIT_MARKET", closePosition="true")
    stop(one, "SELL", at(mark, 0.95), quantity="1", reduceOnly="true")
    assert len(do(one, "GET", "/fapi/v1/openAlgoOrders", symbol="ETHUSDT")) == 3


def test_leverage_and_margin_type_obey_their_rules() -> None:
    one = engine()
    for path, parameters, code in (
        ("leverage", {"leverage": 200}, -4028),
        ("leverage", {"leverage": 0}, -4028),
        ("marginType", {"marginType": "ISOLATED"}, -4046),
        ("marginType", {"marginType": "SHARED"}, -4044),
        ("positionSide/dual", {"dualSidePosition": "false"}, -4059),
    ):
        with pytest.raises(VenueRejection) as refused:
            do(one, "POST", f"/fapi/v1/{path}", symbol="ETHUSDT", **parameters)
        assert refused.value.code == code
    market(one, "BUY", "1")
    for path, parameters, code in (
        ("leverage", {"leverage": 2}, -4161),
        ("marginType", {"marginType": "CROSSED"}, -4048),
        ("positionSide/dual", {"dualSidePosition": "true"}, -4068),
    ):
        with pytest.raises(VenueRejection) as refused:
            do(one, "POST", f"/fapi/v1/{path}", symbol="ETHUSDT", **parameters)
        assert refused.value.code == code
    (config,) = do(one, "GET", "/fapi/v1/symbolConfig", symbol="ETHUSDT")
    assert (config["leverage"], config["marginType"]) == (5, "ISOLATED")


def signed(
    method: str, path: str, now_ms: int, key: str = "sim-key", secret: str = "sim-secret", **parameters: Any
) -> Request:
    text = urlencode({"timestamp": now_ms, "recvWindow": 5000, **parameters})
    text += "&signature=" + hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()
    query, body = ("", text) if method == "POST" else (text, "")
    return Request(method, path, query, body, {"X-MBX-APIKEY": key})


def desk(folder: Path | None = None) -> TradingDesk:
    return TradingDesk(MARKETS, START, Decimal(10_000), folder)


def test_signatures_keys_and_times_are_enforced() -> None:
    one, path = desk(), "/fapi/v3/account"
    assert one.answer(signed("GET", path, START), START)["totalWalletBalance"] == "10000"
    wrong: list[tuple[Request, int]] = [
        (signed("GET", path, START, secret="other"), -1022),
        (signed("GET", path, START, key="stolen"), -2015),
        (signed("GET", path, START, key=""), -2014),
        (signed("GET", path, START - 6_000), -1021),
        (signed("GET", path, START + 2_000), -1021),
        (signed("GET", path, START, recvWindow=70_000), -1131),
        (Request("GET", path, f"timestamp={START}", "", {"X-MBX-APIKEY": "sim-key"}), -1102),
    ]
    for request, code in wrong:
        with pytest.raises(VenueRejection) as refused:
            one.answer(request, START)
        assert refused.value.code == code
    with pytest.raises(VenueRejection) as read_only:
        one.answer(signed("POST", "/fapi/v1/leverage", START, key="sim-read-key", symbol="ETHUSDT", leverage=3), START)
    assert read_only.value.code == -2015


def test_keys_say_what_they_may_do() -> None:
    one, path = desk(), "/sapi/v1/account/apiRestrictions"
    assert one.answer(signed("GET", path, START, key="sim-withdraw-key"), START)["enableWithdrawals"]
    assert not one.answer(signed("GET", path, START), START)["enableWithdrawals"]
    assert one.answer(signed("GET", "/fapi/v1/positionSide/dual", START, key="sim-hedge-key"), START)[
        "dualSidePosition"
    ]
    assert is_private("POST", "/fapi/v1/listenKey")
    assert not is_private("GET", "/fapi/v1/klines")


def test_a_restarted_venue_is_where_it_was(tmp_path: Path) -> None:
    one = desk(tmp_path)
    order = {"symbol": "ETHUSDT", "side": "BUY", "type": "MARKET"}
    steps: list[tuple[str, str, int, dict[str, Any]]] = [
        ("POST", "/fapi/v1/leverage", 0, {"symbol": "ETHUSDT", "leverage": 7}),
        ("POST", "/fapi/v1/order", 1, {**order, "quantity": "0.0001"}),
        ("POST", "/fapi/v1/order", 2, {**order, "quantity": "1"}),
        (
            "POST",
            "/fapi/v1/algoOrder",
            3,
            {
                "symbol": "ETHUSDT",
                "side": "SELL",
                "type": "STOP_MARKET",
                "algoType": "CONDITIONAL",
                "triggerPrice": "2000",
                "quantity": "1",
                "reduceOnly": "true",
            },
        ),
        ("POST", "/fapi/v1/order", 9 * 3600, {**order, "quantity": "0.5"}),
    ]
    refused = 0
    for method, path, seconds, parameters in steps:
        now = START + seconds * 1000
        try:
            one.answer(signed(method, path, now, **parameters), now)
        except VenueRejection:
            refused += 1
    with pytest.raises(ConfigurationError, match="Another process owns"):
        desk(tmp_path)
    one.close()
    again = desk(tmp_path)
    for desk_ in (one, again):
        desk_._engines["main"].advance(START + 30 * HOUR)
    assert refused >= 1
    assert snapshot(again._engines["main"]) == snapshot(one._engines["main"])
    again.close()


def test_the_account_adds_up() -> None:
    one = engine()
    market(one, "BUY", "2")
    do(one, "POST", "/fapi/v1/order", symbol="BTCUSDT", side="SELL", type="MARKET", quantity="0.05")
    one.advance(START + 5 * HOUR)
    shown = do(one, "GET", "/fapi/v3/account")
    risks = do(one, "GET", "/fapi/v3/positionRisk")
    profit = sum(Decimal(r["unRealizedProfit"]) for r in risks)
    assert Decimal(shown["totalUnrealizedProfit"]) == pytest.approx(profit, abs=Decimal("0.0000001"))
    assert Decimal(shown["totalMarginBalance"]) == pytest.approx(one.equity(), abs=Decimal("0.0000001"))
    assert Decimal(shown["availableBalance"]) < Decimal(shown["totalWalletBalance"])
    trades = do(one, "GET", "/fapi/v1/userTrades", symbol="ETHUSDT")
    assert sum(Decimal(t["qty"]) for t in trades) == 2
    assert [i["incomeType"] for i in do(one, "GET", "/fapi/v1/income", incomeType="COMMISSION")] == [
        "COMMISSION"
    ] * len(one.account.fills)


def test_funding_falls_due_at_every_boundary_passed_in_one_step() -> None:
    one = engine()
    market(one, "BUY", "0.1")
    one.advance(START + 25 * HOUR)
    times = [i.time_ms for i in one.account.income if i.kind == "FUNDING_FEE"]
    first = (START // (8 * HOUR) + 1) * 8 * HOUR
    assert times == list(range(first, START + 25 * HOUR + 1, 8 * HOUR))


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        ("order", {"side": "BUY", "type": "MARKET", "quantity": "1" + "0" * 31}),
        ("leverage", {"leverage": "²"}),
        ("order", {"side": "BUY", "type": "MARKET", "quantity": "1e400"}),
    ],
)
def test_absurd_numbers_are_refused_and_a_restart_survives_them(
    tmp_path: Path, path: str, parameters: dict[str, Any]
) -> None:
    one = desk(tmp_path)
    with pytest.raises(VenueRejection):
        one.answer(signed("POST", f"/fapi/v1/{path}", START, symbol="ETHUSDT", **parameters), START)
    one.close()
    desk(tmp_path).close()
    with pytest.raises(VenueRejection) as refused:
        do(engine(), "GET", "/fapi/v1/userTrades", symbol="ETHUSDT", limit="abc")
    assert refused.value.code == -1100


def test_cross_margin_leaves_other_isolated_margins_alone_and_holds_one_position() -> None:
    one = Engine(MARKETS, Account(Decimal(10_000)), START)
    do(one, "POST", "/fapi/v1/marginType", symbol="BTCUSDT", marginType="ISOLATED")
    do(one, "POST", "/fapi/v1/leverage", symbol="BTCUSDT", leverage=2)
    do(one, "POST", "/fapi/v1/order", symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.2")
    isolated = one.account.position("BTCUSDT").isolated
    market(one, "BUY", "20")
    one.liquidate(one.account.position("ETHUSDT"))
    assert one.account.wallet == pytest.approx(isolated, abs=Decimal("0.0000001"))
    two = Engine(MARKETS, Account(Decimal(100_000)), START)
    market(two, "BUY", "1")
    with pytest.raises(VenueRejection, match="one cross-margin position"):
        do(two, "POST", "/fapi/v1/order", symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.1")


def test_a_triggered_limit_order_needs_its_margin_once() -> None:
    one = engine()
    mark = one.mark("ETHUSDT")
    quantity = (Decimal(30_000) / mark).quantize(Decimal("0.001"))
    stop(one, "BUY", at(mark, 1.0005), "STOP", quantity=quantity, price=at(mark, 1.02))
    one.advance(START + 20 * HOUR)
    (algo,) = one.account.algos.values()
    assert algo.status == "FINISHED"
    assert one.account.orders[algo.actual_order_id or 0].status == "FILLED"


def test_brackets_bound_a_position_by_its_leverage() -> None:
    one = engine(balance=10_000_000, leverage=125)
    with pytest.raises(VenueRejection) as refused:
        market(one, "BUY", "100")
    assert refused.value.code == -2027
    assert market(one, "BUY", "20")["status"] == "FILLED"
    with pytest.raises(VenueRejection):
        market(one, "BUY", "20")


def test_close_position_stops_end_with_the_position() -> None:
    one = engine()
    entry = Decimal(market(one, "BUY", "1")["avgPrice"])
    stop(one, "SELL", at(entry, 0.9), closePosition="true")
    market(one, "SELL", "1", reduceOnly="true")
    assert [a.status for a in one.account.algos.values()] == ["EXPIRED"]
    market(one, "BUY", "1")
    stop(one, "SELL", at(entry, 0.9), closePosition="true")


def test_funding_falls_due_although_something_fills_in_that_very_millisecond(monkeypatch: pytest.MonkeyPatch) -> None:
    one = engine()
    market(one, "BUY", "1")
    boundary = (START // (8 * HOUR) + 1) * 8 * HOUR
    seen: list[int] = []

    def touch(upto: int) -> list[Touch]:
        if upto < boundary or seen:
            return []
        seen.append(upto)
        hit = Beyond(boundary, float(one.mark("ETHUSDT")), 0.0)
        return [Touch(boundary, "ETHUSDT", hit, hit)]

    monkeypatch.setattr(one, "_first_touches", touch)
    one.advance(boundary)
    assert [i.time_ms for i in one.account.income if i.kind == "FUNDING_FEE"] == [boundary]


def test_margin_of_resting_orders_is_shown() -> None:
    one = engine()
    limit(one, "BUY", "1", at(one.mark("ETHUSDT"), 0.97))
    shown = do(one, "GET", "/fapi/v3/account")
    assert Decimal(shown["totalOpenOrderInitialMargin"]) > 400
    assert Decimal(shown["availableBalance"]) + Decimal(shown["totalInitialMargin"]) == Decimal(
        shown["totalMarginBalance"]
    )


def test_a_contract_with_a_day_of_delivery_pays_no_funding() -> None:
    quarterly = "ETHUSDT_991231"
    tape = synthetic_tape((quarterly, "ETHUSDT"), 3, 0.5, 3)
    for changes in ((), (RuleChange("ETHUSDT", tape.start_ms, funding_interval_h=4),)):
        routes = PublicRoutes(tape, RuleBook(changes))
        one = Engine(routes.markets, Account(wallet=Decimal(10_000)), tape.at(0.3), book=routes.book)
        for symbol in tape.symbols:
            do(one, "POST", "/fapi/v1/leverage", symbol=symbol, leverage="2")
            do(one, "POST", "/fapi/v1/marginType", symbol=symbol, marginType="ISOLATED")
            do(one, "POST", "/fapi/v1/order", symbol=symbol, side="BUY", type="MARKET", quantity="1")
        one.advance(tape.at(0.9))
        assert {income.symbol for income in one.account.income if income.kind == "FUNDING_FEE"} == {"ETHUSDT"}
        assert routes.table["/fapi/v1/fundingRate"]({"symbol": quarterly}, tape.at(0.9)) == []
    premium: Any = routes.table["/fapi/v1/premiumIndex"]({"symbol": quarterly}, tape.at(0.5))
    assert (premium["lastFundingRate"], premium["nextFundingTime"]) == ("", 0)


def test_a_contract_in_another_asset_has_its_money_and_its_limits_in_that() -> None:
    tape = synthetic_tape(("ETHBTC", "BTCUSDT"), 3, 0.5, 3)
    markets = {name: SymbolMarket(symbol) for name, symbol in tape.symbols.items()}
    start = tape.at(0.4)
    account = fresh_account(Decimal(10_000), hedge_mode=False, markets=markets, at_ms=start)
    price = Decimal(repr(markets["BTCUSDT"].mark_price(start)))
    assert account.balance("BTC") == (10_000 / price).quantize(Decimal("1e-8"))
    one, opened = Engine(markets, account, start), account.balance("BTC")
    with pytest.raises(VenueRejection, match=r"no smaller than 0\.0001"):
        do(one, "POST", "/fapi/v1/order", symbol="ETHBTC", side="BUY", type="MARKET", quantity="0.001")
    do(one, "POST", "/fapi/v1/leverage", symbol="ETHBTC", leverage="100")
    with pytest.raises(VenueRejection, match="maximum allowable position"):  # 12 BTC are the most at 100
        do(one, "POST", "/fapi/v1/order", symbol="ETHBTC", side="BUY", type="MARKET", quantity="230")
    do(one, "POST", "/fapi/v1/marginType", symbol="ETHBTC", marginType="ISOLATED")
    do(one, "POST", "/fapi/v1/order", symbol="ETHBTC", side="BUY", type="MARKET", quantity="10")
    stake = one.account.position("ETHBTC").isolated
    one.liquidate(one.account.position("ETHBTC"))
    fees = sum((fill.commission for fill in one.account.fills), ZERO)
    assert one.account.balance("BTC") == pytest.approx(opened - stake - fees, abs=Decimal("2e-8"))
    assert one.account.wallet == 10_000
    assert fees / (10 * one.mark("ETHBTC")) == pytest.approx(Decimal("0.0005"), rel=Decimal("0.01"))


def test_without_its_price_in_dollars_an_account_opens_with_none_of_an_asset() -> None:
    tape = synthetic_tape(("ETHBTC",), 3, 0.5, 3)
    markets = {name: SymbolMarket(symbol) for name, symbol in tape.symbols.items()}
    assert fresh_account(Decimal(10_000), hedge_mode=False, markets=markets).others == {}
