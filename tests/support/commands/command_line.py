"""`trader` as processes in a folder of their own, with their own state."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from support.commands.warm_interpreter import Started, shared_interpreter

SMALL_SIM = {"TRADER_ANALYST__LEARNERS": "1", "TRADER_SIM__DAYS": "40", "TRADER_SIM__SYMBOLS": '["ETHUSDT"]'}
"""A small synthetic market and a quick model."""
MOST_S = 240.0
_NUMBERS = count()


@dataclass(frozen=True)
class Ran:
    """A finished command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one object on stdout."""
        return dict(json.loads(self.out))


@dataclass(frozen=True)
class Forked:
    """A command at work, forked from an interpreter that has loaded the program; what it says goes to files."""

    started: Started

    def code(self, most_s: float = 0.0) -> int | None:
        """Its exit code (negative: the signal), None if it runs still after so long."""
        return shared_interpreter().ended(self.started, most_s)

    def first_line(self) -> str:
        """The first line of its output, once it is there."""
        while not (line := self.said()[0].partition("\n"))[1]:
            assert self.code() is None, self.said()
            time.sleep(0.01)
        return line[0]

    def send(self, number: signal.Signals) -> None:
        """A signal, if it runs still."""
        if self.code() is None:
            os.kill(self.started.pid, number)

    def ended(self, *sent: signal.Signals, most_s: float = 30.0) -> Ran:
        """What came of it, after these signals or by itself."""
        for number in sent:
            self.send(number)
        code = self.code(most_s)
        assert code is not None, f"it runs still after {most_s} s: {self.said()}"
        return _ran(code, *self.said())

    def said(self) -> tuple[str, str]:
        """Its output and its errors, so far."""
        return self.started.out.read_text("utf-8"), self.started.err.read_text("utf-8")


@dataclass(frozen=True)
class CommandLine:
    """`trader` in a folder of its own, with its own state."""

    folder: Path
    base: tuple[str, ...] = ()

    def environment(self, **extra: str) -> dict[str, str]:
        """The process environment."""
        return {
            **{name: value for name, value in os.environ.items() if name != "TRADER_KILLS"},
            "TRADER_STATE_DIR": str(self.folder / "state"),
            "OMP_WAIT_POLICY": "passive",
            "COLUMNS": "120",
            **extra,
        }

    def start(self, *arguments: str, **extra: str) -> subprocess.Popen[str]:
        """The command, running."""
        return subprocess.Popen(
            [sys.executable, "-m", "trader_cli", *arguments, *self.base],
            cwd=self.folder,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment(**extra),
        )

    def begin(self, *arguments: str, **extra: str) -> Forked:
        """The command, running, without the second that an interpreter takes to load it."""
        said = self.folder / f"{arguments[0]}-{next(_NUMBERS)}"
        return Forked(
            shared_interpreter().begin(self.folder, said, [*arguments, *self.base], self.environment(**extra))
        )

    def run(self, *arguments: str, **extra: str) -> Ran:
        """The command, finished: a process of its own, forked from one that has loaded the program."""
        environment, warm = self.environment(**extra), shared_interpreter()
        if not warm.fits(environment):
            return self.run_anew(*arguments, **extra)
        with tempfile.TemporaryDirectory() as told:
            started = warm.begin(self.folder, Path(told) / "told", [*arguments, *self.base], environment)
            code = warm.ended(started, MOST_S)
            if code is None:
                os.kill(started.pid, signal.SIGKILL)
                raise TimeoutError(f"{arguments} took more than {MOST_S} s")
            return _ran(code, started.out.read_text("utf-8"), started.err.read_text("utf-8"))

    def run_anew(self, *arguments: str, **extra: str) -> Ran:
        """The command, finished, in an interpreter of its own: where what it imports or the seed of hashes matters."""
        process = self.start(*arguments, **extra)
        return _ran(*_finished(process))

    def leftovers(self) -> list[Path]:
        """Half-written files."""
        return list(self.folder.rglob(".part-*"))


def _finished(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=MOST_S)
    return process.returncode, out, err


def _ran(code: int, out: str, err: str) -> Ran:
    assert "Traceback" not in err, err
    return Ran(code, out, err)
