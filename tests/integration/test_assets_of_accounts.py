"""The ledger equals the account in every asset, whatever fees are paid in and whenever funding falls due."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from support.trading.margin_assets import TAPE, TRADED, Place, at_exchange, nets

from trader_cli.core.errors import ExchangeRejected
from trader_cli.core.market.timeframes import HOUR_MS
from trader_cli.core.money.assets import CREDITS, Flow, margin_asset_of
from trader_cli.core.money.orders import OrderRequest, Placed
from trader_cli.core.money.plans import Approved, Refused
from trader_cli.exchange.paper_exchange import PaperExchange
from trader_cli.execution import preflight
from trader_cli.execution.entry_result import EntryResult
from trader_cli.execution.executor import Executor
from trader_cli.settings.room_options import ExecutionOptions
from trader_cli.settings.workspace import Workspace, workspace_of
from trader_cli.tactician.loss_watch import FeePrices, LossWatch
from trader_cli.tactician.position_monitor import PositionMonitor
from trader_cli.tactician.tactician import Tactician
from trader_cli.venue.clocks import VirtualClock, run_virtual
from trader_cli.venue.engine.books import Income
from trader_cli.venue.server.faults import Fault, FaultPlan
from trader_cli.venue.server.server import VenueServer
from trader_cli.venue.simulated_market.rule_changes import PriceShift, RuleChange

pytestmark = pytest.mark.slow
D = Decimal


def test_fees_in_bnb_are_booked_in_bnb(tmp_path: Path) -> None:
    async def work(place: Place) -> None:
        place.earn("TRANSFER", "1", "BNB")
        place.books.fees_in_bnb = True
        for symbol in TRADED:
            await place.enter(symbol)
            await place.executor.close(symbol, "by_hand")
        assert set(nets(place)) == {"USDT", "USDC", "BTC", "BNB"}
        assert nets(place) == place.moved()
        account = await place.exchange.private.account()
        assert account.wallets == {asset: place.books.balance(asset) for asset in place.books.assets()}

    at_exchange(work, tmp_path)


def test_a_contract_margined_in_usdc_lives_by_its_usdc(tmp_path: Path) -> None:
    async def work(place: Place) -> str:
        await place.enter("ETHUSDC")
        await place.executor.close("ETHUSDC", "by_hand")
        assert list(nets(place)) == ["USDC"]
        assert nets(place) == place.moved()
        place.books.others["USDC"] = D(0)
        await place.clock.sleep(1)  # another plan, not the one that has been entered
        refused = await place.enter("ETHUSDC")
        assert isinstance(refused, Refused)
        assert "USDC" in refused.sentence
        return refused.code

    assert at_exchange(work, tmp_path) == "no_balance"


def test_the_capital_cap_counts_every_dollar(tmp_path: Path) -> None:
    async def work(place: Place) -> str:
        mark = place.engine.mark("ETHUSDT")
        room = float(mark) * 1.5
        executor = capped_executor(place, room)
        as_much = str((mark / place.engine.mark("ETHUSDC")).quantize(D("0.1")))
        first = await executor.enter(Approved(await place.plan("ETHUSDC", quantity=as_much)))
        assert isinstance(first, EntryResult), first
        refused = await executor.enter(Approved(await place.plan("ETHUSDT")))
        assert isinstance(refused, Refused)
        return refused.code

    assert at_exchange(work, tmp_path) == "capital_cap"


def capped(place: Place, cap: float) -> Workspace:
    changed = place.settings.tactician.model_copy(update={"capital_cap": cap})
    return workspace_of(place.settings.model_copy(update={"tactician": changed}))


def capped_executor(place: Place, cap: float) -> Executor:
    return Executor(place.exchange, place.ledger, ExecutionOptions.of(capped(place, cap)))


@pytest.mark.parametrize("first", ["ETHBTC", "ETHUSDT"])
def test_the_capital_cap_counts_other_assets_at_a_price_that_is_named(tmp_path: Path, first: str) -> None:
    second = "ETHUSDT" if first == "ETHBTC" else "ETHBTC"

    async def work(place: Place) -> str:
        coins = place.engine.mark("ETHBTC") * place.engine.mark("BTCUSDT")
        executor = capped_executor(place, float(coins + place.engine.mark("ETHUSDT")) * 0.95)
        entered = await executor.enter(Approved(await place.plan(first)))
        assert isinstance(entered, EntryResult), entered
        refused = await executor.enter(Approved(await place.plan(second)))
        assert isinstance(refused, Refused)
        assert f"BTC by BTCUSDT at {place.engine.mark('BTCUSDT'):f}" in refused.sentence
        fitting = await executor.enter(Approved(await place.plan(second, quantity="0.8")))
        assert isinstance(fitting, EntryResult), fitting
        return refused.code

    assert at_exchange(work, tmp_path) == "capital_cap"


@pytest.mark.parametrize(("symbol", "held"), [("ETHBTC", "ETHUSDC"), ("ETHUSDT", "ETHBTC")])
def test_a_plan_is_made_by_the_equity_of_its_own_asset_and_by_dollars_of_the_rest(
    tmp_path: Path, symbol: str, held: str
) -> None:
    async def work(place: Place) -> None:
        assert isinstance(await place.enter(held), EntryResult)
        tactician = Tactician(capped(place, 9000.0), exchange=place.exchange, ledger=place.ledger)
        seen = await tactician._now(symbol)
        assert not isinstance(seen, Refused)
        now, _ = seen
        price, asset = place.engine.mark("BTCUSDT"), margin_asset_of(symbol)
        assert now.dollar_price == (price if symbol == "ETHBTC" else None)
        assert now.elsewhere == place.engine.mark(held) * (price if held == "ETHBTC" else 1)
        assert (now.long_notional, now.short_notional) == (0, 0)
        assert now.equity == place.engine.equity(asset)
        assert now.available == place.books.balance(asset)

    at_exchange(work, tmp_path)


@pytest.mark.parametrize("shift", [PriceShift("BTCUSDT", stale_ms=120_000), PriceShift("BTCUSDT", index=1.03)])
def test_without_a_price_in_dollars_nothing_is_opened_and_what_is_open_is_closed(
    tmp_path: Path, shift: PriceShift
) -> None:
    async def work(place: Place) -> None:
        assert isinstance(await place.enter("ETHBTC"), EntryResult)
        place.venue.shift(shift)
        capped_at, free = capped_executor(place, 1e6), place.executor
        for executor, symbol in ((capped_at, "ETHUSDT"), (free, "ETHBTC")):
            if symbol == "ETHBTC":
                await executor.close(symbol, "by_hand")
                assert place.books.position(symbol).amount == 0
                await place.clock.sleep(1)  # another plan, not the one that has been entered
            refused = await executor.enter(Approved(await place.plan(symbol)))
            assert isinstance(refused, Refused)
            assert (refused.code, "BTCUSDT" in refused.sentence) == ("no_dollar_price", True)
        assert isinstance(await free.enter(Approved(await place.plan("ETHUSDT"))), EntryResult), "no cap, no price"

    at_exchange(work, tmp_path)


@pytest.mark.parametrize("mode", ["multi_assets", "credits_mode"])
def test_an_account_that_we_do_not_trade_is_refused_and_what_is_open_is_closed(tmp_path: Path, mode: str) -> None:
    async def work(place: Place) -> None:
        assert isinstance(await place.enter("ETHUSDT"), EntryResult)
        setattr(place.books, mode, True)
        refused = await place.enter("ETHUSDC")
        assert isinstance(refused, Refused)
        assert refused.code == {"multi_assets": "multi_assets", "credits_mode": "credits_account"}[mode]
        planned = await preflight.balance_for(
            place.exchange, "ETHUSDT", ExecutionOptions.of(workspace_of(place.settings))
        )
        assert isinstance(planned, Refused)
        assert planned.code == refused.code
        assert place.books.position("ETHUSDC").amount == 0
        await place.executor.close("ETHUSDT", "by_hand")
        assert place.books.position("ETHUSDT").amount == 0

    at_exchange(work, tmp_path)


@pytest.mark.parametrize("share", ["0.02", "0.04"])
def test_an_account_in_credits_mode_is_paid_in_credits_and_loses_by_them(tmp_path: Path, share: str) -> None:
    async def work(place: Place) -> None:
        assert isinstance(await place.enter("ETHUSDT", quantity="0.1", stop="0.2"), EntryResult)
        watch, executor = LossWatch(place.settings.tactician), place.executor
        paid = nets(place)
        place.books.credits_mode = True
        await executor.view("ETHUSDT")
        assert await watch.broken(executor) is None
        assert place.ledger.halted() is None, "what was dollars is credits: nothing was lost by that"
        lost = place.engine.equity() * D(share)
        place.books.earn(Income("FUNDING_FEE", "ETHUSDT", -lost, place.clock.now_ms(), asset=CREDITS))
        await place.clock.sleep(10)
        await watch.broken(executor)
        reason = place.ledger.halted()
        assert (reason is not None and "(BNFCR)" in reason) == (share == "0.04")
        await executor.close("ETHUSDT", "by_hand")
        booked = [i.amount for i in place.books.income if i.asset == CREDITS]
        assert nets(place) == {**paid, CREDITS: sum(booked, D(0))}
        assert {i.kind for i in place.books.income if i.asset == CREDITS} >= {"REALIZED_PNL", "COMMISSION"}

    at_exchange(work, tmp_path, tactician={"max_daily_loss": 0.03})


@pytest.mark.parametrize(("before", "after", "stamps"), [(8, 1, 2), (1, 2, 1), (4, 4, 1)])
def test_funding_is_in_the_ledger_minutes_after_each_stamp(
    tmp_path: Path, before: int, after: int, stamps: int
) -> None:
    eight = TAPE.start_ms // (8 * HOUR_MS) * 8 * HOUR_MS + 24 * HOUR_MS
    changes = (
        RuleChange("ETHUSDT", TAPE.start_ms, funding_interval_h=before),
        RuleChange("ETHUSDT", eight + 60_000, funding_interval_h=after),
    )

    async def work(place: Place) -> None:
        await place.enter("ETHUSDT", stop="0.2")
        monitor = PositionMonitor(place.settings, exchange=place.exchange, ledger=place.ledger)
        watching = asyncio.ensure_future(monitor.start_monitoring(75 * 60))
        late: list[int] = []
        while not watching.done():
            await place.clock.sleep(60)
            if nets(place) != place.moved():
                late.append(place.clock.now_ms() - place.books.income[-1].time_ms)
        paid = [income.time_ms for income in place.books.income if income.kind == "FUNDING_FEE"]
        assert paid == [eight + number * HOUR_MS for number in range(stamps)]
        assert max(late, default=0) <= 120_000
        assert nets(place) == place.moved()

    at_exchange(work, tmp_path, changes=changes, start_ms=eight - 600_000)


@pytest.mark.parametrize("every_s", [600, 5 * 3600])
def test_paper_pays_funding_at_each_stamp_by_what_was_held_then(tmp_path: Path, every_s: int) -> None:
    """Also where it fell due every four hours, then every hour, and nobody looked for five."""
    eight = TAPE.start_ms // (8 * HOUR_MS) * 8 * HOUR_MS + 24 * HOUR_MS
    changes = (
        RuleChange("ETHUSDT", TAPE.start_ms, funding_interval_h=4),
        RuleChange("ETHUSDT", eight + 4 * HOUR_MS + 60_000, funding_interval_h=1),
    )
    clock = VirtualClock(eight - 90_000)

    async def main() -> None:
        async with VenueServer(TAPE, clock, changes=changes) as venue:
            given = {"binance_exchange": {"base_url": venue.url, "max_retries": 1}}
            exchange = PaperExchange(given, clock=clock, folder=tmp_path)
            await exchange.initialize()
            held, amount = dict[int, Decimal](), D(0)
            for number, quantity in enumerate(("2", "1", "0.5")):
                sent = await exchange.private.place(OrderRequest(f"buy-{number}", "ETHUSDT", "BUY", D(quantity)))
                assert isinstance(sent, Placed)
                amount += D(quantity)
                began = clock.now_ms()
                for _ in range(3 * 3600 // min(every_s, 3 * 3600)):
                    await clock.sleep(min(every_s, 3 * 3600))
                    await exchange.private.account()
                held |= {
                    hour: amount
                    for hour in range(eight, eight + 24 * HOUR_MS, HOUR_MS)
                    if began < hour <= clock.now_ms()
                }
            shown = (await exchange.get_funding_rates("ETHUSDT", 100, start_ms=eight - 1)).filter(
                pl.col("time").to_physical() <= clock.now_ms()
            )
            rows = shown.select(pl.col("time").to_physical(), pl.col("funding_rate") * pl.col("mark_price")).rows()
            paid = await exchange.private.income(eight - 1)
            await exchange.close()
            assert [hour for hour, _ in rows] == [eight + hour * HOUR_MS for hour in (0, 4, 5, 6, 7, 8)]
            funding = {i.time_ms: float(i.amount) for i in paid if i.kind == "FUNDING_FEE"}
            owed = {time_ms: -cost * float(held[time_ms]) for time_ms, cost in rows}
            assert funding == pytest.approx(owed, rel=2e-3)

    run_virtual(main, clock)


@pytest.mark.parametrize("cost", ["funding", "BNB", "USDC", "BTC", "BNB of BTC"])
def test_a_loss_limit_breaks_at_the_first_look_after_the_account_says_so(tmp_path: Path, cost: str) -> None:
    """Whatever asset it was lost in: by funding between two looks, by what is paid in BNB, by a contract in USDC."""
    symbol = {"USDC": "ETHUSDC", "BTC": "ETHBTC", "BNB of BTC": "ETHBTC"}.get(cost, "ETHUSDT")

    async def work(place: Place) -> None:
        place.earn("TRANSFER", "2", "BNB")
        place.books.fees_in_bnb = cost.startswith("BNB")
        assert isinstance(await place.enter(symbol, quantity="0.5", stop="0.2"), EntryResult)
        watch, executor = LossWatch(place.settings.tactician), place.executor
        await executor.view(symbol)
        assert await watch.broken(executor) is None
        asset, margin = {"funding": "USDT", "USDC": "USDC", "BTC": "BTC"}.get(cost, "BNB"), symbol[3:]
        lost = place.engine.equity(margin) * D("0.031")
        lost /= place.engine.mark("BNBUSDT") if asset == "BNB" else 1
        lost *= place.engine.mark("BTCUSDT") if cost == "BNB of BTC" else 1
        place.books.earn(Income("FUNDING_FEE", symbol, -lost.quantize(D("1e-8")), place.clock.now_ms(), asset=asset))
        await place.clock.sleep(10)
        await watch.broken(executor)
        reason = place.ledger.halted()
        assert reason is not None
        assert "UTC day" in reason
        named = (asset == "BNB", margin == "USDC", margin == "BTC")
        assert ("BNB at" in reason, "USDC" in reason, "BTC" in reason) == named

    at_exchange(work, tmp_path, tactician={"max_daily_loss": 0.03})


@pytest.mark.parametrize("in_that_mode", [False, True])
def test_a_host_that_does_not_tell_the_assets_mode_is_traded_by_what_margin_it_takes(
    tmp_path: Path, in_that_mode: bool
) -> None:
    async def work(place: Place) -> None:
        place.books.multi_assets = in_that_mode
        untold = FaultPlan((Fault("GET", "/fapi/v1/multiAssetsMargin", failure="503"),))
        place.venue.bend(untold)
        if not in_that_mode:
            assert isinstance(await place.enter("ETHUSDT"), EntryResult)
            return
        with pytest.raises(ExchangeRejected, match="Multi-Assets"):
            await place.enter("ETHUSDT")
        assert place.books.position("ETHUSDT").amount == 0

    at_exchange(work, tmp_path)


def test_a_price_of_fees_is_one_in_the_margin_asset_and_keeps_no_look_waiting(tmp_path: Path) -> None:
    async def work(place: Place) -> None:
        prices = FeePrices(place.exchange, 2.0)
        flows = [
            Flow(0, D(-1), asset, margin)
            for asset, margin in (("BNB", "USDT"), ("BNB", "USDC"), ("USDC", "USDT"), ("BNB", "BTC"), ("BNB", "SOL"))
        ]
        found = await prices.of(flows)
        assert set(found) == {"USDT", "USDC", "BTC"}
        assert prices.missing == ["BNBSOL"], "the price of BNB in dollars is none in another asset"
        assert found["BTC"]["BNB"] == place.engine.mark("BNBUSDT") / place.engine.mark("BTCUSDT")
        assert found["USDT"]["USDC"] == 1
        assert found["USDT"]["BNB"] == place.engine.mark("BNBUSDT")
        place.venue.bend(FaultPlan((Fault("GET", "/fapi/v1/premiumIndex", after_s=40),)))
        await place.clock.sleep(90)
        began = place.clock.now_ms()
        assert await prices.of(flows[:1]) == {"USDT": {"BNB": found["USDT"]["BNB"]}}, "the last one that was seen"
        assert place.clock.now_ms() - began <= 2000

    at_exchange(work, tmp_path)
