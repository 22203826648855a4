"""Columns that tell of one bar alone: of that bar, at its own time, and of nothing before."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import test_keys
from support.market.bars import random_bars
from test_stored_inputs import M15, Shelf

from trader_cli.analyst.analyst import Analyst
from trader_cli.analyst.trained_model import TrainedModel
from trader_cli.core.errors import DataStale
from trader_cli.features.bar_arrays import BarSeries
from trader_cli.features.build import build_features
from trader_cli.features.families.wavelet import wavelet_energies
from trader_cli.features.family import FamilyOptions
from trader_cli.features.registry import make_spec
from trader_cli.settings import as_settings

BARS = BarSeries.of(random_bars(900, seed=4))
SPEC = make_spec(FamilyOptions(M15, higher=()))


def family_of(column: str) -> Any:
    return next(family for family in SPEC.families if column in family.columns)


@pytest.mark.parametrize("column", ["body_1", "range_1"])
def test_the_shape_of_a_bar_is_told_by_that_bar_alone(column: str) -> None:
    other = BarSeries.of(random_bars(900, seed=5))
    mixed = {
        name: np.append(getattr(other, name)[:-1], getattr(BARS, name)[-1])
        for name in ("open", "high", "low", "close", "volume")
    }
    family = family_of(column)
    ours, theirs = (family.evaluate(bars)[column] for bars in (BARS, replace(BARS, **mixed)))
    assert ours[-1] == theirs[-1]
    assert ours[-2] != theirs[-2]


def test_time_of_day_and_week_are_the_calendars() -> None:
    found = family_of("session_day_sin").evaluate(BARS)
    for row in range(0, len(BARS), 37):
        at = datetime.fromtimestamp(int(BARS.open_ms[row]) / 1000, UTC)
        day = (at.hour * 60 + at.minute) / 1440
        week = (at.weekday() + day) / 7
        for name, share in (("day", day), ("week", week)):
            told = found[f"session_{name}_sin"][row], found[f"session_{name}_cos"][row]
            assert told == (pytest.approx(math.sin(2 * math.pi * share)), pytest.approx(math.cos(2 * math.pi * share)))


@pytest.mark.parametrize("window", [16, 64])
def test_returns_that_alternate_lie_in_the_first_band_with_their_own_square(window: int) -> None:
    size = 0.003
    energies, entropy = wavelet_energies(np.tile([size, -size], 200), "haar", 4, window)
    assert energies[0, -1] == pytest.approx(size**2)
    assert energies[1:, -1] == pytest.approx(0, abs=1e-15)
    assert entropy[-1] == pytest.approx(0, abs=1e-6)
    steady, _ = wavelet_energies(np.full(400, size), "haar", 4, window)
    assert steady[:, -1] == pytest.approx([0, 0, 0, 0, size**2])


def test_the_analyst_decides_by_the_row_of_the_last_bar(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    frame = build_features(random_bars(900, seed=4), SPEC)
    made = shelf.put("features", frame)
    row = Analyst(shelf.settings, store=shelf.store, source=shelf.source)._last_row(
        made, replace(shelf.bars, last_ms=made.last_ms)
    )
    last = frame.row(-1, named=True)
    assert row == {name: last[name] for name in row}
    assert len(row) == len(frame.columns) - 2


def test_a_model_is_taken_only_under_the_costs_of_its_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    model = test_keys.usual()
    for fee, taken in ((5, True), (6, False)):
        analyst = Analyst(as_settings({"analyst": test_keys.QUICK, "costs": {"taker_fee_bps": fee}}))
        monkeypatch.setattr(analyst.store, "pointed", lambda _: "digest")
        monkeypatch.setattr(analyst.bundles, "load", lambda _: ({}, {}))
        monkeypatch.setattr(TrainedModel, "from_bundle", lambda *_: model)
        features = SimpleNamespace(settings=model.inputs.get("feature_settings"))
        if taken:
            assert analyst._model("E", M15, features).claim == model.claim  # type: ignore[arg-type]
        else:
            with pytest.raises(DataStale, match="costs"):
                analyst._model("E", M15, features)  # type: ignore[arg-type]
