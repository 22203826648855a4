"""`trader cache` among the other commands: in any order, killed, twice at once, and beside stages at work."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest
from support.commands.command_line import SMALL_SIM, CommandLine
from support.commands.in_process import Inside

from trader_cli.core.errors import ExitCode
from trader_cli.core.identity.manifests import ArtifactKey
from trader_cli.storage.artifacts import ArtifactStore
from trader_cli.storage.inventory import mark, take_inventory
from trader_cli.storage.sweeping import sweep, unreferenced

pytestmark = pytest.mark.slow

SERIES = ("ETHUSDT", "--timeframe", "15m")
OTHER = {"TRADER_FEATURE_ENGINEERING_ORCHESTRATOR__WAVELET_WINDOW": "32"}
QUICK = {"TRADER_ANALYST__TREES": "10", "TRADER_ANALYST__WALK_FORWARD_FOLDS": "3"}
NOW = ("cache", "gc", "--older-than", "0s", "--json")


def aged(root: Path, seconds: float = 10) -> None:
    """As if everything had been written so long ago."""
    then = time.time() - seconds
    for path in root.rglob("*"):
        os.utime(path, (then, then))


def everything_reads(cache: Path) -> None:
    """Every artifact that is current is whole."""
    store = ArtifactStore(cache)
    for key in store.references():
        digest = store.pointed(key)
        if (cache / "manifests" / f"{digest}.json").exists():
            manifest = store.current(key)
            assert manifest is not None
            store.read(manifest)
        else:
            assert (cache / "documents" / f"{digest}.json").exists() or (cache / "models" / str(digest)).is_dir(), key


def garbage(cache: Path, count: int) -> int:
    """Chunks that nothing refers to, written long ago; their bytes."""
    for number in range(count):
        name = f"{number:032x}"
        path = cache / "chunks" / name[-2:] / f"{name}.{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345678")
        os.utime(path, (1e9, 1e9))
    return 8 * count


@pytest.mark.parametrize("seed", [pytest.param(1, marks=pytest.mark.long), 2])
def test_in_any_order_what_is_current_reads_and_nothing_else_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    for name, value in {**SMALL_SIM, **QUICK}.items():
        monkeypatch.setenv(name, value)
    cli, rng = Inside(tmp_path, ("--profile", "sim")), random.Random(seed)
    cache = tmp_path / "cache"
    assert cli.run("fetch", *SERIES).code == 0
    steps = [("features",), ("train",), ("analyze",), ("fetch", *SERIES, "--limit", "2900"), NOW] * 3
    rng.shuffle(steps)
    swept = 0
    for step in [*steps, ("features",), NOW]:
        changed = OTHER if rng.random() < 0.4 else {}
        aged(cache)
        ran = cli.run(*step, **changed)
        assert ran.code in {ExitCode.DONE, ExitCode.DATA, ExitCode.ABSTAINED}, ran.err
        assert "artifact file" not in ran.err
        assert "manifest" not in ran.err
        if step == NOW:
            swept += ran.json["bytes"]
            stats = cli.run("cache", "stats", "--json").json
            assert (stats["unreferenced_bytes"], stats["problems"]) == (0, [])
            everything_reads(cache)
    assert swept > 0
    assert [cli.run(stage).code for stage in ("features", "train")] == [0, 0]
    assert cli.run("analyze").code in {ExitCode.DONE, ExitCode.ABSTAINED}
    assert cli.run("status").code == 0


@pytest.fixture
def fetched(sim: CommandLine) -> CommandLine:
    """A folder with bars, and nothing else in it: what a fetch asked for is remembered step by step."""
    assert sim.run("fetch", *SERIES).code == 0
    aged(sim.folder / "cache")
    assert sim.run(*NOW).code == 0
    return sim


def test_killed_in_the_middle_it_leaves_a_cache_that_is_whole(fetched: CommandLine) -> None:
    cache = fetched.folder / "cache"
    size = garbage(cache, 20_000)
    process = fetched.start(*NOW)
    while len(list((cache / "chunks" / "00").iterdir())) > 75 and process.poll() is None:
        pass
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL
    left = fetched.run("cache", "stats", "--json").json
    assert 0 < left["unreferenced_bytes"] < size
    everything_reads(cache)
    assert fetched.run("cache", "gc", "--json").json["bytes"] == left["unreferenced_bytes"]
    assert fetched.run("features").code == 0


def test_two_at_once_free_everything_once(fetched: CommandLine) -> None:
    size = garbage(fetched.folder / "cache", 3000)
    both = [fetched.start("cache", "gc", "--json") for _ in range(2)]
    out = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], out
    assert sum(_json(text)["bytes"] for text, _ in out) == size
    assert fetched.run("cache", "stats", "--json").json["unreferenced_bytes"] == 0
    everything_reads(fetched.folder / "cache")


def _json(text: str) -> dict[str, int]:
    import json

    return dict(json.loads(text))


def test_stages_at_work_are_not_disturbed_by_a_sweep_without_grace(sim: CommandLine) -> None:
    """Sweeps one after the other, as quickly as they can, while each stage runs as a process."""
    cache = sim.folder / "cache"
    for stage in (("fetch", *SERIES, "--limit", "3000"), ("features",), ("train",)):
        process, sweeps = sim.start(*stage), 0
        while process.poll() is None:
            sweep(cache, lambda _: True, 0.0)
            sweeps += 1
        _, err = process.communicate(timeout=30)
        assert process.returncode == 0, err
        assert sweeps > 3
        everything_reads(cache)
    aged(cache)
    assert sim.run(*NOW).code == 0
    now = time.time_ns()
    assert unreferenced(take_inventory(cache), mark(cache, lambda _: True, now), now) == []
    assert sim.run("analyze").code in {ExitCode.DONE, ExitCode.ABSTAINED}


def test_damage_is_said_and_what_cannot_be_read_stops_it(fetched: CommandLine) -> None:
    cache = fetched.folder / "cache"
    garbage(cache, 3)
    reference = ArtifactStore(cache).reference_path(ArtifactKey("sim", "ETHUSDT", "15m", "bars"))
    reference.write_bytes(b"{")
    warned = fetched.run("cache", "gc", "--json")
    assert (warned.code, warned.json["bytes"], len(warned.json["problems"])) == (0, 0, 1)
    assert "nothing is freed of: certificates, chunks, manifests." in warned.err
    assert fetched.run("cache", "stats").code == 0
    assert fetched.run("fetch", *SERIES).code == 0
    assert fetched.run("cache", "gc", "--json").json["bytes"] == 24
    (cache / "refs").rename(cache / "elsewhere")
    (cache / "refs").write_bytes(b"")
    for command in ("gc", "stats"):
        stopped = fetched.run("cache", command)
        assert (stopped.code, "cannot be read" in stopped.err) == (ExitCode.DATA, True)


@pytest.mark.parametrize("words", [("--older-than", "1w"), ("--older-than", "-1h"), ("--older-than", "")])
def test_a_bad_time_is_answered_with_a_sentence(trader: CommandLine, words: tuple[str, ...]) -> None:
    ran = trader.run("cache", "gc", *words)
    assert (ran.code, "--older-than is a time such as 90s" in ran.err) == (ExitCode.USAGE, True)
