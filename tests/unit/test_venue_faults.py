"""Faults of the venue: slow answers in virtual time, lagging queries, failures with and without effect, bans."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.hosts.signed_client import Caller

from trader_cli.core.errors import ConfigurationError, UsageError
from trader_cli.venue.clocks import VirtualClock, WallClock, run_virtual
from trader_cli.venue.server.authentication import KEYS
from trader_cli.venue.server.failure_kinds import FAILURES, failure_of
from trader_cli.venue.server.faults import ENDPOINTS, RANDOM_FAILURES, Fault, FaultPlan, FaultRun, random_plan
from trader_cli.venue.server.server import VenueServer
from trader_cli.venue.simulated_market.synthetic import synthetic_tape

TAPE = synthetic_tape(("ETHUSDT",), 6, 0.5, 3)
START = TAPE.at(0.5)
ORDER, ALGO = "/fapi/v1/order", "/fapi/v1/algoOrder"
POSITIONS, TIME = "/fapi/v3/positionRisk", "/fapi/v1/time"
Work = Callable[[Caller, VenueServer], Awaitable[Any]]


def served(work: Work, *faults: Fault, seed: int = 0) -> Any:
    clock = VirtualClock(START)

    async def main() -> Any:
        async with VenueServer(TAPE, clock, faults=FaultPlan(faults, seed)) as venue:
            async with aiohttp.ClientSession() as session:
                return await work(Caller(session, venue.url, clock), venue)

    return run_virtual(main, clock)


def since_ms(caller: Caller) -> int:
    return caller.clock.now_ms() - START


def amount(venue: VenueServer) -> Decimal:
    engine = venue._trading().engine(KEYS["sim-key"])
    return engine.account.position("ETHUSDT").amount


# --- time ---


@pytest.mark.parametrize("seconds", [1, 25, 60])
def test_a_slow_answer_takes_virtual_time_and_nothing_beside_it_waits(seconds: int) -> None:
    async def work(caller: Caller, venue: VenueServer) -> None:
        slow = asyncio.ensure_future(caller.buy())
        fast = [await caller.ask("GET", TIME) for _ in range(3)]
        assert [status for status, _ in fast] == [200] * 3
        assert since_ms(caller) == 0, "a fast request costs no virtual time beside a slow one"
        assert (await slow)[0] == 200
        assert since_ms(caller) == 1000 * seconds
        (order,) = [r for r in venue.log.requests if r.path == ORDER]
        times = [r for r in venue.log.requests if r.path == TIME]
        assert (order.arrived_ms, order.executed_ms, order.replied_ms) == (START, START, START + 1000 * seconds)
        assert all(t.replied_ms == START for t in times)

    served(work, Fault("POST", ORDER, after_s=seconds))


def test_a_request_held_before_execution_is_carried_out_at_the_time_it_then_is() -> None:
    async def work(caller: Caller, venue: VenueServer) -> None:
        status, order = await caller.buy()
        assert (status, order["updateTime"]) == (200, START + 3000)
        assert venue.log.requests[0].executed_ms == START + 3000

    served(work, Fault("POST", ORDER, before_s=3))


def test_held_longer_than_its_window_it_is_refused() -> None:
    async def work(caller: Caller, venue: VenueServer) -> None:
        assert (await caller.buy())[1]["code"] == -1021
        assert amount(venue) == 0
        assert venue.log.requests[0].outcome == 400

    served(work, Fault("POST", ORDER, before_s=6))


@pytest.mark.parametrize("where", ["before_s", "after_s"])
def test_who_gives_up_lets_time_go_and_the_request_is_done_all_the_same(where: str) -> None:
    async def work(caller: Caller, venue: VenueServer) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(caller.buy(), 2)
        assert since_ms(caller) == 2000
        assert (await caller.ask("GET", TIME))[0] == 200
        assert since_ms(caller) == 2000, "nobody waits any more: a request holds time again"
        await caller.clock.sleep(10)
        assert amount(venue) == 1
        assert venue.log.requests[0].status == 0

    served(work, Fault("POST", ORDER, **{where: 4.0}))


def test_one_who_has_given_up_does_not_let_time_run_under_the_others() -> None:
    async def work(caller: Caller, venue: VenueServer) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(caller.ask("GET", POSITIONS), 1)
        with caller.clock.held():
            await asyncio.to_thread(time.sleep, 0.2)  # work that the loop cannot see
        assert since_ms(caller) == 1000, "the venue still sleeps, but for nobody"

    served(work, Fault("GET", POSITIONS, after_s=30))


def test_many_slow_answers_at_once_come_each_at_its_time() -> None:
    async def work(caller: Caller, venue: VenueServer) -> list[int]:
        async def asked(wait: int) -> int:
            await caller.clock.sleep(wait)
            await caller.ask("GET", POSITIONS)
            return since_ms(caller)

        assert await asyncio.gather(*(asked(n) for n in range(20))) == [1000 * (n + 7) for n in range(20)]
        return [r.replied_ms - START for r in venue.log.requests if r.replied_ms is not None]

    slow = Fault("GET", POSITIONS, before_s=3, after_s=4)
    assert served(work, slow) == served(work, slow) == [1000 * (n + 7) for n in range(20)]


def test_a_request_that_waits_for_a_connection_of_its_pool_does_not_stop_time() -> None:
    async def work(caller: Caller, venue: VenueServer) -> None:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session:
            narrow = Caller(session, caller.url, caller.clock)
            done = await asyncio.gather(*(narrow.ask("GET", POSITIONS) for _ in range(2)))
        assert [status for status, _ in done] == [200, 400], "the second was signed too long ago when it was sent"
        assert since_ms(caller) == 10_002

    served(work, Fault("GET", POSITIONS, after_s=5), Fault("GET", POSITIONS, before_s=0.001))


@given(st.integers(0, 10_000))
@settings(max_examples=8, deadline=None)
def test_the_same_plan_gives_the_same_log(seed: int) -> None:
    plan = random_plan(seed, START, span_s=60, endpoints=[("POST", ORDER), ("GET", POSITIONS), ("GET", TIME)])

    async def work(caller: Caller, venue: VenueServer) -> list[Any]:
        async def lives(method: str, path: str, **parameters: Any) -> None:
            for _ in range(6):
                await caller.ask(method, path, **parameters)
                await caller.clock.sleep(2)

        one = {"symbol": "ETHUSDT", "side": "BUY", "type": "MARKET", "quantity": "1"}
        await asyncio.gather(lives("POST", ORDER, **one), lives("GET", POSITIONS), lives("GET", TIME))
        return [(r.route, r.arrived_ms, r.executed_ms, r.replied_ms, r.status, r.outcome) for r in venue.log.requests]

    assert served(work, *plan.faults, seed=seed) == served(work, *plan.faults, seed=seed)


# --- lag ---


@pytest.mark.parametrize("lag", [0, 5, 18, 60])
def test_a_lagging_query_shows_the_account_as_it_was(lag: int) -> None:
    async def work(caller: Caller, venue: VenueServer) -> None:
        status, order = await caller.buy()
        assert status == 200
        seen = []
        for _ in range(lag + 3):
            shown, trades = (
                await caller.ask("GET", POSITIONS),
                await caller.ask("GET", "/fapi/v1/userTrades", symbol="ETHUSDT"),
            )
            found = await caller.ask("GET", ORDER, symbol="ETHUSDT", orderId=order["orderId"])
            seen.append((since_ms(caller) // 1000, bool(shown[1]), bool(trades[1]), found[0] == 200))
            await caller.clock.sleep(1)
        assert seen == [(t, t >= lag, t >= lag, t >= lag) for t in range(lag + 3)]

    served(work, Fault("GET", "*", lag_s=lag))


def test_what_lags_is_one_whole_and_only_the_marks_are_new() -> None:
    async def work(caller: Caller, venue: VenueServer) -> None:
        await caller.clock.sleep(60)
        await caller.buy()
        await caller.clock.sleep(2)
        await caller.buy()
        await caller.clock.sleep(60)
        await caller.buy(side="SELL", quantity="2", reduceOnly="true")
        await caller.clock.sleep(3)
        (position,) = (await caller.ask("GET", POSITIONS))[1]
        assert Decimal(position["positionAmt"]) == 2
        assert Decimal(position["markPrice"]) == venue._trading().engine(KEYS["sim-key"]).mark("ETHUSDT")
        trades = (await caller.ask("GET", "/fapi/v1/userTrades", symbol="ETHUSDT"))[1]
        assert sum(Decimal(t["qty"]) for t in trades) == 2
        account = (await caller.ask("GET", "/fapi/v3/account"))[1]
        income = (await caller.ask("GET", "/fapi/v1/income"))[1]
        assert Decimal(account["totalWalletBalance"]) == 10_000 + sum(Decimal(i["income"]) for i in income)
        assert amount(venue) == 0

    served(work, Fault("GET", "*", lag_s=4))


def test_an_order_that_was_cancelled_still_rests_where_the_answer_lags() -> None:
    async def work(caller: Caller, venue: VenueServer) -> None:
        price = str(round(TAPE.symbols["ETHUSDT"].close.mean() * 0.5, 2))
        await caller.buy(type="LIMIT", price=price, timeInForce="GTC", newClientOrderId="a")
        await caller.clock.sleep(30)
        assert (await caller.ask("DELETE", ORDER, symbol="ETHUSDT", origClientOrderId="a"))[1]["status"] == "CANCELED"
        (shown,) = (await caller.ask("GET", "/fapi/v1/openOrders", symbol="ETHUSDT"))[1]
        assert shown["status"] == "NEW"
        await caller.clock.sleep(11)
        assert (await caller.ask("GET", "/fapi/v1/openOrders", symbol="ETHUSDT"))[1] == []

    served(work, Fault("GET", "/fapi/v1/openOrders", lag_s=10))


def test_lag_begins_with_a_plan_given_later() -> None:
    async def work(caller: Caller, venue: VenueServer) -> None:
        venue.bend(FaultPlan((Fault("GET", POSITIONS, lag_s=5),)))
        await caller.buy()
        assert (await caller.ask("GET", POSITIONS))[1] == []
        await caller.clock.sleep(5)
        assert (await caller.ask("GET", POSITIONS))[1] != []
        venue.bend(None)
        await caller.buy()
        assert Decimal((await caller.ask("GET", POSITIONS))[1][0]["positionAmt"]) == 2

    served(work)


# --- failures ---


@pytest.mark.parametrize("name", [n for n, f in FAILURES.items() if not f.limited])
@pytest.mark.parametrize("ending", ["", " before"])
def test_a_failure_is_carried_out_or_not_as_its_name_says(name: str, ending: str) -> None:
    failure = failure_of(name + ending)

    async def work(caller: Caller, venue: VenueServer) -> None:
        status, body = await caller.buy()
        assert status == failure.status
        assert not (isinstance(body, dict) and "orderId" in body), "the true answer is never shown"
        assert amount(venue) == (1 if failure.execution == "now" else 0)
        (entry,) = venue.log.requests
        assert (entry.outcome == 200) == (failure.execution == "now")
        assert entry.status == failure.status

    served(work, Fault("POST", ORDER, failure=name + ending))


@pytest.mark.parametrize("name", ["timeout -1007 late", "503 unknown late", "dropped late", "-1007 late"])
@pytest.mark.parametrize("later", [3, 20])
def test_what_was_said_to_be_unknown_happens_later(name: str, later: int) -> None:
    async def work(caller: Caller, venue: VenueServer) -> None:
        status, _ = await caller.buy()
        assert status == failure_of(name).status
        assert since_ms(caller) == 0
        await caller.clock.sleep(later - 0.5)
        assert amount(venue) == 0
        await caller.clock.sleep(1)
        assert amount(venue) == 1, "also beyond its window: its time was checked when it came"

    served(work, Fault("POST", ORDER, failure=name, before_s=later))


@pytest.mark.parametrize("code", [-2022, -4131, -4164])
def test_any_code_of_the_exchange_refuses_and_does_nothing(code: int) -> None:
    async def work(caller: Caller, venue: VenueServer) -> None:
        status, body = await caller.buy()
        assert (status, body["code"]) == (400, code)
        assert amount(venue) == 0

    served(work, Fault("POST", ORDER, failure=str(code)))


def test_faults_hold_in_their_span_for_their_endpoint_symbol_and_count() -> None:
    async def work(caller: Caller, venue: VenueServer) -> None:
        statuses = []
        for _ in range(6):
            statuses.append((await caller.ask("GET", POSITIONS, symbol="ETHUSDT"))[0])
            await caller.clock.sleep(1)
        assert statuses == [200, 200, 503, 503, 200, 200]
        assert (await caller.ask("GET", TIME))[0] == 200

    served(work, Fault("GET", POSITIONS, failure="503", from_ms=START + 2000, to_ms=START + 4000))
    run = FaultRun(FaultPlan((Fault("*", "*", failure="503", symbol="ETHUSDT", count=2),)))
    met = [run.meets("GET", POSITIONS, symbol, 0).failure for symbol in ("ETHUSDT", "BTCUSDT", "ETHUSDT", "ETHUSDT")]
    assert met == ["503", None, "503", None]


@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.2, 0.5, 1.0]))
@settings(max_examples=40, deadline=None)
def test_chance_is_seeded_and_keeps_its_share(seed: int, share: float) -> None:
    def struck() -> list[bool]:
        run = FaultRun(FaultPlan((Fault("GET", "*", failure="503", share=share),), seed))
        return [run.meets("GET", TIME, None, 0).failure is not None for _ in range(400)]

    assert struck() == struck()
    assert sum(struck()) / 400 == pytest.approx(share, abs=0.12)


def test_delays_of_several_faults_are_the_longest_and_the_first_failure_counts() -> None:
    faults = (
        Fault("*", "*", before_s=1, after_s=5),
        Fault("GET", "*", before_s=2, failure="503"),
        Fault("GET", TIME, failure="403", lag_s=9),
    )
    met = FaultRun(FaultPlan(faults)).meets("GET", TIME, None, 0)
    assert (met.before_s, met.after_s, met.lag_s, met.failure) == (2, 5, 9, "503")


# --- limits and bans ---


def test_a_ban_holds_for_the_host_until_its_end_and_who_asks_meanwhile_is_counted() -> None:
    async def work(caller: Caller, venue: VenueServer) -> None:
        status, body = await caller.buy()
        assert status == 418
        assert f"banned until {START + 10_000}" in body["msg"]
        assert venue.requests_while_banned == 0, "nobody could know"
        await caller.clock.sleep(4)
        assert (await caller.ask("GET", TIME))[0] == 418
        assert venue.requests_while_banned == 1
        assert venue.log.requests[-1].forbidden
        assert (await caller.ask("GET", "/api/v3/time"))[0] == 200, "another host"
        await caller.clock.sleep(7)
        assert (await caller.ask("GET", TIME))[0] == 200
        assert venue.requests_while_banned == 1
        assert amount(venue) == 0

    served(work, Fault("POST", ORDER, failure="418", to_ms=START + 10_000))


def test_who_was_told_to_wait_and_asks_is_counted_too() -> None:
    async def work(caller: Caller, venue: VenueServer) -> None:
        assert (await caller.buy())[0] == 429
        await caller.clock.sleep(1)
        assert (await caller.ask("GET", TIME))[0] == 200
        assert (venue.requests_while_limited, venue.requests_while_banned) == (1, 0)

    served(work, Fault("POST", ORDER, failure="429", to_ms=START + 5000))


# --- plans as values ---


def test_plans_are_read_as_they_were_written(tmp_path: Path) -> None:
    plan = random_plan(7, START)
    assert FaultPlan.from_dict(plan.as_dict()) == plan
    for name, text in (("plan.json", json.dumps(plan.as_dict())), ("plan.yaml", json.dumps(plan.as_dict(), indent=1))):
        (tmp_path / name).write_text(text)
        assert FaultPlan.load(tmp_path / name) == plan


def test_times_of_a_file_may_count_from_the_start(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(
        "seed: 4\nfaults:\n- {method: POST, path: /fapi/v1/order, failure: '503', from_s: 2, to_s: 4.5}\n"
    )
    fault = Fault("POST", ORDER, failure="503", from_ms=START + 2000, to_ms=START + 4500)
    assert FaultPlan.load(tmp_path / "plan.yaml", START) == FaultPlan((fault,), 4)


def test_a_plan_that_says_nothing_sensible_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No failure is called 'broken'"):
        Fault("GET", "*", failure="broken")
    with pytest.raises(UsageError, match="0 or more"):
        Fault("GET", "*", before_s=-1)
    with pytest.raises(UsageError, match="method and path"):
        FaultPlan.from_dict({"faults": [{"methods": "GET"}]})
    with pytest.raises(ConfigurationError, match="cannot be read"):
        FaultPlan.load(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("{")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        FaultPlan.load(tmp_path / "bad.yaml")


@given(st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_random_plans_stay_within_what_was_asked(seed: int) -> None:
    plan = random_plan(seed, START, span_s=100, most_delay_s=60, most_lag_s=30)
    assert plan == random_plan(seed, START, span_s=100, most_delay_s=60, most_lag_s=30)
    for fault in plan.faults:
        assert fault.from_ms is not None
        assert fault.to_ms is not None
        assert START <= fault.from_ms < fault.to_ms <= START + 100_001
        assert max(fault.before_s, fault.after_s) <= 60
        assert fault.lag_s <= (30 if fault.method == "GET" else 0)
        assert fault.failure is None or fault.failure in RANDOM_FAILURES
        assert (fault.method, fault.path) in {*ENDPOINTS, ("*", "*")}
    assert plan.faults[0].after_s <= 0.3


# --- real time ---


def test_faults_hold_over_real_time_too() -> None:
    async def main() -> tuple[float, Decimal]:
        clock = WallClock(start_ms=START)
        plan = FaultPlan((Fault("POST", ORDER, before_s=0.1, after_s=0.4), Fault("GET", POSITIONS, lag_s=30)))
        async with VenueServer(TAPE, clock, faults=plan) as venue, aiohttp.ClientSession() as session:
            caller, begun = Caller(session, venue.url, clock), time.monotonic()
            slow = asyncio.ensure_future(caller.buy())
            await caller.ask("GET", TIME)
            assert not slow.done()
            assert (await slow)[0] == 200
            assert (await caller.ask("GET", POSITIONS))[1] == []
            return time.monotonic() - begun, amount(venue)

    slow_s, held = asyncio.run(main())
    assert slow_s >= 0.5
    assert held == 1


def test_a_venue_that_is_closed_waits_for_nobody() -> None:
    async def main() -> float:
        clock, begun = WallClock(start_ms=START), time.monotonic()
        plan = FaultPlan((Fault("POST", ORDER, failure="dropped late", before_s=60), Fault("GET", "*", after_s=60)))
        async with aiohttp.ClientSession() as session:
            async with VenueServer(TAPE, clock, faults=plan) as venue:
                caller = Caller(session, venue.url, clock)
                waiting = asyncio.ensure_future(caller.ask("GET", TIME))
                await caller.buy()
                await asyncio.sleep(0.05)
            assert (await waiting)[0] == 0
        return time.monotonic() - begun

    assert asyncio.run(main()) < 5
