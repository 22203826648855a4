"""The command line without the start of a process."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from support.commands.command_line import CommandLine, Ran

from trader_cli.cli import entry


@dataclass(frozen=True)
class Inside(CommandLine):
    """The command line without the start of a process."""

    def run(self, *arguments: str, **extra: str) -> Ran:
        """The command, finished."""
        out, err, argv, there, before = io.StringIO(), io.StringIO(), sys.argv, Path.cwd(), dict(os.environ)
        os.chdir(self.folder)
        os.environ.update(self.environment(**extra))
        sys.argv = ["trader", *arguments, *self.base]
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = entry._run()
        finally:
            sys.argv = argv
            os.chdir(there)
            os.environ.clear()
            os.environ.update(before)
        assert "Traceback" not in err.getvalue(), err.getvalue()
        return Ran(int(code), out.getvalue(), err.getvalue())
