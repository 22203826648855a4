"""Routes that other clients ask for: batches, changes in place, orders that end by themselves, and quick quotes."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from support.hosts.stream_client import Place, on_streams

from trader_cli.venue.request_weights import request_weight
from trader_cli.venue.simulated_market.synthetic import synthetic_tape

pytestmark = pytest.mark.slow

TAPE = synthetic_tape(("ETHUSDT", "BTCUSDT"), 3, 0.5, 7)
ORDER, BATCH = "/fapi/v1/order", "/fapi/v1/batchOrders"


async def resting(at: Place, share: str = "0.97", **changes: Any) -> dict[str, Any]:
    """A buy order below the market."""
    price = await mark(at) * Decimal(share)
    given = {"type": "LIMIT", "timeInForce": "GTC", "price": f"{price:.2f}", "quantity": "0.5", **changes}
    status, told = await at.caller.buy(**given)
    assert status == 200, told
    return dict(told)


async def mark(at: Place) -> Decimal:
    _, told = await at.caller.ask("GET", "/fapi/v1/premiumIndex", symbol="ETHUSDT")
    return Decimal(told["markPrice"])


async def status_of(at: Place, order_id: int) -> str:
    _, told = await at.caller.ask("GET", ORDER, symbol="ETHUSDT", orderId=order_id)
    return str(told["status"])


def test_an_order_is_changed_in_its_place_and_matched_anew() -> None:
    async def work(at: Place) -> list[Any]:
        order, price = await resting(at), await mark(at)
        terms = {"symbol": "ETHUSDT", "side": "BUY", "orderId": order["orderId"]}
        same = await at.caller.ask("PUT", ORDER, **terms, price=order["price"], quantity="0.5")
        moved = await at.caller.ask("PUT", ORDER, **terms, price=f"{price * Decimal('0.98'):.2f}", quantity="0.7")
        other = await at.caller.ask("PUT", ORDER, **{**terms, "side": "SELL"}, price=order["price"], quantity="0.5")
        through = await at.caller.ask("PUT", ORDER, **terms, price=f"{price * Decimal('1.02'):.2f}", quantity="0.7")
        late = await at.caller.ask("PUT", ORDER, **terms, price=order["price"], quantity="0.5")
        return [same, moved, other, through, late, await at.caller.ask("GET", "/fapi/v3/positionRisk")]

    same, moved, other, through, late, held = on_streams(TAPE, work)
    assert same[1]["code"] == -5027
    assert (moved[1]["status"], moved[1]["origQty"]) == ("NEW", "0.7")
    assert other[1]["code"] == -1117
    assert (through[1]["status"], through[1]["executedQty"]) == ("FILLED", "0.7")
    assert late[1]["code"] == -2013
    assert held[1][0]["positionAmt"] == "0.7"


def test_a_change_that_the_balance_cannot_carry_changes_nothing() -> None:
    async def work(at: Place) -> list[Any]:
        order = await resting(at)
        terms = {"symbol": "ETHUSDT", "side": "BUY", "orderId": order["orderId"], "price": order["price"]}
        dear = await at.caller.ask("PUT", ORDER, **terms, quantity="900")
        _, now = await at.caller.ask("GET", ORDER, symbol="ETHUSDT", orderId=order["orderId"])
        return [order, dear, now]

    order, dear, now = on_streams(TAPE, work)
    assert dear[1]["code"] == -2019
    assert now == order


def test_each_order_of_a_batch_stands_for_itself() -> None:
    async def work(at: Place) -> list[Any]:
        price = f"{await mark(at) * Decimal('0.97'):.2f}"
        good = {"symbol": "ETHUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "price": price}
        orders = [
            {**good, "quantity": "0.1", "newClientOrderId": "a"},
            {**good, "quantity": "-1", "newClientOrderId": "b"},
            {**good, "quantity": "0.2", "newClientOrderId": "c", "reduceOnly": True},
            {**good, "quantity": 0.3, "newClientOrderId": "d"},
        ]
        placed = await at.caller.ask("POST", BATCH, batchOrders=json.dumps(orders))
        _, waiting = await at.caller.ask("GET", "/fapi/v1/openOrders", symbol="ETHUSDT")
        names = json.dumps(["a", "b"])
        cancelled = await at.caller.ask("DELETE", BATCH, symbol="ETHUSDT", origClientOrderIdList=names)
        ids = json.dumps([placed[1][3]["orderId"]])
        rest = await at.caller.ask("DELETE", BATCH, symbol="ETHUSDT", orderIdList=ids)
        bad = [
            (await at.caller.ask("POST", BATCH, batchOrders=text))[1]["code"]
            for text in ("[", "{}", "[]", "[1]", json.dumps(orders * 2))
        ]
        return [placed[1], waiting, cancelled[1], rest[1], bad]

    placed, waiting, cancelled, rest, bad = on_streams(TAPE, work)
    assert [one.get("code", one.get("status")) for one in placed] == ["NEW", -4003, -2022, "NEW"]
    assert [one["clientOrderId"] for one in waiting] == ["a", "d"]
    assert [one.get("code", one.get("status")) for one in cancelled] == ["CANCELED", -2011]
    assert rest[0]["status"] == "CANCELED"
    assert bad == [-1130] * 5


def test_an_order_that_is_only_tried_is_not_there() -> None:
    async def work(at: Place) -> list[Any]:
        given = {"symbol": "ETHUSDT", "side": "BUY", "type": "MARKET"}
        good = await at.caller.ask("POST", f"{ORDER}/test", **given, quantity="0.5")
        bad = await at.caller.ask("POST", f"{ORDER}/test", **given, quantity="0")
        return [good[0], bad[1]["code"], (await at.caller.ask("GET", "/fapi/v1/allOrders", symbol="ETHUSDT"))[1]]

    assert on_streams(TAPE, work) == [200, -4003, []]


def test_orders_lapse_when_they_are_no_longer_good_and_nobody_asks() -> None:
    async def work(at: Place) -> list[Any]:
        now = at.clock.now_ms()
        soon = await at.caller.buy(type="LIMIT", timeInForce="GTD", price="100.00", goodTillDate=now + 60_000)
        none = await at.caller.buy(type="LIMIT", timeInForce="GTD", price="100.00")
        order = await resting(at, "0.96", timeInForce="GTD", goodTillDate=now + 900_500)
        await at.clock.sleep(890)
        before = await status_of(at, order["orderId"])
        await at.clock.sleep(20)
        _, told = await at.caller.ask("GET", ORDER, symbol="ETHUSDT", orderId=order["orderId"])
        return [soon[1]["code"], none[1]["code"], before, told["status"], told["updateTime"] - now // 1000 * 1000]

    assert on_streams(TAPE, work) == [-1130, -1102, "NEW", "EXPIRED", 900_000]


def test_a_countdown_that_nobody_puts_off_ends_orders_and_no_stops() -> None:
    async def work(at: Place) -> list[Any]:
        order = await resting(at, "0.96")
        await at.caller.buy(quantity="0.1")
        stop = {"symbol": "ETHUSDT", "side": "SELL", "algoType": "CONDITIONAL", "type": "STOP_MARKET"}
        await at.caller.ask("POST", "/fapi/v1/algoOrder", **stop, triggerPrice="900.00", closePosition="true")
        count = "/fapi/v1/countdownCancelAll"
        await at.caller.ask("POST", count, symbol="ETHUSDT", countdownTime=30_000)
        await at.clock.sleep(25)
        told = await at.caller.ask("POST", count, symbol="ETHUSDT", countdownTime=30_000)
        await at.clock.sleep(25)
        before = await status_of(at, order["orderId"])
        await at.clock.sleep(10)
        after = await status_of(at, order["orderId"])
        again = await resting(at, "0.96")
        await at.caller.ask("POST", count, symbol="ETHUSDT", countdownTime=5_000)
        await at.caller.ask("POST", count, symbol="ETHUSDT", countdownTime=0)
        await at.clock.sleep(10)
        _, stops = await at.caller.ask("GET", "/fapi/v1/openAlgoOrders", symbol="ETHUSDT")
        return [told[1], before, after, await status_of(at, again["orderId"]), len(stops)]

    told, *rest = on_streams(TAPE, work)
    assert told == {"symbol": "ETHUSDT", "countdownTime": "30000"}
    assert rest == ["NEW", "CANCELED", "NEW", 1]


def test_what_others_read_of_an_account_is_what_ours_is() -> None:
    async def work(at: Place) -> dict[str, Any]:
        await at.caller.buy(quantity="0.1")
        paths = ("v2/account", "v3/account", "v2/balance", "v3/balance", "v1/accountConfig", "v1/apiTradingStatus")
        told = {path: (await at.caller.ask("GET", f"/fapi/{path}"))[1] for path in (*paths, "v1/adlQuantile")}
        told["open"] = (await at.caller.ask("GET", "/fapi/v1/openOrder", symbol="ETHUSDT", orderId=1))[1]
        return told

    told = on_streams(TAPE, work)
    of_v2 = {p["symbol"]: p for p in told["v2/account"]["positions"]}
    assert of_v2["ETHUSDT"]["positionAmt"] == told["v3/account"]["positions"][0]["positionAmt"] == "0.1"
    assert (of_v2["BTCUSDT"]["positionAmt"], of_v2["BTCUSDT"]["leverage"]) == ("0", "20")
    assert told["v2/balance"][0]["balance"] == told["v3/balance"][0]["balance"]
    assert told["v3/balance"][0]["balance"] == told["v3/account"]["assets"][0]["walletBalance"]
    assert told["v1/accountConfig"]["dualSidePosition"] is False
    assert told["v1/adlQuantile"][0]["symbol"] == "ETHUSDT"
    assert told["open"]["code"] == -2013


def test_quick_quotes_are_those_of_book_and_trades() -> None:
    async def work(at: Place) -> dict[str, Any]:
        told = {}
        for host in ("fapi/v1", "api/v3"):
            for path in ("ticker/price", "ticker/bookTicker", "trades", "depth", "ticker/24hr"):
                limit = {"limit": 5} if path in {"trades", "depth"} else {}
                async with at.session.get(
                    f"{at.venue.url}/{host}/{path}", params={"symbol": "ETHUSDT", **limit}
                ) as reply:
                    assert reply.status == 200
                    told[f"{host}/{path}"] = await reply.json()
        async with at.session.get(f"{at.venue.url}/fapi/v1/ticker/price") as reply:
            told["all"] = await reply.json()
        return told

    told = on_streams(TAPE, work)
    for host in ("fapi/v1", "api/v3"):
        best, book = told[f"{host}/ticker/bookTicker"], told[f"{host}/depth"]
        assert [[best["bidPrice"], best["bidQty"]], [best["askPrice"], best["askQty"]]] == [
            book["bids"][0],
            book["asks"][0],
        ]
        assert told[f"{host}/ticker/price"]["price"] == told[f"{host}/trades"][-1]["price"]
        assert told[f"{host}/ticker/24hr"]["lastPrice"] == told[f"{host}/ticker/price"]["price"]
        assert len(told[f"{host}/trades"]) == 5
    assert [one["symbol"] for one in told["all"]] == ["ETHUSDT", "BTCUSDT"]


def test_what_is_quick_is_cheap() -> None:
    paths = ("/fapi/v1/ticker/price", "/fapi/v1/ticker/bookTicker", "/fapi/v1/forceOrders")
    assert [(request_weight(p, {"symbol": "X"}), request_weight(p, {})) for p in paths] == [(1, 2), (2, 5), (20, 50)]
