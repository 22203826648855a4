"""What reduces starts with the clock off, the time or the symbols down or slow; and goes on through refusals by time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from support.hosts.recording_host import SYMBOL, KeepingHost, LedgerOrder, later, listed, order_of, refusal
from test_signing import KEYS, ORDER, closing, opening

from trader_cli.core.errors import ClockSkewed, ExchangeRejected, ExchangeUnavailable, UsageError
from trader_cli.core.money.orders import NotPlaced, Placed, StopRequest
from trader_cli.exchange.binance import BinanceExchange
from trader_cli.venue.clocks import WallClock

pytestmark = pytest.mark.slow

TIME, INFO, POSITIONS = "GET /fapi/v1/time", "GET /fapi/v1/exchangeInfo", "GET /fapi/v3/positionRisk"
Prepare = Callable[[KeepingHost], object]


class SteppedClock(WallClock):
    """A machine's clock that is off, and that a person sets."""

    def __init__(self, off_ms: int = 0) -> None:
        super().__init__()
        self.off_ms = off_ms

    def now_ms(self) -> int:
        return super().now_ms() + self.off_ms


def in_window(host: KeepingHost, answer: Callable[[LedgerOrder], Any]) -> Callable[[LedgerOrder], Any]:
    """As the exchange: by its clock, the timestamp lies within its window."""

    def checked(kept: LedgerOrder) -> Any:
        sent, window = int(kept.given["timestamp"]), int(kept.given["recvWindow"])
        if sent >= host.now_ms() + 1000 or host.now_ms() - sent > min(window, 60_000):
            return refusal(-1021, "Timestamp for this request is outside of the recvWindow.")
        return answer(kept)

    return checked


def caring(
    work: Callable[[BinanceExchange, KeepingHost], Awaitable[Any]],
    prepare: Prepare = lambda _: None,
    *,
    off_ms: int = 0,
    protection: bool = True,
    remembered: Path | None = None,
) -> Any:
    """Run `work` with an exchange that was started for care; `off_ms`: how wrong this machine's clock is."""

    import ccxt.async_support  # noqa: F401  (not part of what is timed)

    async def main() -> Any:
        async with KeepingHost() as host:
            host.answers |= {POSITIONS: in_window(host, lambda _: []), "POST " + ORDER: in_window(host, order_of)}
            prepare(host)
            keys = {**KEYS, "base_url": host.url, "max_retries": 0, "timeout": 6}
            clock = SteppedClock(off_ms)
            exchange = BinanceExchange({"mode": "demo", "binance_exchange": keys}, clock=clock, remembered=remembered)
            began = time.monotonic()
            try:
                assert await exchange.initialize(protection=protection)
                assert time.monotonic() - began < 2.6
                return await work(exchange, host)
            finally:
                await exchange.close()

    return asyncio.run(main())


def set_answer(route: str, answer: Callable[[LedgerOrder], Any]) -> Prepare:
    return lambda host: host.answers.update({route: answer})


async def reduces(exchange: BinanceExchange, _host: KeepingHost) -> None:
    assert await exchange.protection.positions() == []
    assert isinstance(await exchange.protection.place(closing()), Placed)


@pytest.mark.parametrize("route", [TIME, INFO])
@pytest.mark.parametrize("how", ["down", "slow", "garbled", "limited elsewhere"])
def test_what_reduces_starts_without_time_or_symbols(route: str, how: str) -> None:
    answers: dict[str, Callable[[LedgerOrder], Any]] = {
        "down": lambda _: web.Response(text="busy", status=503),
        "slow": later(5, {}),
        "garbled": lambda _: {"a": 1},
        "limited elsewhere": lambda _: refusal(-1000, "try later", 500),
    }

    async def work(exchange: BinanceExchange, host: KeepingHost) -> None:
        await reduces(exchange, host)
        if route == INFO:
            assert exchange.rules_or_none(SYMBOL) is None
            with pytest.raises(UsageError, match="could not be read"):
                exchange.symbol_rules(SYMBOL)
            assert (await exchange.get_ticker(SYMBOL))["last"] == 2000
        else:
            assert exchange.symbol_rules(SYMBOL).tick == Decimal("0.01")

    caring(work, set_answer(route, answers[how]))


