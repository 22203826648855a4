"""A rule in a process of its own beside the loop that trades: one that hangs or crashes there keeps nobody waiting.

Parent and child speak over a socket: JSON, or arrays as NumPy stores them, never pickles. What the rule prints is
dropped. The child ends with its parent, and by itself where an answer takes it too long. It is loaded in the
background, for which it has a limit of its own; asked once it is, its answer is waited for, in `sim` while virtual time
stands still.
"""

from __future__ import annotations

import io
import json
import os
import select
import signal
import socket
import subprocess
import sys
import weakref
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from time import monotonic
from types import MappingProxyType
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np

from trader_cli.analyst.isolated_process import known_environment
from trader_cli.analyst.numbered_messages import receive, send
from trader_cli.analyst.user_rules import SETTING, load_rule, rule_origin
from trader_cli.core.errors import ConfigurationError, TraderError
from trader_cli.core.json_values import object_of, texts_of, whole_of
from trader_cli.features.rule import BarSignals, NamedRule, Rule, RuleBars
from trader_cli.settings import as_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trader_cli.core.json_values import JsonObject
    from trader_cli.features.rule import ParameterValue
    from trader_cli.settings.model import RuleSettings

_MODULE = "trader_cli.analyst.rule_process"
BOOT_S = 60.0
"""How long the child may take to import what is ours and the rule; `rule.time_limit` where that is longer."""
ANSWER_S = 2.0
"""How long the rule may take, less than a bare position may wait; `rule.time_limit` where that is shorter."""
_PAST_IT = 5
"""After so many times its limit a child that nobody ends any more ends itself."""
_ARRAYS = b"PK"
_NO_ANSWER = "gave something else than an answer to what it was asked"
_UNREADABLE = (ValueError, KeyError, TypeError, EOFError, OSError, BadZipFile)


@dataclass(frozen=True)
class _Elsewhere(NamedRule):
    """A rule that another process is asked about, as that has described it."""

    process: RuleProcess
    described: JsonObject

    @property
    def parameters(self) -> dict[str, ParameterValue]:
        """As described."""
        return dict(object_of(self.described["parameters"]))  # type: ignore[arg-type]

    def said(self, bars: RuleBars) -> BarSignals:
        """Asked there, and checked here. Raises `ConfigurationError` where no answer comes in time."""
        return self.checked(self.process.signals(bars), len(bars))


