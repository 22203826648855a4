"""Commands as forks of an interpreter that has loaded the program: processes of their own, without a second of imports.

Run as a script it is that interpreter: it takes a line of JSON, starts or awaits a process, and answers with a line.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

_LATE = (
    "aiohttp.web",
    "lightgbm",
    "polars",
    "pywt",
    "rich.table",
    "sqlite3",
    "talib",
    "tenacity.asyncio",
    "typer.rich_utils",
)
"""What the program imports when it is first used."""


@dataclass(frozen=True)
class Started:
    """A command that was started; its output goes to files."""

    pid: int
    out: Path
    err: Path


class Warm:
    """Starts `trader` commands. Use as a context manager."""

    def __enter__(self) -> Self:
        self.environment = _foreign(os.environ)
        self._loader = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**self.environment, "OMP_WAIT_POLICY": "passive"},
        )
        self._begun: set[int] = set()
        self._lock = threading.Lock()
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

    def fits(self, environment: dict[str, str]) -> bool:
        """Whether a command in this environment differs from the loader in settings of `trader` alone."""
        given = ("OMP_WAIT_POLICY", "COLUMNS")
        theirs, ours = _foreign(environment), self.environment
        return all(theirs.get(name) == ours.get(name) for name in {*theirs, *ours} if name not in given)

    def _asked(self, **what: Any) -> Any:
        assert self._loader.stdin is not None
        assert self._loader.stdout is not None
        with self._lock:
            self._loader.stdin.write(json.dumps(what) + "\n")
            self._loader.stdin.flush()
            return json.loads(self._loader.stdout.readline())

    def start(
        self, folder: Path, name: str, arguments: list[str], environment: dict[str, str], *, clock_off_s: float = 0.0
    ) -> Started:
        """A command in `folder`; `name` is that of its output. `clock_off_s`: how wrong its machine's clock is."""
        given = {"TRADER_STATE_DIR": str(folder / "state"), "COLUMNS": "120", **environment}
        return self.begin(folder, folder / name, arguments, {**self.environment, **given}, clock_off_s=clock_off_s)

    def begin(
        self, folder: Path, output: Path, arguments: list[str], environment: dict[str, str], *, clock_off_s: float = 0.0
    ) -> Started:
        """A command in `folder`, in this environment and no other; what it says goes to `output`.out and .err."""
        out, err = (output.with_name(f"{output.name}.{end}") for end in ("out", "err"))
        out.touch()
        err.touch()
        pid = self._asked(
            do="start",
            argv=arguments,
            environment=environment,
            folder=str(folder),
            out=str(out),
            err=str(err),
            clock_off_s=clock_off_s,
        )
        self._begun.add(int(pid))
        return Started(int(pid), out, err)

    def ended(self, started: Started, most_s: float = 0.0) -> int | None:
        """Its exit code (negative: the signal), None if it runs still after so long."""
        if started.pid in self._begun:  # nobody has waited for it: the number is its own still
            process = os.pidfd_open(started.pid)
            try:
                select.select([process], [], [], most_s)
            finally:
                os.close(process)
        code = self._asked(do="wait", pid=started.pid)
        if code is None:
            return None
        self._begun.discard(started.pid)
        return int(code)


_ONCE = threading.Lock()


def shared_interpreter() -> Warm:
    """The one of this worker, until it ends; threads get the same."""
    with _ONCE:
        return _shared()


@cache
def _shared() -> Warm:
    warm = Warm()
    atexit.register(warm.__exit__, None, None, None)
    return warm.__enter__()


def _foreign(environment: Any) -> dict[str, str]:
    """What is not a setting of `trader`, nor changes from test to test."""
    ours = ("TRADER_", "PYTEST_CURRENT_TEST")
    return {name: value for name, value in environment.items() if not name.startswith(ours)}


def serve() -> None:
    """Answer requests until the input ends."""
    load()
    print("ready", flush=True)
    ended: dict[int, int] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        if asked["do"] == "start":
            pid = os.fork()
            if not pid:
                return become(asked)
            print(json.dumps(pid), flush=True)
        else:
            print(json.dumps(awaited(asked["pid"], ended)), flush=True)
    return None


def load() -> None:
    """The whole program and what it imports late."""
    import trader_cli

    for found in pkgutil.walk_packages(trader_cli.__path__, "trader_cli."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)
    for name in _LATE:
        importlib.import_module(name)
    importlib.import_module("trader_cli.exchange.connection.ccxt_binance").ccxt_binance()
    assert threading.active_count() == 1
    gc.collect()
    gc.freeze()


def become(asked: dict[str, Any]) -> None:
    """Run the command; the process ends as `python -m trader_cli` does, but for freeing its memory."""
    for number, name, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, asked["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        (2, asked["err"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
    ):
        os.dup2(os.open(name, flags, 0o644), number)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    if asked["clock_off_s"]:
        set_clock(asked["clock_off_s"])
    sys.argv = ["trader", *asked["argv"]]
    from trader_cli.cli import entry

    try:
        entry.main()
    except SystemExit as leaving:
        end(int(leaving.code or 0))


def end(code: int) -> NoReturn:
    """The end of an interpreter: threads, exit functions, finalisers of what is left over, streams.

    Only the loader's modules are left as they are: to take them down would copy all their memory, for half the time of
    a short command.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    gc.collect()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def set_clock(off_s: float) -> None:
    """Set this process's wall clock forward, or back."""
    honest_s, honest_ns = time.time, time.time_ns
    time.time = lambda: honest_s() + off_s
    time.time_ns = lambda: honest_ns() + round(off_s * 1e9)


def awaited(pid: int, ended: dict[int, int]) -> int | None:
    """The exit code of a command, None while it runs."""
    if pid not in ended:
        found, status = os.waitpid(pid, os.WNOHANG)
        if not found:
            return None
        ended[pid] = os.waitstatus_to_exitcode(status)
    return ended[pid]


if __name__ == "__main__":
    serve()
