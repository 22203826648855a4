"""Where a `trader` process begins and ends: signals first, then the command, then every error's way to an exit code."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

from trader_cli.core.errors import ExitCode, Terminated, TraderError

if TYPE_CHECKING:
    from types import FrameType

_WHOLE = "Everything on disk is whole; run the command again to go on."


def main() -> NoReturn:
    """Run the command line and leave the process with a documented exit code."""
    signal.signal(signal.SIGTERM, _terminate)
    code = _run()
    if code == ExitCode.INTERRUPTED:
        # CPython remembers a Ctrl-C that struck inside `exec` (dataclasses use it while modules load) and would end the
        # process by signal, whatever it was told to exit with.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _run() -> int:
    try:
        from trader_cli.cli.main import app

        app(prog_name="trader")
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else ExitCode.DONE
        return _said(f"Interrupted. {_WHOLE}", code) if code == ExitCode.INTERRUPTED else code
    except TraderError as error:
        return _said(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _said(f"Interrupted. {_WHOLE}", ExitCode.INTERRUPTED)
    except Terminated:
        return _said(f"Terminated. {_WHOLE}", ExitCode.TERMINATED)
    except Exception as bug:
        import traceback

        traceback.print_exc()
        return _said(
            f"This is a bug in trader: {type(bug).__name__}: {bug}. Please report the lines above.", ExitCode.BUG
        )
    return ExitCode.DONE


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise Terminated


def _said(sentence: str, code: int) -> int:
    """The code, after saying the sentence on stderr, and under --json as one object on stdout."""
    print(sentence, file=sys.stderr)
    if "--json" in sys.argv:
        import json

        print(json.dumps({"error": sentence, "exit_code": int(code)}))
    return code
