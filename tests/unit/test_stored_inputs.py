"""Stored inputs of features: what lies beside the bars is used, must be fresh, and is part of what features are made of."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from test_families import HERE, M15

from trader_cli.analyst.analyst import Analyst
from trader_cli.analyst.feature_inputs import FeatureInputs, stored_inputs, stored_manifests
from trader_cli.core.errors import DataMissing, DataStale
from trader_cli.core.identity.digests import digest_frame
from trader_cli.core.identity.manifests import Manifest
from trader_cli.features.inputs import INPUT_NAMES, align_inputs, known_inputs
from trader_cli.pipelines.stages.model_stages import _current_features, refresh_features
from trader_cli.settings import Settings, as_settings
from trader_cli.settings.workspace import workspace_of
from trader_cli.storage.artifacts import ArtifactStore, span_of, stage_key
from trader_cli.venue.clocks import FixedClock

BARS = HERE["bars"]
LAST_MS = int(BARS["open_time"].to_physical()[-1])
KINDS = ("trades", "funding", "mark", "index", "open_interest")


def settings_in(folder: Path) -> Settings:
    cache = {"cache_enabled": False, "cache_dir": str(folder / "wavelet")}
    features = {"wavelet_cache": cache, "higher_timeframes": []}
    return as_settings(
        {"mode": "paper", "cache_dir": str(folder / "cache"), "feature_engineering_orchestrator": features}
    )


class Shelf:
    """A store of one series that is written to as `fetch` does."""

    def __init__(self, folder: Path) -> None:
        self.settings = settings_in(folder)
        self.store = ArtifactStore(self.settings.cache_dir)
        self.source = workspace_of(self.settings).source
        self.bars = self.put("bars", BARS)

    def put(self, kind: str, frame: pl.DataFrame, source: str | None = None) -> Manifest:
        chunk = self.store.put_chunk(digest_frame(frame.select(pl.exclude(pl.Boolean))), frame)
        rows, first, last = span_of([chunk])
        manifest = Manifest(
            kind,
            "test",
            source or self.source,
            "ETHUSDT",
            "15m",
            "0",
            chunks=(chunk,),
            rows=rows,
            first_ms=first,
            last_ms=last,
        )
        self.store.publish(stage_key(self.settings.mode, "ETHUSDT", M15, kind), manifest)
        return manifest

    def inputs(self) -> FeatureInputs:
        return stored_inputs(self.store, self.settings.mode, "ETHUSDT", M15, self.bars, BARS)

    def current(self) -> Manifest:
        return _current_features(workspace_of(self.settings), self.store, self.bars, "ETHUSDT", M15)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def test_whatever_is_stored_is_aligned_and_named(shelf: Shelf) -> None:
    assert shelf.inputs().names == known_inputs(BARS)
    assert shelf.inputs().digests == {}
    digests = {kind: shelf.put(kind, HERE[kind]).digest for kind in KINDS}
    found = shelf.inputs()
    assert found.digests == digests
    assert found.frame.equals(align_inputs(BARS, M15, **{kind: HERE[kind] for kind in KINDS}))
    assert (
        found.names
        == known_inputs(found.frame)
        > {"flow_buy", "funding_rate", "mark_close", "index_close", "open_interest"}
    )


def test_inputs_of_another_market_are_not_used(shelf: Shelf) -> None:
    shelf.put("funding", HERE["funding"], source="another")
    assert stored_manifests(shelf.store, shelf.settings.mode, "ETHUSDT", M15, shelf.bars) == {}
    assert shelf.inputs().names == known_inputs(BARS)


@pytest.mark.parametrize("kind", KINDS)
def test_an_input_that_has_fallen_behind_is_told_with_its_end(shelf: Shelf, kind: str) -> None:
    key = {"mark": "close_time", "index": "close_time"}.get(kind, "time")
    frame = HERE[kind]
    shelf.put(kind, frame.filter(pl.col(key).to_physical() < LAST_MS - 30 * 3_600_000))
    with pytest.raises(
        DataStale, match=rf"stored {kind.replace('_', ' ')} of ETHUSDT 15m end 2024-01-\d\d .*trader fetch ETHUSDT"
    ):
        shelf.inputs()


def test_an_input_that_begins_late_or_after_the_last_bar_is_null_before(shelf: Shelf) -> None:
    late = HERE["funding"].filter(pl.col("time").to_physical() > LAST_MS - 30 * 3_600_000)
    shelf.put("funding", late)
    assert shelf.inputs().frame["funding_rate"].null_count() > 700
    shelf.put("funding", late.with_columns(pl.col("time") + pl.duration(days=9)))
    assert shelf.inputs().frame["funding_rate"].null_count() == BARS.height


def test_features_are_made_of_what_is_stored_and_are_current_only_for_it(shelf: Shelf) -> None:
    refresh_features(workspace_of(shelf.settings), shelf.store, "ETHUSDT", M15)
    first = shelf.current()
    assert first.inputs == {"bars": shelf.bars.digest}
    assert "derivatives_funding" in first.notes["left_out"]
    digest = shelf.put("funding", HERE["funding"]).digest
    with pytest.raises(DataStale, match="are of other inputs than the stored ones"):
        shelf.current()
    refresh_features(workspace_of(shelf.settings), shelf.store, "ETHUSDT", M15)
    made = shelf.current()
    assert made.inputs == {"bars": shelf.bars.digest, "funding": digest}
    assert set(made.notes["known_inputs"]) == known_inputs(BARS) | set(INPUT_NAMES["funding"])
    assert "derivatives_funding_rate" in shelf.store.read(made).columns


def test_the_analyst_uses_the_same_inputs_as_the_stages(shelf: Shelf) -> None:
    for kind in KINDS:
        shelf.put(kind, HERE[kind])
    analyst = Analyst(shelf.settings, store=shelf.store, clock=FixedClock(LAST_MS + M15.ms), source=shelf.source)
    with pytest.raises(DataMissing, match="no certificate"):
        analyst._features("ETHUSDT", M15, shelf.bars)
    refresh_features(workspace_of(shelf.settings), shelf.store, "ETHUSDT", M15)
    made = analyst._features("ETHUSDT", M15, shelf.bars)
    assert made.digest == shelf.current().digest == analyst._features("ETHUSDT", M15, shelf.bars).digest
    refresh_features(workspace_of(shelf.settings), shelf.store, "ETHUSDT", M15)
    assert shelf.current().digest == made.digest


def test_features_made_with_other_switches_are_told(shelf: Shelf) -> None:
    refresh_features(workspace_of(shelf.settings), shelf.store, "ETHUSDT", M15)
    options = shelf.settings.feature_engineering_orchestrator.model_copy(update={"enable_legacy_features": False})
    shelf.settings = shelf.settings.model_copy(update={"feature_engineering_orchestrator": options})
    with pytest.raises(DataStale, match="were made with other feature settings"):
        shelf.current()
