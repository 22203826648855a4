"""The trading commands on a host in another process: keys, accounts, what is foreign, and what is done by hand there."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.commands.command_line import CommandLine, Ran
from support.commands.in_process import Inside
from support.hosts.venue_process import Place, plan_file, venue_process
from support.trading.desk import SYMBOL

from trader_cli.core.money.orders import OrderRequest
from trader_cli.core.money.plans import TradePlan
from trader_cli.exchange.binance import BinanceExchange
from trader_cli.storage.ledger import Ledger
from trader_cli.storage.ledger_reading import LedgerReading

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A venue for tests in which nothing of ours is ever opened."""
    with venue_process(tmp_path_factory.mktemp("venue")) as served:
        yield served


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A venue of a test's own: a fresh ledger on an account with past orders of ours takes no entry."""
    with venue_process(tmp_path_factory.mktemp("venue")) as served:
        yield served


@pytest.fixture
def demo(tmp_path: Path) -> CommandLine:
    """The command line in the demo profile."""
    return Inside(tmp_path, ("--profile", "demo"))


def enter(cli: CommandLine, place: Place, plan: TradePlan, *options: str, key: str = "sim-key", **extra: str) -> Ran:
    """`trader enter` of a plan."""
    file = plan_file(plan, cli.folder)
    series = (plan.symbol, "--timeframe", plan.timeframe)
    return cli.run("enter", *series, "--plan", file, "--json", *options, **{**place.environment(key), **extra})


def open_at(place: Place) -> tuple[Decimal, list[Any]]:
    """Position and resting stops as the exchange shows them."""

    async def look(exchange: BinanceExchange) -> tuple[Decimal, list[Any]]:
        held = sum((p.amount for p in await exchange.private.positions()), Decimal(0))
        return held, await exchange.private.open_stops(SYMBOL)

    amount, stops = place.by_hand(look)
    return amount, stops


def trade(place: Place, side: Any, quantity: str, *, reduce_only: bool = False) -> None:
    """A market order by hand."""

    async def work(exchange: BinanceExchange) -> None:
        order = OrderRequest(f"hand-{time.time_ns()}", SYMBOL, side, Decimal(quantity), reduce_only=reduce_only)
        await exchange.private.place(order)

    place.by_hand(work)


@pytest.mark.parametrize(
    ("key", "environment", "words"),
    [
        ("wrong-key", {}, "API key"),
        ("sim-key", {"TRADER_BINANCE_EXCHANGE__API_SECRET": "wrong"}, "API key"),
        ("", {}, "TRADER_BINANCE_EXCHANGE__API_KEY"),
        ("sim-withdraw-key", {}, "can withdraw"),
        ("sim-hedge-key", {}, "hedge mode"),
        ("sim-read-key", {}, "cannot trade futures"),
    ],
)
def test_a_key_or_account_that_will_not_do(
    shared: Place, demo: CommandLine, key: str, environment: dict[str, str], words: str
) -> None:
    done = enter(demo, shared, shared.plan(key), key=key, **environment)
    assert done.code == 3, done.out + done.err
    assert words in done.err
    assert open_at(shared) == (0, [])


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"quantity": "100"}, "insufficient_margin"),
        ({"quantity": "0.001"}, "below_minimum"),
        ({"quantity": "40", "leverage": 125}, "leverage_above_bracket"),
        ({"expires_ms": 1}, "plan_expired"),
    ],
)
def test_a_plan_that_does_not_fit(shared: Place, demo: CommandLine, changes: dict[str, Any], code: str) -> None:
    done = enter(demo, shared, shared.plan(**changes), TRADER_TACTICIAN__MAX_EXPOSURE="100")
    assert (done.code, done.json["code"]) == (7, code), done.out
    assert open_at(shared) == (0, [])


def test_a_foreign_position_is_refused_and_left_alone(shared: Place, demo: CommandLine) -> None:
    trade(shared, "BUY", "0.5")
    done = enter(demo, shared, shared.plan())
    assert (done.code, done.json["code"]) == (7, "foreign_position")
    assert demo.run("flatten", "--json", **shared.environment()).json == {"closed": {}}
    assert open_at(shared) == (Decimal("0.5"), [])
    trade(shared, "SELL", "0.5", reduce_only=True)


def test_a_key_that_works_from_everywhere_trades_and_is_warned_of_once(place: Place, demo: CommandLine) -> None:
    done = enter(demo, place, place.plan("sim-anywhere-key"), key="sim-anywhere-key")
    assert done.code == 0, done.err
    assert done.err.count("works from every address") == 1


