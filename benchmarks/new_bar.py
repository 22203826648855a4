"""One new bar from its close to a probability, with everything switched on."""

from __future__ import annotations

import time

import numpy as np

from trader_cli.analyst.fitted_families import history_bars
from trader_cli.analyst.training import TrainingInput, train
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.features.bar_arrays import BarSeries
from trader_cli.features.build import build_features, history_start
from trader_cli.features.certification_tape import certification_frame
from trader_cli.features.family import FamilyOptions
from trader_cli.features.inputs import ALL_INPUTS
from trader_cli.features.registry import make_spec
from trader_cli.settings import as_settings
from trader_cli.settings.room_options import TrainingOptions

M15 = Timeframe.parse("15m")
TRAINED, SERVED = 3000, 300


def served() -> dict[str, float]:
    """p50 and p99 of wall milliseconds over bars served one after the other."""
    spec = make_spec(FamilyOptions(M15, inputs=ALL_INPUTS, higher=M15.higher))
    frame = certification_frame(M15, spec.inputs, rows=TRAINED + SERVED, seed=3)
    features = build_features(frame, spec)
    head = frame.head(TRAINED)
    given = TrainingInput(
        "benchmark", "tape", "ETHUSDT", M15, head.select(frame.columns[:11]), features.head(TRAINED), {}
    )
    settings = as_settings({"analyst": {"learners": 1, "walk_forward_folds": 3}})
    model = train(given, TrainingOptions.of(settings), lambda sharpes: sharpes)
    assert model.base_features == spec.columns
    times = frame["open_time"].to_physical()
    taken = []
    for row in range(TRAINED, TRAINED + SERVED):
        start = min(history_start(spec, times[row]), times[row + 1 - history_bars(M15)])
        seen = frame[int(times.search_sorted(start)) : row + 1]
        began = time.perf_counter()
        line = build_features(seen, spec, since_ms=times[row])
        x = np.array([line.row(0)[2:]], dtype=np.float64)
        inputs = model.widened(BarSeries.of(seen), x, np.array([seen.height - 1]))
        model.side.predict(inputs)
        taken.append(time.perf_counter() - began)
        assert line.equals(features[row : row + 1])
    p50, p99 = np.quantile(taken, [0.5, 0.99]) * 1e3
    return {"p50_ms": float(p50), "p99_ms": float(p99)}
