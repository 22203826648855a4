"""Symbols that are listed within the span enter a universe at the first refit at which there is enough of them."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest
from support.backtest.real_folder import fetched, real_workspace, ticked_bars
from support.trading.sim_folder import QUARTER

from trader_cli.core.errors import DataMissing
from trader_cli.core.market.schemas import milliseconds
from trader_cli.core.market.timeframes import DAY_MS
from trader_cli.pipelines.backtests.backtest_recipe import Recipe, prepare
from trader_cli.pipelines.backtests.backtest_request import CURRENT, WALK_FORWARD, BacktestRequest, Speed
from trader_cli.pipelines.backtests.backtest_run import run_backtest
from trader_cli.pipelines.backtests.backtest_store import StoredBacktest
from trader_cli.pipelines.backtests.declared_listing import Listed
from trader_cli.pipelines.backtests.prepared_backtest import trade
from trader_cli.pipelines.backtests.resampled_market import resampled
from trader_cli.report.backtest_report import backtest_report
from trader_cli.settings import Workspace
from trader_cli.storage.artifacts import ArtifactStore

pytestmark = pytest.mark.slow
OLD, NEW, NEWEST = "BTCUSDT", "NEWUSDT", "SOLUSDT"
BARS = ticked_bars(16, 4)
SINCE, LISTED, TOO_LATE, UNTIL = 560, 600, 960, 1340
"""Rows: where the span begins, and where two symbols do; the second has never enough. Where it ends."""
REFIT_MS = 2 * DAY_MS


def time_of(row: int) -> int:
    return int(milliseconds(BARS["open_time"])[row])


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    made = real_workspace(tmp_path_factory.mktemp("later"))
    for seed, (symbol, row) in enumerate({OLD: 0, NEW: LISTED, NEWEST: TOO_LATE}.items()):
        fetched(made, symbol, ticked_bars(16, 4 + seed)[row:])
    return made


def tried(at: Workspace, **changes: object) -> StoredBacktest:
    span = time_of(SINCE), time_of(UNTIL)
    asked = BacktestRequest((OLD, NEW, NEWEST), QUARTER, *span, WALK_FORWARD, REFIT_MS, survivors=True)
    return run_backtest(at, replace(asked, **changes))  # type: ignore[arg-type]


def parts(at: Workspace, done: StoredBacktest) -> dict[str, pl.DataFrame]:
    found = {part: done.part(ArtifactStore(at.cache_dir), part) for part in ("decisions", "equity", "trades", "fills")}
    return {part: frame for part, frame in found.items() if frame is not None}


ENTERS = next(at_ms for at_ms in range(time_of(SINCE), time_of(UNTIL), REFIT_MS) if at_ms >= time_of(LISTED + 508))


@pytest.mark.parametrize(("top", "speeds"), [(None, ("fast", "faithful")), (2, ("fast",))])
def test_it_enters_at_the_first_refit_with_enough_of_it_at_both_speeds_and_made_again(
    at: Workspace, top: int | None, speeds: tuple[Speed, ...]
) -> None:
    done = tried(at, top=top)
    assert done.request.since_ms == time_of(SINCE), "the span does not wait for it"
    assert OLD in done.request.symbols
    assert NEWEST not in done.request.symbols
    kept = parts(at, done)
    store = ArtifactStore(at.cache_dir)
    prepared = prepare(Recipe.of(done.manifest), at, store)
    for speed in speeds:
        frames = trade(replace(prepared, request=replace(prepared.request, speed=speed))).records.frames()
        assert all(frames[part].equals(frame) for part, frame in kept.items()), speed
    assert set(done.request.symbols) == {OLD, NEW}
    closes = milliseconds(kept["decisions"].filter(symbol=NEW)["bar_closed"])
    assert closes[0] == ENTERS
    assert milliseconds(kept["decisions"].filter(symbol=OLD)["bar_closed"])[0] == time_of(SINCE)
    assert kept["trades"].filter(symbol=NEW).height > 0
    models = sorted(int(name.split()[2]) for name in done.manifest.inputs if name.startswith(f"model {NEW}"))
    assert models == list(range(ENTERS, time_of(UNTIL), REFIT_MS)), "and is trained anew at each refit after"
    assert done.manifest.notes["market"]["entered"] == {NEW: ENTERS}  # type: ignore[index]
    page = backtest_report(store, "paper", done.manifest)
    assert page.assumptions["listed later"].startswith(f"{NEW} 2024-01-")
    with pytest.raises(DataMissing, match=f"{NEW} was listed within the span"):
        resampled(prepared, store, 1)


def test_what_was_there_before_is_traded_as_ever(at: Workspace) -> None:
    """Until the other enters, the old one's decisions are those it makes alone; named alone, nothing is later."""
    both, alone = tried(at), tried(at, symbols=(OLD,))
    assert "entered" not in alone.manifest.notes["market"]  # type: ignore[operator]
    one, other = (parts(at, done)["decisions"].filter(symbol=OLD) for done in (both, alone))
    before = pl.col("bar_closed").dt.epoch("ms") < ENTERS
    assert one.filter(before).drop("plan").equals(other.filter(before).drop("plan"))


def test_a_given_model_and_named_symbols_are_traded_as_before(at: Workspace) -> None:
    named = tried(at, symbols=(OLD, NEW), survivors=False, since_ms=time_of(1150))
    assert "entered" not in named.manifest.notes["market"]  # type: ignore[operator]
    with pytest.raises(DataMissing):
        tried(at, model=CURRENT)


def test_by_a_list_it_enters_too(at: Workspace) -> None:
    listed = (Listed(OLD, 0, None), Listed(NEW, time_of(LISTED), None), Listed("FTTUSDT", time_of(LISTED), None))
    done = run_backtest(at, replace(tried(at).request, survivors=False), listed=listed)
    assert set(done.request.symbols) == {OLD, NEW}
    assert done.request.listing is not None
    assert done.request.listing.tradable == 1, "what is listed later is no part of what was tradable at the beginning"
    decisions = parts(at, done)["decisions"]
    assert milliseconds(decisions.filter(symbol=NEW)["bar_closed"])[0] == ENTERS
