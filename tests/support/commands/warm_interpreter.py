"""Commands as forks of an interpreter that has loaded the program: processes of their own, without a second of imports.

Run as a script it is that interpreter: it takes a line of JSON, starts or awaits a process, and answers with a line.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_LOADED = (
    "ccxt.async_support",
    "aiohttp",
    "sqlite3",
    "trader_cli.cli.entry",
    "trader_cli.cli.main",
    "trader_cli.pipelines.trading.trading_stages",
    "trader_cli.pipelines.trading.risk_reduction",
    "trader_cli.pipelines.trading.flatten_without_ledger",
    "trader_cli.tactician.position_monitor",
    "trader_cli.execution.executor",
    "trader_cli.exchange.binance",
)


@dataclass(frozen=True)
class Started:
    """A command that was started; its output goes to files."""

    pid: int
    out: Path
    err: Path


class Warm:
    """Starts `trader` commands. Use as a context manager; one thread at a time."""

    def __enter__(self) -> Self:
        self._loader = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_WAIT_POLICY": "passive"},
        )
        self._begun: set[int] = set()
        assert self._loader.stdout is not None
        assert self._loader.stdout.readline() == "ready\n"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pid in self._begun:  # children of the loader that nobody waited for: their numbers are theirs still
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._loader.kill()
        self._loader.communicate()

    def _asked(self, **what: Any) -> Any:
        assert self._loader.stdin is not None
        assert self._loader.stdout is not None
        self._loader.stdin.write(json.dumps(what) + "\n")
        self._loader.stdin.flush()
        return json.loads(self._loader.stdout.readline())

    def start(
        self, folder: Path, name: str, arguments: list[str], environment: dict[str, str], *, clock_off_s: float = 0.0
    ) -> Started:
        """A command in `folder`; `name` is that of its output. `clock_off_s`: how wrong its machine's clock is."""
        out, err = folder / f"{name}.out", folder / f"{name}.err"
        out.touch()
        err.touch()
        given = {"TRADER_STATE_DIR": str(folder / "state"), "COLUMNS": "120", **environment}
        pid = self._asked(
            do="start",
            argv=arguments,
            environment=given,
            folder=str(folder),
            out=str(out),
            err=str(err),
            clock_off_s=clock_off_s,
        )
        self._begun.add(int(pid))
        return Started(int(pid), out, err)

    def ended(self, started: Started, most_s: float = 0.0) -> int | None:
        """Its exit code (negative: the signal), None if it runs still after so long."""
        code = self._asked(do="wait", pid=started.pid, most_s=most_s)
        if code is None:
            return None
        self._begun.discard(started.pid)
        return int(code)


def serve() -> None:
    """Answer requests until the input ends."""
    for name in _LOADED:
        __import__(name)
    assert threading.active_count() == 1
    print("ready", flush=True)
    ended: dict[int, int] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        answer = forked(asked) if asked["do"] == "start" else awaited(asked["pid"], asked["most_s"], ended)
        print(json.dumps(answer), flush=True)


def forked(asked: dict[str, Any]) -> int:
    """The pid of a command."""
    pid = os.fork()
    if pid:
        return pid
    for number, name, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, asked["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        (2, asked["err"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
    ):
        os.dup2(os.open(name, flags, 0o644), number)
    os.chdir(asked["folder"])
    for name in [name for name in os.environ if name.startswith("TRADER_")]:
        del os.environ[name]
    os.environ.update(asked["environment"])
    if asked["clock_off_s"]:
        set_clock(asked["clock_off_s"])
    sys.argv = ["trader", *asked["argv"]]
    from trader_cli.cli import entry

    try:
        entry.main()
    except SystemExit as leaving:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(leaving.code if isinstance(leaving.code, int) else 1)


def set_clock(off_s: float) -> None:
    """Set this process's wall clock forward, or back."""
    honest_s, honest_ns = time.time, time.time_ns
    time.time = lambda: honest_s() + off_s
    time.time_ns = lambda: honest_ns() + round(off_s * 1e9)


def awaited(pid: int, most_s: float, ended: dict[int, int]) -> int | None:
    """The exit code of a command."""
    until = time.monotonic() + most_s
    while pid not in ended:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            ended[pid] = os.waitstatus_to_exitcode(status)
        elif time.monotonic() >= until:
            return None
        else:
            time.sleep(0.01)
    return ended[pid]


if __name__ == "__main__":
    serve()
