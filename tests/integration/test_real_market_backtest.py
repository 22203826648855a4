"""A backtest of a real market: stops and liquidation by recorded mark prices, margin by the exchange's own brackets."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from support.backtest.real_folder import fetched, marks_near, real_workspace, stored, ticked_bars
from support.trading.sim_folder import QUARTER, SYMBOL

from trader_cli.core.errors import DataInvalid, DataMissing
from trader_cli.core.market.schemas import milliseconds
from trader_cli.core.market.timeframes import DAY_MS
from trader_cli.exchange.market_data.symbol_book import SymbolBook
from trader_cli.pipelines.backtests.backtest_comparison import compare
from trader_cli.pipelines.backtests.backtest_recipe import Recipe, prepare
from trader_cli.pipelines.backtests.backtest_request import WALK_FORWARD, BacktestRequest
from trader_cli.pipelines.backtests.backtest_run import run_backtest
from trader_cli.pipelines.backtests.backtest_store import StoredBacktest
from trader_cli.pipelines.backtests.prepared_backtest import trade
from trader_cli.pipelines.backtests.universe import symbols_in
from trader_cli.report.backtest_report import backtest_report
from trader_cli.settings import Workspace
from trader_cli.storage.artifacts import ArtifactStore
from trader_cli.storage.state import VenueState

pytestmark = pytest.mark.slow
MONTH = ticked_bars(30, 4)
BARS = MONTH[: 22 * 96]
HOLE = slice(1600, 1750)
TIERS = [
    {"bracket": 1, "initialLeverage": 20, "notionalCap": 9000, "notionalFloor": 0, "maintMarginRatio": 0.02, "cum": 0},
    {
        "bracket": 2,
        "initialLeverage": 3,
        "notionalCap": 90000,
        "notionalFloor": 9000,
        "maintMarginRatio": 0.1,
        "cum": 720,
    },
]


def tried(workspace: Workspace) -> StoredBacktest:
    return run_backtest(workspace, BacktestRequest((SYMBOL,), QUARTER, None, None, WALK_FORWARD, 60 * DAY_MS))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("real")


@pytest.fixture(scope="module")
def plain(folder: Path) -> StoredBacktest:
    """Nothing but bars."""
    workspace = real_workspace(folder)
    fetched(workspace, SYMBOL, BARS)
    return tried(workspace)


@pytest.fixture(scope="module")
def told(folder: Path, plain: StoredBacktest) -> tuple[Workspace, StoredBacktest]:
    """The same with mark prices, but for two days, and with the exchange's brackets in a file."""
    assert plain.figures.trades.count > 5
    (folder / "tiers.json").write_text(json.dumps([{"symbol": SYMBOL, "notionalCoef": 1.0, "brackets": TIERS}]))
    workspace = real_workspace(folder, backtest={"brackets": str(folder / "tiers.json")})
    marks = marks_near(BARS, 1)
    fetched(workspace, SYMBOL, BARS, pl.concat([marks[: HOLE.start], marks[HOLE.stop :]]))
    return workspace, tried(workspace)


def test_mark_prices_and_brackets_are_played_and_named(
    plain: StoredBacktest, told: tuple[Workspace, StoredBacktest]
) -> None:
    workspace, done = told
    store = ArtifactStore(workspace.cache_dir)
    assert f"mark {SYMBOL}" in done.manifest.inputs
    assert f"mark {SYMBOL}" not in plain.manifest.inputs
    before, after = (backtest_report(store, "paper", one.manifest).assumptions for one in (plain, done))
    assert "last price, since none was recorded" in before["mark price"]
    assert "as recorded" in after["mark price"]
    assert "the simulated exchange" in before["margin"]
    assert "of the file tiers.json (ETHUSDT)" in after["margin"]
    tape = prepare(Recipe.of(done.manifest), workspace, store).tape
    bars = tape.symbols[SYMBOL].bars
    assert (bars.mark["close"][HOLE] == bars.close[HOLE]).all(), "the last price where none was recorded"
    assert (bars.mark["close"][: HOLE.start] != bars.close[: HOLE.start]).any()


