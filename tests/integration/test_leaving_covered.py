"""Signals between fill and cover, in real processes against a venue whose stops are slow: covered first, or named bare."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.commands.command_line import CommandLine, Forked
from support.hosts.venue_process import Place, plan_file, venue_process
from support.trading.desk import SYMBOL

from trader_cli.exchange.binance import BinanceExchange
from trader_cli.storage.ledger_lock import owner_of
from trader_cli.storage.ledger_reading import LedgerReading
from trader_cli.venue.server.faults import Fault, FaultPlan

pytestmark = pytest.mark.slow

SLOW_S = 3.5
"""How long the venue takes to carry out a stop: longer than a budget, shorter than the deadline."""
SERIES = (SYMBOL, "--timeframe", "15m")
CARES = {
    "monitor": ("monitor", "--json"),
    "forever": ("run", *SERIES, "--forever", "--json"),
    "once": ("run", *SERIES, "--json"),
}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A venue with a slow endpoint for stops."""
    folder = tmp_path / "venue"
    folder.mkdir()
    with venue_process(folder, FaultPlan((Fault("POST", "/fapi/v1/algoOrder", SLOW_S),), seed=1)) as served:
        yield served


@pytest.fixture
def demo(tmp_path: Path) -> CommandLine:
    """The command line in the demo profile."""
    (tmp_path / "work").mkdir()
    return CommandLine(tmp_path / "work", ("--profile", "demo"))


def seen(place: Place) -> tuple[Decimal, list[Any]]:
    """Position and resting stops as the exchange shows them."""

    async def look(exchange: BinanceExchange) -> tuple[Decimal, list[Any]]:
        held = sum((p.amount for p in await exchange.private.positions()), Decimal(0))
        return held, [s for s in await exchange.private.open_stops(SYMBOL) if s.kind == "stop"]

    found: tuple[Decimal, list[Any]] = place.by_hand(look)
    return found


def entering(demo: CommandLine, place: Place) -> Forked:
    """`trader enter` in a process, once its order has filled and before any stop rests."""
    plan = place.plan()
    process = demo.begin("enter", *SERIES, "--plan", plan_file(plan, demo.folder), "--json", **place.environment())

    async def filled(exchange: BinanceExchange) -> list[Any]:
        while not [p for p in await exchange.private.positions() if p.amount]:
            assert process.code() is None, process.said()
            await asyncio.sleep(0.05)
        return await exchange.private.open_stops(SYMBOL)

    assert place.by_hand(filled) == []
    return process


def caring(demo: CommandLine, place: Place, what: str) -> Forked:
    """A command that finds a bare position at its first look, a moment after that."""
    entering(demo, place).ended(signal.SIGKILL)
    process = demo.begin(*CARES[what], **place.environment())
    ledger = place.ledger(demo.folder / "state")
    while (owner := owner_of(ledger)) is None or owner.pid != process.started.pid:
        assert process.code() is None, process.said()
        time.sleep(0.05)
    while not _is_booked(ledger):  # connected, and at its first look
        assert process.code() is None, process.said()
        time.sleep(0.05)
    return process


def _is_booked(path: Path) -> bool:
    """Whether the look has booked the fill that it found."""
    with LedgerReading.shown(path) as ledger:
        return ledger is not None and ledger.holding(SYMBOL).amount != 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_entry_is_covered_before_it_leaves_and_says_by_what(
    place: Place, demo: CommandLine, number: signal.Signals
) -> None:
    left = entering(demo, place).ended(number)
    assert left.code == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}[number], left.err
    amount, stops = seen(place)
    assert amount == 1
    assert stops, left.err
    assert f"Left as it is: {SYMBOL}: 1 is booked; stops were last seen resting at" in left.err


def test_a_second_signal_cuts_an_entry_short_and_names_what_is_bare(place: Place, demo: CommandLine) -> None:
    process = entering(demo, place)
    process.send(signal.SIGINT)
    time.sleep(0.5)
    began = time.monotonic()
    left = process.ended(signal.SIGINT)
    assert time.monotonic() - began < 2
    assert left.code == 130, left.err
    assert f"Left as it is: {SYMBOL}: " in left.err
    assert "NO stop of ours is known to rest" in left.err


@pytest.mark.parametrize("what", CARES)
def test_what_cares_covers_before_it_leaves(place: Place, demo: CommandLine, what: str) -> None:
    left = caring(demo, place, what).ended(signal.SIGTERM)
    assert left.code == 143, left.err
    amount, stops = seen(place)
    assert amount == 0 or stops, left.err
    assert "stops were last seen resting at" in left.err or "The ledger holds no position" in left.err
