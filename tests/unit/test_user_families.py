"""Families of one's own: found, checked, named by their bytes; what is wrong with one is told with file and line."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from support.market.bars import random_bars

from trader_cli.analyst.certificate_store import make_certificate
from trader_cli.analyst.feature_artifacts import build_feature_artifact
from trader_cli.analyst.feature_engineering_orchestrator import FeatureEngineeringOrchestrator
from trader_cli.core.errors import ConfigurationError, DataInvalid, VerificationFailed
from trader_cli.core.identity.digests import digest_bytes
from trader_cli.core.identity.manifests import Manifest
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.features.build import build_features
from trader_cli.features.family import Family
from trader_cli.features.feature_spec import FeatureSpec
from trader_cli.storage.artifacts import ArtifactStore

M15 = Timeframe.parse("15m")
BARS = random_bars(1300)
PAGE = Path(__file__).parents[2] / "docs" / "feature-families.md"

PLAIN = """
import numpy as np
from trader_cli.features.family import Family

def families(options):
    return [Family("mine", ("mine_gap",), compute, 1, ("close",))]

def compute(bars):
    return {"mine_gap": np.append(np.nan, np.diff(bars.close)) / bars.close}
"""


def orchestrator(folder: Path, *named: str, **keys: Any) -> FeatureEngineeringOrchestrator:
    cache = {"cache_enabled": True, "cache_dir": str(folder / "wavelet")}
    switches = {"enable_advanced_features": False, "enable_legacy_features": False, **keys}
    return FeatureEngineeringOrchestrator(
        {"feature_engineering_orchestrator": {"wavelet_cache": cache, "user_families": list(named), **switches}}
    )


def written(folder: Path, source: str, name: str = "my_family.py") -> str:
    path = folder / name
    path.write_text(source)
    return str(path)


def built(folder: Path, source: str) -> pl.DataFrame:
    return orchestrator(folder, written(folder, source)).build(BARS, M15)


def test_a_family_of_a_file_gives_its_columns(tmp_path: Path) -> None:
    assert built(tmp_path, PLAIN).columns == ["open_time", "decision_time", "mine_gap"]
    assert orchestrator(tmp_path).build(BARS, M15).columns == ["open_time", "decision_time"]
    beside = orchestrator(tmp_path, str(tmp_path / "my_family.py"), enable_legacy_features=True).build(BARS, M15)
    assert {"mine_gap", "rsi_14"} <= set(beside.columns)


def test_the_example_of_the_page_works_and_is_what_it_says(tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    made = built(tmp_path, example)
    high, low, close = (BARS[n].to_numpy() for n in ("high", "low", "close"))
    for t in (100, 1299):
        top, bottom = high[t - 31 : t + 1].max(), low[t - 31 : t + 1].min()
        assert made["middle_gap_32"][t] == pytest.approx((close[t] - (top + bottom) / 2) / (top - bottom))
    alone = orchestrator(tmp_path, str(tmp_path / "my_family.py"))
    last = alone.build(BARS, M15, since_ms=int(BARS["open_time"].to_physical()[-1]))
    assert last.equals(made.tail(1))


def test_a_family_is_named_by_the_bytes_of_its_file(tmp_path: Path) -> None:
    (first,) = orchestrator(tmp_path, written(tmp_path, PLAIN)).spec(M15).families
    changed = PLAIN.replace("np.diff", "-np.diff")
    (second,) = orchestrator(tmp_path, written(tmp_path, changed)).spec(M15).families
    assert first.source == digest_bytes(PLAIN.encode())
    assert first.identity(M15) != second.identity(M15)
    assert {**first.identity(M15), "source": ""} == {**second.identity(M15), "source": ""}


def test_a_changed_file_is_made_anew_and_an_unchanged_one_found(tmp_path: Path) -> None:
    store, manifest = ArtifactStore(tmp_path / "cache"), Manifest("bars", "t", "tape", "ETHUSDT", "15m", "0")

    def chunks(source: str) -> tuple[int, int]:
        one = orchestrator(tmp_path, written(tmp_path, source))
        made = build_feature_artifact(store, manifest, BARS, one.spec(M15), one)
        return made.found, made.made

    blocks = chunks(PLAIN)[1]
    assert blocks > 0
    assert chunks(PLAIN) == (blocks, 0)
    assert chunks(PLAIN.replace("np.diff", "-np.diff")) == (0, blocks)


def test_the_wavelet_cache_knows_one_file_from_another(tmp_path: Path) -> None:
    named = PLAIN.replace('"mine', '"wavelet_mine')
    first = built(tmp_path, named)["wavelet_mine_gap"]
    second = built(tmp_path, named.replace("np.diff", "-np.diff"))["wavelet_mine_gap"]
    assert second.equals(-first)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("def families", "def familes", "has no function families"),
        (
            "import numpy as np",
            "import nonumpy",
            r"the file of \S+my_family.py failed at \S+, line 2: ModuleNotFoundError",
        ),
        ("return [", "return [[", r"failed at \S+my_family.py, line 6: SyntaxError"),
        (
            "return [",
            "1 / 0; return [",
            r"families\(options\) of \S+ failed at \S+my_family.py, line 6: ZeroDivisionError",
        ),
        (
            "return {",
            "bars.volumes; return {",
            r"the family 'mine' of \S+ failed at \S+my_family.py, line 9: AttributeError",
        ),
        ("return {", "bars.close[0] = 1; return {", "line 9: ValueError: assignment destination is read-only"),
        ('("mine_gap",)', '("gap",)', "columns of 'mine' begin with 'mine_'; found 'gap'"),
        ('"mine", (', '"My Own", (', "'My Own' is no name"),
        ('("close",)', '("closes",)', "reads the unknown input 'closes'"),
        ("1, (", "-1, (", "warm-up of 0 bars or more"),
        ("[Family", "['mine', Family", "gave 'mine', which is no Family"),
    ],
)
def test_code_that_fails_is_told_with_its_file_and_line(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    assert old in PLAIN
    with pytest.raises(ConfigurationError, match=sentence):
        built(tmp_path, PLAIN.replace(old, new))


@pytest.mark.parametrize(
    ("new", "sentence"),
    [
        ("bars.close", "gives ndarray; a mapping of columns is wanted"),
        ("{}", r"'mine' does not give its column 'mine_gap'; it gives \[\]"),
        ("{'mine_gap': bars.close[1:]}", r"'mine_gap' of the family 'mine' has the shape \(\d+,\); \d+ bars want"),
        ("{'mine_gap': ['a'] * len(bars)}", "'mine_gap' of the family 'mine' is not of numbers"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, new: str, sentence: str) -> None:
    with pytest.raises(DataInvalid, match=sentence):
        built(tmp_path, PLAIN[: PLAIN.index("    return {")] + f"    return {new}\n")


def test_names_that_are_taken_are_refused(tmp_path: Path) -> None:
    taken = written(tmp_path, PLAIN.replace('"mine', '"rsi').replace("rsi_gap", "rsi_14"))
    with pytest.raises(ConfigurationError, match="'rsi_14' is given twice, in the feature families technical and rsi"):
        orchestrator(tmp_path, taken, enable_legacy_features=True).build(BARS, M15)
    one = written(tmp_path, PLAIN)
    with pytest.raises(ConfigurationError, match="'mine' is given twice"):
        orchestrator(tmp_path, one, one).build(BARS, M15)


def test_a_family_whose_inputs_are_not_known_is_left_out(tmp_path: Path) -> None:
    one = orchestrator(tmp_path, written(tmp_path, PLAIN.replace('("close",)', '("close", "funding_rate")')))
    assert one.spec(M15).left_out == ("mine",)
    assert [f.name for f in one.spec(M15, ("close", "funding_rate")).families] == ["mine"]


def test_what_cannot_be_found_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot read \S+absent.py: No such file"):
        orchestrator(tmp_path, str(tmp_path / "absent.py")).spec(M15)
    with pytest.raises(ConfigurationError, match=r"'absent' is no file ending in \.py and no entry point"):
        orchestrator(tmp_path, "absent").spec(M15)


def test_a_family_of_an_entry_point_gives_its_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution as an installer would leave it."""
    module, info = tmp_path / "their_families.py", tmp_path / "their_families-1.2.dist-info"
    module.write_text(PLAIN)
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-families\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text("[trader.feature_families]\ntheirs = their_families:families\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    one = orchestrator(tmp_path, "theirs")
    assert np.isfinite(one.build(BARS, M15)["mine_gap"][-1])
    (family,) = one.spec(M15).families
    assert family.source == digest_bytes(b"their-families 1.2", PLAIN.encode())
    module.write_text(PLAIN.replace("return {", "1 / 0; return {"))
    del sys.modules["their_families"]
    with pytest.raises(ConfigurationError, match=r"their_families.py, line 9: ZeroDivisionError"):
        orchestrator(tmp_path, "theirs").build(BARS, M15)


def test_leaving_the_program_from_a_family_is_told_as_any_fault(tmp_path: Path) -> None:
    leaving = PLAIN.replace("    return {", "    raise SystemExit(0)\n    return {")
    with pytest.raises(ConfigurationError, match=r"my_family.py, line 9: SystemExit"):
        built(tmp_path, leaving)


def test_parameters_that_differ_anywhere_are_another_family() -> None:
    values = np.arange(5000.0)
    others = values.copy()
    others[2500] += 1e-9
    named = [Family("x", ("x_a",), dict, 0, parameters={"w": w}).identity(M15) for w in (values, others, values.copy())]
    assert named[0] != named[1]
    assert named[0] == named[2]
    with pytest.raises(ConfigurationError, match="are numbers, texts"):
        Family("x", ("x_a",), dict, 0, parameters={"w": object()}).identity(M15)


def test_a_warm_up_is_a_whole_number_and_higher_frames_have_prices_only() -> None:
    with pytest.raises(ConfigurationError, match="warm-up of 0 bars or more"):
        Family("x", ("x_a",), dict, 8.5)  # type: ignore[arg-type]
    higher = Family("x", ("x_a",), dict, 0, ("close", "taker_buy_base"), timeframe=Timeframe.parse("4h"))
    with pytest.raises(ConfigurationError, match="'taker_buy_base', which bars of a higher frame do not have"):
        FeatureSpec(M15, (higher,))


@pytest.mark.parametrize("length", [1, 2, 1299, 1301])
def test_no_family_can_give_more_or_fewer_values_than_there_are_bars(length: int) -> None:
    family = Family("x", ("x_a",), lambda _: {"x_a": np.ones(length)}, 0)
    with pytest.raises(DataInvalid, match=f"'x' gives {length} values of 'x_a'"):
        build_features(BARS, FeatureSpec(M15, (family,)))


@pytest.mark.parametrize("column", ["[str(c) for c in bars.close]", "bars.close + 1j", "bars.close[1:]"])
def test_columns_are_as_many_real_numbers_as_there_are_bars(column: str, tmp_path: Path) -> None:
    with pytest.raises(DataInvalid, match="column 'mine_gap' of the family 'mine'"):
        built(tmp_path, PLAIN.replace("np.append(np.nan, np.diff(bars.close)) / bars.close", column))


def test_a_peek_that_begins_with_long_runs_is_caught(tmp_path: Path) -> None:
    """A finite family is evaluated on no more rows at once than its certificate tries."""
    peek = "np.append(np.diff(bars.close), 0.0) * (len(bars) > 4000)"
    source = PLAIN.replace("np.append(np.nan, np.diff(bars.close)) / bars.close", peek).replace(
        '1, ("close",))', '32, ("close",), finite=True)'
    )
    spec = orchestrator(tmp_path, written(tmp_path, source)).spec(M15)
    [found] = make_certificate(spec).failures
    assert (found.name, found.status) == ("mine_gap", "looks ahead")


def test_a_family_of_ones_own_is_certified_before_its_first_use(tmp_path: Path) -> None:
    ahead = PLAIN.replace("np.append(np.nan, np.diff(bars.close))", "np.append(np.diff(bars.close), np.nan)")
    klines = BARS.select("open_time", "open", "high", "low", "close", "volume")
    for source, name in ((PLAIN, "honest.py"), (ahead, "ahead.py")):
        file = written(tmp_path, source, name)
        one = FeatureEngineeringOrchestrator(
            {
                "cache_dir": str(tmp_path / "cache"),
                "feature_engineering_orchestrator": {
                    "enable_advanced_features": False,
                    "enable_legacy_features": False,
                    "user_families": [file],
                },
            }
        )
        if source == PLAIN:
            assert asyncio.run(one.generate_all_features(klines)).columns[2:] == ["mine_gap"]
        else:
            with pytest.raises(VerificationFailed, match=r"mine_gap.*1 bar"):
                asyncio.run(one.generate_all_features(klines))


@pytest.mark.parametrize(
    ("column", "passes"),
    [
        ("np.sin(bars.close)", True),
        ("bars.close * (hash('mine') % 1000003)", False),
        ("bars.close * float(next(iter({str(n) for n in range(9999)})))", False),
    ],
)
def test_a_family_that_hangs_on_the_process_is_impure(column: str, passes: bool, tmp_path: Path) -> None:
    file = written(tmp_path, PLAIN.replace("np.append(np.nan, np.diff(bars.close))", column))
    one = orchestrator(tmp_path, file)
    found = make_certificate(
        one.spec(M15), orchestrator(tmp_path, file).spec(M15), options=one.settings.feature_engineering_orchestrator
    )
    assert [c.status for c in found.columns] == ["passed" if passes else "impure"]