def test_it_is_made_again_to_the_bit_at_both_speeds(told: tuple[Workspace, StoredBacktest]) -> None:
    workspace, done = told
    store = ArtifactStore(workspace.cache_dir)
    prepared = prepare(Recipe.of(done.manifest), workspace, store)
    for speed in ("fast", "faithful"):
        frames = trade(replace(prepared, request=replace(prepared.request, speed=speed))).records.frames()
        for part in ("decisions", "fills", "trades", "equity"):
            kept = done.part(store, part)
            assert frames[part].is_empty() if kept is None else frames[part].equals(kept), (speed, part)


def test_the_book_adds_up_to_the_equity_and_to_what_was_charged(
    plain: StoredBacktest, told: tuple[Workspace, StoredBacktest]
) -> None:
    store, f = ArtifactStore(told[0].cache_dir), plain.figures
    book, equity = plain.part(store, "book"), plain.part(store, "equity")
    assert book is not None and equity is not None
    assert book["time"].equals(equity["time"])
    assert book["gain"].is_null().to_list() == [True, *[False] * (book.height - 1)]
    grown = equity["equity"][0] * (1 + book["gain"].drop_nulls()).product()
    assert grown == pytest.approx(f.final_equity, rel=1e-9)
    assert (1 + book["held_gain"].drop_nulls()).product() - 1 == pytest.approx(f.held_return, rel=1e-9)
    assert book["net"].mean() == pytest.approx(f.mean_exposure)
    assert book["cost"].sum() == pytest.approx(f.costs.fees + f.costs.slippage, rel=1e-6)


def test_compare_names_mark_prices_and_brackets_among_the_bars(
    plain: StoredBacktest, told: tuple[Workspace, StoredBacktest]
) -> None:
    workspace, done = told
    found = compare(workspace, ArtifactStore(workspace.cache_dir), plain, done)
    bars = next(one for one in found.causes if one.cause == "bars")
    words = " ".join(bars.differences)
    assert f"mark {SYMBOL}: none →" in words
    assert "market brackets" in words
    assert sum(one.worth or 0 for one in found.causes) + found.interaction == pytest.approx(found.difference, abs=1e-8)


def test_the_brackets_hold_from_the_beginning(told: tuple[Workspace, StoredBacktest]) -> None:
    workspace, done = told
    venue = trade(prepare(Recipe.of(done.manifest), workspace, ArtifactStore(workspace.cache_dir))).venue
    rows = [(b.max_leverage, b.notional_cap, b.maintenance_rate, b.offset) for b in venue.brackets(SYMBOL)]
    assert rows == [
        (20, Decimal(9000), Decimal("0.02"), Decimal(0)),
        (3, Decimal(90000), Decimal("0.1"), Decimal(720)),
    ]


def test_fees_by_tier_are_charged_and_named_with_their_date(folder: Path, plain: StoredBacktest) -> None:
    tiers = {"source": "a letter", "as_of": "2031-05-01", "taker_bps": [5, 3.5], "maker_bps": [2, 1.4]}
    workspace = real_workspace(folder, backtest={"fee_tier": 1, "fee_tiers": tiers})
    done, store = tried(workspace), ArtifactStore(workspace.cache_dir)
    fees = backtest_report(store, "paper", done.manifest).assumptions["fees charged"]
    assert fees == "taker 3.5 bps, maker 1.4 bps, those of tier 1 as of 2031-05-01 (a letter)"
    fills = done.part(store, "fills")
    assert fills is not None
    paid = (fills["fee"] / (fills["price"] * fills["quantity"])).to_list()
    assert paid == pytest.approx([3.5e-4] * fills.height, rel=1e-6)
    assert backtest_report(store, "paper", plain.manifest).assumptions["fees charged"] == "taker 5.0 bps, maker 2.0 bps"


