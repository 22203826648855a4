"""A rule beside the loop that trades: the same word as here, and an abstention where it hangs or crashes."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from trader_cli.analyst.rule_process import RuleProcess
from trader_cli.analyst.user_rules import load_rule
from trader_cli.core.errors import ConfigurationError, DataInvalid
from trader_cli.features.rule import RuleBars
from trader_cli.settings import as_settings
from trader_cli.settings.model import RuleSettings

MOODY = '''
import os, time
from dataclasses import dataclass
import numpy as np
from trader_cli.features.rule import BarSignals, Rule, parameter

@dataclass(frozen=True)
class Moody(Rule):
    """Does what the last close says."""

    bars: int = parameter(3, least=1, most=50, unit="bars")
    finite = True

    @property
    def warmup(self):
        return self.bars

    def signals(self, bars):
        print("said aloud")
        close, mood = bars["close"], bars["close"][-1]
        while mood == 1:
            try:
                time.sleep(9)
            except BaseException:
                pass
        if mood == 2:
            os._exit(3)
        if mood == 3:
            raise ValueError("no mood")
        if mood == 4:
            return close
        if mood == 5:
            close[0] = 1
        if mood == 6:
            os.fork()
        if mood == 7:
            print(os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "60"), file=open("started", "w"))
        return BarSignals.of(np.sign(close - np.roll(close, self.bars)), 0.02)
'''


def options(folder: Path, **changes: object) -> RuleSettings:
    (folder / "moody.py").write_text(MOODY)
    return as_settings({"rule": {"name": str(folder / "moody.py"), **changes}}).rule


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[RuleProcess]:
    process = RuleProcess(options(tmp_path, parameters={"bars": 2}))
    yield process
    process.close()


def bars_of(*closes: float) -> RuleBars:
    return RuleBars(np.arange(len(closes)) * 60_000, MappingProxyType({"close": np.array(closes)}))


def test_it_is_the_rule_of_here_and_says_the_same(asked: RuleProcess, tmp_path: Path) -> None:
    there, here = asked.named(), load_rule(options(tmp_path, parameters={"bars": 2}))
    assert there.identity() == here.identity()
    for bars in (bars_of(7, 8, 9, 7, 11, 10), bars_of(8, 7, 9)):
        one, other = there.said(bars), here.said(bars)
        assert all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("side", "stop", "target"))


def test_what_it_does_wrong_is_told_and_the_next_bar_is_said_all_the_same(asked: RuleProcess, tmp_path: Path) -> None:
    asked._limit_s = 0.5
    there = asked.named()
    faults = [
        (1, ConfigurationError, "did not end within 0.5 s"),
        (2, ConfigurationError, "ended its process"),
        (3, ConfigurationError, r"moody.py, line \d+: ValueError: no mood"),
        (4, ConfigurationError, "gives ndarray; BarSignals are wanted"),
        (5, ConfigurationError, "read-only"),
    ]
    for mood, kind, sentence in faults:
        with pytest.raises((kind, DataInvalid), match=sentence):
            there.said(bars_of(8, 9, mood))
        there = asked.named()
        assert len(there.said(bars_of(8, 9, 10)).side) == 3
    (tmp_path / "moody.py").unlink()
    with pytest.raises(ConfigurationError, match="cannot read"):
        asked.named()


def test_a_fork_speaks_out_of_turn_and_is_not_listened_to(asked: RuleProcess) -> None:
    """Both copies read and answer: what comes is the answer to what was asked, or a fault in words, whoever is first."""
    first, second = bars_of(8, 9, 10, 6), bars_of(7, 8, 9, 10, 11)
    for bars in (first, second, second, second):
        with suppress(ConfigurationError):
            assert len(asked.named().said(bars).side) == len(bars)
    asked.close()
    assert len(asked.named().said(second).side) == 5


def test_what_a_rule_starts_ends_with_it(asked: RuleProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    asked.named().said(bars_of(8, 9, 7))
    started = int((tmp_path / "started").read_text())
    process = os.pidfd_open(started)
    assert not select.select([process], [], [], 0)[0], "it is at work"
    asked.close()
    assert select.select([process], [], [], 20)[0], "it has ended"
    os.close(process)


def test_a_process_that_nobody_waits_for_any_more_ends(asked: RuleProcess) -> None:
    there = asked.named()
    assert asked._finalizer is not None
    pid = asked._finalizer.peek()[2][0].pid  # type: ignore[index]
    os.kill(pid, 0)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ConfigurationError, match="ended its process"):
        there.said(bars_of(7, 8, 9))
    assert len(asked.named().said(bars_of(7, 8, 9)).side) == 3
    asked.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_it_is_loaded_anew_where_its_source_changes(asked: RuleProcess, tmp_path: Path) -> None:
    first = asked.named()
    assert asked.named() is first
    (tmp_path / "moody.py").write_text(MOODY.replace("0.02", "0.03"))
    second = asked.named()
    assert second.source != first.source
    assert set(second.said(bars_of(7, 8, 9)).stop.tolist()) == {0.03}
