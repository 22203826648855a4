"""Certificates: every known way to look ahead is caught, with its reach; what is causal passes."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from support.training.peeking_columns import PEEKING, WARMUPS, Markov, centred_mean, hours_on_open_time, pivot

from trader_cli.analyst.analyst import Analyst
from trader_cli.analyst.certificate_store import (
    PROBES,
    certificate_key,
    ensure_certificate,
    find_certificate,
    make_certificate,
    naming,
    require_certificate,
    require_certified,
    store_certificate,
)
from trader_cli.analyst.feature_artifacts import build_feature_artifact
from trader_cli.analyst.feature_engineering_orchestrator import FeatureEngineeringOrchestrator
from trader_cli.core.errors import ConfigurationError, DataInvalid, DataMissing, DataStale, ExitCode, VerificationFailed
from trader_cli.core.identity.manifests import Manifest
from trader_cli.core.market.bars import aggregate_bars, check_bars, with_close_time
from trader_cli.core.market.schemas import TIME
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.features.bar_arrays import PRICE_INPUTS, BarSeries
from trader_cli.features.certificate_rows import choose_cuts
from trader_cli.features.certificates import Certificate, certify
from trader_cli.features.certification_tape import certification_frame, crashed, redrawn, rows_needed
from trader_cli.features.column_comparisons import with_other_past
from trader_cli.features.column_verdicts import (
    AHEAD,
    IMPURE,
    NOT_FINITE,
    PASSED,
    STREAMING,
    UNDECLARED,
    UNEXERCISED,
    ColumnVerdict,
    Reach,
    merge,
)
from trader_cli.features.families import higher
from trader_cli.features.family import Family, FamilyOptions
from trader_cli.features.family_costs import measure, new_bar_ms
from trader_cli.features.feature_spec import FeatureSpec
from trader_cli.features.inputs import ALL_INPUTS, known_inputs
from trader_cli.features.registry import make_spec
from trader_cli.pipelines.stages.live_budget import require_live_budget
from trader_cli.settings import as_settings
from trader_cli.storage.artifacts import ArtifactStore, stage_key
from trader_cli.venue.clocks import FixedClock

M15 = Timeframe.parse("15m")
H1 = Timeframe.parse("1h")
Floats = np.ndarray[tuple[int], np.dtype[np.float64]]
TAPE = certification_frame(M15, PRICE_INPUTS, rows=1100, seed=5)


def planted(column: Callable[[BarSeries], Floats], **fields: object) -> FeatureSpec:
    """A family as a user writes one, with one column, beside nothing else."""
    given = {"warmup": 60, "inputs": PRICE_INPUTS, **fields}
    return FeatureSpec(M15, (Family("mine", ("mine_x",), lambda bars: {"mine_x": column(bars)}, **given),))


def verdict(spec: FeatureSpec, **options: object) -> ColumnVerdict:
    (found,) = certify(spec, {"synthetic": TAPE}, **options).columns
    return found


PLAUSIBLE: dict[str, Callable[[Reach], bool]] = {
    "higher frame joined on open time": lambda reach: reach == 3,
    "swt haar d2": lambda reach: reach == 3,
    "swt db4 d3": lambda reach: reach == "whole" or 20 <= reach <= 28,
    "centred 11-bar mean": lambda reach: reach == 5,
    "wavedec-denoised gap": lambda reach: reach == "whole" or reach > 20,
    "pivot stamped at its bar": lambda reach: reach in {2, 3},
    "HMM smoothed": lambda reach: reach == "whole" or reach > 20,
    "HMM Viterbi": lambda reach: reach == "whole" or 1 <= reach < 96,
    "whole z-score": lambda reach: reach == "whole",
    "whole rank": lambda reach: reach == "whole",
    "back-fill": lambda reach: reach == "whole" or reach > 4,
}
BAD = {name: (planted(column, warmup=WARMUPS.get(name, 60)), PLAUSIBLE[name]) for name, column in PEEKING.items()}


@pytest.mark.parametrize("name", BAD)
def test_every_known_way_to_look_ahead_is_caught(name: str) -> None:
    spec, plausible = BAD[name]
    found = verdict(spec)
    assert found.status == AHEAD
    assert found.reach is not None
    assert plausible(found.reach), found.reach


CONTROLS: dict[str, FeatureSpec] = {
    "closed higher frame": FeatureSpec(M15, higher.families(FamilyOptions(M15, higher=(H1,)))),
    "confirmed pivot": planted(lambda bars: pivot(bars, 3)),
    "filtered HMM": planted(lambda bars: Markov().filtered(bars)[:, 1]),
}


@pytest.mark.parametrize("name", CONTROLS)
def test_what_is_causal_passes(name: str) -> None:
    tape = certification_frame(M15, PRICE_INPUTS, rows=rows_needed(CONTROLS[name]), seed=5)
    found = certify(CONTROLS[name], {"synthetic": tape})
    assert {column.status for column in found.columns} == {PASSED}
    assert found.require() is found


def own(timeframe: Timeframe, inputs: frozenset[str] = ALL_INPUTS) -> FeatureSpec:
    return make_spec(FamilyOptions(timeframe, inputs=inputs, higher=timeframe.higher))


@pytest.mark.parametrize("name", ["1m", "15m", "1h", "4h", "1d"])
def test_all_own_columns_pass(name: str) -> None:
    spec = own(Timeframe.parse(name))
    found = make_certificate(spec, own(Timeframe.parse(name)))
    assert found.failures == ()
    assert [column.name for column in found.columns] == list(spec.columns)
    assert sum(column.constant for column in found.columns) < 25
    reached = {column.name: column.restart_bars for column in found.columns}
    assert reached["wavelet_entropy_db4"] == 169
    assert reached["roc_12"] == 12
    assert reached["rsi_14"] is None or 100 < reached["rsi_14"] <= 256


def test_own_columns_pass_on_real_bars(market_data: Path) -> None:
    minute = Timeframe.parse("1m")
    file = market_data / "klines" / "um" / "ETHUSDT-1m-2023.parquet"
    minutes = with_close_time(pl.read_parquet(file).with_columns(pl.col("open_time").cast(TIME)), minute)
    bars = aggregate_bars(minutes, minute, M15)
    spec, twin = (own(M15, known_inputs(bars)) for _ in range(2))
    found = make_certificate(spec, twin, bars)
    assert found.failures == ()
    assert [(tape.name, tape.cuts >= 16) for tape in found.tapes] == [("synthetic", True), ("stored", True)]
    assert found.tapes[1].rows == max(rows_needed(spec), 3000)


def exponential(bars: BarSeries) -> Floats:
    return pl.Series(bars.close).ewm_mean(alpha=0.05).to_numpy() / bars.close


def test_a_family_that_is_not_as_finite_as_it_says_is_caught() -> None:
    assert verdict(planted(exponential)).status == PASSED
    assert verdict(planted(exponential, finite=True)).status == NOT_FINITE
    running = planted(
        lambda b: np.cumsum(b.volume) - np.concatenate([np.zeros(9), np.cumsum(b.volume)[:-9]]), finite=True
    )
    assert verdict(running).status == NOT_FINITE, "rounding of a running sum depends on where it began"


def test_an_impure_family_is_caught() -> None:
    noise, calls = np.random.default_rng(0), itertools.count()
    assert verdict(planted(lambda bars: bars.volume + noise.normal())).status == IMPURE
    assert verdict(planted(lambda bars: bars.volume + next(calls))).status == IMPURE

    def greedy(bars: BarSeries) -> Floats:
        bars.volume[:] *= 1.01
        return bars.volume.copy()

    assert verdict(planted(greedy)).status == IMPURE


def fitted_once() -> FeatureSpec:
    mean: list[float] = []

    def column(bars: BarSeries) -> Floats:
        mean.append(bars.close.mean())
        return bars.close / mean[0]

    return planted(column)


def test_what_a_family_keeps_between_calls_is_caught_by_its_twin() -> None:
    """A mean fitted on the first bars ever seen stays the same in every alteration; a family made anew knows better."""
    assert verdict(fitted_once(), twin=fitted_once()).status == IMPURE


def test_a_column_that_is_never_known_was_not_exercised() -> None:
    assert verdict(planted(lambda bars: np.full(len(bars), np.nan))).status == UNEXERCISED
    assert verdict(planted(lambda bars: bars.close, warmup=5000)).status == UNEXERCISED


def test_an_input_that_is_not_declared_is_caught() -> None:
    secret = planted(lambda bars: bars.volume / bars.close, inputs=("close",))
    spec = FeatureSpec(M15, (*secret.families, Family("other", ("other_x",), lambda b: {"other_x": b.volume}, 0)))
    found = {column.name: column.status for column in certify(spec, {"synthetic": TAPE}).columns}
    assert found["mine_x"] == UNDECLARED


def test_extra_inputs_are_altered_and_their_columns_tried() -> None:
    names = ("funding_rate", "open_interest", "flow_same", "taker_buy_base", "mark_close")
    for name in names:
        causal = planted(lambda bars, name=name: bars[name] / bars.close, inputs=("close", name))
        ahead = planted(lambda bars, name=name: np.roll(bars[name], -1), inputs=("close", name))
        tape = {"synthetic": certification_frame(M15, causal.inputs, rows=1100, seed=5)}
        (good,), (bad,) = certify(causal, tape).columns, certify(ahead, tape).columns
        assert (good.status, bad.status) == (PASSED, AHEAD), name
        assert bad.reach == 1


@pytest.mark.parametrize("name", ["1m", "15m", "1h", "12h", "1d"])
def test_tapes_are_valid_bars_and_altered_in_every_row_and_input(name: str) -> None:
    timeframe, extras = Timeframe.parse(name), ("funding_rate", "open_interest", "flow_same")
    tape = certification_frame(timeframe, (*PRICE_INPUTS, *extras), rows=900, seed=1)
    plain = [column for column in tape.columns if column not in extras]
    for bars in (tape, redrawn(tape, 2), crashed(tape)):
        check_bars(bars.select(plain), timeframe)
        assert (bars["taker_buy_base"] <= bars["volume"]).all()
    for other in (redrawn(tape, 2), crashed(tape)):
        for column in (*PRICE_INPUTS, "quote_volume", "taker_buy_base", "taker_buy_quote", *extras):
            assert tape[column].ne_missing(other[column]).all(), column
        assert tape["trades"].ne(other["trades"]).mean() > 0.98
    assert tape.equals(certification_frame(timeframe, (*PRICE_INPUTS, *extras), rows=900, seed=1))


@pytest.mark.parametrize("name", ["1m", "5m", "15m", "1h", "4h", "1d"])
def test_there_are_sixteen_cuts_and_they_lie_where_faults_show(name: str) -> None:
    spec = own(Timeframe.parse(name))
    times = certification_frame(spec.timeframe, PRICE_INPUTS, rows=rows_needed(spec), seed=0)["open_time"]
    ms = times.to_physical().to_numpy()
    known = len(ms) // 2
    cuts = choose_cuts(spec, ms, known, 16, 3)
    assert len(cuts) >= 16 and cuts[-2:] == [len(ms) - 2, len(ms) - 1]
    assert sum(cut < known for cut in cuts) >= 4
    frames = {family.frame(spec.timeframe) for family in spec.families} - {spec.timeframe}
    assert {int(ms[cut] // spec.timeframe.ms % 2) for cut in cuts[:-2]} == {0, 1}, "every other bar is tried, too"
    for cut in cuts[:-2]:
        assert all(ms[cut] % frame.ms for frame in frames)


def test_another_past_leaves_what_follows_and_is_bars() -> None:
    bars = BarSeries.of(TAPE[200:400])
    other = with_other_past(bars, 150)
    assert other.cut(150, 200).content() == bars.cut(150, 200).content()
    assert np.isclose(other.close[:150], bars.close[:150]).sum() < 3
    assert (other.high >= np.maximum(other.open, other.close) - 1e-9).all()
    assert other.close[149] == pytest.approx(bars.open[150])


def test_certificates_are_reproducible_and_survive_json() -> None:
    one, again = (certify(CONTROLS["confirmed pivot"], {"synthetic": TAPE}, seed=4) for _ in range(2))
    assert one == again
    assert Certificate.from_dict(json.loads(json.dumps(one.as_dict()))) == one
    assert Certificate.from_dict(json.loads(json.dumps(one.as_dict()))).digest == one.digest
    with pytest.raises(DataInvalid, match="This is no certificate"):
        Certificate.from_dict({**one.as_dict(), "surprise": 1})


def test_failures_name_every_bad_column_with_its_reach_in_order() -> None:
    spec = FeatureSpec(
        M15,
        tuple(
            Family(
                name,
                (f"{name}_x",),
                lambda bars, column=column: {f"{column.__name__}_x": column(bars)},
                60,
                PRICE_INPUTS,
            )
            for name, column in (("hours_on_open_time", hours_on_open_time), ("centred_mean", centred_mean))
        ),
    )
    with pytest.raises(VerificationFailed) as caught:
        certify(spec, {"synthetic": TAPE}).require()
    assert caught.value.exit_code == ExitCode.VERIFICATION_FAILED
    assert caught.value.sentence == (
        "2 of 2 feature columns fail their certificate: centred_mean_x (looks ahead, 5 bars),"
        " hours_on_open_time_x (looks ahead, 3 bars)."
    )
    assert "centred_mean, hours_on_open_time" in str(caught.value.hint)


def test_the_worst_of_several_tapes_counts() -> None:
    good = ColumnVerdict("x", "f", PASSED, None, 7)
    assert merge([good, ColumnVerdict("x", "f", UNEXERCISED)]) == good
    assert merge([good, ColumnVerdict("x", "f", AHEAD, 3, None)]) == ColumnVerdict("x", "f", AHEAD, 3, None)
    assert merge([ColumnVerdict("x", "f", AHEAD, 3, 9), ColumnVerdict("x", "f", AHEAD, "whole", 4)]).reach == "whole"
    assert merge([good, ColumnVerdict("x", "f", STREAMING, None, 9)]).status == STREAMING


def test_a_certificate_is_found_again_and_only_for_the_same_families(tmp_path: Path) -> None:
    store, spec = ArtifactStore(tmp_path), CONTROLS["confirmed pivot"]
    with pytest.raises(DataMissing, match=r"no certificate.*trader features ETHUSDT"):
        require_certificate(store, spec, "features ETHUSDT")
    made = ensure_certificate(store, spec)
    assert require_certificate(ArtifactStore(tmp_path), spec, "features") == made
    assert find_certificate(store, planted(centred_mean, version=2)) is None
    path = tmp_path / "certificates" / f"{certificate_key(spec)}.json"
    path.write_text(path.read_text().replace("looks ahead", PASSED).replace('"reach":null', '"reach":9'))
    assert find_certificate(ArtifactStore(tmp_path), spec) is None, "changed after it was written"
    assert find_certificate(store, spec) == made, "read once per store"


def test_a_failed_certificate_is_kept_and_refuses(tmp_path: Path) -> None:
    store, spec = ArtifactStore(tmp_path), planted(centred_mean)
    assert ensure_certificate(store, spec).failures
    with pytest.raises(VerificationFailed, match=r"mine_x \(looks ahead, 5 bars\)"):
        require_certificate(ArtifactStore(tmp_path), spec, "features")


class Desk:
    """Bars and features of one series in a store, with or without a certificate."""

    def __init__(self, folder: Path) -> None:
        self.settings = as_settings(
            {
                "cache_dir": str(folder),
                "analyst": {"enable_ml_predictions": False},
                "state_dir": str(folder.parent / "state"),
                "feature_engineering_orchestrator": {
                    "enable_legacy_features": False,
                    "higher_timeframes": [],
                    "wavelet_cache": {"cache_enabled": False, "cache_dir": str(folder)},
                },
            }
        )
        self.store = ArtifactStore(folder)
        self.orchestrator = FeatureEngineeringOrchestrator(self.settings)
        bars = TAPE.filter(pl.col("open_time") > TAPE["open_time"][200]).select(TAPE.columns[:11])
        self.spec = self.orchestrator.spec(M15, known_inputs(bars))
        chunk = self.store.put_chunk("k", bars)
        first, last = int(bars["open_time"].to_physical()[0]), int(bars["open_time"].to_physical()[-1])
        self.bars = Manifest(
            "bars", "t", "tape", "ETHUSDT", "15m", "0", chunks=(chunk,), rows=bars.height, first_ms=first, last_ms=last
        )
        self.store.publish(stage_key(self.settings.mode, "ETHUSDT", M15, "bars"), self.bars)
        self.made = build_feature_artifact(self.store, self.bars, bars, self.spec, self.orchestrator).manifest

    def publish(self, made: Manifest) -> None:
        self.store.publish(stage_key(self.settings.mode, "ETHUSDT", M15, "features"), made)

    def analyse(self) -> None:
        clock = FixedClock((self.bars.last_ms or 0) + M15.ms)
        Analyst(self.settings, store=ArtifactStore(self.store.root), clock=clock).analyse("ETHUSDT", M15)


def test_analysing_wants_a_certificate_of_just_these_features(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "cache")
    desk.publish(desk.made)
    with pytest.raises(DataMissing, match=r"no certificate.*`trader features ETHUSDT --timeframe 15m`"):
        desk.analyse()
    certificate = ensure_certificate(desk.store, desk.spec)
    with pytest.raises(DataStale, match=r"name no certificate.*`trader features ETHUSDT --timeframe 15m`"):
        desk.analyse()
    desk.publish(naming(desk.made, certificate))
    desk.analyse()
    failed = certify(desk.spec, {"synthetic": TAPE}, seed=1)
    bad = [ColumnVerdict(c.name, c.family, AHEAD, 3, c.restart_bars) for c in failed.columns]
    store_certificate(desk.store, desk.spec, Certificate("15m", failed.spec, tuple(bad), failed.tapes, 1))
    with pytest.raises(VerificationFailed, match="3 bars"):
        desk.analyse()


def test_features_that_the_analyst_makes_itself_need_one_too(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "cache")
    with pytest.raises(DataMissing, match="no certificate"):
        desk.analyse()
    certificate = ensure_certificate(desk.store, desk.spec)
    desk.analyse()
    made = desk.store.current(stage_key(desk.settings.mode, "ETHUSDT", M15, "features"))
    assert made is not None
    assert made.notes["certificate"] == certificate.digest


def test_training_wants_a_certificate_of_just_these_features(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "cache")
    command = "features ETHUSDT"
    ensure_certificate(desk.store, CONTROLS["confirmed pivot"])
    with pytest.raises(DataMissing, match="no certificate"):
        require_certified(desk.store, desk.spec, desk.made, command)
    certificate = ensure_certificate(desk.store, desk.spec)
    with pytest.raises(DataStale, match="name no certificate"):
        require_certified(desk.store, desk.spec, desk.made, command)
    assert require_certified(desk.store, desk.spec, naming(desk.made, certificate), command) == certificate


def ticks(step_ns: int) -> Callable[[], int]:
    """A clock that moves by so much whenever it is read."""
    return itertools.count(0, step_ns).__next__


def test_costs_are_per_family_by_the_clock_that_is_given() -> None:
    spec = own(M15)
    tape = certification_frame(M15, spec.inputs, rows=1000, seed=0)
    costs = measure(spec, tape, ticks(5_000_000))
    assert [(cost.name, cost.columns) for cost in costs] == [(f.name, len(f.columns)) for f in spec.families]
    assert {(cost.ns_per_row, cost.ms_per_new_bar) for cost in costs} == {(5000.0, 5.0)}
    assert costs[0].ns_per_value == 5000.0 / 15
    assert new_bar_ms(spec, tape, ticks(2_000_000)) == dict.fromkeys([f.name for f in spec.families], 2.0)


def test_over_the_live_budget_the_dearest_family_is_named() -> None:
    families = len(own(M15).families)
    settings = as_settings({"feature_engineering_orchestrator": {"live_budget_ms": 100}})
    require_live_budget(settings, M15, ticks(int(100e6 / families)))
    slow = itertools.chain.from_iterable([0, int(60e6)] for _ in range(4 * families))
    with pytest.raises(
        ConfigurationError, match=rf"{60 * families}\.0 ms.*allows 100.*dearest family is wavelet_haar with 60\.0 ms"
    ):
        require_live_budget(settings, M15, slow.__next__)


def sometimes(when: Callable[[BarSeries, Floats], Floats]) -> FeatureSpec:
    """A family that shows the next return where `when` says so."""

    def peek(bars: BarSeries) -> dict[str, Floats]:
        moves = np.diff(np.log(bars.close), prepend=np.log(bars.close[:1]))
        coming = np.append(moves[1:], 0.0)
        return {"peek_now": np.where(when(bars, moves), coming, 0.0) + moves}

    return replace(own(H1), families=(Family("peek", ("peek_now",), peek, 40, ("close", "volume")),))


@pytest.mark.parametrize(
    "when",
    [
        *(lambda b, _r, hour=hour: b.open_ms // 3_600_000 % 24 == hour for hour in (5, 13, 14, 15)),
        lambda _b, r: np.abs(r) > 4 * np.std(r),
        lambda b, _r: b.volume > 2.5 * np.convolve(b.volume, np.ones(20) / 20)[: len(b.volume)],
    ],
)
def test_a_family_that_peeks_only_now_and_then_is_caught(when: Callable[[BarSeries, Floats], Floats]) -> None:
    [column] = make_certificate(sometimes(when), probes=PROBES).failures
    assert (column.status, column.reach) == (AHEAD, 1)


def test_what_only_rounds_differently_is_not_called_ahead() -> None:
    def product(bars: BarSeries) -> dict[str, Floats]:
        weights, out = np.linspace(0, 1, 32), np.full(len(bars), np.nan)
        if len(bars) >= 32:
            windows = np.lib.stride_tricks.sliding_window_view(bars.close, 32)
            out[31:] = np.ascontiguousarray(windows) @ weights * (1 + 1e-15 * (len(bars) % 7))
        return {"product_mean": out}

    spec = replace(own(H1), families=(Family("product", ("product_mean",), product, 40),))
    assert {column.status for column in make_certificate(spec).failures} <= {STREAMING, NOT_FINITE}
    assert make_certificate(spec).failures
