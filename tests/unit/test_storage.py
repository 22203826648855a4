"""Artifacts, block cache, bundles, trials: whole or not there, and never a pickle."""

from __future__ import annotations

import math
import pickle
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.market.bars import random_bars

from trader_cli.core.errors import DataError, DataInvalid, DataMissing
from trader_cli.core.identity.digests import digest_frame
from trader_cli.core.identity.manifests import ArtifactKey, Manifest
from trader_cli.storage.artifacts import ArtifactStore, span_of
from trader_cli.storage.block_cache import BlockCache
from trader_cli.storage.bundles import BundleStore
from trader_cli.storage.files import write_atomic
from trader_cli.storage.state import Trial, TrialLedger, VenueState, counted

KEY = ArtifactKey("sim", "ETHUSDT", "15m", "bars")


def published(store: ArtifactStore, rows: int = 20) -> Manifest:
    bars = random_bars(rows)
    chunk = store.put_chunk(digest_frame(bars), bars)
    count, first, last = span_of([chunk])
    manifest = Manifest(
        "bars", "test", "tape", "ETHUSDT", "15m", "0", chunks=(chunk,), rows=count, first_ms=first, last_ms=last
    )
    store.publish(KEY, manifest)
    return manifest


def test_what_is_published_comes_back(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    manifest = published(store)
    assert store.current(KEY) == manifest
    assert store.read(manifest).equals(random_bars(20))
    assert list(store.references()) == [KEY]
    assert not list(tmp_path.rglob(".part-*"))


@pytest.mark.parametrize("damage", [None, "changed", "gone"])
def test_a_chunk_is_found_alike_whether_a_manifest_told_of_it_or_not(tmp_path: Path, damage: str | None) -> None:
    chunk = published(ArtifactStore(tmp_path)).chunks[0]
    path = ArtifactStore(tmp_path).chunk_path(chunk.key, chunk.content)
    if damage == "changed":
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    elif damage == "gone":
        path.unlink()
    untold, told = ArtifactStore(tmp_path), ArtifactStore(tmp_path)
    told.current(KEY)
    assert untold.find_chunk(chunk.key) == told.find_chunk(chunk.key) == (None if damage else chunk)


def test_what_a_manifest_tells_of_other_content_is_not_believed(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    chunk = published(store).chunks[0]
    store = ArtifactStore(tmp_path)
    store.tell([replace(chunk, content="0" * len(chunk.content), rows=1)])
    assert store.find_chunk(chunk.key) == chunk


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    published(ArtifactStore(tmp_path / "a"))
    published(ArtifactStore(tmp_path / "b"))
    files = [
        sorted(p.relative_to(root) for p in root.rglob("*") if p.is_file()) for root in (tmp_path / "a", tmp_path / "b")
    ]
    assert files[0] == files[1]
    assert all((tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files[0])


def test_a_missing_artifact_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match=r"no bars of ETHUSDT 15m.*trader fetch ETHUSDT"):
        ArtifactStore(tmp_path).require(KEY, "fetch ETHUSDT --timeframe 15m")


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    "spoil", [_flip, Path.unlink, lambda p: p.write_bytes(b""), lambda p: p.write_bytes(p.read_bytes()[:-9])]
)
def test_a_damaged_chunk_is_noticed(tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    store = ArtifactStore(tmp_path)
    manifest = published(store)
    spoil(store.chunk_path(manifest.chunks[0].key, manifest.chunks[0].content))
    with pytest.raises(DataInvalid, match=r"trader fetch ETHUSDT --timeframe 15m"):
        store.read(manifest)


@pytest.mark.parametrize("folder", ["manifests", "refs"])
def test_a_damaged_manifest_or_reference_is_noticed(tmp_path: Path, folder: str) -> None:
    store = ArtifactStore(tmp_path)
    published(store)
    file = next((tmp_path / folder).rglob("*.json"))
    file.write_bytes(file.read_bytes().replace(b'"', b"'", 1))
    with pytest.raises(DataInvalid, match="corrupt"):
        store.current(KEY)


def test_a_changed_but_readable_manifest_is_noticed(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    published(store)
    file = next((tmp_path / "manifests").glob("*.json"))
    file.write_bytes(file.read_bytes().replace(b'"rows":20', b'"rows":21'))
    with pytest.raises(DataInvalid, match="changed after it was written"):
        store.current(KEY)


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "f"
    write_atomic(file, b"old")
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(DataError, match="No space left on device"):
        write_atomic(file, b"new")
    assert file.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_the_block_cache_keeps_arrays_bit_for_bit(tmp_path: Path) -> None:
    cache = BlockCache(tmp_path / "c")
    arrays = {"a": np.array([1.0, np.nan, -0.0, 1e-300]), "b": np.arange(4.0)}
    assert cache.get("k") is None
    cache.put("k", arrays)
    back = cache.get("k")
    assert back is not None
    assert all(back[name].tobytes() == arrays[name].tobytes() for name in arrays)
    assert (cache.hits, cache.misses) == (1, 1)
    assert (tmp_path / "c").stat().st_mode & 0o777 == 0o700
    cache.close()


class Planted:
    """An object whose unpickling would be seen."""

    ran = False

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("import test_storage; test_storage.Planted.ran = True",))


def test_a_planted_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    cache = BlockCache(tmp_path)
    cache.put("k", {"a": np.ones(3)})
    cache.close()
    with sqlite3.connect(tmp_path / "cache.db") as db:
        db.execute("UPDATE Cache SET mode = 4, filename = NULL, value = ?", (pickle.dumps(Planted()),))
    again = BlockCache(tmp_path)
    with pytest.raises(DataInvalid, match="pickle"):
        again._cache.get("k")
    assert again.get("k") is None
    assert not Planted.ran
    with pytest.raises(DataInvalid, match="stores bytes, text and numbers"):
        BlockCache(tmp_path)._cache.set("k", {"not": "plain"})


def test_a_bundle_with_a_changed_byte_is_refused(tmp_path: Path) -> None:
    store = BundleStore(tmp_path)
    digest = store.save({"side.txt": b"tree", "calibration.json": b"{}"}, {"schema": 1, "key": "k"})
    files, description = store.load(digest)
    assert files["side.txt"] == b"tree"
    assert description["key"] == "k"
    for name in ("side.txt", "calibration.json", "bundle.json"):
        file = tmp_path / digest / name
        whole = file.read_bytes()
        _flip(file)
        with pytest.raises(DataInvalid, match=rf"{name}.*trader train"):
            store.load(digest)
        file.write_bytes(whole)
    store.load(digest)


def test_saving_a_damaged_bundle_again_mends_it(tmp_path: Path) -> None:
    store = BundleStore(tmp_path)
    digest = store.save({"side.txt": b"tree"}, {"key": "k"})
    _flip(tmp_path / digest / "side.txt")
    assert store.save({"side.txt": b"tree"}, {"key": "k"}) == digest
    assert store.load(digest)[0]["side.txt"] == b"tree"


def test_a_planted_key_is_refused_too(tmp_path: Path) -> None:
    cache = BlockCache(tmp_path)
    cache.put("k", {"a": np.ones(3)})
    with sqlite3.connect(tmp_path / "cache.db") as db:
        db.execute("UPDATE Cache SET raw = 0, key = ?", (pickle.dumps(Planted()),))
    with pytest.raises(DataInvalid, match="pickled key"):
        list(cache._cache)
    assert not Planted.ran


def test_a_changed_value_is_a_miss(tmp_path: Path) -> None:
    cache = BlockCache(tmp_path)
    cache.put("k", {"a": np.ones(3)})
    cache.put("l", {"a": np.zeros(3)})
    cache._cache.set("k", cache._cache.get("l"))
    assert cache.get("k") is None
    assert cache.get("l") is not None


def test_trials_are_counted_once_each_and_by_overlap(tmp_path: Path) -> None:
    ledger = TrialLedger(tmp_path)
    rows = (("a", "E", 0, 10), ("a", "E", 0, 10), ("b", "E", 8, 20), ("c", "E", 21, 30), ("d", "B", 0, 10))
    for digest, symbol, first, last in rows:
        ledger.record(Trial(digest, "tape", symbol, first, last, 0.1))
    assert [t.digest for t in ledger.overlapping("tape", "E", 5, 12)] == ["a", "b"]
    assert [t.digest for t in TrialLedger(tmp_path).overlapping("tape", "E", 0, 40)] == ["a", "b", "c"]
    assert ledger.overlapping("another", "E", 0, 40) == []


def test_a_configuration_tried_on_several_spans_counts_once_on_each(tmp_path: Path) -> None:
    ledger = TrialLedger(tmp_path)
    for span in ((0, 10), (20, 30), (25, 40)):
        for number in range(50):
            ledger.record(Trial.of_span(f"rule-{number}", "tape", "E", span, 0.1))
    for first, last in ((0, 10), (20, 30), (35, 36), (0, 40)):
        assert len(ledger.overlapping("tape", "E", first, last)) == 50
    assert ledger.overlapping("tape", "E", 41, 50) == []


def looks(ledger: TrialLedger, *spans: tuple[int, int]) -> float:
    for span in spans:
        ledger.record(Trial.of_span("model", "tape", "E", span, 0.1, 0.5))
    return ledger.looked("tape", "E", 0, 2**40)[0].counts


def test_a_look_is_paid_for_by_how_much_more_it_sees(tmp_path: Path) -> None:
    assert looks(TrialLedger(tmp_path / "once"), (0, 1000), (0, 1000)) == 0.5
    daily = [(0, 1000 + 24 * day) for day in range(366)]
    assert looks(TrialLedger(tmp_path / "daily"), *daily) == pytest.approx(0.5 * (1 + math.log2(9.76)))
    assert looks(TrialLedger(tmp_path / "moving"), (0, 1000), (1000, 2000), (2000, 4000)) == 0.5 * (1 + 2)
    assert looks(TrialLedger(tmp_path / "shorter"), (0, 1000), (0, 500)) == 0.5


def test_a_ledger_of_before_there_were_weights_counts_as_it_stands(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "trials.sqlite") as db:
        db.execute(
            "CREATE TABLE trials (digest TEXT PRIMARY KEY, lineage TEXT NOT NULL, symbol TEXT NOT NULL, first_ms INTEGER"
            " NOT NULL, last_ms INTEGER NOT NULL, daily_sharpe REAL NOT NULL) STRICT"
        )
        db.execute("INSERT INTO trials VALUES ('old-0@0-10', 'tape', 'E', 0, 10, 0.3)")
    for _ in range(2):
        ledger = TrialLedger(tmp_path)
        ledger.record(Trial.of_span("new-0", "tape", "E", (0, 10), 0.1, 0.25))
        found = counted(ledger.looked("tape", "E", 0, 10))
        assert (found.number, found.sharpes) == (1.25, (0.1, 0.3))
    with sqlite3.connect(tmp_path / "trials.sqlite") as db:
        assert db.execute("PRAGMA user_version").fetchone() == (2,)


def test_a_trial_ledger_that_is_garbage_is_named(tmp_path: Path) -> None:
    (tmp_path / "trials.sqlite").write_bytes(b"garbage" * 100)
    with pytest.raises(DataInvalid, match="trial ledger"):
        TrialLedger(tmp_path)


def test_virtual_time_is_remembered_and_never_goes_back(tmp_path: Path) -> None:
    state = VenueState(tmp_path)
    assert state.time("t") is None
    assert not state.reset("t")
    state.save_time("t", 100)
    state.save_time("t", 50)
    state.save_shift("t", 7)
    assert (state.time("t"), state.shift("t")) == (100, 7)
    assert state.reset("t")
    assert (state.time("t"), state.shift("t")) == (None, None)
    state.save_time("t", 1)
    next(tmp_path.rglob("now_ms.json")).write_text("{")
    with pytest.raises(DataInvalid, match="venue reset"):
        state.time("t")
