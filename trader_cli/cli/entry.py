"""Where a `trader` process begins and ends: signals first, then the command, then every error's way to an exit code."""

from __future__ import annotations

import gc
import io
import os
import re
import shlex
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

from trader_cli.cli.output import make_patient
from trader_cli.core.errors import ExitCode, Finished, HungUp, Terminated, TraderError

if TYPE_CHECKING:
    from types import FrameType

_OBJECTS_AT_ONCE = 20_000
"""New objects before the collector looks for cycles among them; at Python's 700 it looks 250 times per command."""
_CARRIED = frozenset({"--profile", "-p", "--config", "-c", "--tape"})
_WHOLE = "Everything on disk is whole;"
_ANEW = "this command keeps its work only once it is done, so run again it begins anew."
_AGAIN = {
    "backtest": "models that were trained are kept; run the command again, and the trading begins anew.",
    "backtest compare": _ANEW,
    "report": _ANEW,
    "stress": _ANEW,
    "train": _ANEW,
    "verify": _ANEW,
}
"""What a command finds again of what it has done, where it is not all that was finished."""


def main() -> NoReturn:
    """Run the command line and leave the process with a documented exit code."""
    make_patient()
    signal.signal(signal.SIGTERM, _terminate)
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:  # `nohup` has it ignored, and so it stays
        signal.signal(signal.SIGHUP, _terminate)
    sys.unraisablehook = _deliver_again
    gc.set_threshold(_OBJECTS_AT_ONCE, 10, 10)
    code = _run()
    gc.freeze()  # the interpreter need not look for cycles in all that was loaded, which the process's end frees anyway
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
    except Finished as leaving:
        return int(leaving.code or 0)
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else ExitCode.DONE
        return _left(code)
    except TraderError as error:
        return _said(str(error), error.exit_code)
    except (KeyboardInterrupt, Terminated) as leaving:
        return _heard(leaving)
    except OSError as error:
        return _said(f"Cannot use {error.filename or 'a file'}: {error.strerror or error}.", ExitCode.DATA)
    except Exception as bug:
        if isinstance(
            bug.__cause__, KeyboardInterrupt | Terminated
        ):  # it struck while a class was made: Python wraps it
            return _heard(bug.__cause__)
        import traceback

        traceback.print_exc()
        return _said(
            f"This is a bug in trader: {type(bug).__name__}: {bug}. Please report the lines above.", ExitCode.BUG
        )
    return ExitCode.DONE


def _with_options(sentence: str) -> str:
    """Commands named in a sentence get the profile, configuration and tape of this call, so that they can be copied."""
    given: list[str] = []
    for number, word in enumerate(sys.argv):
        name, equals, value = word.partition("=")
        if name in _CARRIED and (equals or number + 1 < len(sys.argv)):
            given += [name, shlex.quote(value if equals else sys.argv[number + 1])]
    carried = " ".join(["", *given])
    named = r"`(trader (?:fetch|features|train|analyze|tactics|enter|monitor|flatten|reset|run|venue)\b[^`]*)`"
    return re.sub(named, lambda found: f"`{found.group(1)}{carried}`", sentence)


def _left_behind() -> str:
    """What a signal leaves, and what comes of the same command given again."""
    words = [word for word in sys.argv[1:3] if not word.startswith("-")]
    again = _AGAIN.get(" ".join(words)) or _AGAIN.get(words[0] if words else "")
    return f"{_WHOLE} {again or 'run the command again to go on.'}"


def _heard(leaving: KeyboardInterrupt | Terminated) -> int:
    """A signal."""
    if isinstance(leaving, KeyboardInterrupt):
        return _said(f"Interrupted. {_left_behind()}", ExitCode.INTERRUPTED)
    return _said(f"{leaving.words}. {_left_behind()}", leaving.exit_code)


def _left(code: int) -> int:
    """What click left with; it has said on stderr what was wrong with the call."""
    if code == ExitCode.INTERRUPTED:
        return _said(f"Interrupted. {_left_behind()}", code)
    if code == ExitCode.BUG and not isinstance(sys.stdout, io.TextIOWrapper):
        return ExitCode.DONE  # whoever read our output (`| head`) has had enough; what was to be done is done
    if code == ExitCode.USAGE and "--json" in sys.argv:
        return _said("The command was called wrongly: see above, or --help.", code)
    return code


def _terminate(number: int, _frame: FrameType | None) -> None:
    for other in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(other, signal.SIG_IGN)
    raise HungUp if number == signal.SIGHUP else Terminated


def _deliver_again(lost: sys.UnraisableHookArgs) -> None:
    """A signal that struck inside a finaliser was swallowed there: let it strike again in a moment."""
    kind = lost.exc_type
    if kind not in {Terminated, HungUp, KeyboardInterrupt}:
        sys.__unraisablehook__(lost)
        return

    def strike(_signal: int, _frame: FrameType | None) -> None:
        raise kind

    signal.signal(signal.SIGALRM, strike)
    signal.setitimer(signal.ITIMER_REAL, 0.02)


def _said(sentence: str, code: int) -> int:
    """The code, after saying the sentence on stderr, and under --json as one object on stdout."""
    sentence = _with_options(sentence)
    print(sentence, file=sys.stderr)
    if "--json" in sys.argv:
        import json

        print(json.dumps({"error": sentence, "exit_code": int(code)}))
    return code
