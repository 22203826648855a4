"""One owner at a time, counted by epochs, and named; nobody else's process is taken for it."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from trader_cli.core.errors import LedgerLocked
from trader_cli.storage import owner_requests
from trader_cli.storage.ledger import Ledger
from trader_cli.storage.ledger_lock import OwnerLock, lock_file, owner_of, recorded, start_of, supersede

HOLDS = """
import sys, time
from pathlib import Path
from trader_cli.storage.ledger_lock import OwnerLock
lock = OwnerLock.acquire(Path(sys.argv[1]), "trader somewhere")
print(lock.epoch, flush=True)
time.sleep(60)
"""


@contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that owns the ledger."""
    process = subprocess.Popen([sys.executable, "-c", HOLDS, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().strip().isdigit()
        yield process
    finally:
        process.kill()
        process.wait()


def test_each_owner_has_the_next_epoch_and_knows_whether_it_is_the_last(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.sqlite"
    for epoch in (1, 2, 3):
        with OwnerLock.acquire(path, "trader test") as lock:
            assert (lock.epoch, lock.is_current()) == (epoch, True)
            found = owner_of(path)
            assert found is not None
            assert (found.pid, found.command, found.epoch, found.is_alive) == (os.getpid(), "trader test", epoch, True)
        assert owner_of(path) is None
    assert owner_of(tmp_path / "none.sqlite") is None


def test_a_second_owner_is_told_who_the_first_is(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with holder(path) as process:
        with pytest.raises(LedgerLocked, match=f"{process.pid} .trader somewhere.") as refused, Ledger.opened(path):
            pass
        assert int(refused.value.exit_code) == 11
        process.send_signal(signal.SIGSTOP)
        found = owner_of(path)
        assert found is not None
        assert (found.pid, found.is_alive) == (process.pid, True)
        process.kill()
        process.wait()
        assert owner_of(path) is None
        assert not found.is_alive
        with Ledger.opened(path) as ledger:
            assert ledger.is_owner()


def test_a_later_process_of_the_same_pid_is_not_the_owner(tmp_path: Path) -> None:
    with OwnerLock.acquire(tmp_path / "a.sqlite", "x"):
        found = owner_of(tmp_path / "a.sqlite")
    assert found is not None
    assert found.is_alive
    assert not replace(found, started="1").is_alive
    assert not replace(found, host="elsewhere").is_alive
    assert start_of(2**22 + 1) == ""


def test_who_was_superseded_is_no_longer_current_and_its_leaving_spoils_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with Ledger.opened(path) as ledger:
        assert ledger.is_owner()
        assert supersede(path)
        assert not ledger.is_owner()
        after = recorded(path)
    assert recorded(path) == after
    assert after is not None
    assert after.epoch == 2
    with OwnerLock.acquire(path, "x") as lock:
        assert (lock.epoch, lock.is_current()) == (3, True)


@pytest.mark.parametrize("found", [b"", b"not json", b'{"pid": 1}', b"\xff" * 2000])
def test_a_record_that_cannot_be_read_keeps_nobody_out_and_is_nobody_s(tmp_path: Path, found: bytes) -> None:
    path = tmp_path / "a.sqlite"
    lock_file(path).write_bytes(found)
    with OwnerLock.acquire(path, "x") as lock:
        assert lock.is_current()
        lock_file(path).write_bytes(found)
        assert not lock.is_current()


def test_a_lock_that_cannot_be_written_is_held_until_somebody_takes_over(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    lock_file(path).touch(mode=0o444)
    if os.geteuid() == 0:
        pytest.skip("root writes everything")
    with OwnerLock.acquire(path, "x") as lock:
        assert lock.is_current()
        lock_file(path).chmod(0o644)
        assert supersede(path)
        assert not lock.is_current()


def test_looking_at_a_free_lock_keeps_nobody_out(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    looks = "from pathlib import Path\nimport sys\nfrom trader_cli.storage.ledger_lock import owner_of\n"
    looks += "print(1, flush=True)\nwhile True: owner_of(Path(sys.argv[1]))\n"
    looker = subprocess.Popen([sys.executable, "-c", looks, str(path)], stdout=subprocess.PIPE)
    try:
        assert looker.stdout is not None
        looker.stdout.readline()
        for _ in range(200):
            OwnerLock.acquire(path, "x").release()
    finally:
        looker.kill()
        looker.wait()


def test_an_acknowledgement_is_of_the_request_that_stands(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    assert not owner_requests.is_acknowledged(path, "flatten")
    owner_requests.ask(path, "flatten", "first")
    assert not owner_requests.is_acknowledged(path, "flatten")
    owner_requests.acknowledge(path, "flatten")
    assert owner_requests.is_acknowledged(path, "flatten")
    owner_requests.ask(path, "flatten", "second")
    assert not owner_requests.is_acknowledged(path, "flatten")
    owner_requests.acknowledge(path, "flatten")
    owner_requests.forget_request(path, "flatten")
    assert not owner_requests.is_acknowledged(path, "flatten")


def test_on_a_full_disk_a_request_is_a_file_without_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.sqlite"

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    owner_requests.ask(path, "flatten", "a reason")
    owner_requests.acknowledge(path, "flatten")
    assert owner_requests.request_of(path, "flatten") == "by hand"
    assert owner_requests.is_acknowledged(path, "flatten")
    with OwnerLock.acquire(path, "x") as lock:
        assert lock.is_current()
