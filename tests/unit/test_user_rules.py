"""Rules of one's own: found by name, tried in a process of their own before they run here, and told of by file and line."""

from __future__ import annotations

import py_compile
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.commands.in_process import Inside

from trader_cli.analyst.isolated_rule import make_rule_certificate
from trader_cli.analyst.rule_certificates import (
    certified_rule,
    find_rule_certificate,
    require_certified_rule,
)
from trader_cli.analyst.rule_testing import faults_of, made_up_bars, signals_on
from trader_cli.analyst.user_rules import load_rule, rule_origin
from trader_cli.core.errors import ConfigurationError, DataInvalid, DataMissing, UsageError, VerificationFailed
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.features.rules.channel_breakout import ChannelBreakout
from trader_cli.features.rules.sma_cross import SmaCross
from trader_cli.pipelines.new_signal import write_new_signal
from trader_cli.settings import as_settings
from trader_cli.settings.room_options import RuleOptions
from trader_cli.storage.artifacts import ArtifactStore

M15 = Timeframe.parse("15m")
PAGE = Path(__file__).parents[2] / "docs" / "signals.md"
PLAIN = """
from dataclasses import dataclass
import numpy as np
from trader_cli.features.rule import BarSignals, Rule, parameter

@dataclass(frozen=True)
class Mine(Rule):
    bars: int = parameter(2, least=1, most=9, unit="bars")

    @property
    def warmup(self):
        return self.bars

    def signals(self, bars):
        side = np.sign(bars["close"] - np.roll(bars["close"], self.bars))
        return BarSignals.of(side, 0.02)
"""
BODY = '        side = np.sign(bars["close"] - np.roll(bars["close"], self.bars))\n'


def settings_of(folder: Path, name: str, **rule: Any) -> RuleOptions:
    switches = {"enable_advanced_features": False, "enable_autoencoder_features": False}
    made = as_settings(
        {
            "cache_dir": str(folder / "cache"),
            "rule": {"name": name, "time_limit": 60, **rule},
            "feature_engineering_orchestrator": switches,
        }
    )
    return RuleOptions.of(made)


def written(folder: Path, source: str, name: str = "my_rule.py") -> str:
    path = folder / name
    path.write_text(source)
    return str(path)


def certified(folder: Path, source: str, **rule: Any) -> None:
    make_rule_certificate(settings_of(folder, written(folder, source), **rule), M15)


def test_the_rules_of_the_package_are_found_by_name() -> None:
    rules = [load_rule(as_settings({"rule": {"name": name}}).rule) for name in ("sma_cross", "channel_breakout")]
    assert [one.rule for one in rules] == [SmaCross(), ChannelBreakout()]
    faster = load_rule(as_settings({"rule": {"name": "sma_cross", "parameters": {"fast": 5}}}).rule)
    assert (faster.rule, faster.name) == (SmaCross(fast=5), "sma_cross")
    assert faster.identity() != rules[0].identity()


def test_a_rule_of_a_file_is_named_by_its_bytes(tmp_path: Path) -> None:
    path = written(tmp_path, PLAIN)
    first = load_rule(settings_of(tmp_path, path).rule)
    assert first == load_rule(settings_of(tmp_path, f"{path}:Mine").rule) or first.source == rule_origin(path).digest
    written(tmp_path, PLAIN.replace("0.02", "0.03"))
    second = load_rule(settings_of(tmp_path, path).rule)
    assert (first.name, first.parameters) == (second.name, second.parameters) == ("mine", {"bars": 2})
    assert first.source != second.source


