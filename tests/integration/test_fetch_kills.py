"""`kill -9` of `trader fetch` and `trader features` at random moments: what is stored in the end is what is stored undisturbed.

A few kills of each here; TRADER_KILLS=50 makes fifty that strike while the command runs. The moments are drawn with a fixed seed.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.commands.command_line import CommandLine
from support.hosts.venue_process import serving_venue

pytestmark = pytest.mark.slow

_ASKED = int(os.environ.get("TRADER_KILLS", "3"))
SYMBOL = "ETHUSDT"
MARKET = {"TRADER_SIM__DAYS": "110", "TRADER_SIM__START": "0.95", "TRADER_SIM__SYMBOLS": f'["{SYMBOL}"]'}


@pytest.fixture(scope="module")
def venue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A venue in a process of its own, by the wall clock: what a command needs to reach it."""
    with serving_venue(CommandLine(tmp_path_factory.mktemp("venue")), **MARKET) as url:
        yield {"TRADER_BINANCE_EXCHANGE__BASE_URL": url}


def referenced(cache: Path) -> dict[str, bytes]:
    """Every reference, manifest, chunk and document that is current, by path; not the market of a moment."""
    refs = [path for path in sorted((cache / "refs").glob("*/*/*/*.json")) if path.stem != "market"]
    found = {str(path.relative_to(cache)): path for path in refs}
    for ref in refs:
        digest = json.loads(ref.read_bytes())["digest"]
        document, manifest = cache / "documents" / f"{digest}.json", cache / "manifests" / f"{digest}.json"
        assert document.is_file() != manifest.is_file(), ref
        found[digest] = document if document.is_file() else manifest
        for chunk in json.loads(manifest.read_bytes())["chunks"] if manifest.is_file() else []:
            found[chunk["content"]] = cache / "chunks" / chunk["key"][:2] / f"{chunk['key']}.{chunk['content']}.parquet"
    return {name: path.read_bytes() for name, path in found.items()}


def span(days: int, timeframe: str) -> tuple[str, ...]:
    """A fetch from so many days ago up to two days ago, over the end of a month."""
    today = datetime.now(UTC).date()
    since, until = today - timedelta(days=days), today - timedelta(days=2)
    return ("fetch", SYMBOL, "--timeframe", timeframe, "--since", str(since), "--until", str(until))


def killed_and_undisturbed(
    folder: Path, words: tuple[str, ...], before: tuple[tuple[str, ...], ...], venue: dict[str, str]
) -> None:
    """Run `words` undisturbed in one folder, killed again and again in another, and compare what is stored."""
    rng, struck = random.Random(11), 0
    for name in ("whole", "killed"):
        (folder / name).mkdir()
    whole, killed = CommandLine(folder / "whole"), CommandLine(folder / "killed")
    for cli in (whole, killed):
        for early in before:
            assert cli.run(*early, **venue).code == 0
    shutil.copytree(killed.folder, folder / "before")
    began = time.monotonic()
    ran = whole.run(*words, **venue)
    took = time.monotonic() - began
    assert ran.code == 0, ran.err
    for number in range(3 * _ASKED):
        if struck == _ASKED:
            break
        _wind_back(killed.folder, folder / "before", number)
        process = killed.begin(*words, **venue)
        time.sleep(rng.uniform(0.25, 0.85) * took)
        struck += process.ended(signal.SIGKILL).code == -signal.SIGKILL
    for early in before:
        assert killed.run(*early, **venue).code == 0
    last = killed.run(*words, **venue)
    assert last.code == 0, last.err
    assert referenced(killed.folder / "cache") == referenced(whole.folder / "cache")
    assert not list((killed.folder / "cache" / "staging").glob("*.json"))
    print(f"{words[0]}: {struck} kills of {number + 1} struck while running")


def _wind_back(folder: Path, before: Path, number: int) -> None:
    """Every other kill meets a beginning: one without anything, one with chunks and staging but no references."""
    if number % 4 == 2:
        for ref in (folder / "cache" / "refs").rglob("*.json"):
            ref.unlink()
    elif number % 4 == 0:
        shutil.rmtree(folder)
        shutil.copytree(before, folder)


@pytest.mark.parametrize("way", ["rest", "archive"])
def test_a_killed_fetch_ends_as_an_undisturbed_one(tmp_path: Path, venue: dict[str, str], way: str) -> None:
    kinds = "mark,funding" if way == "rest" else "index,open-interest"  # REST forgets open interest, a row every 5 min
    words = (*span(45 if way == "rest" else 75, "1m"), "--via", way, "--with", kinds)
    killed_and_undisturbed(tmp_path, words, (), venue)


def test_killed_features_end_as_undisturbed_ones(tmp_path: Path, venue: dict[str, str]) -> None:
    words = ("features", SYMBOL, "--timeframe", "15m")
    killed_and_undisturbed(tmp_path, words, (span(40, "15m"),), venue)
