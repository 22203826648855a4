"""Fetching again and again, whatever happens between: in the end it is what one fetch from scratch would have stored."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.hosts.scripted_host import DAY_MS, HOUR_MS, MINUTE_MS, Query, Route, with_host

from trader_cli.core.errors import TraderError
from trader_cli.core.identity.manifests import ArtifactKey, Manifest
from trader_cli.core.market.quality import QualityReport, quality_report
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.exchange.binance import BinanceExchange
from trader_cli.pipelines.market_access import Market
from trader_cli.pipelines.stages import bar_quality
from trader_cli.pipelines.stages.fetching import Fetched, FetchOptions, fetch_in
from trader_cli.settings import load_settings
from trader_cli.settings.workspace import workspace_of
from trader_cli.storage.artifacts import ArtifactStore
from trader_cli.venue.server.public_routes import PublicRoutes
from trader_cli.venue.simulated_market.synthetic import START_MS, synthetic_tape

pytestmark = pytest.mark.slow

SYMBOL = "ETHUSDT"
BEGIN_MS = START_MS + 28 * DAY_MS
"""The first time a host is asked about: two days before the end of January."""
KLINES, MARK, INDEX, SPOT = "/fapi/v1/klines", "/fapi/v1/markPriceKlines", "/fapi/v1/indexPriceKlines", "/api/v3/klines"
COUNTS, FUNDING = "/futures/data/openInterestHist", "/fapi/v1/fundingRate"
STAMPS: dict[str, Callable[[Any], int]] = {
    **dict.fromkeys((KLINES, MARK, INDEX, SPOT), lambda row: int(row[0])),
    COUNTS: lambda row: int(row["timestamp"]),
    FUNDING: lambda row: int(row["fundingTime"]),
}
"""Where rows of a path have their time."""
STAGES = {
    "mark": "mark",
    "index": "index",
    "spot": "spot",
    "funding": "funding",
    "open-interest": "open_interest",
    "trades": "trades",
}


@cache
def honest() -> PublicRoutes:
    return PublicRoutes(synthetic_tape((SYMBOL,), 40, 0.0, 5))


@dataclass
class World:
    """A host in a moment of its time, and one cache that is fetched into."""

    folder: Path
    timeframe: str
    kinds: tuple[str, ...] = ()
    now_ms: int = BEGIN_MS + 30 * HOUR_MS
    hidden: set[tuple[int, int]] = field(default_factory=set)
    early: set[int] = field(default_factory=set)
    """Opening times of bars that are shown as they were before they closed."""
    fails_at: int | None = None
    answered: list[int] = field(default_factory=lambda: [0])
    """How many requests for rows the last fetch made."""
    since_ms: int = BEGIN_MS + 40 * DAY_MS

    def fetch(self, since_ms: int, until_ms: int | None = None, folder: str = "cache", **options: Any) -> Fetched:
        """A fetch by a process of its own."""
        asked = FetchOptions(since_ms=since_ms, until_ms=until_ms, kinds=self.kinds, way="rest", **options)
        loaded = load_settings("paper", None, {"fetch": {"kinds": [], "allow_gaps": True}})

        async def work(exchange: BinanceExchange, _: Any) -> Fetched:
            market = Market(exchange, exchange.clock, "host")
            store = ArtifactStore(self.folder / folder)
            return await fetch_in(
                market, workspace_of(loaded), SYMBOL, Timeframe.parse(self.timeframe), asked, store=store
            )

        answered = self.answered = [0]
        routes = {path: self._bent(path, route, answered) for path, route in honest().table.items()}
        fetched: Fetched = with_host(routes, work, now_ms=self.now_ms)
        return fetched

    def _bent(self, path: str, route: Any, answered: list[int]) -> Route:
        def shown(query: Query, now: int) -> Any:
            if path not in STAMPS:
                return route(query, now)
            answered[0] += 1
            if self.fails_at is not None and answered[0] > self.fails_at:
                return web.json_response({}, status=400)
            rows = [row for row in route(query, now) if not self._is_hidden(STAMPS[path](row))]
            return [self._as_seen(row) for row in rows] if path in {KLINES, SPOT} else rows

        return shown

    def _is_hidden(self, at: int) -> bool:
        return any(first <= at <= last for first, last in self.hidden)

    def _as_seen(self, row: list[Any]) -> list[Any]:
        return (
            [*row[:5], str(float(row[5]) / 2), *row[6:7], str(float(row[7]) / 2), *row[8:]]
            if row[0] in self.early
            else row
        )

    def chunks(self) -> list[Path]:
        return sorted((self.folder / "cache" / "chunks").rglob("*.parquet"))

    def manifests(self, folder: str) -> dict[str, Manifest | None]:
        store = ArtifactStore(self.folder / folder)
        stages = ["bars", *(STAGES[kind] for kind in self.kinds)]
        return {stage: store.current(ArtifactKey("paper", SYMBOL, self.timeframe, stage)) for stage in stages}

    # what may happen

    def some_time(self, minutes: int) -> None:
        self.early.clear()
        self.now_ms += minutes * MINUTE_MS

    def wound_back(self, minutes: int) -> None:
        self.early.clear()
        self.now_ms = max(BEGIN_MS + 10 * HOUR_MS, self.now_ms - minutes * MINUTE_MS)

    def fetched(self, hours: int, before_now: int | None) -> None:
        """From so many hours after the beginning, until so many before now."""
        until = None if before_now is None else self.now_ms - before_now * HOUR_MS
        since = min(BEGIN_MS + hours * HOUR_MS, self.now_ms - 8 * HOUR_MS)
        self.since_ms = min(self.since_ms, since)
        with contextlib.suppress(
            TraderError
        ):  # stale, cut short, before the beginning: the next one goes on from there
            self.fetch(since, until)

    def fetch_cut_short(self, hours: int, requests: int) -> None:
        self.fails_at = requests
        self.fetched(hours, None)
        self.fails_at = None

    def hole(self, minutes_ago: int, minutes: int) -> None:
        first = self.now_ms - minutes_ago * MINUTE_MS
        self.hidden.add((first, first + minutes * MINUTE_MS))

    def hole_filled(self) -> None:
        self.hidden.clear()

    def bar_shown_too_early(self) -> None:
        step = Timeframe.parse(self.timeframe).ms
        self.early.add(self.now_ms // step * step - step)

    def damaged(self, which: int, how: str) -> None:
        """A file of the cache lost, cut or changed."""
        files = self.chunks()
        if files:
            file = files[which % len(files)]
            body = file.read_bytes()
            file.unlink() if how == "lost" else file.write_bytes(
                body[: len(body) // 2] + (b"" if how == "cut" else body[-1:] * 3)
            )


HOURS = st.integers(0, 40)
STEPS = st.one_of(
    st.tuples(st.just("some_time"), st.integers(1, 30 * 60)),
    st.tuples(st.just("fetched"), HOURS, st.none() | st.integers(0, 20)),
    st.tuples(st.just("fetched"), HOURS, st.none()),
    st.tuples(st.just("fetch_cut_short"), HOURS, st.integers(0, 12)),
    st.tuples(st.just("hole"), st.integers(0, 1500), st.integers(1, 300)),
    st.tuples(st.just("hole_filled")),
    st.tuples(st.just("bar_shown_too_early")),
    st.tuples(st.just("damaged"), st.integers(0, 50), st.sampled_from(["lost", "cut", "changed"])),
    st.tuples(st.just("wound_back"), st.integers(1, 600)),
)


def played(steps: list[tuple[Any, ...]], timeframe: str, kinds: tuple[str, ...]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), timeframe, kinds)
        for name, *how in steps:
            getattr(world, name)(*how)
        world.hole_filled()
        world.some_time(7)
        since = min(world.since_ms, world.now_ms - 8 * HOUR_MS)
        again = world.fetch(since)
        scratch = world.fetch(since, folder="scratch")
        assert world.manifests("cache") == world.manifests("scratch"), steps
        assert again.digest == scratch.digest
        hit = world.fetch(since)
        assert (hit.digest, hit.new_bars) == (again.digest, 0)


@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(STEPS, min_size=1, max_size=10))
def test_any_sequence_of_fetches_of_minutes_ends_as_one_from_scratch(steps: list[tuple[Any, ...]]) -> None:
    played(steps, "1m", ())


@settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(STEPS, min_size=1, max_size=8))
def test_any_sequence_of_fetches_of_other_kinds_ends_as_one_from_scratch(steps: list[tuple[Any, ...]]) -> None:
    played(steps, "15m", ("mark", "index", "spot", "funding", "open-interest"))


def test_a_hole_of_long_ago_is_asked_for_again_only_by_a_repair(tmp_path: Path) -> None:
    world = World(tmp_path, "15m", now_ms=BEGIN_MS + 11 * DAY_MS)
    world.hole(minutes_ago=9 * 1440, minutes=200)
    holed = world.fetch(BEGIN_MS)
    world.hole_filled()
    world.some_time(20)
    assert world.fetch(BEGIN_MS).gaps == holed.gaps != ()
    mended = world.fetch(BEGIN_MS, repair=True)
    assert mended.gaps == ()
    assert "none differs" in world.fetch(BEGIN_MS, repair=True).notes[0]
    assert "are kept" in world.fetch(BEGIN_MS + 10 * DAY_MS).notes[0]
    earlier, before = (world.fetch(BEGIN_MS - days * DAY_MS) for days in (400, 500))
    assert (earlier.digest, before.new_bars) == (before.digest, 0), "the same bars are the same artifact"
    assert mended.digest == world.fetch(BEGIN_MS, folder="scratch").digest


def test_bars_that_stayed_as_they_are_keep_their_quality_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[int] = []

    def counted(bars: pl.DataFrame, timeframe: Timeframe) -> QualityReport:
        judged.append(bars.height)
        report = quality_report(bars, timeframe)
        return replace(report, findings=tuple(replace(found, severity="error") for found in report.findings))

    monkeypatch.setattr(bar_quality, "quality_report", counted)
    world = World(tmp_path, "15m", now_ms=BEGIN_MS + 11 * DAY_MS)
    world.hole(minutes_ago=9 * 1440, minutes=200)
    first, again = world.fetch(BEGIN_MS), world.fetch(BEGIN_MS)
    assert (len(judged), again.new_bars) == (1, 0)
    assert (again.digest, again.gaps, again.quality) == (first.digest, first.gaps, first.quality)
    assert ("missing" in first.notes[0], first.gaps != (), "gap" in first.quality) == (True, True, True)
    assert again.notes == first.notes
    world.fetch(BEGIN_MS, repair=True)
    assert len(judged) == 2
    store = ArtifactStore(tmp_path / "cache")
    digest = store.found(ArtifactKey("paper", SYMBOL, "15m", "quality"))
    (store.root / "documents" / f"{digest}.json").write_bytes(b"{}")
    assert (world.fetch(BEGIN_MS).digest, len(judged)) == (first.digest, 3)
    world.some_time(20)
    assert (world.fetch(BEGIN_MS).new_bars, len(judged)) == (1, 4)


def test_a_repair_of_a_span_before_all_that_is_stored_leaves_no_hole(tmp_path: Path) -> None:
    world = World(tmp_path, "15m", now_ms=BEGIN_MS + 11 * DAY_MS)
    world.fetch(BEGIN_MS + 3 * DAY_MS)
    world.fetch(BEGIN_MS, BEGIN_MS + DAY_MS, repair=True)
    assert world.fetch(BEGIN_MS).digest == world.fetch(BEGIN_MS, folder="scratch").digest


def test_a_kind_not_asked_for_with_older_bars_is_read_when_it_is(tmp_path: Path) -> None:
    world = World(tmp_path, "15m", ("mark",), now_ms=BEGIN_MS + 11 * DAY_MS)
    world.fetch(BEGIN_MS + 9 * DAY_MS)
    world.kinds = ()
    world.fetch(BEGIN_MS)
    world.kinds = ("mark",)
    world.fetch(BEGIN_MS)
    world.fetch(BEGIN_MS, folder="scratch")
    assert world.manifests("cache") == world.manifests("scratch")


def test_what_was_asked_before_a_series_was_lost_is_asked_again(tmp_path: Path) -> None:
    world = World(tmp_path, "15m", now_ms=BEGIN_MS + 11 * DAY_MS)
    whole = world.fetch(BEGIN_MS)
    [ref] = (tmp_path / "cache" / "refs").rglob("bars.json")
    ref.write_bytes(b"{")
    world.fetch(BEGIN_MS + 9 * DAY_MS)
    assert world.fetch(BEGIN_MS).digest == whole.digest


def test_a_bar_that_was_saved_too_early_is_replaced_alone_and_that_is_said(tmp_path: Path) -> None:
    world = World(tmp_path, "1m", now_ms=BEGIN_MS + 5 * DAY_MS)
    world.bar_shown_too_early()
    world.fetch(BEGIN_MS)
    world.some_time(3)
    again = world.fetch(BEGIN_MS)
    assert again.new_bars == 3
    assert again.notes == ("1 stored bar(s) differed from the exchange's and were replaced.",)
    assert world.answered[0] <= 2
    assert again.digest == world.fetch(BEGIN_MS, folder="scratch").digest


def test_a_fetch_cut_short_goes_on_after_the_month_it_had(tmp_path: Path) -> None:
    world = World(tmp_path, "1m", now_ms=BEGIN_MS + 9 * DAY_MS)
    whole = world.fetch(BEGIN_MS, folder="scratch")
    requests = world.answered[0]
    world.fetch_cut_short(0, requests - 1)
    assert list((tmp_path / "cache" / "staging").iterdir())
    resumed = world.fetch(BEGIN_MS)
    assert resumed.digest == whole.digest
    assert world.answered[0] < requests
    assert not list((tmp_path / "cache" / "staging").iterdir())


def test_order_books_are_added_to_those_of_before(tmp_path: Path) -> None:
    world = World(tmp_path, "15m", ("depth", "info"))
    store = ArtifactStore(tmp_path / "cache")

    def times() -> list[int]:
        manifest = store.current(ArtifactKey("paper", SYMBOL, "15m", "depth"))
        assert manifest is not None
        return [int(at) for at in store.read(manifest)["time"].to_physical().unique().sort()]

    seen = []
    for minutes in (0, 20, 1440):
        world.some_time(minutes)
        world.fetch(BEGIN_MS)
        seen.append(world.now_ms)
        assert len(times()) == len(seen)
    world.wound_back(1430)
    world.fetch(BEGIN_MS)
    assert len(times()) == 3
    assert times() == sorted(times())
    assert times()[-1] < seen[-1]