def test_live_wants_everything_said(place: Place, demo: CommandLine) -> None:
    live = Inside(demo.folder, ("--profile", "live"))
    plan = place.plan(mode="live")
    cap = {"TRADER_TACTICIAN__CAPITAL_CAP": "5000"}
    refused = [
        enter(live, place, plan),
        enter(live, place, plan, "--live"),
        enter(live, place, place.plan(mode="live", unproven=True, lineage="x"), "--live", **cap),
    ]
    assert [(r.code, r.json["code"]) for r in refused] == [
        (7, "live_not_given"),
        (7, "capital_cap_unset"),
        (7, "unproven_in_live"),
    ]
    for command in (("analyze", "--allow-unproven"), ("run", SYMBOL, "--timeframe", "15m", "--allow-unproven")):
        done = live.run(*command, **place.environment(), **cap)
        assert (done.code, "unproven" in done.err) == (3, True), done.err
    assert open_at(place) == (0, [])
    made = place.plan(mode="live")
    unverified = enter(live, place, made, "--live", **cap)
    assert (unverified.code, unverified.json["code"]) == (7, "demo_not_verified")
    cap["TRADER_EXECUTION__WITHOUT_DEMO_VERIFICATION"] = "true"
    unrecorded = enter(live, place, made, "--live", **cap)
    assert (unrecorded.code, unrecorded.json["code"]) == (7, "plan_unrecorded")
    with Ledger.opened(next((demo.folder / "state" / "ledgers").rglob("*-live.sqlite"))) as ledger:
        ledger.decide(made.plan_id, made.symbol, made.decision_ms, "plan", made.as_dict(), made.created_ms)
    assert enter(live, place, made, "--live", **cap).code == 0
    assert live.run("flatten", **place.environment()).code == 0
    assert open_at(place) == (0, [])


def test_a_rehearsal_after_something_happened_by_hand_writes_nothing(place: Place, demo: CommandLine) -> None:
    assert enter(demo, place, place.plan()).code == 0
    trade(place, "SELL", "1", reduce_only=True)
    ledger = place.ledger(demo.folder / "state")
    before = ledger.read_bytes()
    shown = enter(demo, place, place.plan(), "--dry-run")
    assert shown.code == 0, shown.err
    assert shown.json["refused"] is None
    assert ledger.read_bytes() == before
    assert demo.run("monitor", **place.environment()).code == 0
    assert open_at(place) == (0, [])
    with LedgerReading.shown(ledger) as read:
        assert read is not None
        assert [f.purpose for f in read.fills()] == ["entry", "external"]


def wait_for_a_look(ledger: Path) -> None:
    """Until the monitor has written down its first look."""
    for _ in range(200):
        with LedgerReading.shown(ledger) as read:
            if read is not None and read.assessments(SYMBOL, actions=("stay",)):
                return
        time.sleep(0.1)
    raise AssertionError("the monitor has not looked within 20 s")


def test_flatten_and_halt_while_a_monitor_owns_the_ledger(place: Place, demo: CommandLine) -> None:
    outside = CommandLine(demo.folder, demo.base)
    watched = {**place.environment(), "TRADER_POSITION_MONITORING_INTERVAL": "0.5"}
    assert enter(demo, place, place.plan()).code == 0
    monitor = outside.begin("monitor", "--json", **watched)
    try:
        wait_for_a_look(place.ledger(demo.folder / "state"))
        second = demo.run("monitor", **watched)
        assert (second.code, "Another trader process" in second.err) == (11, True)
        assert demo.run("halt", "--reason", "test", **watched).code == 0
        assert demo.run("flatten", **watched).code == 0
        done = monitor.ended(most_s=60)
    finally:
        monitor.send(signal.SIGKILL)
    assert done.code == 0, done.err
    assert done.json["open"] == {}
    assert open_at(place) == (0, [])
    halted = enter(demo, place, place.plan())
    assert (halted.code, halted.json["code"]) == (9, "halted")
    assert demo.run("reset", "--json", **watched).json["was_halted"] == "test"


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_an_interrupted_monitor_leaves_the_stops_and_names_them(
    place: Place, demo: CommandLine, sent: signal.Signals, code: int
) -> None:
    assert enter(demo, place, place.plan()).code == 0
    monitor = CommandLine(demo.folder, demo.base).begin("monitor", **place.environment())
    try:
        wait_for_a_look(place.ledger(demo.folder / "state"))
        done = monitor.ended(sent, most_s=60)
    finally:
        monitor.send(signal.SIGKILL)
    assert done.code == code, done.err
    amount, stops = open_at(place)
    assert (amount, len(stops)) == (1, 3)
    assert all(f"{stop.trigger_price:f}" in done.err for stop in stops if stop.kind == "stop"), done.err
    assert demo.run("flatten", **place.environment()).code == 0
    assert open_at(place) == (0, [])


def test_a_fresh_ledger_on_an_account_with_our_orders_is_a_second_trader(
    place: Place, demo: CommandLine, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Another machine, or another state directory: nothing is opened, in either, and it is named."""
    assert enter(demo, place, place.plan()).code == 0
    before = open_at(place)
    other = Inside(tmp_path_factory.mktemp("other"), ("--profile", "demo"))
    for _ in range(2):  # the second time after a person lifted the halt, with the other trader still at work
        done = enter(other, place, place.plan(lineage="other"))
        assert (done.code, done.json["code"]) == (7, "ledger_lost"), done.out
        assert "trader ledger rebuild" in done.json["sentence"]
        halted = enter(other, place, place.plan(lineage="other"))
        assert (halted.code, "ledger_lost" in halted.json["sentence"]) == (9, True), halted.out
        assert other.run("reset", **place.environment()).code == 0
    assert open_at(place) == before
    assert demo.run("flatten", **place.environment()).code == 0
    after = enter(other, place, place.plan(lineage="other"))
    assert (after.code, after.json["code"] in {"ledger_lost", "second_trader"}) == (7, True), after.out
    assert open_at(place) == (0, [])
