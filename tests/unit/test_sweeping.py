"""Sweeping the cache: what is current stays and reads, what nothing refers to goes, whatever order things happen in."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.market.bars import random_bars

from trader_cli.core.errors import DataError
from trader_cli.core.identity.digests import digest_frame, digest_value
from trader_cli.core.identity.manifests import ArtifactKey, Chunk, Manifest
from trader_cli.pipelines.stages.cache_use import cache_stats, free_cache
from trader_cli.settings import Settings, as_settings
from trader_cli.storage.artifacts import ArtifactStore, span_of
from trader_cli.storage.block_cache import BlockCache
from trader_cli.storage.bundles import BundleStore
from trader_cli.storage.files import exclusive
from trader_cli.storage.inventory import STAGED_S, mark, take_inventory
from trader_cli.storage.staging import Staging
from trader_cli.storage.sweeping import HOUR_S, Swept, _free, sweep, unreferenced

ETH = ArtifactKey("sim", "ETHUSDT", "15m", "bars")
OURS = {"trader": "1"}
DAY_S = 86_400.0


def swept(root: Path, grace_s: float = 0.0, *, dry_run: bool = False) -> Swept:
    return sweep(root, lambda versions: versions == OURS, grace_s, dry_run=dry_run)


def aged(root: Path, seconds: float) -> None:
    """As if everything had been written so long ago."""
    then = time.time() - seconds
    for path in root.rglob("*"):
        os.utime(path, (then, then))


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and "locks" not in path.parts}


def chunk(store: ArtifactStore, seed: int) -> Chunk:
    frame = random_bars(20, seed=seed)
    return store.put_chunk(digest_value([digest_frame(frame)]), frame)


def manifest(key: ArtifactKey, *chunks: Chunk, **notes: str) -> Manifest:
    rows, first, last = span_of(chunks)
    return Manifest(
        key.stage,
        "test",
        "tape",
        key.symbol,
        key.timeframe,
        "0",
        chunks=chunks,
        rows=rows,
        first_ms=first,
        last_ms=last,
        notes=dict(notes),
    )


def publish(store: ArtifactStore, key: ArtifactKey, *seeds: int) -> Manifest:
    made = manifest(key, *(chunk(store, seed) for seed in seeds))
    store.publish(key, made)
    return made


def loose(root: Path) -> list[str]:
    now = time.time_ns()
    found = unreferenced(take_inventory(root), mark(root, lambda versions: versions == OURS, now), now)
    return [f"{one.kind}/{one.name}" for one in found]


SERIES = st.sampled_from(
    [ETH, replace(ETH, symbol="BTCUSDT"), replace(ETH, profile="paper"), replace(ETH, stage="features")]
)
STEPS = st.one_of(
    st.tuples(st.just("artifact"), SERIES, st.lists(st.integers(0, 5), min_size=1, max_size=3, unique=True)),
    st.tuples(st.just("document"), st.sampled_from(["analysis", "plan", "quality"]), st.integers(0, 3)),
    st.tuples(st.just("model"), st.just(""), st.integers(0, 3)),
    st.tuples(st.just("gc"), st.just(""), st.sampled_from([0.0, HOUR_S, DAY_S])),
)


@settings(deadline=None, max_examples=40)
@given(st.lists(STEPS, min_size=3, max_size=14))
def test_whatever_is_done_what_is_current_reads_and_nothing_else_is_left(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, ArtifactKey | str, list[int] | int]]
) -> None:
    root = tmp_path_factory.mktemp("cache")
    store, bundles = ArtifactStore(root), BundleStore(root / "models")
    current: dict[ArtifactKey, object] = {}
    for number, (what, where, given_) in enumerate(steps):
        if what == "artifact":
            assert isinstance(where, ArtifactKey)
            assert isinstance(given_, list)
            current[where] = publish(store, where, *given_)
        elif what == "document":
            key = replace(ETH, stage=str(where))
            store.point(key, store.put_document({"n": given_}))
            current[key] = {"n": given_}
        elif what == "model":
            key = replace(ETH, stage="model")
            store.point(key, bundles.save({"a.txt": b"%d" % given_}, {"n": given_}))
            current[key] = {"a.txt": b"%d" % given_}
        else:
            assert isinstance(given_, float)
            aged(root, given_ + 60 + number)
            swept(root, given_)
            assert loose(root) == []
    fresh = ArtifactStore(root)
    for key, kept in current.items():
        digest = fresh.pointed(key)
        assert digest is not None
        if isinstance(kept, Manifest):
            assert fresh.current(key) == kept
            assert fresh.read(kept).height == 20 * len(kept.chunks)
        elif key.stage == "model":
            assert bundles.load(digest)[0] == kept
        else:
            assert fresh.get_document(digest) == kept


def test_what_is_replaced_goes_and_a_dry_run_only_says_so(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    publish(store, ETH, 1, 2)
    before = files(tmp_path)
    publish(store, ETH, 2, 3)
    aged(tmp_path, 5)
    everything = {path: (tmp_path / path).stat().st_mtime_ns for path in files(tmp_path)}
    said = swept(tmp_path, dry_run=True)
    assert {path: (tmp_path / path).stat().st_mtime_ns for path in files(tmp_path)} == everything
    done = swept(tmp_path)
    assert said == done
    assert {kind: count for kind, (count, _) in done.freed.items()} == {"manifests": 1, "chunks": 1}
    assert sum(size for _, size in done.freed.values()) > 1000
    assert len(before - files(tmp_path)) == 2
    assert swept(tmp_path).freed == {}


def test_what_is_young_stays_and_so_do_the_chunks_of_a_young_manifest(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    publish(store, ETH, 1)
    aged(tmp_path, 2 * HOUR_S)
    old = publish(store, ETH, 1, 2)
    aged(tmp_path / "chunks", 2 * HOUR_S)
    publish(store, ETH, 3)
    done = swept(tmp_path, HOUR_S)
    assert {kind: count for kind, (count, _) in done.freed.items()} == {"manifests": 1}
    assert done.young[0] == 1
    assert ArtifactStore(tmp_path).read(old).height == 40, "whoever has just read that manifest still finds its chunks"


def test_what_is_found_and_used_again_is_young(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    first = publish(store, ETH, 1)
    publish(store, ETH, 2)
    aged(tmp_path, 2 * HOUR_S)
    for use in (lambda s: s.find_chunk(first.chunks[0].key), lambda s: chunk(s, 1)):
        aged(tmp_path, 2 * HOUR_S)
        assert use(ArtifactStore(tmp_path)) == first.chunks[0]
        assert "chunks" not in swept(tmp_path, HOUR_S).freed
    bundles = BundleStore(tmp_path / "models")
    digest = bundles.save({"a": b"1"}, {})
    aged(tmp_path, 2 * HOUR_S)
    assert bundles.save({"a": b"1"}, {}) == digest
    assert "models" not in swept(tmp_path, HOUR_S).freed


def test_a_long_lived_process_notices_that_a_chunk_has_gone(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    first = publish(store, ETH, 1)
    publish(store, ETH, 2)
    aged(tmp_path, 5)
    assert swept(tmp_path).freed["chunks"][0] == 1
    assert store.find_chunk(first.chunks[0].key) is None
    again = publish(store, ETH, 1)
    assert ArtifactStore(tmp_path).read(again).height == 20


@pytest.mark.parametrize("fetching", [True, False])
def test_what_a_process_at_work_makes_stays_without_any_grace(tmp_path: Path, fetching: bool) -> None:
    """A fetch by its lock, another stage by its own; what lay there before goes all the same."""
    store = ArtifactStore(tmp_path)
    fetch = tmp_path / "locks" / "tape-ETHUSDT-15m.lock"
    publish(store, ETH, 1)
    publish(store, ETH, 2)
    aged(tmp_path, 2 * HOUR_S)
    with exclusive(fetch, lambda: None) if fetching else store.at_work():
        then = time.time() - HOUR_S  # the process has been at work for an hour, and made something at its start
        os.utime(next((tmp_path / "locks").iterdir()), (then, then))
        made = manifest(ETH, chunk(store, 3), chunk(store, 4))
        os.utime(store.chunk_path(made.chunks[0].key, made.chunks[0].content), (then + 1, then + 1))
        assert {kind: count for kind, (count, _) in swept(tmp_path).freed.items()} == {"manifests": 1, "chunks": 1}
        store.publish(ETH, made)
    assert ArtifactStore(tmp_path).read(made).height == 40


def test_the_locks_of_the_dead_go_those_of_the_living_stay(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    publish(store, ETH, 1)
    with store.at_work():
        [alive] = (tmp_path / "locks").glob("work-*")
        (tmp_path / "locks" / "work-1-dead.lock").touch()
        aged(tmp_path, 2 * HOUR_S)
        swept(tmp_path)
        assert list((tmp_path / "locks").glob("work-*")) == [alive]
    assert list((tmp_path / "locks").glob("work-*")) == []


def test_what_a_killed_fetch_staged_is_kept_for_a_week_or_while_one_is_under_way(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    staging = Staging(store, "tape-ETHUSDT-15m-open_interest")
    staged = chunk(store, 1)
    staging.add(staged)
    aged(tmp_path, STAGED_S - 60)
    assert swept(tmp_path).freed == {}
    aged(tmp_path, STAGED_S + 60)
    with exclusive(tmp_path / "locks" / "tape-ETHUSDT-15m.lock", lambda: None):
        assert swept(tmp_path).freed == {}
    assert staging.chunks() == [staged]
    assert {kind: count for kind, (count, _) in swept(tmp_path).freed.items()} == {"chunks": 1, "staging": 1}


def test_half_written_files_go_once_they_are_an_hour_old(tmp_path: Path) -> None:
    publish(ArtifactStore(tmp_path), ETH, 1)
    folders = ["manifests", "refs/sim/ETHUSDT/15m", "refs/sim", "chunks/00", "models/.part-m", "documents", ""]
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / ".part-x").write_bytes(b"x")
    whole = {path for path in files(tmp_path) if ".part-" not in path}
    aged(tmp_path, HOUR_S - 60)
    assert "parts" not in swept(tmp_path).freed
    aged(tmp_path, HOUR_S + 60)
    assert swept(tmp_path).freed["parts"][0] == len(folders)
    assert files(tmp_path) == whole


def _garble(path: Path) -> None:
    path.write_bytes(b"{")


@pytest.mark.parametrize("spoil", [_garble, Path.unlink])
def test_what_a_damaged_manifest_might_refer_to_stays(tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    store = ArtifactStore(tmp_path)
    made = publish(store, ETH, 1)
    other = replace(ETH, stage="analysis")
    for number in range(2):
        store.point(other, store.put_document({"n": number}))
    aged(tmp_path, 5)
    spoil(tmp_path / "manifests" / f"{made.digest}.json")
    done = swept(tmp_path)
    assert set(done.freed) == {"documents"}
    assert len(done.problems) == 1
    assert "trader fetch ETHUSDT --timeframe 15m" in done.problems[0]
    assert ArtifactStore(tmp_path).read(made).height == 20


@pytest.mark.parametrize(
    ("stage", "stays"), [("bars", {"manifests", "chunks"}), ("analysis", {"documents"}), ("model", {"models"})]
)
def test_what_a_damaged_reference_might_refer_to_stays(tmp_path: Path, stage: str, stays: set[str]) -> None:
    store, bundles = ArtifactStore(tmp_path), BundleStore(tmp_path / "models")
    for number in range(2):
        publish(store, ETH, number)
        store.point(replace(ETH, stage="analysis"), store.put_document({"n": number}))
        store.point(replace(ETH, stage="model"), bundles.save({}, {"n": number}))
    aged(tmp_path, 5)
    _garble(store.reference_path(replace(ETH, stage=stage)))
    done = swept(tmp_path)
    assert set(done.freed) == {"manifests", "chunks", "documents", "models"} - stays
    assert done.problems


def test_references_that_cannot_be_listed_stop_it(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    publish(store, ETH, 1)
    aged(tmp_path, 5)
    shutil.rmtree(tmp_path / "refs")
    (tmp_path / "refs").write_bytes(b"")
    kept = files(tmp_path)
    with pytest.raises(DataError, match=r"refs cannot be read.*Nothing was freed"):
        swept(tmp_path)
    assert files(tmp_path) == kept


def test_what_is_not_ours_is_never_touched(tmp_path: Path) -> None:
    kept = [
        "recordings/tape/2024-01-01.jsonl",
        "recordings/.part-x",
        "documents/notes.txt",
        "documents/plan.json",
        "chunks/00/mine.parquet",
        "models/mine/a",
        "mine/a",
        "README.md",
        "refs/sim/last.json",
        "manifests/ABCDEF.json",
        f"manifests/{'a' * 32}.json.bak",
        f"documents/{'b' * 32}.json/x",
    ]
    for name in kept:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "documents" / f"{'c' * 32}.json").write_bytes(b"x")
    aged(tmp_path, 30 * DAY_S)
    assert swept(tmp_path).freed == {"documents": (1, 1)}
    assert files(tmp_path) == set(kept)


def test_certificates_that_nobody_finds_any_more_go(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    bodies = {
        name * 32: {"versions": versions}
        for name, versions in (("a", OURS), ("b", {"trader": "0"}), ("c", {"trader": "0.1"}))
    }
    for key, body in bodies.items():
        store.put_certificate(key, body)
    named = manifest(replace(ETH, stage="features"), chunk(store, 1), certificate=digest_value(bodies["b" * 32]))
    store.publish(replace(ETH, stage="features"), named)
    aged(tmp_path, 5)
    assert swept(tmp_path).freed["certificates"][0] == 1
    left = ArtifactStore(tmp_path)
    assert [left.certificate(name * 32) is None for name in "abc"] == [False, False, True]


def config(root: Path, **wavelets: object) -> Settings:
    return as_settings({"cache_dir": str(root), "feature_engineering_orchestrator": {"wavelet_cache": wavelets}})


def test_a_block_cache_stays_while_the_settings_use_it(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    blocks = BlockCache(root / "wavelet")
    blocks.put("k", {})
    blocks.close()
    aged(root, 5)
    assert free_cache(config(root), 0.0).freed == {}
    elsewhere = config(root, cache_dir=str(tmp_path / "elsewhere"))
    assert free_cache(elsewhere, 60.0).freed == {}, "it was used just now"
    assert set(free_cache(elsewhere, 0.0, dry_run=True).freed) == {"wavelet"}
    assert cache_stats(elsewhere).unreferenced_bytes == free_cache(elsewhere, 0.0).bytes > 0
    assert not (root / "wavelet").exists()
    assert cache_stats(elsewhere).unreferenced_bytes == 0
    assert not list(root.rglob(".part-*"))


def test_statistics_count_everything_once(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    store = ArtifactStore(root)
    publish(store, ETH, 1)
    publish(store, ETH, 2)
    (root / "recordings").mkdir()
    (root / "recordings" / "a.jsonl").write_bytes(b"12345")
    (root / "documents").mkdir()
    (root / "documents" / ".part-1").write_bytes(b"123")
    seen = {path: (root / path).stat().st_mtime_ns for path in files(root)}
    stats = cache_stats(config(root))
    assert {path: (root / path).stat().st_mtime_ns for path in files(root)} == seen
    assert stats.bytes == sum((root / path).stat().st_size for path in seen)
    assert asdict(stats)["kinds"]["recordings"]["bytes"] == 5
    assert stats.kinds["parts"].unreferenced_files == 0
    now = store.current(ETH)
    assert now is not None
    sizes = store.chunk_path(now.chunks[0].key, now.chunks[0].content).stat().st_size
    sizes += (root / "manifests" / f"{now.digest}.json").stat().st_size
    assert [(s.symbol, s.bytes) for s in stats.series] == [("ETHUSDT", sizes)]
    assert (stats.kinds["chunks"].unreferenced_files, stats.kinds["manifests"].unreferenced_files) == (1, 1)


def test_an_empty_cache_is_not_made(tmp_path: Path) -> None:
    nowhere = config(tmp_path / "nowhere")
    assert (cache_stats(nowhere).bytes, free_cache(nowhere).bytes) == (0, 0)
    assert not (tmp_path / "nowhere").exists()


def test_what_is_used_again_between_the_look_and_the_sweep_stays(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    made = manifest(ETH, chunk(store, 1))
    aged(tmp_path, 60)
    before_ns = time.time_ns() - 10 * 10**9
    [seen] = take_inventory(tmp_path)
    assert store.find_chunk(made.chunks[0].key) is not None
    assert not _free(seen, before_ns)
    assert seen.path.exists()
    aged(tmp_path, 60)
    assert _free(seen, before_ns)
    assert not _free(seen, before_ns), "gone already"
