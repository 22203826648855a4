"""A paper account holds what `paper.assets` names, and trades each contract by its margin asset."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.trading.virtual_venue import at_paper

from trader_cli.core.money.orders import AccountState, OrderRequest, Placed
from trader_cli.core.money.plans import Refused
from trader_cli.exchange.account.paper_exchange import PaperExchange
from trader_cli.execution import preflight
from trader_cli.settings.room_options import ExecutionOptions
from trader_cli.settings.workspace import workspace_of
from trader_cli.venue.clocks import VirtualClock
from trader_cli.venue.engine.venue_journal import last_command_ms
from trader_cli.venue.server.server import VenueServer
from trader_cli.venue.simulated_market.rule_changes import PriceShift
from trader_cli.venue.simulated_market.synthetic import synthetic_tape

pytestmark = pytest.mark.slow
D = Decimal
SYMBOLS = ("ETHUSDT", "ETHUSDC", "ETHBTC", "BTCUSDT")
TAPE = synthetic_tape(SYMBOLS, 3, 0.5, 3)
Work = Callable[[PaperExchange], Awaitable[Any]]


def in_paper(
    work: Work,
    folder: Path,
    *,
    tape: Any = TAPE,
    assets: tuple[str, ...] = ("USDC", "BTC"),
    at: float = 0.4,
    shifts: tuple[PriceShift, ...] = (),
) -> Any:
    def venue_of(clock: VirtualClock) -> VenueServer:
        venue = VenueServer(tape, clock)
        venue.shift(*shifts)
        return venue

    clock = VirtualClock(tape.at(at))
    return at_paper(venue_of, lambda exchange, _venue: work(exchange), clock, folder, paper={"assets": assets})


async def wallets(exchange: PaperExchange) -> dict[str, Decimal]:
    return (await exchange.private.account()).wallets


async def traded(exchange: PaperExchange, symbol: str) -> Decimal:
    """A round trip; what its fills say it came to."""
    for side in ("BUY", "SELL"):
        order = OrderRequest(f"{side}-{symbol}", symbol, side, D(1), reduce_only=side == "SELL")
        assert isinstance(await exchange.private.place(order), Placed)
        await exchange.clock.sleep(60)
    fills = await exchange.private.trades(symbol)
    assert all(fill.commission > 0 for fill in fills)
    return sum((fill.realized_profit - fill.commission for fill in fills), D(0))


def test_a_paper_account_trades_by_the_margin_asset_of_the_contract(tmp_path: Path) -> None:
    async def work(exchange: PaperExchange) -> dict[str, Decimal]:
        opened = await wallets(exchange)
        price = D(str((await exchange.get_premium_index("BTCUSDT"))["mark_price"]))
        assert opened == {"USDT": D(10_000), "USDC": D(10_000), "BTC": (10_000 / price).quantize(D("1e-8"))}
        assert last_command_ms(tmp_path) == 0, "an account that only got its wallets has not traded"
        came_to = {"BTC": await traded(exchange, "ETHBTC"), "USDC": await traded(exchange, "ETHUSDC"), "USDT": D(0)}
        now = await wallets(exchange)
        assert {asset: now[asset] - opened[asset] for asset in opened} == came_to
        return now

    after = in_paper(work, tmp_path)
    assert last_command_ms(tmp_path) > 0
    assert in_paper(wallets, tmp_path, at=0.8) == after, "each wallet is opened once"


async def _told(exchange: PaperExchange) -> AccountState | Refused:
    return await preflight.balance_for(exchange, "ETHBTC", ExecutionOptions.of(workspace_of({})))


@pytest.mark.parametrize("why", ["stale", "apart", "unlisted"])
def test_without_a_price_in_dollars_there_is_no_wallet_and_no_plan(tmp_path: Path, why: str) -> None:
    shifts = {
        "stale": (PriceShift("BTCUSDT", stale_ms=120_000),),
        "apart": (PriceShift("BTCUSDT", mark=1.02),),
        "unlisted": (),
    }[why]
    tape = synthetic_tape(("ETHUSDT", "ETHBTC"), 3, 0.5, 3) if why == "unlisted" else TAPE
    told = in_paper(_told, tmp_path, tape=tape, assets=("BTC",), shifts=shifts)
    assert isinstance(told, Refused)
    assert (told.code, "BTCUSDT" in told.sentence) == ("no_dollar_price", True)
    assert in_paper(wallets, tmp_path, tape=tape, assets=("BTC",), shifts=shifts) == {"USDT": D(10_000)}


def test_what_is_held_in_an_asset_that_is_no_longer_named_is_still_looked_at(tmp_path: Path) -> None:
    async def buy(exchange: PaperExchange) -> None:
        await wallets(exchange)
        assert isinstance(await exchange.private.place(OrderRequest("b", "ETHBTC", "BUY", D(1))), Placed)

    async def close(exchange: PaperExchange) -> Decimal:
        order = OrderRequest("s", "ETHBTC", "SELL", D(1), reduce_only=True)
        assert isinstance(await exchange.private.place(order), Placed)
        return sum((p.amount for p in await exchange.private.positions()), D(0))

    in_paper(buy, tmp_path)
    assert in_paper(close, tmp_path, assets=(), at=0.6) == 0
