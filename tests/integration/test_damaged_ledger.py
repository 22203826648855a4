"""With a position open the ledger is lost, damaged or cannot be written: `status` and `ledger rebuild` say and do right.

A table: each damage with each of the two commands, over a venue in a process of its own. `flatten` and `monitor` have
tests of their own.
"""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.commands.command_line import CommandLine, Ran
from support.commands.in_process import Inside
from support.hosts.venue_process import Place, venue_process
from support.trading.desk import SYMBOL
from test_trading_on_a_host import enter

from trader_cli.exchange.account.broker import BinanceBroker
from trader_cli.storage.ledger import Ledger
from trader_cli.storage.ledger_reading import LedgerReading

pytestmark = pytest.mark.slow
KEY = "sim-key"


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A venue for this test: a rebuild uses most of a minute's request weight."""
    with venue_process(tmp_path_factory.mktemp("venue")) as served:
        yield served


@pytest.fixture
def held(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose ledger holds one protected position, which stays open."""
    cli = Inside(tmp_path_factory.mktemp("held"), ("--profile", "demo"))
    done = enter(cli, place, place.plan())
    assert done.code == 0, done.err
    return cli.folder


@pytest.fixture
def demo(place: Place, held: Path, tmp_path: Path) -> CommandLine:
    """The command line in a copy of that folder."""
    shutil.copytree(held, tmp_path / "copy")
    return Inside(tmp_path / "copy", ("--profile", "demo"))


def run(cli: CommandLine, place: Place, *arguments: str, **extra: str) -> Ran:
    """A command on that venue."""
    return cli.run(*arguments, **place.environment(), **extra)


def account(cli: CommandLine, place: Place) -> dict[str, Any]:
    """What `status` says of the account."""
    shown = run(cli, place, "status", "--json")
    assert shown.code == 0, shown.err
    return dict(shown.json["account"])


def lost(path: Path) -> None:
    path.unlink()


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def turned_over(path: Path) -> None:
    """Sixteen bytes in every page but the first, so that something that is read is among them."""
    body = bytearray(path.read_bytes())
    for page in range(4096, len(body), 4096):
        body[page : page + 16] = bytes(byte ^ 0xFF for byte in body[page : page + 16])
    path.write_bytes(body)


def beheaded(path: Path) -> None:
    path.write_bytes(b"\0" * 100 + path.read_bytes()[100:])


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "something").write_text("in it")


def anothers(path: Path) -> None:
    """A healthy ledger, made for another account."""
    with closing(sqlite3.connect(path)) as db:
        db.executescript("DROP TRIGGER identity_no_update; UPDATE identity SET name = 'elsewhere/0123456789ab-live';")


DAMAGES: dict[str, Callable[[Path], None]] = {
    "lost": lost,
    "emptied": emptied,
    "16 bytes flipped": turned_over,
    "header overwritten": beheaded,
    "a folder in its place": folder,
    "another account's": anothers,
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_status_answers_from_the_exchange_alone_and_names_the_cure(kind: str, place: Place, demo: CommandLine) -> None:
    DAMAGES[kind](place.ledger(demo.folder / "state"))
    said = account(demo, place)
    assert said["walk_away"] is False
    assert said["verdict"].startswith("NO: ")
    assert "`trader ledger rebuild`" in said["verdict"]
    (ours,) = said["held"]
    assert (ours["symbol"], ours["amount"], ours["shown"]) == (SYMBOL, "1", "1")
    assert ours["stop"] is not None
    assert ours["backstop"] is not None
    assert said["foreign"] == []
    assert "`trader ledger rebuild`" in run(demo, place, "status").out


@pytest.mark.parametrize("kind", DAMAGES)
def test_rebuild_moves_the_bad_file_aside_and_begins_halted(kind: str, place: Place, demo: CommandLine) -> None:
    path = place.ledger(demo.folder / "state")
    before = whole(path)
    DAMAGES[kind](path)
    done = run(demo, place, "ledger", "rebuild", "--json")
    assert done.code == 0, done.err
    assert done.json["fills"] == {SYMBOL: 1}
    assert (done.json["moved_to"] is None) == (kind == "lost")
    if kind != "lost":
        assert ".damaged-" in done.json["moved_to"]
        assert Path(done.json["moved_to"]).exists()
    assert whole(path) == before
    assert not list(path.parent.glob("*rebuilding*"))
    said = account(demo, place)
    assert "made again" in said["halted"]
    assert (said["walk_away"], said["verdict"].split(":")[0]) == (True, "yes")
    refused = enter(demo, place, place.plan())
    assert (refused.code, refused.json["code"]) == (9, "halted")
    assert "made again" in run(demo, place, "reset", "--json").json["was_halted"]
    assert account(demo, place)["halted"] is None
    again = run(demo, place, "ledger", "rebuild")
    assert (again.code, "not empty" in again.err) == (2, True)


def whole(path: Path) -> tuple[Any, ...]:
    """What a ledger holds, and by which orders."""
    with LedgerReading.shown(path) as ledger:
        assert ledger is not None
        return (
            ledger.holding(SYMBOL),
            [vars(f) for f in ledger.fills()],
            sorted(i.client_id for i in ledger.intents() if ledger.last_note(i.client_id) is not None),
        )


def test_a_position_the_past_does_not_explain_leaves_the_old_file(place: Place, demo: CommandLine) -> None:
    """Our entry is beyond what the exchange remembers: with none of ours to be found the position is not explained."""
    path = place.ledger(demo.folder / "state")
    beheaded(path)
    before = path.read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        asked = BinanceBroker.past_orders

        async def forgetful(self: BinanceBroker, symbol: str, **span: Any) -> Any:
            return [o for o in await asked(self, symbol, **span) if not o.client_id.startswith("td-e-")]

        patch.setattr(BinanceBroker, "past_orders", forgetful)
        done = run(demo, place, "ledger", "rebuild")
    assert done.code == 4, done.out
    assert "comes to 0, and the position it shows is 1" in done.err
    assert path.read_bytes() == before
    assert not list(path.parent.glob("*.damaged-*"))
    assert account(demo, place)["walk_away"] is False


def test_a_locked_ledger_is_shown_with_its_owner_and_not_rebuilt(place: Place, demo: CommandLine) -> None:
    path = place.ledger(demo.folder / "state")
    code = (
        "import sys; from pathlib import Path; from trader_cli.storage.ledger_lock import OwnerLock\n"
        "with OwnerLock.acquire(Path(sys.argv[1]), 'trader monitor'): print('held', flush=True); sys.stdin.read()"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "held\n"
        said = account(demo, place)
        assert (said["walk_away"], said["cared_for"]) == (True, True)
        assert str(owner.pid) in said["owner"]
        beheaded(path)
        assert account(demo, place)["walk_away"] is False
        done = run(demo, place, "ledger", "rebuild")
        assert (done.code, str(owner.pid) in done.err) == (11, True)
        settled = run(demo, place, "ledger", "settle", SYMBOL, "--yes")
        assert (settled.code, str(owner.pid) in settled.err) == (11, True)
    finally:
        owner.communicate("")


def test_the_same_account_under_another_profile_is_named(place: Place, demo: CommandLine) -> None:
    path = place.ledger(demo.folder / "state")
    with closing(sqlite3.connect(path)) as db:  # as profile live would have made it
        db.executescript("DROP TRIGGER identity_no_update; UPDATE identity SET name = replace(name, '-demo', '-live');")
    path.rename(path.with_name(path.name.replace("-demo.", "-live.")))
    said = account(demo, place)
    assert said["walk_away"] is False
    assert f"profile live holds {SYMBOL} 1 on this very account" in said["verdict"]


def test_orders_of_a_second_trader_are_named(place: Place, demo: CommandLine) -> None:
    """The other one works from another state directory on the same account."""
    path = place.ledger(demo.folder / "state")
    path.unlink()
    with Ledger.opened(path) as ledger:
        ledger.halt("test", 1)
        ledger.clear_halt("test", 2)
    said = account(demo, place)
    assert said["walk_away"] is False
    assert "a second trader works on this account" in said["verdict"]


# --- a disk that cannot be written: mounts of one command's own ---


def mounts() -> bool:
    tried = subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False)
    return tried.returncode == 0


needs_mounts = pytest.mark.skipif(not (shutil.which("unshare") and mounts()), reason="no mounts of one's own here")
READ_ONLY = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1"'
FULL = (
    'cp -a "$1" "$1.kept" && mount -t tmpfs -o size=2m tmpfs "$1" && cp -a "$1.kept"/. "$1"/'
    ' && { cat /dev/zero > "$1/filler" 2>/dev/null; true; }'
)


def mounted(cli: CommandLine, place: Place, how: str, *arguments: str) -> Ran:
    """A command whose state directory is mounted in this way."""
    script = f'{how} && shift && exec "$@"'
    state = str(cli.folder / "state")
    command = [sys.executable, "-m", "trader_cli", *arguments, *cli.base]
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, "sh", state, *command],
        cwd=cli.folder,
        text=True,
        capture_output=True,
        env=cli.environment(**place.environment()),
        check=False,
        timeout=120,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Ran(done.returncode, done.stdout, done.stderr)


@needs_mounts
@pytest.mark.parametrize("how", [READ_ONLY, FULL], ids=["read-only", "full disk"])
def test_a_disk_that_takes_nothing_hides_nothing(how: str, place: Place, demo: CommandLine) -> None:
    shown = mounted(demo, place, how, "status", "--json")
    assert shown.code == 0, shown.err
    said = shown.json["account"]
    assert (said["walk_away"], [h["amount"] for h in said["held"]]) == (True, ["1"]), said["verdict"]


@needs_mounts
@pytest.mark.parametrize(
    ("how", "hint"), [(READ_ONLY, "writable"), (FULL, "Free some disk")], ids=["read-only", "full"]
)
def test_a_disk_that_takes_nothing_takes_no_new_ledger(how: str, hint: str, place: Place, demo: CommandLine) -> None:
    path = place.ledger(demo.folder / "state")
    beheaded(path)
    before = path.read_bytes()
    shown = mounted(demo, place, how, "status", "--json")
    assert (shown.code, shown.json["account"]["walk_away"]) == (0, False), shown.err
    done = mounted(demo, place, how, "ledger", "rebuild")
    assert done.code == 4, done.out + done.err
    assert hint in done.err
    assert path.read_bytes() == before


def test_at_the_end_the_position_is_closed_with_the_ledger_that_was_made_again(place: Place, demo: CommandLine) -> None:
    path = place.ledger(demo.folder / "state")
    folder(path)
    assert run(demo, place, "ledger", "rebuild").code == 0
    assert run(demo, place, "flatten").code == 0
    said = account(demo, place)
    assert (said["held"], said["walk_away"]) == ([], True), said["verdict"]
    with closing(path.open("rb")):
        assert whole(path)[0].amount == 0