def test_a_rule_of_an_entry_point_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution as an installer would leave it."""
    info = tmp_path / "their_rules-1.2.dist-info"
    info.mkdir()
    (tmp_path / "their_rules.py").write_text(PLAIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-rules\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text("[trader.rules]\ntheirs = their_rules:Mine\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = load_rule(settings_of(tmp_path, "theirs").rule)
    assert (found.name, found.parameters) == ("mine", {"bars": 2})
    assert found.source == rule_origin("theirs").digest
    with pytest.raises(ConfigurationError, match="Known: channel_breakout, sma_cross, theirs"):
        load_rule(settings_of(tmp_path, "absent").rule)
    monkeypatch.chdir(tmp_path)
    for name, meant in (("sma_cros", "sma_cross"), ("their_rules", r"their_rules\.py")):
        with pytest.raises(ConfigurationError, match=rf"Did you mean {meant}\? Known: "):
            load_rule(settings_of(tmp_path, name).rule)


@pytest.mark.parametrize(
    ("source", "reference", "sentence"),
    [
        (PLAIN, ":Yours", "defines no Rule called Yours; there are: Mine"),
        ("x = 1", "", "defines 0 rules, not one; there are: none"),
        (PLAIN + PLAIN.replace("Mine", "Other"), "", "defines 2 rules, not one; there are: Mine, Other"),
        (PLAIN.replace("return self.bars", "return -1"), "", "warm-up of the rule mine is -1"),
        (PLAIN.replace("return self.bars", "return 1 / 0"), "", r"my_rule.py, line 12: ZeroDivisionError"),
        (PLAIN.replace("bars: int", 'inputs = "close"\n    bars: int'), "", "inputs of the rule mine are 'close'"),
        (PLAIN.replace("def signals", "def said"), "", "The rule mine of .*my_rule.py does not define signals"),
        (PLAIN.replace("def warmup", "def before").replace("def signals", "def said"), "", "define signals, warmup"),
        (PLAIN.replace("import numpy", "import nonumpy"), "", r"my_rule.py, line 3: ModuleNotFoundError"),
    ],
)
def test_what_is_no_rule_is_told(tmp_path: Path, source: str, reference: str, sentence: str) -> None:
    path = written(tmp_path, source)
    with pytest.raises(ConfigurationError, match=sentence):
        load_rule(settings_of(tmp_path, path + reference).rule)


def test_parameters_that_do_not_go_together_are_told() -> None:
    with pytest.raises(
        ConfigurationError, match=r"making the rule sma_cross .*fast must be below slow; found 60 and 50"
    ):
        load_rule(as_settings({"rule": {"name": "sma_cross", "parameters": {"fast": 60}}}).rule)


def test_an_honest_rule_is_certified_once(tmp_path: Path) -> None:
    settings, store = settings_of(tmp_path, written(tmp_path, PLAIN)), ArtifactStore(tmp_path / "cache")
    with pytest.raises(DataMissing, match=r"no certificate .*Run `trader train ETHUSDT`"):
        require_certified_rule(store, settings, M15, "train ETHUSDT")
    told: list[str] = []
    certified_rule(store, settings, M15, lambda what, *_: told.append(what))
    certified_rule(store, settings, M15, lambda what, *_: told.append(what))
    assert len(told) == 1
    assert require_certified_rule(store, settings, M15, "train ETHUSDT").name == "mine"
    for other in ({"parameters": {"bars": 3}}, {"name": settings.rule.name + ":Mine"}):
        changed = settings_of(tmp_path, **{"name": settings.rule.name, **other})
        assert find_rule_certificate(store, changed.rule, M15) is None
    assert find_rule_certificate(store, settings.rule, Timeframe.parse("1h")) is None
    written(tmp_path, PLAIN + "\n")
    assert find_rule_certificate(store, settings.rule, M15) is None


def test_a_rule_that_peeks_is_refused_by_name_and_stays_so(tmp_path: Path) -> None:
    peeks = PLAIN.replace(BODY, '        side = np.sign(np.roll(bars["close"], -self.bars) - bars["close"])\n')
    settings, store = settings_of(tmp_path, written(tmp_path, peeks)), ArtifactStore(tmp_path / "cache")
    for ask in (certified_rule, lambda *given: require_certified_rule(*given, "train")):
        with pytest.raises(VerificationFailed, match=r"The rule mine looks ahead and may not be used: side \("):
            ask(store, settings, M15)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("old", "new", "error", "sentence"),
    [
        (
            BODY,
            "        1 / 0\n",
            ConfigurationError,
            r"the rule mine of \S+my_rule.py failed at \S+, line 15: ZeroDiv",
        ),
        (BODY, "        raise SystemExit(0)\n", ConfigurationError, "line 15: SystemExit"),
        (BODY, "        import os; os._exit(3)\n", ConfigurationError, "ended its process: exit code 3\\."),
        (BODY, '        side = bars["close"][1:]\n', DataInvalid, "The side of the rule mine is of shape"),
        (BODY, '        side = bars["high"]\n', ConfigurationError, "'high' is not among the rule's inputs: close"),
        ("bars: int", 'inputs = ("closes",)\n    bars: int', ConfigurationError, "'closes', which is no column"),
        ("bars: int", 'inputs = ("rsi_15",)\n    bars: int', ConfigurationError, "The nearest is 'rsi_14'"),
        (
            BODY,
            "        side = np.full(len(bars), hash('x') % 3 - 1)\n",
            None,
            "impure",
        ),
    ],
)
def test_what_a_rule_does_wrong_is_told(
    tmp_path: Path, old: str, new: str, error: type[Exception] | None, sentence: str
) -> None:
    assert old in PLAIN
    source = PLAIN.replace(old, new)
    if error is not None:
        with pytest.raises(error, match=sentence):
            certified(tmp_path, source)
        return
    with pytest.raises(VerificationFailed, match=sentence):
        certified_rule(ArtifactStore(tmp_path / "cache"), settings_of(tmp_path, written(tmp_path, source)), M15)


def test_what_it_imports_from_beside_it_is_part_of_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what that imports; a claim and a certificate of before are of another rule then."""
    monkeypatch.chdir(tmp_path)
    alone = rule_origin(written(tmp_path, PLAIN)).digest
    path = written(tmp_path, PLAIN.replace("import numpy as np", "import numpy as np\nfrom near import far"))
    (tmp_path / "near.py").write_text("import deep.down\nfar = 1\n")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "__init__.py").write_text("")
    (tmp_path / "deep" / "down.py").write_text("import near\n")
    (tmp_path / "other.py").write_text("x = 1\n")
    seen = [alone, rule_origin(path).digest]
    for name in ("near.py", "deep/__init__.py", "deep/down.py"):
        with (tmp_path / name).open("a") as file:
            file.write("# changed\n")
        seen.append(rule_origin(path).digest)
    assert len(set(seen)) == 5
    (tmp_path / "deep" / "__init__.py").write_text("from .low import N\n")
    (tmp_path / "deep" / "low.py").write_text("from . import down\nN = 1\n")
    seen.append(rule_origin(path).digest)
    (tmp_path / "deep" / "low.py").write_text("N = 2\n")
    assert rule_origin(path).digest != seen[-1], "a module that a package imports by a dot"
    seen.append(rule_origin(path).digest)
    (tmp_path / "other.py").write_text("x = 2\n")
    assert rule_origin(path).digest == seen[-1]
    settings, store = settings_of(tmp_path, path), ArtifactStore(tmp_path / "cache")
    certified_rule(store, settings, M15)
    assert find_rule_certificate(store, settings.rule, M15) is not None
    (tmp_path / "near.py").write_text("far = 2\n")
    assert find_rule_certificate(store, settings.rule, M15) is None


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (BODY, f'        open("numbers.csv").read()\n{BODY}', r"my_rule.py reads the file \S+numbers.csv"),
        ("\nimport numpy as np", '\nimport numpy as np\nnp.loadtxt("numbers.csv")', r"reads the file \S+numbers.csv"),
        (BODY, f'        __import__("near")\n{BODY}', r"imports \S+near.py, and no import statement says so"),
    ],
)
def test_a_rule_that_reads_what_no_digest_names_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "near.py").write_text("x = 1\n")
    (tmp_path / "numbers.csv").write_text("1\n")
    with pytest.raises(ConfigurationError, match=sentence):
        certified(tmp_path, PLAIN.replace(old, new, 1))


