"""A paper account on a separately served exchange: real market data through ccxt, fills of our own, no keys."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from aiohttp import web
from support.hosts.tape_host import playing_now, serving
from support.trading.virtual_venue import at_paper

from trader_cli.core.errors import ConfigurationError, ExchangeRejected, ExchangeUnavailable, UsageError
from trader_cli.core.money.orders import MarginSettings, NotPlaced, OrderRequest, Placed, StopRequest, Unknown
from trader_cli.exchange.account.paper_exchange import PaperExchange
from trader_cli.pipelines.market_access import Market, run_in_market
from trader_cli.settings.workspace import workspace_of
from trader_cli.venue.clocks import VirtualClock
from trader_cli.venue.server.server import VenueServer
from trader_cli.venue.simulated_market.synthetic import synthetic_tape

pytestmark = pytest.mark.slow

TAPE = synthetic_tape(("ETHUSDT", "BTCUSDT"), 6, 0.5, 3)
SYMBOL = "ETHUSDT"
HOUR_S = 3600.0


class WatchedVenue(VenueServer):
    """An honest exchange that counts what it is asked, and can be gone."""

    down = ""
    """Paths with this in them are not answered."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.seen: list[str] = []

    async def _answer(self, request: web.Request) -> web.Response:
        self.seen.append(request.path)
        if self.down and self.down in request.path:
            return web.Response(text="Service Unavailable", status=503)
        return await super()._answer(request)


Work = Callable[[PaperExchange, WatchedVenue, VirtualClock], Awaitable[Any]]


def trading(work: Work, folder: Path | None = None, clock: VirtualClock | None = None, **options: Any) -> Any:
    clock = clock or VirtualClock(TAPE.at(0.4))
    return at_paper(
        lambda clock: WatchedVenue(TAPE, clock),
        lambda exchange, venue: work(exchange, venue, clock),
        clock,
        folder,
        retries=1,
        **options,
    )


def buy(client_id: str = "one", quantity: str = "1", **extra: Any) -> OrderRequest:
    return OrderRequest(client_id, SYMBOL, "BUY", Decimal(quantity), **extra)


async def bought(exchange: PaperExchange, below: str = "0.99") -> Decimal:
    """Buy one and let a stop rest below; returns the trigger."""
    assert isinstance(await exchange.private.place(buy()), Placed)
    (position,) = await exchange.private.positions()
    trigger = exchange.symbol_rules(SYMBOL).price_down(position.entry_price * Decimal(below))
    assert isinstance(await exchange.private.place_stop(StopRequest("s", SYMBOL, "SELL", "stop", trigger)), Placed)
    return trigger


def test_an_order_its_stop_and_the_way_out_without_any_key() -> None:
    async def work(exchange: PaperExchange, venue: WatchedVenue, _clock: VirtualClock) -> None:
        side = exchange.private
        assert await side.set_margin_settings(SYMBOL, MarginSettings(7, isolated=True)) == MarginSettings(
            7, isolated=True
        )
        before, asks = await side.account(), (await exchange.get_order_book(SYMBOL, 50))["asks"]
        placed = await side.place(buy())
        assert isinstance(placed, Placed)
        assert placed.state.status == "FILLED"
        trades = await side.trades(SYMBOL)
        assert [float(t.price) for t in trades] == [price for price, _ in asks][: len(trades)], "it takes the real book"
        (position,) = await side.positions()
        assert position.liquidation_price is not None
        assert position.mark_price == Decimal(str((await exchange.get_ticker(SYMBOL))["last"]))
        low = exchange.symbol_rules(SYMBOL).price_down(position.entry_price * Decimal("0.97"))
        assert isinstance(await side.place_stop(StopRequest("back", SYMBOL, "SELL", "stop", low)), Placed)
        (resting,) = await side.open_stops(SYMBOL)
        assert (resting.close_position, resting.by_mark_price) == (True, True)
        closed = await side.place(OrderRequest("out", SYMBOL, "SELL", Decimal(1), reduce_only=True))
        assert isinstance(closed, Placed)
        assert await side.positions() == []
        assert await side.open_stops(SYMBOL) == []
        trades, after = await side.trades(SYMBOL), await side.account()
        assert after.wallet == before.wallet + sum((t.realized_profit - t.commission for t in trades), Decimal(0))
        assert not [path for path in venue.seen if "order" in path.lower() or "v3" in path], "nothing private is asked"

    trading(work)


