"""`flatten` by the wall clock, past an owner that is frozen, and over a ledger that is lost or damaged."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from decimal import Decimal
from pathlib import Path

import pytest
from support.commands.command_line import CommandLine
from support.commands.in_process import Inside
from support.hosts.venue_process import Place, plan_file, venue_process
from support.trading.desk import SYMBOL
from test_trading_on_a_host import enter, open_at, trade

from trader_cli.core.errors import LedgerLocked, OwnerSilent
from trader_cli.exchange.binance import BinanceExchange
from trader_cli.pipelines.trading import risk_reduction
from trader_cli.pipelines.trading.flatten_without_ledger import FlattenRequest, FlattenResult
from trader_cli.pipelines.trading.owner_takeover import end_owner
from trader_cli.settings import load_settings
from trader_cli.settings.workspace import workspace_of
from trader_cli.storage import owner_requests
from trader_cli.storage.ledger import Ledger
from trader_cli.storage.ledger_lock import Owner, OwnerLock, owner_of, start_of
from trader_cli.storage.ledger_reading import LedgerReading
from trader_cli.storage.side_journal import SideJournal

pytestmark = pytest.mark.slow

WATCHED = {"TRADER_POSITION_MONITORING_INTERVAL": "0.3"}


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A venue for each test: an account on which another ledger's orders are lets nothing be opened."""
    with venue_process(tmp_path_factory.mktemp("venue")) as served:
        yield served


@pytest.fixture
def demo(tmp_path: Path, place: Place) -> Iterator[CommandLine]:
    """The command line in the demo profile; what is open at the end is closed by hand."""
    yield Inside(tmp_path, ("--profile", "demo"))
    amount, stops = open_at(place)

    async def cancel(exchange: BinanceExchange) -> None:
        for stop in stops:
            await exchange.private.cancel_stop(SYMBOL, stop.client_id)

    place.by_hand(cancel)
    if amount:
        trade(place, "SELL" if amount > 0 else "BUY", f"{abs(amount):f}", reduce_only=True)


@contextmanager
def monitor_at_work(demo: CommandLine, place: Place) -> Iterator[subprocess.Popen[str]]:
    """A monitor in a process of its own, after its first look."""
    process = CommandLine(demo.folder, demo.base).start("monitor", "--json", **place.environment(), **WATCHED)
    try:
        ledger = place.ledger(demo.folder / "state")
        while (owner := owner_of(ledger)) is None or owner.pid != process.pid:
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        time.sleep(1)
        yield process
    finally:
        process.kill()
        process.communicate()


def test_an_owner_that_is_frozen_is_named_within_three_seconds_and_ended_by_force(
    place: Place, demo: CommandLine
) -> None:
    assert enter(demo, place, place.plan()).code == 0
    ledger = place.ledger(demo.folder / "state")
    with monitor_at_work(demo, place) as monitor:
        monitor.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        asked_for = demo.run_anew("flatten", **place.environment())
        assert time.monotonic() - began < 6
        assert asked_for.code == 11, asked_for.err
        assert f"The process {monitor.pid} (" in asked_for.err
        assert "monitor" in asked_for.err
        assert "`trader flatten --force --profile demo`" in asked_for.err
        assert owner_requests.request_of(ledger, "flatten") is None, "the request is withdrawn"
        assert open_at(place)[0] == 1
        forced = demo.run("flatten", "--force", "--json", **place.environment())
        assert (forced.code, forced.json["closed"]) == (0, {SYMBOL: "1"}), forced.err
        assert str(monitor.pid) in forced.err
        monitor.send_signal(signal.SIGCONT)
        assert monitor.wait(10) == -signal.SIGKILL
    assert open_at(place) == (0, [])
    with Ledger.opened(ledger) as after:
        assert after.holding(SYMBOL).amount == 0
        assert after.is_owner()


def test_an_owner_at_work_answers_and_closes_only_what_is_named(place: Place, demo: CommandLine) -> None:
    assert enter(demo, place, place.plan()).code == 0
    with monitor_at_work(demo, place):
        other = demo.run("flatten", "BTCUSDT", "--json", **place.environment())
        assert (other.code, "does not list" in other.err) == (2, True), other.err
        assert open_at(place)[0] == 1
        assert demo.run("flatten", "--all-of-it", "--json", **place.environment()).code == 2
        assert demo.run("flatten", SYMBOL, "--all-of-it", "--json", **place.environment()).code == 11
        done = demo.run("flatten", SYMBOL.lower(), **place.environment())
        assert (done.code, f"{SYMBOL}: 1 closed" in done.out) == (0, True), done.out + done.err
        assert "may enter again" not in done.out + done.err, "a monitor opens nothing"
    assert open_at(place) == (0, [])


