"""What a person is told of stored backtests: why nothing was traded, how many were tried, what differs, what was unused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl
import pytest
from support.backtest.made_up_run import MadeUpRun

from trader_cli.backtest.records import framed
from trader_cli.backtest.untraded import reasons, untraded
from trader_cli.cli.backtest_facts import facts_of, row_of
from trader_cli.core.identity.manifests import Manifest
from trader_cli.core.market.timeframes import DAY_MS
from trader_cli.pipelines.backtests.backtest_comparison import of_the_span
from trader_cli.pipelines.backtests.backtest_listing import ListedBacktest, what_differs
from trader_cli.pipelines.backtests.backtest_recipe import Recipe
from trader_cli.pipelines.backtests.backtest_request import BacktestRequest
from trader_cli.pipelines.backtests.backtest_store import StoredBacktest

NOTES: dict[str, Any] = {
    "request": {
        "symbols": ["ETHUSDT"],
        "timeframe": "15m",
        "since_ms": 19_800 * DAY_MS,
        "until_ms": 19_810 * DAY_MS,
        "model": "walk-forward",
        "refit_ms": 30 * DAY_MS,
        "top": None,
        "survivors": False,
    },
    "settings": {"backtest": {"brackets": None}, "tactician": {"risk_per_trade": 0.01}, "balance": 10_000.0},
    "market": {"source": "binance"},
    "seed": 1,
    "code": "abc",
    "figures": MadeUpRun(bars=400, trades=0).report().figures.as_dict(),
}
INPUTS = {"bars ETHUSDT": "1", "features ETHUSDT": "2", "model ETHUSDT 5": "3"}


def stored(**changes: Any) -> StoredBacktest:
    notes = {
        name: {**value, **changes.get(name, {})} if isinstance(value, dict) else value for name, value in NOTES.items()
    }
    notes |= {name: value for name, value in changes.items() if not isinstance(value, dict)}
    manifest = Manifest(
        stage="backtest-x",
        producer="a test",
        source="binance",
        symbol="ETHUSDT",
        timeframe="15m",
        settings="s",
        inputs=INPUTS,
        chunks=(),
        rows=0,
        first_ms=0,
        last_ms=1,
        notes=notes,
    )
    return StoredBacktest("x", manifest)


def decided(*codes: str, kind: str = "abstention") -> pl.DataFrame:
    """One decision a close."""
    rows = [
        (n * 900_000 + 500, "ETHUSDT", n * 900_000, kind, code, f"It is {code}.", None, None)
        for n, code in enumerate(codes)
    ]
    return framed({"decisions": rows})["decisions"]


def test_why_nothing_was_traded_is_told_with_the_commonest_reasons_first() -> None:
    said = decided(*["no_edge"] * 5, *["unhealthy"] * 3, *["bars_stale"] * 2, "halted")
    assert reasons(said) == {"no_edge": 5, "unhealthy": 3, "bars_stale": 2, "halted": 1}
    assert untraded(said) == (
        "nothing traded: no_edge at 5 of 11 closes, unhealthy at 3 of 11 closes, bars_stale at 2 of 11 closes,"
        " and 1 more reasons. It is no_edge."
    )
    again = pl.concat([said, said[-1:].with_columns(pl.col("time").dt.offset_by("30s"))] * 3)
    assert reasons(again) == reasons(said), "a close at which it was tried again is one close"
    assert untraded(pl.concat([said, decided("kelly", kind="entered")])) is None
    assert reasons(pl.concat([said, decided("kelly", kind="entered")])) == {}
    assert untraded(said.clear()) == "nothing was decided"


def test_it_stands_among_the_facts_and_tries_are_those_of_then_and_of_now() -> None:
    done = stored()
    counted = done.figures.claim.trials
    facts = facts_of(done, "nothing traded: no_edge at 4 of 4 closes", counted + 3)
    assert facts["why"] == "nothing traded: no_edge at 4 of 4 closes"
    told = f"{counted} tries on these data counted when it was last made"
    assert str(facts["is it luck"]).endswith(f"{told}, {counted + 3} by now")
    for now in (counted, None):
        assert str(facts_of(done, None, now)["is it luck"]).endswith(told)
    bare = stored(settings={"on_bars": {"share": 1.0, "leverage": 1.0, "funding": "none"}})
    assert "changed to long or short nowhere" in str(facts_of(bare, "nothing was decided", None)["why"])


@pytest.mark.parametrize(
    ("settings", "market", "told"),
    [
        ({}, {}, None),
        ({"backtest": {"brackets": "b.json"}}, {"sim": {}}, "is not used: it is for a real market"),
        ({"backtest": {"brackets": "b.json"}}, {}, "b.json holds none of ETHUSDT: what an account was told, else"),
        (
            {"backtest": {"brackets": "b.json"}},
            {"brackets": {"ETHUSDT": {"origin": "of the file b.json"}}},
            "of b.json",
        ),
        (
            {"backtest": {"brackets": "b.json"}, "on_bars": {"share": 1, "leverage": 1, "funding": ""}},
            {},
            "on bare bars",
        ),
    ],
)
def test_a_file_of_brackets_that_is_not_used_is_told(settings: Any, market: Any, told: str | None) -> None:
    found = facts_of(stored(settings=settings, market=market), None, None)["leverage brackets"]
    assert found is None if told is None else told in str(found)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, []),
        ({"request": {"since_ms": 19_805 * DAY_MS}}, ["from 2024-03-18 00:00:00 UTC → 2024-03-23 00:00:00 UTC"]),
        ({"request": {"model": "current", "symbols": ["BTCUSDT"]}}, ["other symbols", "model walk-forward → current"]),
        ({"settings": {"tactician": {"risk_per_trade": 0.02}}}, ["tactician.risk_per_trade 0.01 → 0.02"]),
        ({"settings": {"rule": {"name": "r.py", "source": "1" * 64}}}, ["rule none → r.py"]),
        ({"seed": 2, "code": "abd"}, ["other seed", "other code"]),
    ],
)
def test_what_was_chosen_otherwise_is_listed(changes: Any, told: list[str]) -> None:
    assert list(what_differs(stored().manifest, stored(**changes).manifest)) == told


def test_of_one_rule_source_and_parameters_are_listed() -> None:
    one, two = ({"name": "r.py", "source": digest, "fast": fast} for digest, fast in (("1", 10), ("2", 20)))
    told = what_differs(stored(settings={"rule": one}).manifest, stored(settings={"rule": two}).manifest)
    assert list(told) == ["the rule's source", "rule.fast 10 → 20"]


def test_bars_fetched_since_are_others_and_the_first_has_none_before_it() -> None:
    fetched = replace(stored().manifest, inputs={**INPUTS, "bars ETHUSDT": "9", "features ETHUSDT": "8"})
    assert list(what_differs(stored().manifest, fetched)) == ["other bars"]
    row = row_of(ListedBacktest(stored(), 19_900 * DAY_MS, ("a", "b", "c", "d", "e")))
    assert row[:5] == ("x", "2024-06-26 00:00", "ETHUSDT 15m", "2024-03-18 00:00", "2024-03-28 00:00")
    assert row[-1] == "a, b, c and 2 more"
    assert row_of(ListedBacktest(stored(), 0, ()))[-1] == ""


def recipe(span: tuple[int, int], model: str = "walk-forward") -> Recipe:
    request = replace(BacktestRequest.from_dict(NOTES["request"]), model=model)
    days = (span[0] * DAY_MS, span[1] * DAY_MS)
    return Recipe(request, days, {}, {}, {}, {}, {}, {}, 1, "code")


def test_two_that_differ_in_their_span_only_are_said_to() -> None:
    one, two = recipe((19_800, 19_810)), recipe((19_820, 19_830))
    spans = "2024-03-18 00:00:00 UTC to 2024-03-28 00:00:00 UTC and 2024-04-07 00:00:00 UTC to 2024-04-17 00:00:00 UTC"
    assert of_the_span(one, two, ["span"]) == f"They differ in nothing but their span, {spans}: no close is in both."
    trained = of_the_span(one, two, ["span", "model"])
    assert trained is not None
    assert trained.endswith(
        "no close is in both; models were trained anew at other times, because the span begins elsewhere."
    )
    assert of_the_span(replace(one, request=replace(one.request, model="current")), two, ["span", "model"]) is None
    assert of_the_span(one, two, ["span", "setting"]) is None
    assert of_the_span(one, one, []) is None