class RuleProcess:
    """The configured rule, in a process that is begun before it is wanted, and anew after a fault or a change.

    `waits`: whoever asks waits until it is loaded; else is told that it is not yet, and its process goes on loading.
    """

    def __init__(self, options: RuleSettings, *, waits: bool = True, boot_s: float | None = None) -> None:
        self._options, self._waits = options, waits
        self._limit_s = min(options.time_limit, ANSWER_S)
        self._boot_s = max(BOOT_S, options.time_limit) if boot_s is None else boot_s
        self._pipe: socket.socket | None = None
        self._source = ""
        self._began_s = 0.0
        self._named: NamedRule | None = None
        self._number = 0
        self._finalizer: weakref.finalize[..., RuleProcess] | None = None

    def begin(self) -> None:
        """Have it loaded in the background from its source as it is now, where it is not yet.

        Raises `ConfigurationError` where the source cannot be read.
        """
        source = rule_origin(str(self._options.name)).digest
        if self._pipe is not None and self._source == source:
            return
        self.close()
        try:
            self._source, self._began_s, self._pipe = source, monotonic(), self._begun()
        except OSError as error:
            raise self._fault(f"cannot be given a process of its own: {error}") from error
        with suppress(OSError):  # it has ended: told where it is asked
            send(self._pipe, 0, json.dumps(self._options.model_dump(mode="json")).encode(), monotonic() + self._limit_s)

    def is_ready(self) -> bool:
        """Whether there is nothing to wait for any more: it is loaded, or will not be. Never waits itself."""
        return self._pipe is None or self._named is not None or self._has_come(0) or self._boot_left_s <= 0

    def named(self) -> NamedRule:
        """The rule, loaded there from its source as it is now.

        Raises `ConfigurationError` where that fails, or is not done yet.
        """
        self.begin()
        if self._named is None:
            self._named = self._loaded()
        return self._named

    def _loaded(self) -> NamedRule:
        if not self._has_come(max(self._boot_left_s, 0) if self._waits else 0):
            if self._boot_left_s <= 0:
                raise self._given_up(f"was not loaded within {self._boot_s:g} s")
            raise self._fault("is still being loaded")
        described = self._described(self._answer(0, monotonic() + self._limit_s))
        self._source = str(described["source"])
        told = {
            "inputs": texts_of(described["inputs"]),
            "finite": bool(described["finite"]),
            "version": whole_of(described["version"]),
            "warmup": whole_of(described["warmup"]),
            "signals": None,  # asked there
        }
        shape: Rule = type("Told", (Rule,), told)()
        return _Elsewhere(str(described["name"]), self._source, shape, self, described)

    def signals(self, bars: RuleBars) -> BarSignals:
        """What the rule that was loaded last says. Raises `ConfigurationError` where it fails or does not end."""
        if self._pipe is None or self._named is None:
            raise self._fault("is still being loaded")
        self._number += 1
        until_s = monotonic() + self._limit_s
        with suppress(OSError):  # that it has ended, or reads no more, is heard below
            send(self._pipe, self._number, _packed(open_ms=bars.open_ms, **bars.values), until_s)
        said = self._answer(self._number, until_s)
        with suppress(*_UNREADABLE):
            found = _arrays(said)
            return BarSignals(found["side"], found["stop"], found["target"])
        with suppress(*_UNREADABLE):
            raise ConfigurationError(str(object_of(json.loads(said))["error"]))
        raise self._given_up(_NO_ANSWER)

    def close(self) -> None:
        """End the process."""
        if self._finalizer is not None:
            self._finalizer()
        self._pipe, self._named = None, None

    @property
    def _boot_left_s(self) -> float:
        return self._began_s + self._boot_s - monotonic()

    def _has_come(self, seconds: float) -> bool:
        """Whether the child has said anything, or ended, within so long."""
        return self._pipe is not None and bool(select.select([self._pipe], [], [], seconds)[0])

    def _answer(self, number: int, until_s: float) -> bytes:
        """The whole of the answer to a question; by then, however it comes."""
        assert self._pipe is not None
        try:
            answered, said = receive(self._pipe, until_s)
        except TimeoutError:
            raise self._given_up(f"did not end within {self._limit_s:g} s") from None
        except (EOFError, OSError) as error:
            raise self._given_up("ended its process") from error
        except ValueError as error:
            raise self._given_up(_NO_ANSWER) from error
        if answered != number:
            raise self._given_up(_NO_ANSWER)
        return said

    def _described(self, said: bytes) -> JsonObject:
        """How the rule is described. Raises `ConfigurationError` for an answer that tells of a fault, or is none."""
        with suppress(*_UNREADABLE):
            described = object_of(json.loads(said))
            if "error" not in described:
                return described
            self._begin_anew()
            raise ConfigurationError(str(described["error"]))
        raise self._given_up(_NO_ANSWER)

    def _given_up(self, what: str) -> ConfigurationError:
        self._begin_anew()
        return self._fault(what)

    def _begin_anew(self) -> None:
        """The process is ended, and the next one begun, so that it is there when it is wanted."""
        self.close()
        with suppress(ConfigurationError):
            self.begin()

    def _fault(self, what: str) -> ConfigurationError:
        return ConfigurationError(f"{SETTING}: the rule {self._options.name} {what}.")

    def _begun(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        limits = (round(_PAST_IT * self._limit_s) + 1, round(self._boot_s) + 1)
        command = [sys.executable, "-m", _MODULE, str(theirs.fileno()), *map(str, limits)]
        nothing = subprocess.DEVNULL
        child = subprocess.Popen(  # noqa: S603  a module of ours
            command,
            stdin=nothing,
            stdout=nothing,
            stderr=nothing,
            pass_fds=(theirs.fileno(),),
            env=known_environment(),
            start_new_session=True,  # Ctrl-C is for the program, which ends this
        )
        theirs.close()
        self._finalizer = weakref.finalize(self, _end, child, ours)
        return ours


@contextmanager
def rule_beside(options: RuleSettings) -> Iterator[RuleProcess]:
    """The process of the configured rule for as long as it is wanted; who asks waits for it."""
    process = RuleProcess(options)
    try:
        with suppress(ConfigurationError):
            process.begin()
        yield process
    finally:
        process.close()


def _end(child: subprocess.Popen[bytes], pipe: socket.socket) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)  # and what the rule has started
    child.wait()
    pipe.close()


def _packed(**arrays: np.ndarray) -> bytes:
    body = io.BytesIO()
    np.savez(body, **arrays)  # type: ignore[arg-type]
    return body.getvalue()


def _arrays(body: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(body), allow_pickle=False) as found:
        return {name: found[name] for name in found.files}


# --- the other process ---


class _Answering:
    """Answers one request after the other."""

    def __init__(self) -> None:
        self._named: NamedRule | None = None

    def answer(self, request: bytes) -> bytes:
        """What comes of a request; a fault of the rule in words."""
        try:
            return self._said(request) if request.startswith(_ARRAYS) else self._loaded(request)
        except TraderError as error:
            return json.dumps({"error": str(error)}).encode()

    def _loaded(self, request: bytes) -> bytes:
        self._named = load_rule(as_settings({"rule": json.loads(request)}).rule)
        return json.dumps(self._named.identity()).encode()

    def _said(self, request: bytes) -> bytes:
        assert self._named is not None  # it is loaded before it is asked
        given = _arrays(request)
        for array in given.values():
            array.setflags(write=False)
        said = self._named.said(RuleBars(given.pop("open_ms"), MappingProxyType(given)))
        return _packed(side=said.side, stop=said.stop, target=said.target)


def main() -> None:
    """Answer what `RuleProcess` asks, until it has gone."""
    pipe, limit_s, boot_s = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3])
    answering = _Answering()
    while True:
        try:
            number, request = receive(pipe)
        except EOFError:
            return
        signal.alarm(limit_s if number else boot_s)  # unhandled, it ends the process, whatever that does
        said = answering.answer(request)
        signal.alarm(0)
        send(pipe, number, said)


if __name__ == "__main__":
    main()
