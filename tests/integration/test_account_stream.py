"""The stream of an account: whoever folds its events holds the account that the routes show."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from support.hosts.stream_client import Place, Socket, on_streams

from trader_cli.venue.server.trading_desk import TradingDesk
from trader_cli.venue.simulated_market.synthetic import synthetic_tape

pytestmark = pytest.mark.slow

TAPE = synthetic_tape(("ETHUSDT", "BTCUSDT"), 3, 0.5, 7)
ORDER, ALGO, LISTEN = "/fapi/v1/order", "/fapi/v1/algoOrder", "/fapi/v1/listenKey"


async def listening(at: Place, path: str = "/private/ws?listenKey={}") -> Socket:
    return await at.connect(path.format(await at.listen_key()))


def test_an_order_and_its_protection_are_told_of_step_by_step() -> None:
    async def work(at: Place) -> list[Any]:
        socket = await listening(at)
        await at.caller.ask("POST", "/fapi/v1/leverage", symbol="ETHUSDT", leverage=5)
        await at.caller.ask("POST", "/fapi/v1/marginType", symbol="ETHUSDT", marginType="ISOLATED")
        await at.caller.buy(newClientOrderId="entry-1", quantity="0.2")
        stop = {"symbol": "ETHUSDT", "side": "SELL", "algoType": "CONDITIONAL", "type": "STOP_MARKET"}
        stop |= {"quantity": "0.2", "triggerPrice": "1000", "reduceOnly": "true", "clientAlgoId": "stop-1"}
        await at.caller.ask("POST", ALGO, **stop)
        await at.caller.ask("DELETE", ALGO, symbol="ETHUSDT", clientAlgoId="stop-1")
        limit = {"side": "SELL", "type": "LIMIT", "price": "9000.00", "quantity": "0.2", "timeInForce": "GTC"}
        await at.caller.buy(newClientOrderId="exit-1", reduceOnly="true", **limit)
        await at.caller.ask("DELETE", ORDER, symbol="ETHUSDT", origClientOrderId="exit-1")
        await at.clock.sleep(1)
        await socket.close()
        return socket.told

    told = on_streams(TAPE, work)
    assert [_short(m) for m in told] == [
        ("ACCOUNT_CONFIG_UPDATE", "ETHUSDT", 5),
        ("ACCOUNT_UPDATE", "MARGIN_TYPE_CHANGE", [], ["0"]),
        ("ORDER_TRADE_UPDATE", "entry-1", "NEW", "NEW", "0"),
        ("ACCOUNT_UPDATE", "ORDER", ["USDT"], ["0.2"]),
        ("TRADE_LITE", "entry-1", "0.2"),
        ("ORDER_TRADE_UPDATE", "entry-1", "TRADE", "FILLED", "0.2"),
        ("ALGO_UPDATE", "stop-1", "NEW"),
        ("ALGO_UPDATE", "stop-1", "CANCELED"),
        ("ORDER_TRADE_UPDATE", "exit-1", "NEW", "NEW", "0"),
        ("ORDER_TRADE_UPDATE", "exit-1", "CANCELED", "CANCELED", "0"),
    ]
    assert all(before["E"] <= after["E"] for before, after in zip(told, told[1:], strict=False))


def _short(m: dict[str, Any]) -> tuple[Any, ...]:
    kind, order = m["e"], m.get("o", {})
    if kind == "ORDER_TRADE_UPDATE":
        return kind, order["c"], order["x"], order["X"], order["z"]
    if kind == "ALGO_UPDATE":
        return kind, order["caid"], order["X"]
    if kind == "ACCOUNT_UPDATE":
        return kind, m["a"]["m"], [b["a"] for b in m["a"]["B"]], [p["pa"] for p in m["a"]["P"]]
    if kind == "ACCOUNT_CONFIG_UPDATE":
        return kind, m["ac"]["s"], m["ac"]["l"]
    return kind, m["c"], m["l"]


def test_a_stop_that_is_met_is_told_of_at_its_own_moment_though_nobody_asks() -> None:
    async def work(at: Place) -> tuple[list[Any], Any, int]:
        socket = await listening(at)
        await at.caller.buy(quantity="0.2")
        _, (position,) = await at.caller.ask("GET", "/fapi/v3/positionRisk", symbol="ETHUSDT")
        price = Decimal(position["entryPrice"])
        near = {"quantity": "0.2", "reduceOnly": "true", "symbol": "ETHUSDT", "side": "SELL"}
        for kind, share in (("STOP_MARKET", "0.999"), ("TAKE_PROFIT_MARKET", "1.001")):
            level = {"type": kind, "triggerPrice": f"{price * Decimal(share):.2f}", "algoType": "CONDITIONAL"}
            await at.caller.ask("POST", ALGO, **near, **level, clientAlgoId=kind)
        began = at.clock.now_ms()
        await at.clock.sleep(3 * 3600)
        await socket.close()
        _, fills = await at.caller.ask("GET", "/fapi/v1/userTrades", symbol="ETHUSDT")
        return socket.told, fills[-1], began

    told, fill, began = on_streams(TAPE, work)
    steps = [m["o"]["X"] for m in told if m["e"] == "ALGO_UPDATE" and m["o"]["tt"]][:3]
    assert steps == ["TRIGGERING", "TRIGGERED", "FINISHED"]
    (trade,) = (m for m in told if m["e"] == "ORDER_TRADE_UPDATE" and m["o"]["x"] == "TRADE" and m["o"]["S"] == "SELL")
    assert (trade["T"], trade["o"]["t"]) == (fill["time"], fill["id"])
    assert trade["T"] > began
    updates = [m["a"]["P"][0]["pa"] for m in told if m["e"] == "ACCOUNT_UPDATE" and m["a"]["P"]]
    assert updates == ["0.2", "0"]
    finished = next(m for m in told if m["e"] == "ALGO_UPDATE" and m["o"]["X"] == "FINISHED")
    assert finished["o"]["ai"] == str(trade["o"]["i"])


class Folded:
    """An account as it is known by its events alone."""

    def __init__(self) -> None:
        self.orders: dict[int, tuple[str, str]] = {}
        self.algos: dict[int, str] = {}
        self.positions: dict[str, str] = {}
        self.wallet: str | None = None
        self.trades: list[tuple[int, str, str]] = []

    def take(self, told: dict[str, Any]) -> None:
        order = told.get("o", {})
        if told["e"] == "ORDER_TRADE_UPDATE":
            self.orders[order["i"]] = order["X"], order["z"]
            if order["x"] in {"TRADE", "CALCULATED"}:
                self.trades.append((order["t"], order["l"], order["L"]))
        elif told["e"] == "ALGO_UPDATE":
            self.algos[order["aid"]] = order["X"]
        elif told["e"] == "ACCOUNT_UPDATE":
            self.positions |= {p["s"]: p["pa"] for p in told["a"]["P"]}
            self.wallet = next((b["wb"] for b in told["a"]["B"] if b["a"] == "USDT"), self.wallet)


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 20))])
def test_events_folded_are_the_account_that_the_routes_show(seed: int) -> None:
    dice = np.random.default_rng(seed)

    async def work(at: Place) -> tuple[Folded, dict[str, Any]]:
        socket = await listening(at, "/ws/{}")
        if seed % 2:
            await at.caller.ask("POST", "/fapi/v1/marginType", symbol="ETHUSDT", marginType="ISOLATED")
            await at.caller.ask("POST", "/fapi/v1/leverage", symbol="ETHUSDT", leverage=50)
        for number in range(60):
            await _do_something(at, dice, number)
            await at.caller.ask("PUT", LISTEN)
            await at.clock.sleep(float(dice.exponential(240)))
        shown = {}
        for name, path in (("orders", "allOrders"), ("algos", "allAlgoOrders"), ("fills", "userTrades")):
            _, shown[name] = await at.caller.ask("GET", f"/fapi/v1/{path}", symbol="ETHUSDT", limit=1000)
        _, shown["positions"] = await at.caller.ask("GET", "/fapi/v3/positionRisk")
        _, shown["account"] = await at.caller.ask("GET", "/fapi/v3/account")
        await at.clock.sleep(0.01)
        await socket.close()
        folded = Folded()
        for told in socket.told:
            folded.take(told)
        return folded, shown

    folded, shown = on_streams(TAPE, work, share=0.3)
    assert folded.orders == {o["orderId"]: (o["status"], o["executedQty"]) for o in shown["orders"]}
    assert folded.algos == {a["algoId"]: a["algoStatus"] for a in shown["algos"]}
    assert {s: q for s, q in folded.positions.items() if q != "0"} == {
        p["symbol"]: p["positionAmt"] for p in shown["positions"]
    }
    assert folded.wallet == shown["account"]["assets"][0]["walletBalance"]
    assert folded.trades == [(f["id"], f["qty"], f["price"]) for f in shown["fills"]]
    assert len(folded.trades) > 10
    assert len({status for status, _ in folded.orders.values()}) > 1


async def _do_something(at: Place, dice: np.random.Generator, number: int) -> None:
    """An order, a stop or a cancellation, of whatever comes to mind."""
    _, quoted = await at.caller.ask("GET", "/fapi/v1/premiumIndex", symbol="ETHUSDT")
    price, side = float(quoted["markPrice"]), ("BUY", "SELL")[int(dice.integers(2))]
    near = f"{price * (1 + float(dice.normal(0, 0.002))):.2f}"
    quantity, kind = f"{float(dice.uniform(0.1, 1.5)):.3f}", int(dice.integers(8))
    if kind < 2:
        await at.caller.buy(side=side, quantity=quantity)
    elif kind == 2:
        terms = ("GTC", "IOC", "FOK", "GTX")[int(dice.integers(4))]
        await at.caller.buy(side=side, quantity=quantity, type="LIMIT", price=near, timeInForce=terms)
    elif kind == 6:
        _, resting = await at.caller.ask("GET", "/fapi/v1/openOrders", symbol="ETHUSDT")
        for order in resting[:1]:
            terms = {"symbol": "ETHUSDT", "side": order["side"], "orderId": order["orderId"], "quantity": quantity}
            await at.caller.ask("PUT", ORDER, **terms, price=near)
    elif kind == 7:
        await at.caller.ask("POST", "/fapi/v1/countdownCancelAll", symbol="ETHUSDT", countdownTime=200_000)
    elif kind < 5:
        given = {"symbol": "ETHUSDT", "side": side, "algoType": "CONDITIONAL", "triggerPrice": near}
        given |= {"type": ("STOP_MARKET", "TAKE_PROFIT_MARKET")[int(dice.integers(2))], "quantity": quantity}
        reduce_only = {"reduceOnly": "true"} if dice.random() < 0.5 else {}
        await at.caller.ask("POST", ALGO, **given, **reduce_only, clientAlgoId=f"algo-{number}")
    else:
        await at.caller.ask("DELETE", f"/fapi/v1/{('allOpenOrders', 'algoOpenOrders')[number % 2]}", symbol="ETHUSDT")


def test_funding_and_liquidation_are_told_of() -> None:
    async def work(at: Place) -> list[Any]:
        socket, forced = await listening(at), await at.connect("/market/ws/!forceOrder@arr")
        await at.caller.ask("POST", "/fapi/v1/marginType", symbol="ETHUSDT", marginType="ISOLATED")
        await at.caller.ask("POST", "/fapi/v1/leverage", symbol="ETHUSDT", leverage=125)
        for side in ("BUY", "SELL", "SELL"):
            await at.caller.buy(quantity="1", side=side)
        await at.clock.sleep(12 * 3600)
        for one in (socket, forced):
            await one.close()
        return [socket.told, forced.told]

    told, forced = on_streams(TAPE, work, share=0.3)
    reasons = [m["a"]["m"] for m in told if m["e"] == "ACCOUNT_UPDATE"]
    closed = [m["o"] for m in told if m["e"] == "ORDER_TRADE_UPDATE" and m["o"]["x"] == "CALCULATED"]
    calls = [m for m in told if m["e"] == "MARGIN_CALL"]
    assert closed, "125 times the margin lasts no twelve hours"
    assert closed[0]["c"].startswith("autoclose-")
    assert closed[0]["o"] == "LIQUIDATION"
    assert len(calls) >= 1
    assert calls[0]["E"] <= closed[0]["T"]
    assert reasons[:1] == ["MARGIN_TYPE_CHANGE"]
    assert [m["o"]["s"] for m in forced] == ["ETHUSDT"]
    assert forced[0]["o"]["T"] == closed[0]["T"]


def test_a_key_lives_an_hour_is_prolonged_and_ends_with_a_word() -> None:
    async def work(at: Place) -> tuple[Any, ...]:
        key = await at.listen_key()
        socket, other = (
            await at.connect(f"/private/ws?listenKey={key}"),
            await at.connect("/private/ws?listenKey=" + "x" * 64),
        )
        await at.clock.sleep(50 * 60)
        same = (await at.caller.ask("POST", LISTEN))[1]["listenKey"] == key
        await at.clock.sleep(50 * 60)
        prolonged = await at.caller.ask("PUT", LISTEN)
        await at.clock.sleep(59 * 60)
        living = [m["e"] for m in socket.told]
        await at.clock.sleep(2 * 60)
        expired = [m["e"] for m in socket.told]
        await at.caller.buy(quantity="0.1")
        late = await at.caller.ask("PUT", LISTEN)
        renewed = await at.listen_key()
        await at.clock.sleep(1)
        return same, prolonged[0], living, expired, len(socket.told), late, renewed != key, other.told

    same, prolonged, living, expired, count, late, is_new, strange = on_streams(TAPE, work)
    assert (same, prolonged, living, expired, count) == (True, 200, [], ["listenKeyExpired"], 1)
    assert late == (400, {"code": -1125, "msg": "This listenKey does not exist."})
    assert is_new
    assert strange == []


def test_a_key_that_is_deleted_ends_for_everybody_and_events_may_be_chosen() -> None:
    async def work(at: Place) -> tuple[Any, ...]:
        key = await at.listen_key()
        chosen = await at.connect(f"/private/ws?listenKey={key}&events=ORDER_TRADE_UPDATE/ALGO_UPDATE")
        combined = await at.connect(f"/private/stream?listenKey={key}")
        await at.caller.buy(quantity="0.1")
        await at.clock.sleep(1)
        await at.caller.ask("DELETE", LISTEN)
        await at.caller.buy(quantity="0.1")
        await at.clock.sleep(3)
        return key, chosen.told, combined.told

    key, chosen, combined = on_streams(TAPE, work)
    assert [m["e"] for m in chosen] == ["ORDER_TRADE_UPDATE"] * 2
    heard = [m["data"]["e"] for m in combined]
    assert heard[:2] == ["ORDER_TRADE_UPDATE", "ACCOUNT_UPDATE"]
    assert {m["stream"] for m in combined} == {key}
    assert heard.count("TRADE_LITE") <= 2


def test_an_account_is_subscribed_to_by_a_message_as_well() -> None:
    """As the exchange's own connector does; and it is left again by one."""

    async def work(at: Place) -> tuple[list[str], list[Any], list[Any]]:
        key, socket, market = await at.listen_key(), await at.connect("/ws"), await at.connect("/market/ws")
        for one in (socket, market):
            await one.say("SUBSCRIBE", key, number=1)
        await at.caller.buy(quantity="0.1")
        await at.clock.sleep(1)
        await socket.say("UNSUBSCRIBE", key, number=2)
        await at.clock.sleep(1)
        await at.caller.buy(quantity="0.1")
        await at.clock.sleep(1)
        return [m["e"] for m in socket.told if "e" in m], socket.told[-1:], market.told

    heard, last, market = on_streams(TAPE, work)
    assert heard == ["ORDER_TRADE_UPDATE", "ACCOUNT_UPDATE", "TRADE_LITE", "ORDER_TRADE_UPDATE"]
    assert last == [{"result": None, "id": 2}]
    assert market == [{"result": None, "id": 1}]


def test_who_listens_changes_no_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that goes with time comes to the same as one that is moved by requests only."""
    made: list[TradingDesk] = []
    begin = TradingDesk.__init__

    def noting(self: TradingDesk, *given: Any, **named: Any) -> None:
        begin(self, *given, **named)
        made.append(self)

    monkeypatch.setattr(TradingDesk, "__init__", noting)

    async def work(at: Place, *, listens: bool) -> Any:
        dice = np.random.default_rng(9)
        socket = await listening(at) if listens else None
        for number in range(40):
            await _do_something(at, dice, number)
            await at.clock.sleep(float(dice.exponential(300)))
        await at.caller.ask("GET", "/fapi/v3/account")
        if socket is not None:
            await socket.close()
        (engine,) = made[-1].engines()
        return engine.account, engine.counters()

    with_stream = on_streams(TAPE, lambda at: work(at, listens=True), share=0.3)
    without = on_streams(TAPE, lambda at: work(at, listens=False), share=0.3)
    assert with_stream == without