SENDS = """
import sys, time
from pathlib import Path
from trader_cli.storage.ledger import Ledger
from trader_cli.storage.ledger_reading import LedgerReading
with Ledger.opened(Path(sys.argv[1])) as ledger:
    print("owner", flush=True)
    while True:
        time.sleep(0.05)
        Path(sys.argv[2]).write_text(str(ledger.is_owner()))
"""


def test_where_an_owner_cannot_be_ended_it_is_superseded_and_entries_are_halted(
    place: Place, demo: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert enter(demo, place, place.plan()).code == 0
    ledger, says = place.ledger(demo.folder / "state"), tmp_path / "says"
    owner = subprocess.Popen([sys.executable, "-c", SENDS, str(ledger), str(says)], stdout=subprocess.PIPE)
    try:
        assert owner.stdout is not None
        owner.stdout.readline()
        monkeypatch.setattr(
            "trader_cli.pipelines.trading.risk_reduction.end_owner", lambda _owner: "it belongs to another user"
        )
        forced = demo.run("flatten", "--force", "--json", **place.environment())
        assert (forced.code, forced.json["closed"]) == (0, {SYMBOL: "1"}), forced.err
        assert "another user" in forced.err
        assert open_at(place) == (0, [])
        assert owner_requests.request_of(ledger, "halt") is not None
        time.sleep(0.3)
        assert says.read_text() == "False", "the old owner sends nothing more"
        assert SideJournal(ledger).path.exists()
    finally:
        owner.kill()
        owner.wait()
    assert enter(demo, place, place.plan()).json["code"] == "halted"
    with Ledger.opened(ledger) as after:
        assert not SideJournal(ledger).path.exists()
        assert any(i.purpose == "exit" and after.status(i.client_id) == "done" for i in after.intents())
    assert demo.run("monitor", **place.environment()).code == 0
    with Ledger.opened(ledger) as after:
        assert after.holding(SYMBOL).amount == 0


def test_only_the_process_that_is_meant_is_ended() -> None:
    busy = "import signal, time; signal.signal(signal.SIGTERM, lambda *_: None); print(1, flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", busy], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        started = start_of(process.pid)
        assert end_owner(Owner(process.pid, "1", "", 1)) is None, "that one is gone, its pid another's"
        assert process.poll() is None
        assert end_owner(Owner(process.pid, started, "", 1, "elsewhere")) is not None
        assert end_owner(Owner(os.getpid(), start_of(os.getpid()), "", 1)) is not None
        assert end_owner(Owner(0, "", "", 1)) is not None
        assert process.poll() is None
        process.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        assert end_owner(Owner(process.pid, started, "", 1)) is None
        assert 2 <= time.monotonic() - began < 4
    finally:
        process.kill()
        process.wait()


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def header(path: Path) -> None:
    path.write_bytes(b"x" * 100 + path.read_bytes()[100:])


def flipped(path: Path) -> None:
    body = bytearray(path.read_bytes())
    for number in range(16):
        body[4096 + number] ^= 0xFF
    path.write_bytes(body)


def lost(path: Path) -> None:
    path.unlink()


def all_lost(path: Path) -> None:
    shutil.rmtree(path.parents[2])


def unlocked(path: Path) -> None:
    path.with_suffix(".lock").unlink()
    path.with_suffix(".lock").mkdir()
    path.unlink()


def anothers(path: Path) -> None:
    """A healthy ledger, made for another account."""
    with closing(sqlite3.connect(path)) as db:
        db.executescript("DROP TRIGGER identity_no_update; UPDATE identity SET name = 'elsewhere/0123456789ab-live';")


DAMAGES = [folder, emptied, header, flipped, lost, all_lost, unlocked, anothers]