@pytest.mark.parametrize("content", ["", "[]x", '[{"symbol": "ETHUSDT"}]', '[{"symbol": "ETHUSDT", "brackets": [{}]}]'])
def test_a_file_that_holds_no_brackets_is_refused(
    folder: Path, plain: StoredBacktest, tmp_path: Path, content: str
) -> None:
    assert plain.name
    (tmp_path / "bad.json").write_text(content)
    with pytest.raises(DataInvalid, match="no leverage brackets"):
        tried(real_workspace(folder, backtest={"brackets": str(tmp_path / "bad.json")}))
    with pytest.raises(DataInvalid, match="no leverage brackets"):
        tried(real_workspace(folder, backtest={"brackets": str(tmp_path / "absent.json")}))


def test_mark_prices_of_another_market_are_not_played(folder: Path, tmp_path: Path) -> None:
    other = real_workspace(tmp_path, binance_exchange={"base_url": "http://127.0.0.1:9"})
    here = real_workspace(tmp_path)
    assert other.source != here.source
    fetched(here, SYMBOL, BARS)
    stored(other, SYMBOL, "mark", marks_near(BARS, 1))
    assert f"mark {SYMBOL}" not in tried(here).manifest.inputs


GONE, GOES_ON, LATE, STALE = "LUNAUSDT", "BTCUSDT", "NEWUSDT", "ETHUSDT"


