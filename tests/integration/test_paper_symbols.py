"""A paper account over many symbols: one that is traded no more stops no other, and today's listing is what counts."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from support.trading.virtual_venue import at_paper

from trader_cli.core.errors import ExchangeUnavailable
from trader_cli.core.money.orders import MarginSettings, NotPlaced, OrderRequest, Placed, StopRequest
from trader_cli.exchange.account.paper_exchange import PaperExchange
from trader_cli.venue.clocks import VirtualClock
from trader_cli.venue.server.server import VenueServer
from trader_cli.venue.simulated_market.synthetic import synthetic_tape

pytestmark = pytest.mark.slow
D = Decimal
TAPE = synthetic_tape(("ETHUSDT", "BTCUSDT"), 6, 0.5, 3)
ETH, BTC = "ETHUSDT", "BTCUSDT"
QUANTITY = {ETH: "1", BTC: "0.05"}


class OddVenue(VenueServer):
    """An exchange that shows no more of ETHUSDT, or other filters, or one symbol less."""

    stopped_ms: int | None = None
    """From then on bars of ETHUSDT are missing."""
    unknown = False
    """Whether a question about it is refused with -1121."""
    status: str | None = "TRADING"
    """How it is listed; None: not at all."""
    tick: str | None = None

    async def _answer(self, request: web.Request) -> web.Response:
        if self.unknown and request.query.get("symbol") == ETH:
            return web.json_response({"code": -1121, "msg": "Invalid symbol."}, status=400)
        answer = await super()._answer(request)
        if request.path == "/fapi/v1/exchangeInfo":
            return web.json_response(self._listed(json.loads(answer.body)))  # type: ignore[arg-type]
        if self.stopped_ms is not None and request.query.get("symbol") == ETH and "lines" in request.path:
            return web.json_response([b for b in json.loads(answer.body) if b[0] < self.stopped_ms])  # type: ignore[arg-type]
        return answer

    def _listed(self, body: dict[str, Any]) -> dict[str, Any]:
        kept = [s for s in body["symbols"] if s["symbol"] != ETH or self.status is not None]
        for symbol in kept:
            if symbol["symbol"] != ETH:
                continue
            symbol["status"] = self.status
            for rule in symbol["filters"]:
                if self.tick and rule["filterType"] == "PRICE_FILTER":
                    rule["tickSize"] = self.tick
        return {**body, "symbols": kept}


Work = Callable[[PaperExchange, OddVenue, VirtualClock], Awaitable[Any]]


def trading(work: Work, folder: Path | None = None, **odd: Any) -> Any:
    def venue_of(clock: VirtualClock) -> OddVenue:
        venue = OddVenue(TAPE, clock)
        vars(venue).update(odd)
        return venue

    clock = VirtualClock(TAPE.at(0.4))
    return at_paper(venue_of, lambda exchange, venue: work(exchange, venue, clock), clock, folder)


async def bought(exchange: PaperExchange, below: str = "0.5") -> dict[str, D]:
    """A position with a stop in each symbol, that of ETHUSDT at so much of the price; the triggers."""
    triggers = {}
    for symbol, quantity in QUANTITY.items():
        await exchange.private.set_margin_settings(symbol, MarginSettings(5, isolated=True))
        entry = await exchange.private.place(OrderRequest(f"b-{symbol}", symbol, "BUY", D(quantity)))
        assert isinstance(entry, Placed)
        triggers[symbol] = exchange.symbol_rules(symbol).price_down(
            entry.state.average_price * D(below if symbol == ETH else "0.5")
        )
        stop = StopRequest(f"s-{symbol}", symbol, "SELL", "stop", triggers[symbol])
        assert isinstance(await exchange.private.place_stop(stop), Placed)
    return triggers


async def held(exchange: PaperExchange) -> dict[str, D]:
    return {p.symbol: p.amount for p in await exchange.private.positions()}


async def closed(exchange: PaperExchange, symbol: str) -> Any:
    order = OrderRequest(f"x-{symbol}", symbol, "SELL", D(QUANTITY[symbol]), reduce_only=True)
    return await exchange.private.place(order)


@pytest.mark.parametrize("how", ["settling", "delisted", "delisted, bars still told"])
def test_what_is_traded_no_more_is_settled_at_its_last_mark_and_the_other_goes_on(tmp_path: Path, how: str) -> None:
    async def work(exchange: PaperExchange, venue: OddVenue, clock: VirtualClock) -> Any:
        await bought(exchange)
        await clock.sleep(30)
        mark = next(p.mark_price for p in await exchange.private.positions() if p.symbol == ETH)
        venue.stopped_ms, venue.unknown = clock.now_ms() // 60_000 * 60_000, how == "delisted"
        venue.status = "SETTLING" if how == "settling" else None
        await clock.sleep(600)
        assert await held(exchange) == {BTC: D("0.05")}
        last = (await exchange.private.trades(ETH))[-1]
        assert (last.quantity, last.commission, last.side) == (1, 0, "SELL")
        assert last.price == pytest.approx(mark, rel=D("0.002"))
        assert await exchange.private.open_stops(ETH) == [], "nothing of it waits"
        assert [s.client_id for s in await exchange.private.open_stops(BTC)] == ["s-BTCUSDT"]
        refused = await exchange.private.place(OrderRequest("again", ETH, "BUY", D(1)))
        assert isinstance(refused, NotPlaced), "there is no price at which it could be bought"
        assert ETH in refused.sentence or "Invalid symbol" in refused.sentence
        assert isinstance(await closed(exchange, BTC), Placed)
        return await exchange.private.account(), await exchange.private.trades(ETH)

    async def later(exchange: PaperExchange, _venue: OddVenue, clock: VirtualClock) -> Any:
        await clock.sleep(700)
        return await exchange.private.account(), await exchange.private.trades(ETH)

    left = trading(work, tmp_path)
    assert trading(later, tmp_path) == left, "a restart settles nothing a second time"


@pytest.mark.parametrize("status", ["BREAK", "TRADING"])
def test_a_symbol_without_prices_stands_still_and_what_it_missed_counts_when_it_is_shown(status: str) -> None:
    async def work(exchange: PaperExchange, venue: OddVenue, clock: VirtualClock) -> None:
        trigger = (await bought(exchange, "0.991"))[ETH]
        await clock.sleep(5)
        venue.stopped_ms, venue.status = clock.now_ms() // 60_000 * 60_000 + 60_000, status
        passed_ms = clock.now_ms()
        while clock.now_ms() < passed_ms + 180 * 60_000:
            await clock.sleep(600)
            await held(exchange)
        assert (await held(exchange))[ETH] == 1, "it stands still"
        refused = await closed(exchange, ETH)
        assert isinstance(refused, NotPlaced)
        assert "no price of ETHUSDT" in refused.sentence
        venue.stopped_ms, venue.status = None, "TRADING"
        shown_ms = clock.now_ms()
        await clock.sleep(10)
        bars = await exchange.get_klines(ETH, "1m", 185)
        assert float(bars["low"].min()) <= float(trigger), "this tape falls so far within three hours"  # type: ignore[arg-type]
        assert float(bars["close"][-1]) > float(trigger), "and has risen again"
        assert ETH not in await held(exchange)
        fill = (await exchange.private.trades(ETH))[-1]
        assert fill.price < trigger
        assert fill.time_ms > shown_ms - 60_000, "not before it was seen"

    trading(work)


def test_nothing_is_valued_by_old_prices_alone() -> None:
    async def work(exchange: PaperExchange, venue: OddVenue, clock: VirtualClock) -> None:
        await bought(exchange)
        assert isinstance(await closed(exchange, BTC), Placed)
        venue.stopped_ms = clock.now_ms()
        await clock.sleep(600)
        with pytest.raises(ExchangeUnavailable, match="shows no price of ETHUSDT since"):
            await exchange.private.positions()

    trading(work)


def test_filters_that_are_read_again_reach_the_account() -> None:
    async def work(exchange: PaperExchange, venue: OddVenue, clock: VirtualClock) -> None:
        last = D(str((await exchange.get_ticker(ETH))["last"]))
        fine = OrderRequest("fine", ETH, "BUY", D(1), price=(last * D("0.98")).quantize(D("0.1")) + D("0.001"))
        refused = await exchange.private.place(fine)
        assert isinstance(refused, NotPlaced)
        assert refused.code == -4014
        venue.tick = "0.001"
        await clock.sleep(60)
        assert await exchange.refresh_rules()
        assert isinstance(await exchange.private.place(fine), Placed)
        (resting,) = await exchange.private.open_orders(ETH)
        assert resting.client_id == "fine"

    trading(work)


def test_a_symbol_that_is_listed_later_is_traded(tmp_path: Path) -> None:
    async def work(exchange: PaperExchange, venue: OddVenue, clock: VirtualClock) -> Any:
        order = OrderRequest("one", ETH, "BUY", D(1))
        refused = await exchange.private.place(order)
        assert isinstance(refused, NotPlaced)
        assert refused.code == -1121
        venue.status = "TRADING"
        await clock.sleep(60)
        await exchange.refresh_rules()
        assert isinstance(await exchange.private.place(order), Placed)
        return await held(exchange)

    async def later(exchange: PaperExchange, _venue: OddVenue, clock: VirtualClock) -> Any:
        await clock.sleep(120)
        return await held(exchange)

    assert trading(work, tmp_path, status=None) == trading(later, tmp_path) == {ETH: 1}
