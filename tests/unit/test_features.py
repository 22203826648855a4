"""Features: causal in every column, the same bits in batch and stream, equal to their references."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import pywt
import talib
from hypothesis import given, settings
from hypothesis import strategies as st
from support.market.bars import START_MS, random_bars

from trader_cli.analyst.feature_artifacts import build_feature_artifact, not_known_yet
from trader_cli.analyst.feature_engineering_orchestrator import FeatureEngineeringOrchestrator
from trader_cli.core.errors import ConfigurationError, DataInvalid, DataMissing
from trader_cli.core.identity.manifests import Manifest
from trader_cli.core.market.bars import aggregate_bars
from trader_cli.core.market.schemas import check_features
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.features import build
from trader_cli.features.bar_arrays import BarSeries
from trader_cli.features.build import build_features, history_start
from trader_cli.features.family import FamilyOptions
from trader_cli.features.feature_spec import FeatureSpec
from trader_cli.features.modwt import WaveletFilter, modwt, window_sum
from trader_cli.features.registry import make_spec
from trader_cli.features.short_gaps import MOST_BRIDGED, bridge
from trader_cli.storage.artifacts import ArtifactStore

M15 = Timeframe.parse("15m")


def spec_of(timeframe: Timeframe, **options: object) -> FeatureSpec:
    return make_spec(FamilyOptions(timeframe, **{"higher": timeframe.higher, **options}))


SPEC = spec_of(M15)
BARS = random_bars(1400)


def values(frame: pl.DataFrame) -> np.ndarray:
    return frame.drop("open_time", "decision_time").to_numpy()


FEATURES = build_features(BARS, SPEC)


def test_there_are_as_many_columns_as_promised() -> None:
    check_features(FEATURES)
    names = FEATURES.columns[2:]
    assert sum("wavelet" in name for name in names) >= 22
    assert sum(not name.startswith(("wavelet", "htf")) for name in names) >= 30
    assert {name.split("_")[0] for name in names if name.startswith("htf")} == {"htf1h", "htf4h"}
    assert len(set(names)) == len(names)


def test_warm_up_is_null_and_what_follows_is_known() -> None:
    known = np.isfinite(values(FEATURES))
    first = known.all(axis=1).argmax()
    assert 700 < first < 1000
    assert known[first:].all()
    dated = [name.startswith("session") for name in FEATURES.columns[2:]]
    assert known[:, dated].all()
    assert not known[: min(f.warmup for f in SPEC.families if f.warmup), ~np.array(dated)].any()


def altered(bars: pl.DataFrame, cut: int, how: str) -> pl.DataFrame:
    """The same bars up to `cut`, another valid future after it."""
    head, tail = bars[:cut], bars[cut:]
    if how == "cut" or tail.is_empty():
        return head
    if how == "redraw":
        return pl.concat([head, random_bars(bars.height, seed=99)[cut:]])
    prices = [pl.col(name) * 0.3 for name in ("open", "high", "low", "close")]
    return pl.concat([head, tail.with_columns(*prices, pl.col("volume") * 20)])


CUTS = [3, 97, 150, 301, *(int(c) for c in np.linspace(700, 1391, 12))]


@pytest.mark.parametrize("how", ["cut", "redraw", "crash"])
@pytest.mark.parametrize("cut", CUTS)
def test_no_column_sees_the_future(cut: int, how: str) -> None:
    changed = build_features(altered(BARS, cut, how), SPEC)
    assert values(changed)[:cut].tobytes() == values(FEATURES)[:cut].tobytes()


def test_a_column_that_looks_ahead_would_be_caught() -> None:
    """The three alterations catch a join on open time, the classic mistake."""

    def leaky(bars: pl.DataFrame) -> np.ndarray:
        hours = aggregate_bars(bars, M15, Timeframe.parse("1h")).select(
            "open_time", pl.col("close").alias("hour_close")
        )
        return bars.join_asof(hours, on="open_time")["hour_close"].to_numpy()

    moved = [cut for cut in CUTS if leaky(altered(BARS, cut, "crash"))[:cut].tobytes() != leaky(BARS)[:cut].tobytes()]
    assert moved


def test_one_bar_at_a_time_equals_the_batch_to_the_bit() -> None:
    batch = values(FEATURES)
    for i in [*range(1150, 1290), 5, 96, 400]:
        seen = BARS[: i + 1]
        row = build_features(seen, SPEC, since_ms=int(seen["open_time"].to_physical()[-1]))
        assert row.height == 1
        assert values(row).tobytes() == batch[i].tobytes(), i


def test_a_restart_with_just_the_needed_history_equals_the_batch_to_the_bit() -> None:
    batch = values(FEATURES)
    for i in (1100, 1151, 1152, 1399):
        at = int(BARS["open_time"].to_physical()[i])
        opened = pl.col("open_time").to_physical()
        enough = BARS.filter(opened.is_between(history_start(SPEC, at), at))
        assert values(build_features(enough, SPEC, since_ms=at)).tobytes() == batch[i].tobytes()
        short = BARS.filter(opened.is_between(history_start(SPEC, at) + 60 * M15.ms, at))
        assert not np.isfinite(values(build_features(short, SPEC, since_ms=at))).all()


@pytest.mark.parametrize("tile", [1, 97, 700])
def test_it_does_not_matter_how_many_rows_of_a_finite_family_are_made_at_a_time(
    tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    finite = FeatureSpec(M15, tuple(family for family in SPEC.families if family.finite))
    bars, at = (BARS, None) if tile > 1 else (BARS[-800:], int(BARS["open_time"].to_physical()[-20]))
    whole = values(build_features(bars, finite, since_ms=at))
    monkeypatch.setattr(build, "TILE", tile)
    assert values(build_features(bars, finite, since_ms=at)).tobytes() == whole.tobytes()


@pytest.mark.parametrize("name", ["1m", "5m", "1h", "4h"])
def test_other_frames_stream_to_the_bit_too(name: str) -> None:
    frame = Timeframe.parse(name)
    spec = spec_of(frame)
    bars = random_bars(2600 if name == "1m" else 1300, name)
    batch = values(build_features(bars, spec))
    for i in range(bars.height - 9, bars.height):
        row = build_features(bars[: i + 1], spec, since_ms=int(bars["open_time"].to_physical()[i]))
        assert values(row).tobytes() == batch[i].tobytes()


def test_scale_of_price_does_not_matter() -> None:
    prices = [pl.col(name) * 1024.0 for name in ("open", "high", "low", "close")]
    scaled = values(build_features(BARS.with_columns(prices), SPEC))
    assert np.nanmax(np.abs(scaled - values(FEATURES)) / (1 + np.abs(values(FEATURES)))) < 1e-8


def test_features_restart_after_a_long_gap_and_nothing_bridges_it() -> None:
    holed = pl.concat([BARS[:1000], BARS[1000 + MOST_BRIDGED + 1 :]])
    made = build_features(holed, SPEC)
    assert values(made)[:1000].tobytes() == values(FEATURES)[:1000].tobytes()
    names = made.columns[2:]
    own = [i for i, name in enumerate(names) if not name.startswith(("htf", "session"))]
    assert not np.isfinite(values(made)[1000 : 1000 + 64, own]).any()


@pytest.mark.parametrize("wavelet", ["haar", "db2", "db4"])
def test_modwt_is_pywavelets_rolled_to_causal(wavelet: str) -> None:
    x = np.random.default_rng(3).normal(size=1024)
    details, smooth = modwt(x, wavelet, 4)
    reference = pywt.swt(x, wavelet, 4, norm=True, trim_approx=True)
    length = len(WaveletFilter.named(wavelet).low)
    for level in range(1, 5):
        rolled = np.roll(reference[-level], (2**level - 1) * length // 2)
        inside = slice((2**level - 1) * (length - 1) + 15 * length, None)
        np.testing.assert_allclose(details[level - 1][inside], rolled[inside], atol=1e-12)
        assert np.isnan(details[level - 1][: (2**level - 1) * (length - 1)]).all()
    assert np.isfinite(smooth[15 * (length - 1) :]).all()


@given(st.integers(1, 70), st.integers(70, 200))
@settings(max_examples=40, deadline=None)
def test_window_sums_are_sums(window: int, n: int) -> None:
    x = np.random.default_rng(n).normal(size=n)
    got = window_sum(x, window)
    assert np.isnan(got[: window - 1]).all()
    np.testing.assert_allclose(got[window - 1 :], np.convolve(x, np.ones(window), "valid"), atol=1e-12)


def test_relative_energies_sum_to_one_and_entropy_lies_in_the_unit_interval() -> None:
    known = FEATURES.drop_nulls()
    shares = known.select(pl.sum_horizontal(pl.col("^wavelet_relative_.*_db4$"))).to_series()
    np.testing.assert_allclose(shares.to_numpy(), 1.0, atol=1e-12)
    entropy = known["wavelet_entropy_haar"]
    assert entropy.is_between(0, 1).all()


def test_indicators_equal_ta_lib_from_the_same_anchor() -> None:
    day = BARS.filter(pl.col("open_time").to_physical() >= START_MS + 11 * 86_400_000 - 256 * M15.ms)
    day = day.filter(pl.col("open_time").to_physical() < START_MS + 12 * 86_400_000)
    series = BarSeries.of(day)
    row = FEATURES.filter(pl.col("open_time") == day["open_time"][-1]).row(0, named=True)
    assert row["rsi_14"] == talib.RSI(series.close, 14)[-1]
    assert row["natr_14"] == talib.NATR(series.high, series.low, series.close, 14)[-1]
    assert row["ema_20_gap"] == series.close[-1] / talib.EMA(series.close, 20)[-1] - 1


def test_higher_columns_are_those_of_the_last_closed_bar() -> None:
    hours = aggregate_bars(BARS, M15, Timeframe.parse("1h"))
    made = FEATURES.select("decision_time", "htf1h_roc_1").drop_nulls()
    closes = dict(zip(hours["close_time"].to_physical().to_list(), hours["close"].to_list(), strict=True))
    for when, roc in made.with_columns(pl.col("decision_time").to_physical()).rows()[:50]:
        last = when - when % 3_600_000 - 1
        assert roc == pytest.approx(closes[last] / closes[last - 3_600_000] - 1, abs=1e-12)


def test_bad_feature_settings_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="Unknown wavelet 'db4x'"):
        spec_of(M15, wavelets=("db4x",))
    with pytest.raises(ConfigurationError, match="not orthogonal"):
        spec_of(M15, wavelets=("bior2.2",))
    with pytest.raises(ConfigurationError, match="A higher frame of 15m is a multiple of it; 5m is not"):
        spec_of(M15, higher=(Timeframe.parse("5m"),))


def orchestrator(tmp_path: Path, **keys: object) -> FeatureEngineeringOrchestrator:
    cache = {"cache_enabled": True, "cache_dir": str(tmp_path / "wavelet")}
    return FeatureEngineeringOrchestrator({"feature_engineering_orchestrator": {"wavelet_cache": cache, **keys}})


def test_the_guides_call_takes_six_columns_and_three_nones(tmp_path: Path) -> None:
    klines = BARS.select("open_time", "open", "high", "low", "close", "volume")
    made = asyncio.run(orchestrator(tmp_path).generate_all_features(klines, None, None, None))
    assert values(made).tobytes() == values(FEATURES).tobytes()
    with pytest.raises(DataInvalid, match="A trades frame has the columns"):
        asyncio.run(orchestrator(tmp_path).generate_all_features(klines, klines))
    with pytest.raises(DataMissing, match="At least 2 klines"):
        asyncio.run(orchestrator(tmp_path).generate_all_features(klines[:1]))


def test_the_wavelet_cache_changes_nothing_but_the_work(tmp_path: Path) -> None:
    first, again = orchestrator(tmp_path), orchestrator(tmp_path)
    off = orchestrator(tmp_path, wavelet_cache={"cache_enabled": False, "cache_dir": str(tmp_path / "never")})
    made = [one.build(BARS, M15) for one in (first, again, off)]
    assert made[0].equals(made[1])
    assert made[0].equals(made[2])
    assert (first.evaluated_blocks > 0, first.cached_blocks) == (True, 0)
    assert (again.evaluated_blocks, again.cached_blocks) == (0, first.evaluated_blocks)
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize(
    ("key", "absent"), [("enable_advanced_features", ("wavelet", "htf")), ("enable_legacy_features", ("rsi",))]
)
def test_a_switch_takes_its_families_away(tmp_path: Path, key: str, absent: tuple[str, ...]) -> None:
    made = orchestrator(tmp_path, **{key: False}).build(BARS, M15)
    assert not [name for name in made.columns if name.startswith(absent)]
    assert made.width < FEATURES.width


def bars_manifest(bars: pl.DataFrame) -> Manifest:
    return Manifest("bars", "t", "tape", "ETHUSDT", "15m", "0", inputs={"rows": str(bars.height)})


def test_a_new_day_costs_a_day_and_nothing_old_changes(tmp_path: Path) -> None:
    store, one = ArtifactStore(tmp_path / "cache"), orchestrator(tmp_path)
    first = build_feature_artifact(store, bars_manifest(BARS[:1248]), BARS[:1248], SPEC, one)
    families = len(SPEC.families)
    assert (first.made, first.found) == (13 * families, 0)
    second = build_feature_artifact(store, bars_manifest(BARS[:1344]), BARS[:1344], SPEC, one)
    assert (second.made, second.found) == (families, 13 * families)
    assert set(first.manifest.chunks) < set(second.manifest.chunks)
    assert values(store.read(second.manifest)).tobytes() == values(FEATURES)[:1344].tobytes()


def test_a_changed_bar_remakes_just_what_depends_on_it(tmp_path: Path) -> None:
    store, one = ArtifactStore(tmp_path / "cache"), orchestrator(tmp_path)
    build_feature_artifact(store, bars_manifest(BARS), BARS, SPEC, one)
    row = BARS.with_row_index()
    changed = row.with_columns(pl.when(pl.col("index") == 1390).then(1.5).otherwise(pl.col("volume")).alias("volume"))
    again = build_feature_artifact(store, bars_manifest(BARS), changed.drop("index"), SPEC, one)
    assert set(again.made_families) == {"technical", "htf1h", "htf4h"}
    assert again.made == 3


def test_a_changed_parameter_remakes_just_its_family(tmp_path: Path) -> None:
    store, one = ArtifactStore(tmp_path / "cache"), orchestrator(tmp_path)
    build_feature_artifact(store, bars_manifest(BARS), BARS, SPEC, one)
    other = spec_of(M15, wavelet_window=32)
    again = build_feature_artifact(store, bars_manifest(BARS), BARS, other, one)
    assert again.made_families == ("wavelet_haar", "wavelet_db4")
    plain = build_features(BARS, other)
    assert values(store.read(again.manifest)).tobytes() == values(plain).tobytes()
    assert store.read(again.manifest).columns == plain.columns


def test_too_few_bars_say_how_many_are_needed(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path / "cache")
    with pytest.raises(DataMissing, match=r"reach back \d+ bars; there are 100.*--limit \d+"):
        build_feature_artifact(store, bars_manifest(BARS), BARS[:100], SPEC, orchestrator(tmp_path))


def test_a_young_market_has_the_features_that_are_known_already(tmp_path: Path) -> None:
    store, h1 = ArtifactStore(tmp_path / "cache"), Timeframe.parse("1h")
    young = random_bars(420, "1h")
    built = build_feature_artifact(store, bars_manifest(young), young, spec_of(h1), orchestrator(tmp_path))
    unknown = not_known_yet(store, built.manifest)
    assert unknown
    assert {name.split("_")[0] for name in unknown} == {"htf1d", "levels"}


def test_the_wavelet_cache_lies_with_the_artifacts_unless_told_otherwise(tmp_path: Path) -> None:
    told = {"wavelet_cache": {"cache_dir": str(tmp_path / "told")}}
    for keys, folder in (({}, tmp_path / "cache" / "wavelet"), (told, tmp_path / "told")):
        made = FeatureEngineeringOrchestrator(
            {"cache_dir": str(tmp_path / "cache"), "feature_engineering_orchestrator": keys}
        )
        made.build(random_bars(1000), Timeframe.parse("15m"))
        made.close()
        assert (folder / "cache.db").is_file()
        assert (tmp_path / "told").exists() == bool(keys)


@pytest.mark.parametrize("missing", [1, 2, MOST_BRIDGED, MOST_BRIDGED + 1])
@pytest.mark.parametrize("name", ["1m", "15m", "1h", "1d"])
def test_any_row_around_a_gap_streams_to_the_bit(name: str, missing: int) -> None:
    frame = Timeframe.parse(name)
    spec = make_spec(FamilyOptions(frame), advanced=name == "15m")
    bars = random_bars(1200, name)
    holed = pl.concat([bars[:900], bars[900 + missing :]])
    batch = values(build_features(holed, spec))
    times = holed["open_time"].to_physical()
    for row in (899, 900, 901, 903, 910, 940, 1000, holed.height - 1):
        part = values(build_features(holed, spec, since_ms=int(times[row])))
        assert part.tobytes() == batch[row:].tobytes(), row
        alone = values(build_features(holed[: row + 1], spec, since_ms=int(times[row])))
        assert alone.tobytes() == batch[row].tobytes(), "what comes after is not known"


@pytest.mark.parametrize("missing", [1, 3, MOST_BRIDGED])
def test_bars_missing_in_a_short_gap_are_read_as_bars_without_trades(missing: int) -> None:
    """The same hours as a history that lists them; rows wait for as many bars as were missing."""
    gap = slice(1000, 1000 + missing)
    last = pl.lit(BARS["close"][999])
    standing = BARS[gap].with_columns(last.alias(name) for name in ("open", "high", "low", "close"))
    standing = standing.with_columns(volume=pl.lit(0.0))
    listed = values(build_features(pl.concat([BARS[:1000], standing, BARS[gap.stop :]]), SPEC))
    holed = build_features(pl.concat([BARS[:1000], BARS[gap.stop :]]), SPEC)
    assert holed.height == BARS.height - missing
    settled = 1000 + missing
    assert values(holed)[:1000].tobytes() == listed[:1000].tobytes()
    assert values(holed)[settled:].tobytes() == listed[settled + missing :].tobytes()
    own = [i for i, name in enumerate(holed.columns[2:]) if not name.startswith("session")]
    assert not np.isfinite(values(holed)[1000:settled, own]).any()


def test_every_short_gap_is_bridged_and_none_that_is_not_of_whole_bars() -> None:
    bars = BarSeries.of(pl.concat([BARS[:100], BARS[101:200], BARS[203:300], BARS[313:]]))
    bridged = bridge(bars, M15.ms)
    assert bridged is not None
    assert len(bridged.bars) == len(bars) + 1 + 3
    assert (bridged.bars.open_ms[bridged.at] == bars.open_ms).all()
    assert np.flatnonzero(~bridged.settled).tolist() == [100, 199, 200, 201]
    assert bridge(BarSeries.of(BARS[:100]), M15.ms) is None
    odd = BARS[:100].with_columns(open_time=pl.col("open_time") + pl.duration(minutes=pl.int_range(100) // 50 * 7))
    assert bridge(BarSeries.of(odd), M15.ms) is None
