"""The past is asked for in the exchange's windows, as far back as it goes; and what it comes to is booked rightly."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from support.hosts.scripted_host import DAY_MS, NOON_MS, Query, Route, with_host

from trader_cli.core.money.orders import OrderState, StopState, TradeState
from trader_cli.execution.exchange_history import ExchangeHistory, remembered
from trader_cli.execution.rebuild import _book
from trader_cli.storage.ledger import Ledger
from trader_cli.storage.ledger_rows import Intent

ETH = "ETHUSDT"
SPAN_MS, KEPT_MS = 7 * DAY_MS, 90 * DAY_MS


def refused(code: int) -> web.Response:
    return web.json_response({"code": code, "msg": "no"}, status=400)


def windowed(times: list[int], row: Any, page: int, kept_ms: int = KEPT_MS) -> Route:
    """Rows as documented: within startTime and endTime, at most 7 days, none older than is kept, at most a page."""

    def shown(query: Query, now: int) -> Any:
        end = int(query.get("endTime", now))
        start = int(query.get("startTime", end - SPAN_MS))
        if end - start > SPAN_MS:
            return refused(-1127)
        if start < now - kept_ms:
            return refused(-4166)
        limit = min(page, int(query["limit"]))
        return [row(number, time) for number, time in enumerate(times) if start <= time <= end][:limit]

    return shown


def order(number: int, time: int, name: str = "td-e-{}", **changes: Any) -> dict[str, Any]:
    return {
        "orderId": number,
        "clientOrderId": name.format(number),
        "symbol": ETH,
        "side": "BUY",
        "status": "FILLED",
        "origQty": "1",
        "executedQty": "1",
        "avgPrice": "5",
        "reduceOnly": False,
        "time": time,
        "updateTime": time,
        **changes,
    }


def algo(number: int, time: int) -> dict[str, Any]:
    return {
        "algoId": number,
        "clientAlgoId": f"td-s-{number}",
        "symbol": ETH,
        "side": "SELL",
        "orderType": "STOP_MARKET",
        "algoStatus": "NEW",
        "triggerPrice": "4",
        "quantity": "1",
        "closePosition": False,
        "reduceOnly": True,
        "workingType": "MARK_PRICE",
        "createTime": time,
        "updateTime": time,
    }


def paid(number: int, time: int) -> dict[str, Any]:
    return {
        "id": number,
        "orderId": number,
        "symbol": ETH,
        "side": "BUY",
        "price": "5",
        "qty": "1",
        "commission": "0",
        "commissionAsset": "USDT",
        "realizedPnl": "0",
        "maker": False,
        "time": time,
    }


@pytest.mark.parametrize("kept_days", [90, 30])
def test_everything_that_is_kept_is_found_once_however_much_lies_in_a_window(kept_days: int) -> None:
    times = [NOON_MS - days * DAY_MS for days in (200, 89.9, 80, 29, 14, 7, 6.99, 0.5, 0)]
    busy = [NOON_MS - 20 * DAY_MS + number * 60_000 for number in range(2500)]
    times = sorted({int(time) for time in (*times, *busy)})
    kept = [time for time in times if time > NOON_MS - kept_days * DAY_MS + 10 * 60_000]
    if kept_days == 30:  # a window that reaches further back is refused as a whole
        kept = [time for time in kept if time > NOON_MS - 28 * DAY_MS + 60_000]
    routes = {
        f"/fapi/v1/{name}": windowed(times, row, page, kept_days * DAY_MS)
        for name, row, page in (("allOrders", order, 1000), ("allAlgoOrders", algo, 1000), ("userTrades", paid, 500))
    }

    async def work(exchange: Any, _host: Any) -> ExchangeHistory:
        return await remembered(exchange.private, ETH, NOON_MS)

    past = with_host(routes, work, mode="demo", api_key="key", api_secret="secret")
    assert [o.update_ms for o in past.orders] == kept
    assert [s.create_ms for s in past.stops] == kept
    assert [t.time_ms for t in past.trades] == kept


# --- what the trades come to ---


def state(number: int, name: str, side: Any = "BUY") -> OrderState:
    return OrderState(
        str(number), name, ETH, side, "FILLED", Decimal(1), Decimal(1), None, reduce_only=False, update_ms=1
    )


def trade(number: int, order_id: int, side: Any, quantity: str) -> TradeState:
    return TradeState(
        number,
        str(order_id),
        ETH,
        side,
        Decimal(5),
        Decimal(quantity),
        Decimal(1),
        "USDT",
        Decimal(0),
        maker=False,
        time_ms=number,
    )


OURS, HAND, FORCED = 1, 2, 3
CASES: dict[str, tuple[list[tuple[int, str, str]], str, str]] = {
    "ours alone": ([(OURS, "BUY", "1")], "1", "0"),
    "a person took a part of ours": ([(OURS, "BUY", "1"), (HAND, "SELL", "0.4")], "0.6", "0"),
    "a person turned it": ([(OURS, "BUY", "1"), (HAND, "SELL", "1.5")], "0", "-0.5"),
    "a person's own, beside": ([(HAND, "BUY", "2"), (OURS, "BUY", "1")], "1", "2"),
    "a person left with their own": ([(HAND, "BUY", "2"), (OURS, "BUY", "1"), (HAND, "SELL", "2")], "1", "0"),
    "a person left with more": ([(HAND, "BUY", "2"), (OURS, "BUY", "1"), (HAND, "SELL", "2.3")], "0.7", "0"),
    "liquidated": ([(OURS, "BUY", "1"), (FORCED, "SELL", "1")], "0", "0"),
    "nobody's": ([(OURS, "BUY", "1"), (9, "SELL", "1")], "1", "0"),
}


@pytest.mark.parametrize("kind", CASES)
def test_what_others_traded_makes_ours_smaller_only_after_their_own(kind: str, tmp_path: Path) -> None:
    lines, ours, foreign = CASES[kind]
    trades = [trade(number, *line) for number, line in enumerate(lines, start=1)]
    orders = (state(OURS, "td-e-1"), state(HAND, "by hand"), state(FORCED, "autoclose-1"))
    with Ledger.opened(tmp_path / "ledger.sqlite") as ledger:
        ledger.decide("d", ETH, 0, "plan", {"decision_ms": 0}, 0)
        ledger.intend(Intent("td-e-1", "d", ETH, "entry", "BUY", Decimal(1), 0))
        ledger.note("td-e-1", "done", 0, exchange_id=str(OURS), note="FILLED")
        stops: tuple[StopState, ...] = ()
        left = _book(ledger, ExchangeHistory(ETH, orders, stops, tuple(trades)))
        assert (ledger.holding(ETH).amount, left) == (Decimal(ours), Decimal(foreign))
        notes = [ledger.last_note(f.client_id) for f in ledger.fills() if f.purpose == "external"]
        assert [note.note for note in notes if note] == (
            ["liquidation"] if kind == "liquidated" else ["not by us"] * len(notes)
        )