def test_time_and_symbols_are_asked_side_by_side_and_both_may_be_slow() -> None:
    def both(host: KeepingHost) -> None:
        host.answers |= {TIME: later(5, {}), INFO: later(5, {})}

    caring(reduces, both)


@pytest.mark.parametrize("off_ms", [-3_600_000, -600_000, -30_000, 30_000, 600_000, 3_600_000])
def test_a_clock_that_is_off_is_no_reason_not_to_reduce(off_ms: int) -> None:
    caring(reduces, off_ms=off_ms)
    with pytest.raises(ClockSkewed):
        caring(reduces, off_ms=off_ms, protection=False)


@pytest.mark.parametrize("off_ms", [-25_000, 0, 25_000])
def test_without_the_exchanges_time_half_a_minute_either_way_is_good_enough_to_reduce_and_not_to_open(
    off_ms: int,
) -> None:
    async def work(exchange: BinanceExchange, host: KeepingHost) -> None:
        await reduces(exchange, host)
        sent = await exchange.protection.place(opening())
        assert isinstance(sent, Placed) == (off_ms == 0)
        windows = {kept.given["newClientOrderId"]: kept.given["recvWindow"] for kept in host.asked(ORDER, "POST")}
        assert windows == {"in": "5000", "out": "60000"}

    caring(work, set_answer(TIME, lambda _: web.Response(status=503)), off_ms=off_ms)


def test_a_clock_set_by_an_hour_changes_nothing() -> None:
    async def work(exchange: BinanceExchange, host: KeepingHost) -> None:
        clock, asked = exchange.clock, len(host.asked("/fapi/v1/time"))
        assert isinstance(clock, SteppedClock)
        for step in (3_600_000, -3_600_000, 600_000):
            clock.off_ms = step
            assert abs(exchange.server_now_ms() - host.now_ms()) < 500
            await reduces(exchange, host)
            assert isinstance(await exchange.private.place(opening()), Placed)
        assert len(host.asked("/fapi/v1/time")) == asked

    caring(work)


@pytest.mark.parametrize("off_ms", [-600_000, -20_000, 20_000, 600_000])
def test_a_refusal_by_time_sets_the_clock_again_and_reads_are_tried_once_more(off_ms: int) -> None:
    async def work(exchange: BinanceExchange, host: KeepingHost) -> None:
        host.skew_ms = off_ms
        assert await exchange.protection.positions() == []
        assert abs(exchange.server_now_ms() - host.now_ms()) < 500
        assert isinstance(await exchange.private.place(opening()), Placed)
        host.skew_ms -= off_ms
        refused = await exchange.protection.place(opening("late"))
        assert isinstance(refused, NotPlaced)
        assert refused.code == -1021
        await asyncio.sleep(0.2)
        assert isinstance(await exchange.protection.place(opening("later")), Placed)
        last = host.asked(ORDER, "POST")[-1]
        assert last.given["recvWindow"] == "5000"

    caring(work)


@pytest.mark.parametrize("side", ["private", "protection"])
@pytest.mark.parametrize("off_ms", [-20_000, 20_000])
def test_a_read_refused_by_time_is_tried_again_at_once_in_either_lane(side: str, off_ms: int) -> None:
    async def work(exchange: BinanceExchange, host: KeepingHost) -> None:
        host.skew_ms = off_ms
        assert await getattr(exchange, side).positions() == []
        assert len(host.asked("/fapi/v3/positionRisk")) == 2
        assert abs(exchange.server_now_ms() - host.now_ms()) < 500

    caring(work)


def test_a_read_that_is_refused_again_is_not_tried_a_third_time() -> None:
    async def work(exchange: BinanceExchange, host: KeepingHost) -> None:
        host.answers[POSITIONS] = lambda _: refusal(-1021, "Timestamp for this request was 1000ms ahead.")
        with pytest.raises(ExchangeRejected):
            await exchange.protection.positions()
        assert len(host.asked("/fapi/v3/positionRisk")) == 2

    caring(work)


