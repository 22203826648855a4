"""A rule in a process of its own beside the loop that trades: one that hangs or crashes there keeps nobody waiting.

Parent and child speak over a pipe: JSON, or arrays as NumPy stores them, never pickles. What the rule prints is
dropped. The child ends with its parent, and by itself where an answer takes it too long. Its answer is waited for, in
`sim` while virtual time stands still.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import weakref
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from types import MappingProxyType
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np

from trader_cli.analyst.isolated_process import known_environment
from trader_cli.analyst.user_rules import SETTING, load_rule, rule_origin
from trader_cli.core.errors import ConfigurationError, TraderError
from trader_cli.core.json_values import object_of, texts_of, whole_of
from trader_cli.features.rule import BarSignals, NamedRule, Rule, RuleBars
from trader_cli.settings import as_settings

if TYPE_CHECKING:
    from trader_cli.core.json_values import JsonObject
    from trader_cli.features.rule import ParameterValue
    from trader_cli.settings.model import RuleSettings

_MODULE = "trader_cli.analyst.rule_process"
_BOOT_S = 60.0
"""How long the child may take to import what is ours."""
ANSWER_S = 2.0
"""How long the rule may take, less than a bare position may wait; `rule.time_limit` where that is shorter."""
_PAST_IT = 5
"""After so many times its limit a child that nobody ends any more ends itself."""
_ARRAYS = b"PK"
_NUMBER = 8
"""Bytes before each question, and before its answer: what speaks out of turn, such as a fork, is not listened to."""
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
    """The configured rule, in a process that is begun when it is first wanted, and anew after a fault."""

    def __init__(self, options: RuleSettings) -> None:
        self._options = options
        self._limit_s = min(options.time_limit, ANSWER_S)
        self._pipe: Connection | None = None
        self._is_booted = False
        self._named: NamedRule | None = None
        self._number = 0
        self._finalizer: weakref.finalize[..., RuleProcess] | None = None

    def named(self) -> NamedRule:
        """The rule, loaded there from its source as it is now. Raises `ConfigurationError` where that fails."""
        if self._named is None or self._named.source != rule_origin(str(self._options.name)).digest:
            self._named = self._loaded()
        return self._named

    def _loaded(self) -> NamedRule:
        described = self._described(json.dumps(self._options.model_dump(mode="json")).encode())
        told = {
            "inputs": texts_of(described["inputs"]),
            "finite": bool(described["finite"]),
            "version": whole_of(described["version"]),
            "warmup": whole_of(described["warmup"]),
            "signals": None,  # asked there
        }
        shape: Rule = type("Told", (Rule,), told)()
        return _Elsewhere(str(described["name"]), str(described["source"]), shape, self, described)

    def signals(self, bars: RuleBars) -> BarSignals:
        """What the rule that was loaded last says. Raises `ConfigurationError` where it fails or does not end."""
        request = _packed(open_ms=bars.open_ms, **bars.values)
        said = self._asked(request)
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
        self._pipe, self._is_booted, self._named = None, False, None

    def _asked(self, request: bytes) -> bytes:
        pipe = self._pipe = self._pipe or self._begun()
        self._number += 1
        number = self._number.to_bytes(_NUMBER)
        try:
            if not self._is_booted and not pipe.poll(_BOOT_S):
                raise EOFError
            self._is_booted = self._is_booted or bool(pipe.recv_bytes())
            pipe.send_bytes(number + request)
            if not pipe.poll(self._limit_s):
                raise self._given_up(f"did not end within {self._limit_s:g} s")
            said = pipe.recv_bytes()
        except (EOFError, OSError) as error:
            raise self._given_up("ended its process") from error
        if not said.startswith(number):
            raise self._given_up(_NO_ANSWER)
        return said[_NUMBER:]

    def _described(self, request: bytes) -> JsonObject:
        """The answer in words to a request. Raises `ConfigurationError` for one that tells of a fault, or is none."""
        said = self._asked(request)
        with suppress(*_UNREADABLE):
            described = object_of(json.loads(said))
            if "error" not in described:
                return described
            raise ConfigurationError(str(described["error"]))
        raise self._given_up(_NO_ANSWER)

    def _given_up(self, what: str) -> ConfigurationError:
        """The process is ended, and the next one begun, so that it is there when it is wanted."""
        self.close()
        self._pipe = self._begun()
        return ConfigurationError(f"{SETTING}: the rule {self._options.name} {what}.")

    def _begun(self) -> Connection:
        ours, theirs = Pipe()
        command = [sys.executable, "-m", _MODULE, str(theirs.fileno()), str(round(_PAST_IT * self._limit_s) + 1)]
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


def _end(child: subprocess.Popen[bytes], pipe: Connection) -> None:
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
    pipe, limit_s, answering = Connection(int(sys.argv[1])), int(sys.argv[2]), _Answering()
    pipe.send_bytes(b"ready")
    while True:
        try:
            request = pipe.recv_bytes()
        except EOFError:
            return
        signal.alarm(limit_s)  # unhandled, it ends the process, whatever that does
        said = answering.answer(request[_NUMBER:])
        signal.alarm(0)
        pipe.send_bytes(request[:_NUMBER] + said)


if __name__ == "__main__":
    main()