def test_what_is_imported_unseen_is_refused_though_compiled_before_and_a_link_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    (tmp_path / "near.py").write_text("x = 1\n")
    py_compile.compile(str(tmp_path / "near.py"))
    with pytest.raises(ConfigurationError, match=r"imports \S+near.py, and no import statement says so"):
        certified(tmp_path, PLAIN.replace(BODY, f'        __import__("near")\n{BODY}', 1))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "real.py").write_text("x = 1\n")
    (tmp_path / "linked.py").symlink_to(tmp_path / "elsewhere" / "real.py")
    certified(tmp_path, PLAIN.replace("import numpy as np", "import numpy as np\nfrom linked import x", 1))


@pytest.mark.parametrize(
    ("old", "new"), [(BODY, "        while True: pass\n"), ("\nimport", "\nwhile True: pass\nimport")]
)
def test_a_rule_that_never_ends_is_given_up(tmp_path: Path, old: str, new: str) -> None:
    with pytest.raises(ConfigurationError, match="did not end within 4 s"):
        certified(tmp_path, PLAIN.replace(old, new, 1), time_limit=4)


def test_a_rule_that_reads_features_is_tried_on_them(tmp_path: Path) -> None:
    reads = PLAIN.replace("bars: int", 'inputs = ("close", "rsi_14")\n    bars: int')
    honest = reads.replace(BODY, '        side = np.sign(bars["rsi_14"] - 50)\n')
    ahead = reads.replace(BODY, '        side = np.sign(np.roll(bars["rsi_14"], -1) - 50)\n')
    store = ArtifactStore(tmp_path / "cache")
    assert certified_rule(store, settings_of(tmp_path, written(tmp_path, honest)), M15).rule.inputs == (
        "close",
        "rsi_14",
    )
    with pytest.raises(VerificationFailed, match="looks ahead"):
        certified_rule(store, settings_of(tmp_path, written(tmp_path, ahead)), M15)


