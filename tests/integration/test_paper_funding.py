"""A paper account pays each funding once: when its rate is written down, by what was held at its stamp."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from support.trading.virtual_venue import at_paper

from trader_cli.core.market.timeframes import HOUR_MS
from trader_cli.core.money.orders import OrderRequest, Placed
from trader_cli.exchange.account.paper_exchange import PaperExchange
from trader_cli.venue.clocks import VirtualClock
from trader_cli.venue.server.server import VenueServer
from trader_cli.venue.simulated_market.synthetic import synthetic_tape

pytestmark = pytest.mark.slow
D = Decimal
TAPE = synthetic_tape(("ETHUSDT",), 6, 0.5, 3)
SYMBOL = "ETHUSDT"
DAY_MS = TAPE.at(0.4) // (24 * HOUR_MS) * 24 * HOUR_MS
NOON = DAY_MS + 12 * HOUR_MS
RATE = "0.005"
NEXT_RATE = "0.0001"


class LateVenue(VenueServer):
    """Funding every eight hours, from noon on every `hours`; each row comes `late_ms` after its stamp, 3 ms off it."""

    hours = 4
    late_ms = 0

    async def _answer(self, request: web.Request) -> web.Response:
        now, query = self._clock.now_ms(), request.query
        if request.path == "/fapi/v1/fundingRate":
            first, last = int(query.get("startTime", 0)), int(query.get("endTime", now))
            before = [DAY_MS - 16 * HOUR_MS + 8 * HOUR_MS * k for k in range(4)]
            stamps = [*before, *(NOON + self.hours * HOUR_MS * k for k in range(12))]
            rows = [
                {"symbol": SYMBOL, "fundingRate": RATE, "fundingTime": stamp + 3, "markPrice": "2000"}
                for stamp in stamps
                if stamp + self.late_ms <= now and first <= stamp + 3 <= last
            ]
            return web.json_response(rows)
        answer = await super()._answer(request)
        if request.path == "/fapi/v1/premiumIndex":
            return web.json_response({**json.loads(answer.body), "lastFundingRate": NEXT_RATE})  # type: ignore[arg-type]
        return answer


Work = Callable[[PaperExchange, VirtualClock], Awaitable[Any]]


def trading(work: Work, folder: Path, clock: VirtualClock, **bent: Any) -> Any:
    def venue_of(clock: VirtualClock) -> LateVenue:
        venue = LateVenue(TAPE, clock)
        vars(venue).update(bent)
        return venue

    return at_paper(venue_of, lambda exchange, _venue: work(exchange, clock), clock, folder)


async def send(exchange: PaperExchange, side: str, quantity: str = "1") -> None:
    order = OrderRequest(f"{side}-{exchange.server_now_ms()}", SYMBOL, side, D(quantity), reduce_only=side == "SELL")
    assert isinstance(await exchange.private.place(order), Placed)


async def until(exchange: PaperExchange, clock: VirtualClock, end_ms: int, every_s: float = 10) -> None:
    """Look so often."""
    while clock.now_ms() < end_ms:
        await clock.sleep(min(every_s, (end_ms - clock.now_ms()) / 1000))
        await exchange.private.account()


async def paid(exchange: PaperExchange) -> list[tuple[float, float]]:
    """(hours since noon, rate that was paid for one ETH by its price of then)."""
    rows = [i for i in await exchange.private.income(DAY_MS) if i.kind == "FUNDING_FEE"]
    bars = await exchange.get_klines(SYMBOL, "1m", 1000, start_ms=NOON - 60 * 60_000)
    opened = dict(zip(bars["open_time"].to_physical().to_list(), bars["open"].to_list(), strict=True))
    return [((i.time_ms - NOON) / HOUR_MS, -float(i.amount) / opened[i.time_ms]) for i in rows]


def just_before_noon() -> VirtualClock:
    return VirtualClock(NOON - 30_000)


@pytest.mark.parametrize(("hours", "late_ms"), [(4, 0), (4, 15_000), (1, 90_000), (4, 1_200_000)])
def test_each_stamp_is_charged_once_however_late_its_row_and_whatever_the_interval(
    tmp_path: Path, hours: int, late_ms: int
) -> None:
    async def work(exchange: PaperExchange, clock: VirtualClock) -> Any:
        await send(exchange, "BUY")
        await until(exchange, clock, NOON + 120_000)
        early = await paid(exchange)
        await until(exchange, clock, NOON + 290 * 60_000, 600)
        return early, await paid(exchange)

    early, charged = trading(work, tmp_path, just_before_noon(), hours=hours, late_ms=late_ms)
    assert [when for when, _ in charged] == list(range(0, 5, hours))
    assert [rate for _, rate in charged] == pytest.approx([0.005] * len(charged), rel=2e-3)
    assert len(early) == (1 if late_ms < 60_000 else 0), "what is not written down yet is not guessed"


def test_what_was_held_at_the_stamp_pays_though_it_is_sold_before_the_row_comes(tmp_path: Path) -> None:
    async def work(exchange: PaperExchange, clock: VirtualClock) -> Any:
        await send(exchange, "BUY")
        await until(exchange, clock, NOON + 5_000, 5)
        await send(exchange, "SELL")
        await until(exchange, clock, NOON + 20_000, 5)
        await send(exchange, "BUY", "3")  # held at no stamp
        await until(exchange, clock, NOON + 120_000)
        await send(exchange, "SELL", "3")
        return await paid(exchange)

    ((when, rate),) = trading(work, tmp_path, just_before_noon(), late_ms=60_000)
    assert (when, rate) == (0, pytest.approx(0.005, rel=2e-3))


@pytest.mark.parametrize("away_s", [20, 600, 20_000])
def test_nothing_is_missed_or_paid_twice_over_a_restart(tmp_path: Path, away_s: int) -> None:
    """Closed after the stamp has been seen and before its row has come, sold and opened again later."""

    async def work(exchange: PaperExchange, clock: VirtualClock) -> None:
        await send(exchange, "BUY")
        await until(exchange, clock, NOON + 5_000)
        await send(exchange, "SELL")

    async def later(exchange: PaperExchange, clock: VirtualClock) -> Any:
        await exchange.private.account()
        await until(exchange, clock, clock.now_ms() + 120_000)
        return await paid(exchange), await exchange.private.account()

    clock = just_before_noon()
    trading(work, tmp_path, clock, late_ms=15_000)
    again = VirtualClock(clock.now_ms() + away_s * 1000)
    charged, account = trading(later, tmp_path, again, late_ms=15_000)
    assert [when for when, _ in charged] == [0]
    third = VirtualClock(again.now_ms() + 60_000)
    assert trading(later, tmp_path, third, late_ms=15_000) == (charged, account)
