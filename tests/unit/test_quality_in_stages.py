"""What the stages do with the data-quality report: defects are planted in bars, and everything else stays as it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.market.bars import random_bars
from test_keys import BARS, FEATURES, M15, QUICK
from test_quality import planted, straight

from trader_cli.analyst.analyst import Analyst
from trader_cli.analyst.labels import triple_barrier
from trader_cli.analyst.outcomes import DOUBT_BARS
from trader_cli.analyst.training import TrainingInput, make_dataset, train
from trader_cli.core.identity.digests import digest_frame
from trader_cli.core.identity.manifests import Manifest
from trader_cli.core.market.bars import PRICES
from trader_cli.core.market.quality import UNFIT, bars_of_kinds, doubtful_bars, quality_report, unfit_bars
from trader_cli.core.types import Abstention, Tries
from trader_cli.features.bar_arrays import BarSeries
from trader_cli.pipelines.stages import stored_status
from trader_cli.pipelines.stages.model_stages import features
from trader_cli.pipelines.stages.stored_status import status
from trader_cli.settings import Settings, as_settings
from trader_cli.settings.room_options import TrainingOptions
from trader_cli.settings.workspace import workspace_of
from trader_cli.storage.artifacts import ArtifactStore, span_of, stage_key
from trader_cli.venue.clocks import FixedClock

CONFIG = as_settings({"analyst": QUICK})


def printed(bars: pl.DataFrame, row: int) -> pl.DataFrame:
    """The bars with a print a third too high at a row, taken back by the next."""
    close = bars["close"][row] * 1.35
    changed = planted(bars, row, {"close": [close], "high": [max(close, bars["high"][row])]})
    return planted(changed, row + 1, {"open": [close], "high": [max(close, bars["high"][row + 1])]})


def standing(bars: pl.DataFrame, row: int, count: int) -> pl.DataFrame:
    """The bars with so many from a row on that stand still without a trade."""
    price = bars["close"][row - 1]
    return planted(bars, row, {name: [price] * count for name in PRICES} | {"volume": [0.0] * count})


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 99), st.integers(20, 340), st.sampled_from(["line", "print", "still", "none"]))
def test_masks_are_the_spans_of_the_report(seed: int, row: int, what: str) -> None:
    bars = random_bars(400, seed=seed)
    spoiled = {
        "line": lambda: straight(bars, row, 5),
        "print": lambda: printed(bars, row),
        "still": lambda: standing(bars, row, 4),
        "none": lambda: bars,
    }[what]()
    report, at = quality_report(spoiled, M15), spoiled["open_time"].to_physical()
    for kind, mask in bars_of_kinds(spoiled, M15, (*UNFIT, "stuck")).items():
        spans = [at.is_between(f.first_ms, f.last_ms) for f in report.findings if f.kind == kind]
        assert mask.to_list() == np.any([span.to_numpy() for span in spans] or [[False] * 400], axis=0).tolist()
    assert unfit_bars(spoiled, M15).any() == (what in {"line", "print"})


def test_bars_of_the_coin_that_had_the_name_before_are_unfit() -> None:
    bars = random_bars(300, seed=5)
    old = bars[:200].with_columns(pl.col(*PRICES) * 50)
    unfit = unfit_bars(pl.concat([old, bars[200:]]), M15)
    assert unfit.to_list() == [True] * 201 + [False] * 99
    assert not unfit_bars(bars, M15).any()


def rows_of(bars: pl.DataFrame, unfit: np.ndarray[Any, np.dtype[np.bool_]] | None) -> Any:
    return make_dataset(BarSeries.of(bars), FEATURES, CONFIG.analyst, M15.ms, unfit)[0]


@settings(deadline=None, max_examples=20)
@given(st.sets(st.integers(200, 1400), max_size=30))
def test_just_the_rows_on_or_ending_on_unfit_bars_are_left_out(marked: set[int]) -> None:
    unfit = np.isin(np.arange(len(BARS)), list(marked))
    whole, cut = rows_of(BARS, None), rows_of(BARS, unfit)
    kept = ~(unfit[whole.start] | unfit[whole.end])
    for name in ("x", "outcome", "start", "end", "sigma", "gain_long", "gain_short"):
        assert np.array_equal(getattr(cut, name), getattr(whole, name)[kept], equal_nan=name == "x"), name
    assert (cut.left_out, whole.left_out) == (len(whole) - len(cut), 0)
    labels = triple_barrier(BarSeries.of(BARS), 24, 1.0, 64, M15.ms)
    assert not unfit[labels.end[cut.start]].any()


@pytest.mark.parametrize("defect", ["line", "print", "none"])
def test_training_leaves_out_what_rests_on_planted_defects_and_says_how_much(defect: str) -> None:
    bars = {"line": straight(BARS, 700, 6), "print": printed(BARS, 700), "none": BARS}[defect]
    model = train(TrainingInput("k", "tape", "E", M15, bars, FEATURES, {}), TrainingOptions.of(CONFIG), Tries.alone)
    assert model.metrics["left_out_rows"] >= {"line": 6, "print": 2, "none": 0}[defect]
    assert (model.metrics["left_out_rows"] > 0) == (defect != "none")


@pytest.mark.parametrize("age", range(6))
def test_only_the_last_bars_are_doubted(age: int) -> None:
    bars = random_bars(400, seed=5)
    row = 399 - age
    seen = {
        "bad_print": doubtful_bars(printed(bars, row), M15, DOUBT_BARS) if age else {},
        "interpolated": doubtful_bars(straight(bars, row, 1), M15, DOUBT_BARS) if age else {},
        "stuck": doubtful_bars(standing(bars, row - 2, 3), M15, DOUBT_BARS),
    }
    told = {name: found.get(name, 0) for name, found in seen.items()}
    assert told == {"bad_print": int(0 < age < 3), "interpolated": int(0 < age < 3), "stuck": max(0, 3 - age)}
    assert doubtful_bars(standing(bars, row - 1, 2), M15, DOUBT_BARS) == {}, "two still bars are a quiet moment"


def settings_in(folder: Path) -> Settings:
    wanted = {"wavelets": ["haar"], "higher_timeframes": [], "enable_legacy_features": False}
    return as_settings(
        {
            "mode": "paper",
            "cache_dir": str(folder / "cache"),
            "state_dir": str(folder / "state"),
            "feature_engineering_orchestrator": wanted,
            "analyst": {"enable_ml_predictions": False},
        }
    )


def stored(config: Settings, bars: pl.DataFrame) -> ArtifactStore:
    """As `fetch` leaves them: bars, and what the report counts."""
    store = ArtifactStore(config.cache_dir)
    chunk = store.put_chunk(digest_frame(bars), bars)
    rows, first, last = span_of([chunk])
    counts = {kind: held for kind, (_, held) in quality_report(bars, M15).counts.items()}
    made = Manifest(
        "bars",
        "test",
        workspace_of(config).source,
        "ETHUSDT",
        "15m",
        "0",
        chunks=(chunk,),
        rows=rows,
        first_ms=first,
        last_ms=last,
        notes={"quality": counts},
    )
    store.publish(stage_key(config.mode, "ETHUSDT", M15, "bars"), made)
    return store


@pytest.mark.parametrize(("later_ms", "age_ms"), [(-1, None), (0, 0), (5000, 5000)])
def test_a_market_whose_time_was_told_before_its_last_bar_has_no_age(
    later_ms: int, age_ms: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In sim a run that goes on tells its time when it stops, its bars before that."""
    config, bars = settings_in(tmp_path), random_bars(20, seed=2)
    stored(config, bars)
    closed_ms = int(bars["open_time"].to_physical()[-1]) + M15.ms
    monkeypatch.setattr(stored_status, "market_now_ms", lambda _: closed_ms + later_ms)
    assert status(workspace_of(config)).series[0].age_ms == age_ms


