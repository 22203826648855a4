"""`trader` as processes in a folder of their own, with their own state."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SMALL_SIM = {"TRADER_ANALYST__LEARNERS": "1", "TRADER_SIM__DAYS": "40", "TRADER_SIM__SYMBOLS": '["ETHUSDT"]'}
"""A small synthetic market and a quick model."""


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

    def run(self, *arguments: str, **extra: str) -> Ran:
        """The command, finished."""
        process = self.start(*arguments, **extra)
        out, err = process.communicate(timeout=240)
        assert "Traceback" not in err, err
        return Ran(process.returncode, out, err)

    def leftovers(self) -> list[Path]:
        """Half-written files."""
        return list(self.folder.rglob(".part-*"))