def test_the_time_is_asked_again_when_it_is_old_without_anyone_waiting() -> None:
    async def work(exchange: BinanceExchange, host: KeepingHost) -> None:
        asked = len(host.asked("/fapi/v1/time"))
        real = exchange.clock.monotonic_ms
        exchange.clock.monotonic_ms = lambda: real() + 600_001  # type: ignore[method-assign]
        host.skew_ms = 600_001
        host.answers[TIME] = later(0.5, {"serverTime": host.now_ms()})
        began = time.monotonic()
        await exchange.protection.positions()
        await exchange.protection.positions()
        assert time.monotonic() - began < 0.4
        await asyncio.sleep(0.1)
        assert len(host.asked("/fapi/v1/time")) == asked + 1

    caring(work)


def test_rules_come_from_memory_where_they_cannot_be_read_and_late_ones_are_still_taken(tmp_path: Path) -> None:
    memory = tmp_path / "state" / "symbols.json"

    async def first(exchange: BinanceExchange, _: KeepingHost) -> float:
        return exchange.rules_age_s()

    assert caring(first, remembered=memory, protection=False) < 5

    async def work(exchange: BinanceExchange, _: KeepingHost) -> None:
        assert exchange.symbol_rules(SYMBOL).status == "TRADING"
        assert exchange.rules_age_s() < 30
        await asyncio.sleep(1)
        assert exchange.symbol_rules(SYMBOL).status == "SETTLING"

    late = {"rateLimits": [], "symbols": [listed(status="SETTLING")]}
    caring(work, set_answer(INFO, later(2.5, late)), remembered=memory)

    async def down(exchange: BinanceExchange, _: KeepingHost) -> None:
        assert exchange.symbol_rules(SYMBOL).status == "SETTLING"

    caring(down, set_answer(INFO, lambda _: web.Response(status=503)), remembered=memory)
    with pytest.raises(ExchangeUnavailable):
        caring(down, set_answer(INFO, lambda _: web.Response(status=503)), remembered=memory, protection=False)


def test_rules_are_read_again_when_old_and_say_whether_anything_changed() -> None:
    async def work(exchange: BinanceExchange, host: KeepingHost) -> None:
        assert not await exchange.refresh_rules()
        asked = len(host.asked("/fapi/v1/exchangeInfo"))
        assert not await exchange.refresh_rules(older_than_s=60)
        assert len(host.asked("/fapi/v1/exchangeInfo")) == asked
        host.symbols = [listed(status="BREAK")]
        assert await exchange.refresh_rules(older_than_s=-1)
        assert exchange.symbol_rules(SYMBOL).status == "BREAK"

    caring(work, protection=False)


def test_stops_and_cancels_of_care_are_sent_though_time_is_unknown() -> None:
    async def work(exchange: BinanceExchange, host: KeepingHost) -> None:
        stop = StopRequest("stop", SYMBOL, "SELL", "stop", Decimal(1900))
        await exchange.protection.place_stop(stop)
        host.answers["GET " + ORDER] = in_window(host, order_of)
        found = await exchange.protection.cancel(SYMBOL, "out")
        assert found
        assert {kept.given["recvWindow"] for kept in host.signed} == {"60000"}

    caring(work, set_answer(TIME, lambda _: web.Response(status=503)))


def test_a_closed_exchange_asks_nothing_and_leaves_no_task() -> None:
    async def main() -> None:
        async with KeepingHost() as host:
            host.answers |= {TIME: later(4, {}), INFO: later(4, {})}
            exchange = BinanceExchange({"mode": "demo", "binance_exchange": {**KEYS, "base_url": host.url}})
            await exchange.initialize(protection=True)
            await exchange.close()
            await exchange.close()
            with pytest.raises(UsageError):
                await exchange.protection.positions()
            assert len(asyncio.all_tasks()) == 1 or not any("in_background" in repr(t) for t in asyncio.all_tasks())

    asyncio.run(main())