def test_features_and_status_show_it_and_the_analyst_abstains_while_it_is_near(tmp_path: Path) -> None:
    config, bars = settings_in(tmp_path), random_bars(1200, seed=2)
    now = int(bars["open_time"].to_physical()[-1]) + M15.ms
    for spoiled, counts, code in (
        (bars, {}, "ml_predictions_off"),
        (printed(bars, 1198), {"bad_print": 1}, "data_quality"),
        (printed(bars, 1150), {"bad_print": 1}, "ml_predictions_off"),
        (standing(bars, 1197, 3), {"stuck": 3, "zero_volume": 3}, "data_quality"),
    ):
        store = stored(config, spoiled)
        built = features(workspace_of(config), "ETHUSDT", M15)
        assert built.quality == counts
        made = store.current(stage_key(config.mode, "ETHUSDT", M15, "features"))
        assert made is not None
        assert made.notes["quality"] == counts
        assert status(workspace_of(config)).series[0].quality == counts
        analyst = Analyst(config, clock=FixedClock(now), source=workspace_of(config).source)
        outcome = analyst.analyse("ETHUSDT", M15).outcome
        assert isinstance(outcome, Abstention)
        assert outcome.code == code
        if code == "data_quality":
            assert f"Of the last {DOUBT_BARS} bars" in outcome.sentence
            assert next(iter(counts)).replace("_", " ") in outcome.sentence


def test_a_training_of_before_is_not_taken_for_one_that_leaves_rows_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from trader_cli.pipelines.stages import model_training

    made = Manifest("features", "test", "tape", "E", "15m", "0")
    before = model_training.training_key(workspace_of(CONFIG), made, made)
    monkeypatch.setattr(model_training, "UNFIT", ("interpolated",))
    assert model_training.training_key(workspace_of(CONFIG), made, made) != before
    assert model_training.training_key(workspace_of(CONFIG), replace(made, rows=1), made) != before