def test_a_stop_passed_between_two_looks_has_triggered_in_its_minute_and_funding_is_paid(tmp_path: Path) -> None:
    clock, hours = VirtualClock(TAPE.at(0.4)), 60

    async def work(exchange: PaperExchange, _venue: WatchedVenue, clock: VirtualClock) -> Decimal:
        trigger = await bought(exchange, "0.98")
        await clock.sleep(hours * HOUR_S)
        return trigger

    async def later(exchange: PaperExchange, _venue: WatchedVenue, clock: VirtualClock) -> Any:
        bars = await exchange.get_klines(SYMBOL, "1m", hours * 60)
        stop = await exchange.private.stop(SYMBOL, "s")
        fill = (await exchange.private.trades(SYMBOL))[-1]
        paid = await exchange.private._read("fapiPrivateGetIncome", "/fapi/v1/income", incomeType="FUNDING_FEE")
        shown = await exchange.get_funding_rates(SYMBOL)
        owed = dict(shown.select(pl.col("time").to_physical(), pl.col("funding_rate") * pl.col("mark_price")).rows())
        return bars, stop, fill, [(row, -owed[row["time"]]) for row in paid], await exchange.private.positions()

    start_ms = clock.now_ms()
    trigger = trading(work, tmp_path, clock)
    bars, stop, fill, paid, positions = trading(later, tmp_path, clock)
    reached = bars.filter((bars["low"] <= float(trigger)) & (bars["open_time"].to_physical() > start_ms))
    minute = int(reached["open_time"].to_physical()[0])
    assert (stop.status, positions) == ("FINISHED", [])
    assert minute <= fill.time_ms < minute + 60_000
    assert float(fill.price) == pytest.approx(float(trigger), rel=0.002)
    for row, income in paid:
        assert float(row["income"]) == pytest.approx(income, rel=1e-3)
    eight = 8 * 3_600_000
    assert paid, "the stop rested over a boundary"
    assert [row["time"] for row, _ in paid] == list(range((start_ms // eight + 1) * eight, fill.time_ms, eight))


def test_an_account_goes_on_where_it_was_left(tmp_path: Path) -> None:
    clock = VirtualClock(TAPE.at(0.4))

    async def work(exchange: PaperExchange, _venue: WatchedVenue, _clock: VirtualClock) -> Any:
        await bought(exchange)
        return await seen(exchange, _venue, _clock)

    async def seen(exchange: PaperExchange, _venue: WatchedVenue, _clock: VirtualClock) -> Any:
        side = exchange.private
        held = [(p.amount, p.entry_price, p.isolated_wallet) for p in await side.positions()]
        return (await side.account()).wallet, held, await side.open_stops(SYMBOL), await side.trades(SYMBOL)

    left = trading(work, tmp_path, clock)
    assert trading(seen, tmp_path, clock) == left


@pytest.mark.parametrize("down", ["/", "klines", "depth"])
def test_without_the_exchange_nothing_is_answered_and_nothing_is_done(down: str) -> None:
    async def work(exchange: PaperExchange, venue: WatchedVenue, clock: VirtualClock) -> None:
        side = exchange.private
        await bought(exchange, "0.5")
        trades = await side.trades(SYMBOL)
        await clock.sleep(300)
        venue.down = down
        refused = await side.place(buy("two"))
        assert isinstance(refused, NotPlaced), "it certainly was not carried out"
        if down != "depth":  # what rests needs no book
            for asked in (side.account, side.positions, lambda: side.order(SYMBOL, "two")):
                with pytest.raises(ExchangeUnavailable):
                    await asked()
            assert isinstance(
                await side.place_stop(StopRequest("t", SYMBOL, "SELL", "stop", Decimal(9), Decimal(1))), NotPlaced
            )
        venue.down = ""
        assert await side.order(SYMBOL, "two") is None
        assert await side.trades(SYMBOL) == trades
        assert [stop.client_id for stop in await side.open_stops(SYMBOL)] == ["s"]

    trading(work)


def test_prices_that_stand_still_are_not_taken_for_the_markets() -> None:
    async def work(exchange: PaperExchange, _venue: WatchedVenue, clock: VirtualClock) -> None:
        await bought(exchange, "0.5")
        await clock.sleep((TAPE.end_ms - clock.now_ms()) / 1000 + 600)
        with pytest.raises(ExchangeUnavailable, match="shows no price of ETHUSDT since"):
            await exchange.private.positions()

    trading(work)


@pytest.mark.parametrize(
    ("order", "code"),
    [
        (buy(quantity="0.001"), -4164),
        (buy(quantity="900"), -2019),
        (buy(quantity="0.00005"), -1111),
        (buy(reduce_only=True), -2022),
        (OrderRequest("x", "NOPEUSDT", "BUY", Decimal(1)), -1121),
    ],
)
def test_a_refusal_has_the_exchanges_code(order: OrderRequest, code: int) -> None:
    async def work(exchange: PaperExchange, _venue: WatchedVenue, _clock: VirtualClock) -> None:
        refused = await exchange.private.place(order)
        assert isinstance(refused, NotPlaced), refused
        assert refused.code == code
        assert await exchange.private.positions() == []
        assert await exchange.private.stop(SYMBOL, "never sent") is None
        with pytest.raises(ExchangeRejected) as unknown:
            await exchange.private.trades("NOPEUSDT")
        assert unknown.value.code == -1121

    trading(work)


def test_a_second_order_of_the_same_id_is_unknown_and_single() -> None:
    async def work(exchange: PaperExchange, _venue: WatchedVenue, _clock: VirtualClock) -> None:
        last = Decimal(str((await exchange.get_ticker(SYMBOL))["last"]))
        resting = buy(price=exchange.symbol_rules(SYMBOL).price_down(last * Decimal("0.97")))
        assert isinstance(await exchange.private.place(resting), Placed)
        assert isinstance(await exchange.private.place(resting), Unknown)
        (found,) = await exchange.private.open_orders(SYMBOL)
        cancelled = await exchange.private.cancel(SYMBOL, found.client_id)
        assert cancelled
        assert cancelled.status == "CANCELED"

    trading(work)


def test_a_paper_key_may_trade_and_not_withdraw_and_looks_only_where_it_must() -> None:
    async def work(exchange: PaperExchange, venue: WatchedVenue, _clock: VirtualClock) -> None:
        side, before = exchange.private, len(venue.seen)
        rights = await side.key_rights()
        assert (rights.can_trade_futures, rights.can_withdraw, await side.hedge_mode()) == (True, False, False)
        assert (await side.brackets(SYMBOL))[0].max_leverage == 125
        assert (await side.account()).wallet == 10_000
        assert venue.seen[before:] == [], "a flat account depends on no price"

    trading(work)


def test_a_new_account_has_its_balance_and_keeps_it(tmp_path: Path) -> None:
    async def wallet(exchange: PaperExchange, _venue: WatchedVenue, _clock: VirtualClock) -> Decimal:
        return (await exchange.private.account()).wallet

    balances = [trading(wallet, tmp_path / name, paper={"balance": b}) for name, b in (("a", 500), ("b", 70), ("a", 9))]
    assert balances == [500, 70, 500]


def test_only_who_asks_about_the_account_owns_it(tmp_path: Path) -> None:
    async def work(exchange: PaperExchange, venue: WatchedVenue, clock: VirtualClock) -> None:
        beside = PaperExchange({"binance_exchange": {"base_url": venue.url}}, clock=clock, folder=tmp_path / "account")
        await beside.initialize()
        assert (await exchange.get_klines(SYMBOL, "1m", 5)).height == 5
        assert not (tmp_path / "account").exists()
        await exchange.private.account()
        assert (await beside.get_klines(SYMBOL, "1m", 5)).height == 5
        with pytest.raises(ConfigurationError, match="Another process owns"):
            await beside.private.account()
        await exchange.close()
        assert (await beside.private.account()).wallet == 10_000
        await beside.close()
        with pytest.raises(UsageError, match="closed"):
            await beside.private.account()

    trading(work, tmp_path / "account")


def test_an_account_is_not_taken_back_in_time(tmp_path: Path) -> None:
    async def work(exchange: PaperExchange, _venue: WatchedVenue, _clock: VirtualClock) -> None:
        await bought(exchange)

    async def earlier(exchange: PaperExchange, _venue: WatchedVenue, _clock: VirtualClock) -> None:
        with pytest.raises(ConfigurationError, match="has come to"):
            await exchange.private.account()

    trading(work, tmp_path)
    trading(earlier, tmp_path, VirtualClock(TAPE.at(0.2)))


def test_the_paper_profile_trades_on_a_served_market_and_survives_a_kill(tmp_path: Path) -> None:
    script = """
import asyncio, os, signal, sys
from decimal import Decimal
from trader_cli.core.money.orders import OrderRequest
from trader_cli.pipelines.market_access import run_in_market
from trader_cli.settings import workspace_of
async def work(market):
    await market.exchange.private.place(OrderRequest("one", "ETHUSDT", "BUY", Decimal(1)))
    os.kill(os.getpid(), signal.SIGKILL)
run_in_market(workspace_of({"mode": "paper", "state_dir": sys.argv[1], "binance_exchange": {"base_url": sys.argv[2]}}), work)
"""

    async def positions(market: Market) -> Any:
        assert isinstance(market.exchange, PaperExchange)
        return await market.exchange.private.positions(), await market.exchange.private.trades(SYMBOL)

    with serving(playing_now(TAPE)) as url:
        killed = subprocess.run(
            [sys.executable, "-c", script, tmp_path, url], check=False, timeout=60, env={**os.environ}
        )
        assert killed.returncode == -signal.SIGKILL
        config = {"mode": "paper", "state_dir": str(tmp_path), "binance_exchange": {"base_url": url}}
        (position,), trades = run_in_market(workspace_of(config), positions)
    assert position.amount == sum(t.quantity for t in trades) == 1
    (journal,) = tmp_path.rglob("journal.sqlite")
    assert journal.parent.name == "paper"
