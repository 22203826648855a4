"""A rule to begin with, and its test: two files for a person to change."""

from __future__ import annotations

import keyword
import re
import shlex
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from trader_cli.analyst.user_rules import SHIPPED
from trader_cli.core.errors import ConfigurationError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_RULE = '''"""{title}: long above the mean of the last bars while the RSI is not high, short below it while not low."""

from dataclasses import dataclass

import numpy as np

from trader_cli.features.rule import BarSignals, Rule, parameter


@dataclass(frozen=True)
class {kind}(Rule):
    """Change what it says; its test lies beside it. How to use it: docs/signals.md."""

    mean: int = parameter(48, least=2, most=500, unit="bars")
    overbought: float = parameter(70.0, least=50.0, most=100.0, unit="RSI")
    stop: float = parameter(0.02, least=0.001, most=0.5, unit="share of the entry price")

    inputs = ("close", "rsi_14")  # columns of the bars, and features, that signals() reads

    @property
    def warmup(self):
        """How many of the first bars are not enough to say anything."""
        return self.mean

    def signals(self, bars):
        """+1 long, -1 short, 0 nothing after each closed bar; row t may use rows up to t only."""
        close, rsi = bars["close"], bars["rsi_14"]
        sums, mean = np.cumsum(close), np.full(len(bars), np.nan)
        mean[self.mean :] = (sums[self.mean :] - sums[: -self.mean]) / self.mean
        long = (close > mean) & (rsi < self.overbought)
        short = (close < mean) & (rsi > 100 - self.overbought)
        return BarSignals.of(long * 1 - short * 1, self.stop)
'''
_TEST = '''"""What {name} says, and that it does not see the future."""

import numpy as np
from {name} import {kind}

from trader_cli.analyst.rule_testing import faults_of, made_up_bars, signals_on


def test_it_is_on_the_side_of_the_mean():
    rule = {kind}()
    bars = made_up_bars(rule)
    said = signals_on(rule, bars)
    assert set(np.unique(said.side)) == {{-1, 0, 1}}
    for row in np.flatnonzero(said.side)[:100]:
        gap = bars["close"][row] - bars["close"][row - rule.mean + 1 : row + 1].mean()
        assert np.sign(gap) == said.side[row]


def test_it_does_not_see_the_future():
    assert faults_of({kind}()) == ()
'''


@dataclass(frozen=True)
class NewSignal:
    """What was written, and how the rule is named in settings and commands."""

    rule: Path
    test: Path
    reference: str

    @property
    def tested_by(self) -> str:
        """The command that runs its test, whichever virtual environment the shell is in."""
        python = shlex.quote(sys.executable)
        first = "" if find_spec("pytest") else f"{python} -m pip install pytest && "
        return f"{first}{python} -m pytest {shlex.quote(str(self.test))}"


def write_new_signal(name: str, folder: Path) -> NewSignal:
    """Write a rule of this name and its test. Raises `UsageError` for a bad name or a file that is there already."""
    if not _NAME.fullmatch(name) or keyword.iskeyword(name) or name in SHIPPED:
        raise UsageError(f"{name!r} is no name for a rule of one's own.", hint="Write it as my_signal: a-z, 0-9 and _.")
    kind = "".join(part.capitalize() for part in name.split("_"))
    said = {"name": name, "kind": kind, "title": name.replace("_", " ").capitalize()}
    rule, test = folder / f"{name}.py", folder / f"test_{name}.py"
    there = [path for path in (rule, test) if path.exists()]
    if there:
        raise UsageError(f"{there[0]} is there already.", hint="Choose another name, or take it away.")
    for path, text in ((rule, _RULE), (test, _TEST)):
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(text.format(**said))
        except OSError as error:
            raise ConfigurationError(f"{path} cannot be written: {error.strerror}.") from error
    return NewSignal(rule, test, f"{rule.name}:{kind}")