def test_a_new_signal_passes_its_own_test_and_its_certificate(tmp_path: Path) -> None:
    ran = Inside(tmp_path).run("new", "signal", "my_signal", "--json")
    command = f"{sys.executable} -m pytest test_my_signal.py"
    assert ran.json == {
        "rule": "my_signal.py",
        "test": "test_my_signal.py",
        "name": "my_signal.py:MySignal",
        "try": command,
    }
    assert len((tmp_path / "my_signal.py").read_text().splitlines()) <= 40
    bare = {"PATH": "/usr/bin:/bin", "PYTEST_ADDOPTS": "-p no:cacheprovider"}
    tested = subprocess.run(shlex.split(command), cwd=tmp_path, env=bare, capture_output=True, text=True, check=False)
    assert tested.returncode == 0, tested.stdout
    settings = settings_of(tmp_path, str(tmp_path / "my_signal.py:MySignal"))
    assert certified_rule(ArtifactStore(tmp_path / "cache"), settings, M15).name == "my_signal"


def test_a_new_signal_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text("kept")
    with pytest.raises(UsageError, match=r"test_mine.py is there already"):
        write_new_signal("mine", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["test_mine.py"]
    for name in ("My Rule", "1x", "class", "sma_cross", "../x"):
        with pytest.raises(UsageError, match="is no name"):
            write_new_signal(name, tmp_path)


def test_the_example_of_the_page_works_and_is_causal(tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    named = load_rule(settings_of(tmp_path, written(tmp_path, example)).rule)
    said = signals_on(named.rule, made_up_bars(named.rule))
    assert set(said.side.tolist()) == {-1, 0, 1}
    assert faults_of(named.rule) == ()
