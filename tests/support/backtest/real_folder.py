"""A real market as a fetch would have left it, without a network: bars, mark prices, funding, features, on the profile paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from support.market.bars import START_MS, random_bars
from support.trading.sim_folder import QUARTER

from trader_cli.core.identity.digests import digest_value
from trader_cli.core.identity.manifests import Manifest
from trader_cli.core.market.bars import PRICES, find_gaps, with_close_time
from trader_cli.core.market.schemas import MARK
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.pipelines.stages.model_stages import features
from trader_cli.settings import Workspace, as_settings, workspace_of
from trader_cli.storage.artifacts import ArtifactStore, span_of, stage_key

RULE = {"name": "sma_cross", "parameters": {"fast": 3, "slow": 8}}


def real_workspace(folder: Path, **changes: Any) -> Workspace:
    """A rule that is often in the market, on paper."""
    tree: dict[str, Any] = {
        "mode": "paper",
        "cache_dir": str(folder / "cache"),
        "state_dir": str(folder / "state"),
        "analyst": {"allow_unproven": True, "learners": 1},
        "rule": RULE,
        "feature_engineering_orchestrator": {"wavelet_cache": {"cache_dir": str(folder / "cache" / "wavelet")}},
    }
    for section, value in changes.items():
        tree[section] = {**tree.get(section, {}), **value} if isinstance(value, dict) else value
    return workspace_of(as_settings(tree))


def ticked_bars(days: int, seed: int, timeframe: Timeframe = QUARTER, start_ms: int = START_MS) -> pl.DataFrame:
    """A walk on a grid of cents, with quantities of three decimals."""
    raw = random_bars(days * 86_400_000 // timeframe.ms, timeframe.name, seed, start_ms)
    rounded = {name: pl.col(name).round(2) for name in PRICES}
    return with_close_time(raw.drop("close_time").with_columns(**rounded, volume=pl.col("volume").round(3)), timeframe)


def marks_near(bars: pl.DataFrame, seed: int) -> pl.DataFrame:
    """MARK rows of bars: a little apart, up to half a per cent."""
    apart = 1 + np.clip(np.cumsum(np.random.default_rng(seed).normal(0, 2e-4, bars.height)), -0.005, 0.005)
    near = {name: pl.col(name) * pl.Series(apart) for name in PRICES}
    return bars.with_columns(**near).select(list(MARK.columns))


def stored(workspace: Workspace, symbol: str, stage: str, frame: pl.DataFrame, timeframe: Timeframe = QUARTER) -> None:
    """A series as `fetch` publishes it."""
    store = ArtifactStore(workspace.cache_dir)
    chunks = (store.put_rows(stage, frame),)
    rows, first, last = span_of(chunks)
    store.publish(
        stage_key(workspace.mode, symbol, timeframe, stage),
        Manifest(
            stage=stage,
            producer="a test",
            source=workspace.source,
            symbol=symbol,
            timeframe=timeframe.name,
            settings=digest_value([]),
            chunks=chunks,
            rows=rows,
            first_ms=first,
            last_ms=last,
            gaps=tuple((gap.first_ms, gap.last_ms, gap.bars) for gap in find_gaps(frame, timeframe)),
        ),
    )


def fetched(workspace: Workspace, symbol: str, bars: pl.DataFrame, mark: pl.DataFrame | None = None) -> None:
    """Bars, mark prices where given, and features of them."""
    stored(workspace, symbol, "bars", bars)
    if mark is not None:
        stored(workspace, symbol, "mark", mark)
    features(workspace, symbol, QUARTER)
