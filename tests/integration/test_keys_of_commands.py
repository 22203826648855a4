"""Keys whose effect only a whole command shows."""

from __future__ import annotations

import pytest
from support.commands.command_line import CommandLine
from support.hosts.venue_process import serving_venue

from trader_cli.exchange.connection.weight_budget import WeightBudget
from trader_cli.venue.clocks import VirtualClock, run_virtual

pytestmark = pytest.mark.slow

SERIES = ("ETHUSDT", "--timeframe", "15m")


def test_folders_go_where_they_are_told(sim: CommandLine) -> None:
    assert sim.run("fetch", *SERIES, TRADER_CACHE_DIR="elsewhere", TRADER_STATE_DIR="kept").code == 0
    assert (sim.folder / "elsewhere" / "refs").is_dir()
    assert (sim.folder / "kept" / "venue").is_dir()
    assert not (sim.folder / "cache").exists()


def test_sim_keys_change_the_market(sim: CommandLine) -> None:
    def span(**environment: str) -> tuple[int, int]:
        shown = sim.run("venue", "status", "--json", **environment).json
        return shown["start_ms"], shown["end_ms"]

    assert span(TRADER_SIM__DAYS="12")[1] - span()[0] == 12 * 86_400_000
    assert sim.run("fetch", "AAAUSDT", "-t", "15m", TRADER_SIM__SYMBOLS='["AAAUSDT"]').code == 0
    assert sim.run("fetch", "AAAUSDT", "-t", "15m").code == 2
    last = {
        s: sim.run("fetch", *SERIES, "--json", TRADER_SIM__START=s, TRADER_SEED=s[-1]).json["last_ms"]
        for s in ("0.5", "0.9")
    }
    assert last["0.5"] < last["0.9"]


def test_history_bars_bounds_a_fetch(sim: CommandLine) -> None:
    assert sim.run("fetch", *SERIES, "--json", TRADER_FETCH__HISTORY_BARS="1500").json["bars"] == 1500


def test_without_feature_engineering_the_analyst_wants_them_made(sim: CommandLine) -> None:
    for stage in (("fetch", *SERIES), ("features",), ("train",)):
        assert sim.run(*stage).code == 0
    for file in (sim.folder / "cache" / "refs").rglob("features.json"):
        file.unlink()
    refused = sim.run("analyze", TRADER_ANALYST__ENABLE_FEATURE_ENGINEERING="false")
    assert (refused.code, "trader features" in refused.err) == (4, True)
    assert sim.run("analyze").code in {0, 8}


def test_a_client_follows_the_venues_clock(trader: CommandLine) -> None:
    with serving_venue(trader, "--clock", "driven", TRADER_SIM__DAYS="12") as url:
        environment = {"TRADER_BINANCE_EXCHANGE__BASE_URL": url}
        skewed = trader.run("fetch", *SERIES, **environment)
        assert (skewed.code, "clock" in skewed.err) == (3, True)
        followed = trader.run("fetch", *SERIES, "--json", TRADER_BINANCE_EXCHANGE__CLOCK="venue", **environment)
        assert followed.code == 0, followed.err
        status = trader.run("status", "--json", TRADER_BINANCE_EXCHANGE__CLOCK="venue", **environment)
        assert 0 <= status.json["series"][0]["age_ms"] < 900_000


def test_a_smaller_share_of_the_budget_is_slower() -> None:
    def took(fraction: float) -> int:
        clock = VirtualClock(0)

        async def spend() -> None:
            budget = WeightBudget(clock, fraction)
            for _ in range(1000):
                await budget.spend(5)

        run_virtual(spend, clock)
        return clock.now_ms()

    assert took(0.25) > took(0.75) > 0