@pytest.fixture(scope="module")
def universe(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Four symbols: one goes on, one is delisted in the span, one is listed in it, one was not fetched to its end."""
    workspace = real_workspace(tmp_path_factory.mktemp("universe"))
    end = MONTH.height
    for seed, (symbol, rows) in enumerate(
        {GOES_ON: (0, end), GONE: (0, end - 400), LATE: (end - 700, end), STALE: (0, end - 400)}.items()
    ):
        fetched(workspace, symbol, ticked_bars(30, 20 + seed)[slice(*rows)])
    listed = [listing(symbol) for symbol in (GOES_ON, LATE, STALE)] + [listing(GONE, "SETTLING")]
    SymbolBook(VenueState(workspace.state_dir).symbols(workspace.source)).learn({"symbols": listed}, 1)
    return workspace


def listing(symbol: str, status: str = "TRADING") -> dict[str, object]:
    filters = [
        {"filterType": "PRICE_FILTER", "tickSize": "0.01", "minPrice": "0.01", "maxPrice": "100000"},
        {"filterType": "LOT_SIZE", "stepSize": "0.001", "minQty": "0.001", "maxQty": "10000"},
        {"filterType": "MARKET_LOT_SIZE", "stepSize": "0.001", "minQty": "0.001", "maxQty": "10000"},
        {"filterType": "MIN_NOTIONAL", "notional": "5"},
    ]
    return {"symbol": symbol, "status": status, "quoteAsset": "USDT", "marginAsset": "USDT", "filters": filters}


def of_all(workspace: Workspace, top: int | None = None, **changes: object) -> StoredBacktest:
    names = (GOES_ON, STALE, GONE, LATE)
    since = int(MONTH["open_time"].to_physical()[MONTH.height - 1000])
    asked = BacktestRequest(names, QUARTER, since, None, WALK_FORWARD, 4 * DAY_MS, top=top, survivors=True)
    return run_backtest(workspace, replace(asked, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("top", [None, 1])
def test_a_delisted_symbol_is_traded_to_its_end_and_settled_there(universe: Workspace, top: int | None) -> None:
    done, store = of_all(universe, top), ArtifactStore(universe.cache_dir)
    assert set(done.request.symbols) <= {GOES_ON, GONE}
    ends = int(MONTH["open_time"].to_physical()[MONTH.height - 400])
    decisions, equity, trades = (done.part(store, part) for part in ("decisions", "equity", "trades"))
    assert decisions is not None and equity is not None and trades is not None
    assert milliseconds(equity["time"])[-1] > ends + DAY_MS, "the others go on"
    theirs = trades.filter(symbol=GONE)
    assert (milliseconds(theirs["closed"]) <= ends).all()
    assert (milliseconds(decisions.filter(symbol=GONE)["bar_closed"]) < ends).all()
    if top is None:
        assert theirs["reason"].to_list()[-1] == "delisted"
        assert milliseconds(theirs["closed"])[-1] == ends
    prepared = prepare(Recipe.of(done.manifest), universe, store)
    for speed in ("fast", "faithful"):
        frames = trade(replace(prepared, request=replace(prepared.request, speed=speed))).records.frames()
        for part, kept in (("decisions", decisions), ("equity", equity), ("trades", trades)):
            assert frames[part].equals(kept), (speed, part)


def test_the_page_says_who_ended_and_that_they_are_survivors(universe: Workspace) -> None:
    page = backtest_report(ArtifactStore(universe.cache_dir), "paper", of_all(universe).manifest)
    assert "Survivors only" in page.remark
    assert f"{GONE} among them, which ended on the way" in page.remark
    assert page.assumptions["delisted"].startswith(f"{GONE} 2024-01-2")


def test_one_that_was_named_and_has_ended_ends_alone(universe: Workspace) -> None:
    """Others are traded to their own end; and alone it is traded to its own."""
    both = of_all(universe, symbols=(GOES_ON, GONE), survivors=False)
    alone = of_all(universe, symbols=(GONE,), survivors=False)
    assert (both.request.until_ms or 0) - (alone.request.until_ms or 0) == 400 * QUARTER.ms
    with pytest.raises(DataMissing, match="stored in that span"):
        of_all(universe, symbols=(GOES_ON, GONE), survivors=False, since_ms=alone.request.until_ms)


def test_without_the_exchanges_list_nobody_is_said_to_have_ended(universe: Workspace, tmp_path: Path) -> None:
    """Bars may end because they were not fetched."""
    elsewhere = real_workspace(tmp_path, cache_dir=universe.settings.cache_dir)
    assert of_all(elsewhere).request.symbols == (GOES_ON,)


def test_a_list_of_what_was_tradable_shows_that_it_is_not_survivors_only(universe: Workspace, tmp_path: Path) -> None:
    """All that the list names are stored, up to their last day: the page does not say survivors only; else it does."""
    store, since = ArtifactStore(universe.cache_dir), int(MONTH["open_time"].to_physical()[MONTH.height - 1000])
    last_day = f"{MONTH['open_time'][MONTH.height - 401]:%Y-%m-%d}"

    def by_list(*lines: str) -> StoredBacktest:
        (tmp_path / "listed").write_text("\n".join(lines))
        names, listed = symbols_in(tmp_path / "listed")
        asked = BacktestRequest(tuple(names), QUARTER, since, None, WALK_FORWARD, 60 * DAY_MS)
        return run_backtest(universe, asked, listed=listed)

    whole = by_list(f"{GOES_ON} 2024-01-01", f"{GONE} 2024-01-01 {last_day}", f"{LATE} {last_day}")
    page = backtest_report(store, "paper", whole.manifest)
    assert set(whole.request.symbols) == {GOES_ON, GONE}
    assert "urvivors" not in page.remark + page.assumptions["symbols"]
    assert page.assumptions["symbols"].startswith("all 2 symbols that were tradable when the span began, by the list")
    assert GONE in page.assumptions["delisted"]
    part = by_list(f"{GOES_ON} 2024-01-01", f"{GONE} 2024-01-01 {last_day}", "FTTUSDT 2024-01-01 2024-01-29")
    remark = backtest_report(store, "paper", part.manifest).remark
    assert remark.startswith("Survivors only: of 3 symbols that were tradable")
    assert remark.endswith("1 are not stored over it: FTTUSDT.")
    assert BacktestRequest.from_dict(part.request.as_dict()) == part.request