@pytest.mark.parametrize("damage", DAMAGES)
def test_over_a_ledger_that_cannot_be_used_ours_is_closed_and_the_rest_is_listed(
    place: Place, demo: CommandLine, damage: Callable[[Path], None]
) -> None:
    assert enter(demo, place, place.plan()).code == 0
    ledger = place.ledger(demo.folder / "state")
    with closing(sqlite3.connect(ledger)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for name in ("-wal", "-shm"):
        Path(f"{ledger}{name}").unlink(missing_ok=True)
    damage(ledger)
    trade(place, "BUY", "0.5")
    done = demo.run("flatten", "--json", **place.environment())
    assert (done.code, done.json["closed"], done.json["left"]) == (4, {SYMBOL: "1"}, {SYMBOL: "0.5"}), done.err
    assert "trader ledger rebuild" in done.err
    assert f"trader flatten {SYMBOL} --all-of-it" in done.err
    assert open_at(place) == (Decimal("0.5"), [])
    halted = demo.run("halt", "--json", **place.environment())
    assert halted.code == 0, halted.err
    assert owner_requests.request_of(ledger, "halt") == "by hand"
    assert demo.run("reset", "--json", **place.environment()).json["was_halted"] == "by hand"
    rest = demo.run("flatten", SYMBOL, "--all-of-it", "--json", **place.environment())
    assert (rest.code, rest.json["closed"]) == (0, {SYMBOL: "0.5"}), rest.err
    assert open_at(place) == (0, [])
    assert not ledger.is_file() or damage in {emptied, header, flipped, anothers}, "no ledger is made over an account"


@contextmanager
def small_disk(at: Path, size: str = "3m") -> Iterator[Path]:
    """A disk of its own for the state; skips where none can be mounted."""
    at.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", at], check=False).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        yield at
    finally:
        subprocess.run(["umount", "-l", at], check=True)


@pytest.mark.parametrize("kind", ["full", "read-only"])
def test_on_a_disk_that_takes_nothing_ours_is_closed(place: Place, demo: CommandLine, kind: str) -> None:
    with small_disk(demo.folder / "state") as disk:
        assert enter(demo, place, place.plan()).code == 0
        if kind == "full":
            filler = disk / "filler"
            with suppress(OSError), filler.open("wb", buffering=0) as file:
                while True:
                    file.write(b"x" * 4096)
        else:
            subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        done = demo.run("flatten", "--json", **place.environment())
        assert (done.code, done.json["closed"]) == (0, {SYMBOL: "1"}), done.err
        assert "rebuild" not in done.err, done.err
        assert open_at(place) == (0, [])


PAUSED = """
import os, signal, sys
from trader_cli.storage.ledger import Ledger
from trader_cli.storage.ledger_reading import LedgerReading
honest, paused = Ledger.is_owner, []

def pausing(self):
    if not paused:
        paused.append(1)
        os.kill(os.getpid(), signal.SIGSTOP)
    return honest(self)

Ledger.is_owner = pausing
sys.argv[0] = "trader"
from trader_cli.cli.entry import main
main()
"""


def test_an_owner_that_is_stopped_between_intent_and_send_sends_nothing_after_it_was_superseded(
    place: Place, demo: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = plan_file(place.plan(), demo.folder)
    call = ("enter", SYMBOL, "--timeframe", "15m", "--plan", file, *demo.base)
    owner = subprocess.Popen(
        [sys.executable, "-c", PAUSED, *call],
        cwd=demo.folder,
        env=demo.environment(**place.environment()),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        stat = Path(f"/proc/{owner.pid}/stat")
        while stat.read_text().rpartition(")")[2].split()[0] != "T":
            time.sleep(0.05)
        with LedgerReading.shown(place.ledger(demo.folder / "state")) as read:
            assert read is not None
            assert [i.purpose for i in read.unsettled() if read.status(i.client_id) == "sending"] == ["entry"]
        monkeypatch.setattr(
            "trader_cli.pipelines.trading.risk_reduction.end_owner", lambda _owner: "it is in the kernel"
        )
        forced = demo.run("flatten", "--force", "--json", **place.environment())
        assert forced.code == 0, forced.err
        owner.send_signal(signal.SIGCONT)
        _, err = owner.communicate(timeout=60)
    finally:
        owner.kill()
        owner.wait()
    assert owner.returncode == 11, err
    assert open_at(place) == (0, [])

    async def orders(exchange: BinanceExchange) -> list[str]:
        return [order.client_id for order in await exchange.private.past_orders(SYMBOL)]

    with LedgerReading.shown(place.ledger(demo.folder / "state")) as read:
        assert read is not None
        assert not {i.client_id for i in read.intents()} & set(place.by_hand(orders))


def test_with_a_whole_ledger_all_of_it_takes_what_is_not_ours_too(place: Place, demo: CommandLine) -> None:
    assert enter(demo, place, place.plan()).code == 0
    trade(place, "BUY", "0.5")
    assert demo.run("flatten", "--json", **place.environment()).json["closed"] == {SYMBOL: "1"}
    assert open_at(place)[0] == Decimal("0.5")
    done = demo.run("flatten", SYMBOL, "--all-of-it", "--json", **place.environment())
    assert (done.code, done.json["closed"]) == (0, {SYMBOL: "0.5"}), done.err
    assert open_at(place) == (0, [])


def test_a_monitor_whose_terminal_is_gone_leaves_the_stops_and_names_them(place: Place, demo: CommandLine) -> None:
    assert enter(demo, place, place.plan()).code == 0
    with monitor_at_work(demo, place) as monitor:
        assert monitor.stdout is not None
        assert monitor.stderr is not None
        monitor.stdout.close()
        monitor.send_signal(signal.SIGHUP)
        assert monitor.wait(30) == 129
        said = monitor.stderr.read()
        monitor.stdout = None
    amount, stops = open_at(place)
    assert (amount, len(stops)) == (1, 3)
    assert any(f"{stop.trigger_price:f}" in said for stop in stops), said
    assert demo.run("flatten", **place.environment()).code == 0


def test_an_owner_that_is_not_known_is_named_as_such_and_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings("demo", None, {"state_dir": str(tmp_path)})
    tries: list[int] = []

    def here(*_: object) -> FlattenResult:
        tries.append(1)
        if len(tries) in {1, 3} or len(tries) > 4:
            raise LedgerLocked("ledger", "(pid unknown)")
        return FlattenResult()

    monkeypatch.setattr(risk_reduction, "_here", here)
    monkeypatch.setattr(risk_reduction.ledger_lock, "owner_of", lambda _path: None)
    monkeypatch.setattr(risk_reduction, "_beside_the_owner", lambda _settings, _request, why: FlattenResult(said=[why]))
    for force in (True, True):
        assert risk_reduction.flatten(workspace_of(settings), FlattenRequest("test", force=force)).said == []
    said = risk_reduction.flatten(workspace_of(settings), FlattenRequest("test", force=True)).said
    assert said == ["The process (pid unknown) (command unknown) could not be ended: its lock is still held."]
    began = time.monotonic()
    with pytest.raises(OwnerSilent, match="pid unknown"):
        risk_reduction.flatten(workspace_of(settings), FlattenRequest("test"))
    assert time.monotonic() - began < 6


@pytest.mark.parametrize(("command", "is_named"), [("run", True), ("monitor", False)])
def test_an_owner_that_may_enter_again_after_a_flatten_is_named(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_named: bool
) -> None:
    monkeypatch.setattr(sys, "argv", ["trader", command, SYMBOL])
    settings = load_settings("paper", None, {"state_dir": str(tmp_path)})
    path = workspace_of(settings).ledger_path
    with Ledger.opened(path):
        done = threading.Timer(0.3, owner_requests.forget_request, (path, "flatten"))
        done.start()
        found = risk_reduction.flatten(workspace_of(settings), FlattenRequest("test"))
        done.join()
    assert (str(os.getpid()) in (found.at_work or "")) is is_named


def test_a_request_with_symbols_is_read_by_both_sides(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    owner_requests.ask(path, "flatten", "why", ("A", "B"))
    assert (owner_requests.request_of(path, "flatten"), owner_requests.requested_symbols(path, "flatten")) == (
        "why",
        {"A", "B"},
    )
    owner_requests.ask(path, "flatten", "")
    assert (owner_requests.request_of(path, "flatten"), owner_requests.requested_symbols(path, "flatten")) == (
        "by hand",
        frozenset(),
    )
    with OwnerLock.acquire(path, "x"):
        assert owner_of(path) is not None
    assert json.loads(path.with_suffix(".lock").read_text())["pid"] == 0
