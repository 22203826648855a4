"""Signals in real processes: the first is soft, care that has begun is finished, a second cuts it short."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.commands.command_line import CommandLine

pytestmark = pytest.mark.slow

RUNS = """
import asyncio, signal, sys, time
from trader_cli.core.errors import HungUp, Terminated
from trader_cli.execution.shutdown import leaving, run_supervised

def say(*words):
    print(*words, flush=True)

async def plain():
    try:
        say("begun")
        await asyncio.sleep(30)
    finally:
        await asyncio.sleep(0.5)
        say("cleaned")

async def shielded():
    try:
        async with leaving().shielded() as shutdown:
            say("begun")
            for _ in range(15):
                await asyncio.sleep(0.1)
            say("covered", shutdown.requested)
        say("went on")
    finally:
        say("cleaned")

async def in_a_task():
    async def care():
        async with leaving().shielded() as shutdown:
            say("begun")
            await asyncio.sleep(1.5)
            say("covered", shutdown.requested)
        return 1
    await asyncio.create_task(care())
    await asyncio.sleep(0)
    say("went on")

def compute():
    say("begun")
    until = time.monotonic() + 30
    while time.monotonic() < until:
        sum(range(1000))

async def computes():
    try:
        with leaving().prompt():
            compute()
    finally:
        await asyncio.sleep(0.5)
        say("cleaned")

async def computes_in_a_task():
    async def work():
        with leaving().prompt():
            compute()
    try:
        task = asyncio.create_task(work())
        while not task.done():
            await asyncio.sleep(0.1)
        await asyncio.sleep(30)
    finally:
        say("cleaned")

before = signal.getsignal(signal.SIGTERM)
try:
    run_supervised(globals()[sys.argv[1]](), asyncio.new_event_loop)
except (KeyboardInterrupt, Terminated) as ended:
    say("ended by", type(ended).__name__)
assert signal.getsignal(signal.SIGTERM) == before
"""
SIGNALS = [(signal.SIGINT, "KeyboardInterrupt"), (signal.SIGTERM, "Terminated"), (signal.SIGHUP, "HungUp")]


def told(what: str, *sent: signal.Signals, apart_s: float = 0.3, ignored: bool = False) -> list[str]:
    """What the program above says when it gets these signals after it has begun."""
    command = [sys.executable, "-c", RUNS, what]
    process = subprocess.Popen(["nohup", *command] if ignored else command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        for number in sent:
            time.sleep(apart_s)
            process.send_signal(number)
        began = time.monotonic()
        out, _ = process.communicate(timeout=20)
        assert time.monotonic() - began < 3
    finally:
        process.kill()
    assert process.returncode == 0
    return out.splitlines()


@pytest.mark.parametrize(("number", "name"), SIGNALS)
def test_a_signal_cancels_and_everything_is_cleaned_up(number: signal.Signals, name: str) -> None:
    assert told("plain", number) == ["cleaned", f"ended by {name}"]
    assert told("plain", number, signal.SIGTERM) == ["cleaned", f"ended by {name}"], "clean-up is not cut short"


@pytest.mark.parametrize(("number", "name"), SIGNALS)
def test_care_that_has_begun_is_finished_first_and_a_second_signal_cuts_it_short(
    number: signal.Signals, name: str
) -> None:
    assert told("shielded", number) == [f"covered {number.name}", "cleaned", f"ended by {name}"]
    assert told("shielded", number, signal.SIGTERM) == ["cleaned", f"ended by {name}"]
    assert told("in_a_task", number) == [f"covered {number.name}", f"ended by {name}"]


@pytest.mark.parametrize(("number", "name"), SIGNALS)
def test_a_long_computation_is_ended_between_two_bytecodes(number: signal.Signals, name: str) -> None:
    assert told("computes", number) == ["cleaned", f"ended by {name}"]
    assert told("computes_in_a_task", number) == ["cleaned", f"ended by {name}"]


def test_a_signal_that_is_ignored_from_the_start_stays_so() -> None:
    assert told("plain", signal.SIGHUP, signal.SIGTERM, ignored=True) == ["cleaned", "ended by Terminated"]


TRAINS = {"TRADER_ANALYST__TREES": "2000", "TRADER_ANALYST__LEARNERS": "3"}


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGINT, 130),
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.long),
        pytest.param(signal.SIGHUP, 129, marks=pytest.mark.long),
    ],
)
def test_training_ends_within_two_seconds_of_a_signal(sim: CommandLine, number: signal.Signals, code: int) -> None:
    series = ("ETHUSDT", "--timeframe", "15m")
    assert sim.run("fetch", *series, "--limit", "3000").code == 0
    assert sim.run("features", *series).code == 0
    for command in (("train", *series), ("run", *series, "--allow-unproven")):
        process = sim.begin(*command, **TRAINS)
        time.sleep(4)
        assert process.code() is None, process.said()
        began = time.monotonic()
        ran = process.ended(number)
        assert time.monotonic() - began < 2, (command, ran)
        assert ran.code == code, (command, ran)
        assert not list(Path(sim.folder).rglob("models/*/*.txt")), "nothing is half written"
    assert sim.leftovers() == []
