"""Stages with nothing to do answer at once with what they came to before; whatever is not as it was is their work."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.commands.command_line import SMALL_SIM, CommandLine

from trader_cli.core.errors import ExitCode

pytestmark = pytest.mark.slow

NETWORK, FRAMES = ("ccxt", "aiohttp", "requests"), ("polars", "numpy")
LEARNING = ("lightgbm", "scipy", "talib", "pywt", "diskcache", "trader_cli.analyst")
HEAVY = [*NETWORK, *FRAMES, *LEARNING, "trader_cli.execution.executor"]
TRADING = {"ccxt", "aiohttp", "numpy", "trader_cli.execution.executor"}
"""What trading in sim cannot do without: the client, HTTP, and the tape of the venue in the process."""
AFTER = ("features", "train", "analyze")
LOADED = f"""
import sys
sys.argv = ["trader", *sys.argv[1:]]
from trader_cli.cli.entry import main
try:
    main()
finally:
    print("loaded:", [name for name in {HEAVY} if name in sys.modules], file=sys.stderr)
"""


@pytest.fixture(scope="module")
def all_made(made_once: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A folder in which all stages have run, and what they said the second time, without a stamp of the first."""
    folder = tmp_path_factory.mktemp("all") / "here"
    shutil.copytree(made_once["train"], folder)
    cli, said = CommandLine(folder, ("--profile", "sim")), {}
    cli.run("analyze", **SMALL_SIM)
    for stage in AFTER:
        shutil.rmtree(folder / "cache" / "stamps", ignore_errors=True)
        said[stage] = cli.run(stage, "--json", **SMALL_SIM).out
    for stage in AFTER:
        cli.run(stage, **SMALL_SIM)
    return folder, said


@pytest.fixture
def there(all_made: tuple[Path, dict[str, str]], sim: CommandLine) -> CommandLine:
    """The command line in a copy of it."""
    shutil.copytree(all_made[0], sim.folder, dirs_exist_ok=True)
    return sim


def loaded(cli: CommandLine, *words: str) -> tuple[str, str]:
    """What a command printed, and which heavy modules it loaded."""
    command = [sys.executable, "-c", LOADED, *words, *cli.base]
    ran = subprocess.run(
        command, cwd=cli.folder, env=cli.environment(), capture_output=True, text=True, check=False, timeout=120
    )
    return ran.stdout, ran.stderr.rpartition("loaded: ")[2].strip()


@pytest.mark.parametrize("stage", AFTER)
def test_a_stage_with_nothing_to_do_says_the_same_and_loads_nothing_heavy(
    there: CommandLine, all_made: tuple[Path, dict[str, str]], stage: str
) -> None:
    said, heavy = loaded(there, stage, "--json")
    assert heavy == "[]"
    assert json.loads(said) == json.loads(all_made[1][stage])


@pytest.mark.parametrize(
    "words", ["status", "cache stats", "cache gc --dry-run", "ledger show", "halt", "reset", "config"]
)
def test_a_command_that_looks_at_what_is_stored_loads_nothing_heavy(there: CommandLine, words: str) -> None:
    assert loaded(there, *words.split())[1] == "[]"


@pytest.mark.parametrize("words", ["flatten", "monitor", "tactics", "enter --dry-run"])
def test_a_command_that_trades_loads_neither_frames_nor_what_learns(there: CommandLine, words: str) -> None:
    assert set(ast.literal_eval(loaded(there, *words.split())[1])) <= TRADING


def test_a_fetch_loads_nothing_that_learns_or_trades(there: CommandLine) -> None:
    heavy = set(ast.literal_eval(loaded(there, "fetch", "ETHUSDT", "--timeframe", "15m")[1]))
    assert heavy.isdisjoint({"requests", "lightgbm", "scipy", "diskcache", "trader_cli.execution.executor"})


def files_of(folder: Path, *names: str) -> Iterator[Path]:
    cache = folder / "cache"
    yield from (path for name in names for path in sorted(cache.rglob(name)) if path.is_file())


def of_stage(folder: Path, stage: str) -> list[Path]:
    """The chunk files of an artifact, in order."""
    [reference] = files_of(folder, f"refs/sim/ETHUSDT/15m/{stage}.json")
    manifest = json.loads(
        (folder / "cache/manifests" / f"{json.loads(reference.read_bytes())['digest']}.json").read_bytes()
    )
    return [folder / "cache/chunks" / c["key"][:2] / f"{c['key']}.{c['content']}.parquet" for c in manifest["chunks"]]


def spoil(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9] + b"x" * 9)


DAMAGE: dict[str, tuple[Callable[[Path], object], dict[str, ExitCode]]] = {
    "the first bars": (
        lambda folder: spoil(of_stage(folder, "bars")[0]),
        {"features": ExitCode.DATA},
    ),
    "the last bars": (
        lambda folder: spoil(of_stage(folder, "bars")[-1]),
        {"features": ExitCode.DATA, "analyze": ExitCode.DATA},
    ),
    "funding": (lambda folder: spoil(of_stage(folder, "funding")[0]), {"features": ExitCode.DATA}),
    "the last features": (
        lambda folder: spoil(of_stage(folder, "features")[-1]),
        {"analyze": ExitCode.DATA, "features": ExitCode.DONE},
    ),
    "no certificate": (
        lambda folder: shutil.rmtree(folder / "cache/certificates"),
        {"train": ExitCode.DATA, "analyze": ExitCode.DATA},
    ),
    "another certificate": (
        lambda folder: [spoil(path) for path in files_of(folder, "certificates/*.json")],
        {"train": ExitCode.DATA, "analyze": ExitCode.DATA},
    ),
    "a booster": (lambda folder: [spoil(path) for path in files_of(folder, "side.txt")], {"analyze": ExitCode.DATA}),
    "no model": (
        lambda folder: [path.unlink() for path in files_of(folder, "refs/sim/ETHUSDT/15m/model.json")],
        {"analyze": ExitCode.DATA},
    ),
    "the manifests": (
        lambda folder: [spoil(path) for path in files_of(folder, "manifests/*.json")],
        dict.fromkeys(AFTER, ExitCode.DATA),
    ),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_what_a_stage_would_have_found_out_it_still_finds_out(there: CommandLine, what: str) -> None:
    damage, expected = DAMAGE[what]
    damage(there.folder)
    assert {stage: there.run(stage).code for stage in expected} == expected


def test_damaged_features_are_made_again(there: CommandLine) -> None:
    chunk = of_stage(there.folder, "features")[-1]
    whole = chunk.read_bytes()
    spoil(chunk)
    assert there.run("features", "--json").json["made"] == 1
    assert chunk.read_bytes() == whole


def test_a_stamp_that_is_damaged_or_of_other_settings_is_none(
    there: CommandLine, all_made: tuple[Path, dict[str, str]]
) -> None:
    stale = there.run("train", TRADER_FEATURE_ENGINEERING_ORCHESTRATOR__WAVELET_WINDOW="32")
    assert (stale.code, "other feature settings" in stale.err) == (ExitCode.DATA, True)
    for path in files_of(there.folder, "stamps/sim/ETHUSDT/15m/*.json"):
        path.write_bytes(path.read_bytes().replace(b"ETHUSDT", b"BTCUSDT"))
    assert there.run("features", "--json").json == json.loads(all_made[1]["features"])


def test_an_analysis_of_a_market_that_was_wound_back_is_not_said_again(there: CommandLine) -> None:
    assert there.run("venue", "reset").code == 0
    assert there.run("analyze").code == ExitCode.DATA
