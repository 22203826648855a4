"""The private side through ccxt against the venue: what is sent arrives once, and a lost reply is never a failure."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web

from trader_cli.core.errors import ConfigurationError, ExchangeRejected, ExchangeUnavailable
from trader_cli.core.money.orders import MarginSettings, NotPlaced, OrderRequest, Placed, StopRequest, Unknown
from trader_cli.exchange.binance import BinanceExchange
from trader_cli.venue.clocks import VirtualClock, run_virtual
from trader_cli.venue.server.server import VenueServer
from trader_cli.venue.simulated_market.synthetic import synthetic_tape

pytestmark = pytest.mark.slow

TAPE = synthetic_tape(("ETHUSDT", "BTCUSDT"), 6, 0.5, 3)
SYMBOL = "ETHUSDT"


class FaultyVenue(VenueServer):
    """A real venue that carries requests out and then spoils chosen answers."""

    def __init__(self, *arguments: Any, faults: dict[tuple[str, str], list[str]] | None = None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.faults = faults or {}
        self.seen: list[tuple[str, str]] = []

    async def _answer(self, request: web.Request) -> web.Response:
        self.seen.append((request.method, request.path))
        waiting = self.faults.get((request.method, request.path), [])
        fault = waiting.pop(0) if waiting else ""
        if fault == "down before":
            return web.Response(text="Service Unavailable", status=503)
        answer = await super()._answer(request)
        if fault == "dropped" and request.transport is not None:
            request.transport.close()
        if fault == "one object":
            return web.json_response(json.loads(answer.body)[0])  # type: ignore[arg-type]
        spoiled = {
            "empty": "",
            "html": "<html></html>",
            "truncated": '{"orderId": 1',
            "object": "{}",
            "other": '{"code":200}',
        }
        if fault in spoiled:
            return web.Response(text=spoiled[fault], content_type="application/json")
        if fault == "unknown":
            return web.json_response(
                {"code": -1007, "msg": "Timeout waiting for response from backend server."}, status=408
            )
        return answer


Work = Callable[[BinanceExchange, FaultyVenue, VirtualClock], Awaitable[Any]]


def trading(
    work: Work, key: str = "sim-key", faults: dict[tuple[str, str], list[str]] | None = None, **options: Any
) -> Any:
    clock = VirtualClock(TAPE.at(0.4))

    async def main() -> Any:
        async with FaultyVenue(TAPE, clock, faults=faults) as venue:
            keys = {"api_key": key, "api_secret": "sim-secret", "base_url": venue.url, "max_retries": 1, **options}
            exchange = BinanceExchange({"mode": "demo", "binance_exchange": keys}, clock=clock)
            await exchange.initialize()
            try:
                return await work(exchange, venue, clock)
            finally:
                await exchange.close()

    return run_virtual(main, clock)


def buy(client_id: str = "one", quantity: str = "1", **extra: Any) -> OrderRequest:
    return OrderRequest(client_id, SYMBOL, "BUY", Decimal(quantity), **extra)


def test_an_order_its_stops_and_the_way_out() -> None:
    async def work(exchange: BinanceExchange, _venue: FaultyVenue, _clock: VirtualClock) -> None:
        side, rules = exchange.private, exchange.symbol_rules(SYMBOL)
        assert await side.set_margin_settings(SYMBOL, MarginSettings(7, isolated=True)) == MarginSettings(
            7, isolated=True
        )
        before = await side.account()
        placed = await side.place(buy())
        assert isinstance(placed, Placed)
        assert placed.state.status == "FILLED"
        (position,) = await side.positions()
        assert (position.symbol, position.amount) == (SYMBOL, 1)
        assert position.liquidation_price is not None
        assert position.liquidation_price < position.entry_price
        low, high = (rules.price_down(position.entry_price * Decimal(f)) for f in ("0.97", "1.03"))
        stops = [
            await side.place_stop(StopRequest("back", SYMBOL, "SELL", "stop", low)),
            await side.place_stop(StopRequest("near", SYMBOL, "SELL", "stop", low + 1, Decimal(1))),
            await side.place_stop(StopRequest("gain", SYMBOL, "SELL", "take_profit", high, Decimal(1))),
        ]
        assert all(isinstance(stop, Placed) for stop in stops)
        waiting = {stop.client_id: stop for stop in await side.open_stops(SYMBOL)}
        assert set(waiting) == {"back", "near", "gain"}
        assert (waiting["back"].close_position, waiting["near"].reduce_only) == (True, True)
        assert all(stop.by_mark_price for stop in waiting.values())
        cancelled = await side.cancel_stop(SYMBOL, "near")
        assert cancelled
        assert cancelled.status == "CANCELED"
        closed = await side.place(OrderRequest("out", SYMBOL, "SELL", Decimal(1), reduce_only=True))
        assert isinstance(closed, Placed)
        assert await side.positions() == []
        trades = await side.trades(SYMBOL)
        after = await side.account()
        gained = sum((t.realized_profit - t.commission for t in trades), Decimal(0))
        assert after.wallet == before.wallet + gained

    trading(work)


@pytest.mark.parametrize(("name", "times"), [("Post", 1), ("Put", 1), ("Delete", 2)])
@pytest.mark.parametrize("caring", [False, True])
def test_a_command_whose_connection_dies_is_not_sent_again_but_for_a_cancel(
    name: str, times: int, caring: bool
) -> None:
    route = (name.upper(), "/fapi/v1/order")

    async def work(exchange: BinanceExchange, venue: FaultyVenue, _clock: VirtualClock) -> None:
        side = exchange._connection.protection if caring else exchange._connection
        sent = {"symbol": SYMBOL, "origClientOrderId": "nobody-s", "side": "BUY", "quantity": "1", "price": "9"}
        answer = await side.send(f"fapiPrivate{name}Order", route[1], sent)
        assert isinstance(answer, Unknown), "nobody knows what became of it"
        assert venue.seen.count(route) == times

    trading(work, faults={route: ["dropped"] * 9})


BRACKETS = ("GET", "/fapi/v1/leverageBracket")


def test_brackets_come_as_a_list_or_as_the_one_object_that_was_asked_for() -> None:
    async def work(exchange: BinanceExchange, _venue: FaultyVenue, _clock: VirtualClock) -> None:
        first, second = await exchange.private.brackets(SYMBOL), await exchange.private.brackets(SYMBOL)
        assert first == second
        assert [b.notional_cap for b in first] == sorted(b.notional_cap for b in first)
        assert len(first) > 1
        for _ in ("another object", "nothing", "HTML"):
            with pytest.raises(ExchangeUnavailable):
                await exchange.private.brackets(SYMBOL)

    trading(work, faults={BRACKETS: ["one object", "", "other", *["object"] * 2, *["html"] * 2]})


def test_an_entry_goes_through_where_brackets_come_as_one_object() -> None:
    async def work(exchange: BinanceExchange, _venue: FaultyVenue, _clock: VirtualClock) -> None:
        done = await exchange.create_order(SYMBOL, "BUY", "MARKET", "1")
        assert done["status"] == "FILLED"

    trading(work, faults={BRACKETS: ["one object"] * 9})


def test_limit_orders_rest_and_are_cancelled() -> None:
    async def work(exchange: BinanceExchange, _venue: FaultyVenue, _clock: VirtualClock) -> None:
        side, rules = exchange.private, exchange.symbol_rules(SYMBOL)
        last = Decimal(str((await exchange.get_ticker(SYMBOL))["last"]))
        price = rules.price_down(last * Decimal("0.97"))
        assert isinstance(await side.place(buy("rest", price=price, time_in_force="GTX")), Placed)
        assert [o.client_id for o in await side.open_orders(SYMBOL)] == ["rest"]
        gone = await side.cancel(SYMBOL, "rest")
        assert gone
        assert gone.status == "CANCELED"
        assert await side.cancel(SYMBOL, "never sent") is None
        assert await side.stop(SYMBOL, "never sent") is None

    trading(work)


LOST = ["dropped", "empty", "html", "truncated", "object", "other", "unknown"]


@pytest.mark.parametrize("fault", LOST)
def test_a_lost_reply_is_unknown_and_the_order_is_found_and_single(fault: str) -> None:
    async def work(exchange: BinanceExchange, venue: FaultyVenue, _clock: VirtualClock) -> None:
        sent = await exchange.private.place(buy())
        assert isinstance(sent, Unknown), sent
        found = await exchange.private.order(SYMBOL, "one")
        assert found
        assert found.status == "FILLED"
        assert venue.seen.count(("POST", "/fapi/v1/order")) == 1
        assert len(await exchange.private.positions()) == 1

    trading(work, faults={("POST", "/fapi/v1/order"): [fault]})


@pytest.mark.parametrize("fault", ["dropped", "html", "unknown"])
def test_a_lost_reply_about_a_stop_is_unknown_too(fault: str) -> None:
    async def work(exchange: BinanceExchange, venue: FaultyVenue, _clock: VirtualClock) -> None:
        await exchange.private.place(buy())
        (position,) = await exchange.private.positions()
        trigger = exchange.symbol_rules(SYMBOL).price_down(position.entry_price * Decimal("0.95"))
        sent = await exchange.private.place_stop(StopRequest("s", SYMBOL, "SELL", "stop", trigger))
        assert isinstance(sent, Unknown)
        assert await exchange.private.stop(SYMBOL, "s")
        assert venue.seen.count(("POST", "/fapi/v1/algoOrder")) == 1

    trading(work, faults={("POST", "/fapi/v1/algoOrder"): [fault]})


def test_a_server_that_is_down_is_unknown_and_nothing_is_sent_again() -> None:
    async def work(exchange: BinanceExchange, venue: FaultyVenue, _clock: VirtualClock) -> None:
        assert isinstance(await exchange.private.place(buy()), Unknown)
        assert venue.seen.count(("POST", "/fapi/v1/order")) == 1
        assert await exchange.private.order(SYMBOL, "one") is None

    trading(work, faults={("POST", "/fapi/v1/order"): ["down before"]})


@pytest.mark.parametrize(
    ("order", "code"),
    [
        (buy(quantity="0.001"), -4164),
        (buy(quantity="900"), -2019),
        (buy(quantity="0.00005"), -1111),
        (buy(reduce_only=True), -2022),
        (buy(client_id="not ok"), -4015),
    ],
)
def test_a_refusal_is_certain_and_has_its_code(order: OrderRequest, code: int) -> None:
    async def work(exchange: BinanceExchange, _venue: FaultyVenue, _clock: VirtualClock) -> None:
        refused = await exchange.private.place(order)
        assert isinstance(refused, NotPlaced), refused
        assert refused.code == code
        assert await exchange.private.positions() == []

    trading(work)


@pytest.mark.parametrize("fault", ["empty", "html", "object"])
def test_no_positions_is_never_guessed_from_a_bad_answer(fault: str) -> None:
    async def work(exchange: BinanceExchange, _venue: FaultyVenue, _clock: VirtualClock) -> None:
        with pytest.raises(ExchangeUnavailable):
            await exchange.private.positions()

    trading(work, faults={("GET", "/fapi/v3/positionRisk"): [fault] * 2})


def test_a_duplicate_client_id_means_that_the_first_exists() -> None:
    async def work(exchange: BinanceExchange, _venue: FaultyVenue, _clock: VirtualClock) -> None:
        price = exchange.symbol_rules(SYMBOL).price_down(
            Decimal(str((await exchange.get_ticker(SYMBOL))["last"])) * Decimal("0.97")
        )
        assert isinstance(await exchange.private.place(buy(price=price)), Placed)
        assert isinstance(await exchange.private.place(buy(price=price)), Unknown)
        assert len(await exchange.private.open_orders(SYMBOL)) == 1

    trading(work)


def test_keys_are_asked_for_and_their_rights_known() -> None:
    async def rights(exchange: BinanceExchange, _venue: FaultyVenue, _clock: VirtualClock) -> Any:
        return await exchange.private.key_rights(), await exchange.private.hedge_mode()

    keys = ("sim-key", "sim-withdraw-key", "sim-hedge-key", "sim-anywhere-key")
    (plain, one_way), (risky, _), (_, hedged), (anywhere, _) = (trading(rights, key=k) for k in keys)
    assert (plain.can_withdraw, plain.ip_restricted, one_way) == (False, True, False)
    assert not anywhere.ip_restricted
    assert risky.can_withdraw
    assert hedged

    async def account(exchange: BinanceExchange, _venue: FaultyVenue, _clock: VirtualClock) -> Any:
        return await exchange.private.account()

    with pytest.raises(ConfigurationError, match="TRADER_BINANCE_EXCHANGE__API_KEY"):
        trading(account, key="")
    with pytest.raises(ConfigurationError, match="API key"):
        trading(account, key="wrong-key")
    with pytest.raises(ConfigurationError, match="API key"):
        trading(account, api_secret="wrong")


def test_options_that_the_exchange_refuses_are_errors() -> None:
    async def work(exchange: BinanceExchange, _venue: FaultyVenue, _clock: VirtualClock) -> None:
        with pytest.raises(ExchangeRejected) as refused:
            await exchange.private.set_margin_settings(SYMBOL, MarginSettings(500, isolated=True))
        assert refused.value.code == -4028
        brackets = await exchange.private.brackets(SYMBOL)
        assert brackets[0].max_leverage == 125
        assert [b.notional_cap for b in brackets] == sorted(b.notional_cap for b in brackets)

    trading(work)
