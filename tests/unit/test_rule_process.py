"""A rule beside the loop that trades: the same word as here, and an abstention where it hangs or crashes."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic
from types import MappingProxyType

import numpy as np
import pytest
from support.trading.sim_folder import QUARTER, SYMBOL, sim_settings

from trader_cli.analyst.numbered_messages import receive, send
from trader_cli.analyst.rule_process import RuleProcess
from trader_cli.analyst.user_rules import load_rule
from trader_cli.core.errors import ConfigurationError, DataInvalid
from trader_cli.features.rule import RuleBars
from trader_cli.pipelines.market_access import Market
from trader_cli.pipelines.trading.analyst_assessor import StageAssessor
from trader_cli.settings import as_settings, workspace_of
from trader_cli.settings.model import RuleSettings
from trader_cli.venue.clocks import WallClock

MOODY = '''
import os, struct, sys, time
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
        if mood in (20, 21, 22):  # part of an answer, at once or in pieces that never end; or one that fills the memory
            heads = {20: bytes(9), 21: struct.pack("!QQ", 9, 9999), 22: struct.pack("!QQ", 9, 1 << 40)}
            os.write(int(sys.argv[1]), heads[mood])
            while True:
                time.sleep(0.02)
                os.write(int(sys.argv[1]), bytes(int(mood != 20)))
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


GATE = """
while not os.path.exists("{gate}"):
    time.sleep(0.01)
"""
"""An import that takes as long as a test wants it to."""


def slow_to_load(folder: Path, **changes: object) -> tuple[RuleSettings, Path]:
    """A rule whose import ends once there is a file."""
    gate, made = folder / "gate", options(folder, **changes)
    (folder / "moody.py").write_text(MOODY.replace("@dataclass", GATE.format(gate=gate) + "@dataclass"))
    return made, gate


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


def test_a_rule_that_takes_long_to_load_is_told_of_meanwhile_and_speaks_then(tmp_path: Path) -> None:
    """Loading has a limit of its own, far beyond that of an answer, and whoever asks meanwhile does not wait."""
    settings, gate = slow_to_load(tmp_path, time_limit=0.2)
    process = RuleProcess(settings, waits=False)
    process.begin()
    began = monotonic()
    for _ in range(3):
        assert not process.is_ready()
        with pytest.raises(ConfigurationError, match=r"the rule \S+moody.py is still being loaded"):
            process.named()
    assert monotonic() - began < 2
    gate.touch()
    assert process._has_come(60)
    assert process.is_ready()
    assert len(process.named().said(bars_of(7, 8, 9, 10)).side) == 4
    with pytest.raises(ConfigurationError, match=r"did not end within 0.2 s"):
        process.named().said(bars_of(8, 9, 1))
    with pytest.raises(ConfigurationError, match="still being loaded"):
        process.named()
    assert process._has_come(60)
    assert len(process.named().said(bars_of(7, 8, 9)).side) == 3, "the next one was begun at the fault"
    process.close()


def test_one_that_is_never_loaded_is_given_up(tmp_path: Path) -> None:
    settings, _ = slow_to_load(tmp_path)
    for waits in (True, False):
        process = RuleProcess(settings, waits=waits, boot_s=0.3)
        process.begin()
        while not process.is_ready() and not waits:
            pass
        with pytest.raises(ConfigurationError, match=r"was not loaded within 0.3 s"):
            process.named()
        process.close()


@pytest.mark.parametrize(
    ("mood", "sentence"),
    [(20, r"did not end within 0.5 s"), (21, r"did not end within 0.5 s"), (22, "something else than an answer")],
)
def test_half_an_answer_is_waited_for_no_longer_than_a_whole_one(asked: RuleProcess, mood: int, sentence: str) -> None:
    asked._limit_s = 0.5
    there, began = asked.named(), monotonic()
    with pytest.raises(ConfigurationError, match=sentence):
        there.said(bars_of(8, 9, mood))
    assert monotonic() - began < 5
    assert len(asked.named().said(bars_of(8, 9, 10)).side) == 3


def test_what_the_other_side_does_not_read_is_given_up_and_what_it_says_comes_whole() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        with pytest.raises(TimeoutError):
            send(ours, 1, bytes(1 << 24), monotonic() + 0.1)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        send(ours, 7, b"word")
        assert receive(theirs, monotonic() + 1) == (7, b"word")
        with pytest.raises(TimeoutError):
            receive(theirs, monotonic() - 1)
        ours.close()
        with pytest.raises(EOFError):
            receive(theirs)


@pytest.mark.parametrize("threads", [True, False], ids=["real time", "virtual time"])
def test_others_go_on_until_it_is_loaded_and_it_is_begun_before_it_is_wanted(tmp_path: Path, threads: bool) -> None:
    settings, gate = slow_to_load(tmp_path)
    workspace = workspace_of(sim_settings(tmp_path, rule={"name": settings.name}))
    clock = WallClock()
    assessor = StageAssessor(workspace, Market(None, clock, "here", threads=threads))  # type: ignore[arg-type]
    turned = 0

    async def others() -> None:
        nonlocal turned
        while not gate.exists():
            turned += 1
            if turned == 5:
                gate.touch()
            await clock.sleep(0.01)

    async def both() -> None:
        with suppress(AttributeError):  # there is no exchange to fetch from
            await assessor.refresh(SYMBOL, QUARTER)
        await asyncio.gather(assessor.ready(), others())

    asyncio.run(both())
    process = assessor._rule_process
    assert process is not None
    assert process._pipe is not None, "begun before the fetch"
    assert process.is_ready() or not threads
    assert process.named().name == "moody", "where time is virtual it is waited for"
    process.close()
