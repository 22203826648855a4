"""What market streams say is what the routes show: bars, trades and books, whoever listens from when on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from trader_cli.venue.server.public_routes import PublicRoutes
from trader_cli.venue.server.stream_routes import StreamedQuotes
from trader_cli.venue.simulated_market.rule_changes import RuleBook, RuleChange
from trader_cli.venue.simulated_market.synthetic import synthetic_tape
from trader_cli.venue.simulated_market.tape import SymbolTape
from trader_cli.venue.streams.book_changes import BookChanges
from trader_cli.venue.streams.market_events import StreamSource
from trader_cli.venue.streams.stream_names import Route, Stream, stream_of

TAPE = synthetic_tape(("ETHUSDT", "BTCUSDT"), 2, 0.0, 4)
ROUTES = PublicRoutes(TAPE)
BEGAN_MS = TAPE.start_ms + 86_400_000
MINUTE_MS = 60_000


def stream(name: str, route: Route = "legacy") -> Stream:
    found = stream_of(name, route, TAPE.symbols)
    assert found is not None
    return found


def said(
    name: str, span_ms: int, since_ms: int = BEGAN_MS, routes: PublicRoutes = ROUTES, route: Route = "legacy"
) -> Iterator[tuple[int, Any]]:
    """(When, message) of a stream over a span."""
    one = stream(name, route)
    source = StreamSource(one, routes.markets, StreamedQuotes(routes, list), since_ms)
    for at in range(since_ms + one.period_ms, since_ms + span_ms + 1, one.period_ms):
        for message in source.at(at):
            yield at, message


def asked(path: str, now_ms: int, **query: str) -> Any:
    return ROUTES.table[f"/fapi/v1/{path}"](query, now_ms)


@pytest.mark.parametrize("frame", ["1m", "3m", "15m"])
def test_each_bar_closes_once_and_is_the_bar_of_the_route(frame: str) -> None:
    span = 35 * MINUTE_MS
    bars = [m["k"] for _, m in said(f"ethusdt@kline_{frame}", span)]
    names = ("t", "o", "h", "l", "c", "v", "T", "q", "n", "V", "Q", "B")
    closed = [[bar[name] for name in names] for bar in bars if bar["x"]]
    shown = asked("klines", BEGAN_MS + span, symbol="ETHUSDT", interval=frame, startTime=str(BEGAN_MS))
    assert closed == [row for row in shown if row[6] < BEGAN_MS + span]
    assert len(closed) > 1
    order = [(bar["t"], not bar["x"]) for bar in bars]
    assert [t for t, _ in order] == sorted(t for t, _ in order), "a bar that has closed is not told of again"


def test_continuous_bars_are_those_of_the_perpetual() -> None:
    bars = [m["k"] for _, m in said("ethusdt@kline_1m", 3 * MINUTE_MS)]
    others = [m for _, m in said("ethusdt_perpetual@continuousKline_1m", 3 * MINUTE_MS)]
    assert [m["k"] for m in others] == [{name: told for name, told in bar.items() if name != "s"} for bar in bars]
    assert {(m["e"], m["ps"], m["ct"]) for m in others} == {("continuous_kline", "ETHUSDT", "PERPETUAL")}
    assert stream_of("ethusdt@continuousKline_1m", "market", TAPE.symbols) is None


def test_a_bar_under_way_is_what_the_route_shows_then() -> None:
    told = [(at, m["k"]) for at, m in said("btcusdt@kline_5m", 3 * MINUTE_MS) if not m["k"]["x"]]
    assert len(told) > 10
    for at, bar in told:
        (row,) = asked("klines", at, symbol="BTCUSDT", interval="5m", limit="1")
        assert [bar["o"], bar["h"], bar["l"], bar["c"], bar["v"]] == row[1:6]


@pytest.mark.parametrize("kind", ["aggTrade", "trade"])
def test_every_trade_is_told_once_and_in_order(kind: str) -> None:
    ids = [m["a" if kind == "aggTrade" else "t"] for _, m in said(f"ethusdt@{kind}", 10 * MINUTE_MS)]
    shown = asked("aggTrades", BEGAN_MS + 10 * MINUTE_MS, symbol="ETHUSDT", startTime=str(BEGAN_MS + 1), limit="1000")
    assert ids == [trade["a"] for trade in shown]
    assert len(ids) > 50


def test_a_trade_on_the_very_moment_of_a_message_is_told_once() -> None:
    on_time = [t.time_ms for t in ROUTES.markets["ETHUSDT"].trades(TAPE.end_ms, BEGAN_MS, None, None, 5000)]
    at = next(t for t in on_time if t % 100 == 0)
    told = [m["T"] for _, m in said("ethusdt@trade", 500, since_ms=at - 200)]
    assert told.count(at) == 1


class Follower:
    """A book as a client keeps it: a snapshot, then what has changed, by the exchange's rules."""

    def __init__(self, snapshot: dict[str, Any], *, spot: bool = False) -> None:
        self.spot = spot
        self.last = snapshot["lastUpdateId"]
        self.sides: dict[str, dict[str, str]] = {"b": dict(snapshot["bids"]), "a": dict(snapshot["asks"])}
        self.follows = False

    def take(self, event: dict[str, Any]) -> bool:
        """Whether it fits; one before the snapshot does nothing."""
        if event["u"] < self.last + self.spot:
            return True
        if self.spot:
            fits = event["U"] == self.last + 1 if self.follows else event["U"] <= self.last + 1 <= event["u"]
        else:
            fits = event["pu"] == self.last if self.follows else event["U"] <= self.last <= event["u"]
        self.follows, self.last = True, event["u"]
        for side in ("b", "a"):
            for price, quantity in event[side]:
                if float(quantity):
                    self.sides[side][price] = quantity
                else:
                    self.sides[side].pop(price, None)
        return fits

    def levels(self) -> tuple[list[list[str]], list[list[str]]]:
        bids, asks = (sorted(self.sides[side].items(), key=lambda level: float(level[0])) for side in ("b", "a"))
        return [list(level) for level in bids[::-1]], [list(level) for level in asks]


@pytest.mark.parametrize(("speed", "route"), [("", "public"), ("@100ms", "public"), ("@500ms", "legacy"), ("", "spot")])
def test_whoever_follows_a_book_from_any_snapshot_holds_it(speed: str, route: Route) -> None:
    events, dice = list(said(f"ethusdt@depth{speed}", 30_000, route=route)), np.random.default_rng(5)
    compared = 0
    on_the_grid = [BEGAN_MS, BEGAN_MS + 500, BEGAN_MS + 1000, BEGAN_MS + 999, BEGAN_MS + 1001]
    for begun in [*on_the_grid, *(BEGAN_MS + dice.integers(1, 20_000, 12)).tolist()]:
        snapshot = asked("depth", begun, symbol="ETHUSDT", limit="1000")
        book = Follower(snapshot, spot=route == "spot")
        for at, event in events:
            if at <= begun and dice.random() < 0.5:
                continue  # whoever subscribes late has not heard it
            assert book.take(event), "a gap where there is none"
            if at >= begun and dice.random() < 0.1:
                shown = asked("depth", at, symbol="ETHUSDT", limit="1000")
                assert book.levels() == (shown["bids"], shown["asks"])
                compared += 1
    assert compared > 20


@dataclass(frozen=True)
class Flicker:
    """A market whose book is another for a moment."""

    tape: SymbolTape

    def book_moments(self, after_ms: int, upto_ms: int) -> list[int]:
        return [at for at in (100, 200) if after_ms < at <= upto_ms]

    def book_columns(self, now_ms: int, _levels: int) -> Any:
        price = 2000.0 + (100 <= now_ms < 200)
        return (np.array([price]), np.array([1.0])), (np.array([price + 1]), np.array([1.0]))


def test_a_level_that_came_and_went_between_two_messages_is_told_of() -> None:
    """A snapshot on the way there shows it, and nothing else would take it away."""
    market: Any = Flicker(TAPE.symbols["ETHUSDT"])
    assert BookChanges(market, 0).upto(500) == (
        0,
        [["2001.00", "0"], ["2000.00", "1.000"]],
        [
            ["2001.00", "1.000"],
            ["2002.00", "0"],
        ],
    )
    assert BookChanges(market, 0).upto(50) is None


def test_a_change_that_is_lost_is_seen() -> None:
    events = [event for _, event in said("ethusdt@depth@100ms", 20_000)]
    assert len(events) > 15
    book = Follower(asked("depth", BEGAN_MS, symbol="ETHUSDT", limit="1000"))
    assert [book.take(event) for event in [*events[:5], *events[6:8]]] == [True] * 5 + [False, True]


@pytest.mark.parametrize("levels", [5, 20])
def test_a_partial_book_is_the_top_of_the_book(levels: int) -> None:
    told = list(said(f"ethusdt@depth{levels}@100ms", 10_000))
    assert len(told) > 8
    for at, event in told:
        shown = asked("depth", at, symbol="ETHUSDT", limit=str(levels))
        assert (event["b"], event["a"]) == (shown["bids"], shown["asks"])


def test_the_best_prices_are_told_when_they_change() -> None:
    told = [(at, (m["b"], m["B"], m["a"], m["A"])) for at, m in said("!bookTicker", 30_000) if m["s"] == "ETHUSDT"]
    quick = [(at, (m["b"], m["B"], m["a"], m["A"])) for at, m in said("ethusdt@bookTicker", 30_000)]
    assert len(quick) > 20
    assert all(before != after for (_, before), (_, after) in zip(quick, quick[1:], strict=False))
    assert set(told) <= {(at, level) for at in range(BEGAN_MS, BEGAN_MS + 30_001, 5000) for _, level in quick}
    for at, best in quick:
        shown = asked("depth", at, symbol="ETHUSDT", limit="5")
        assert best == (*shown["bids"][0], *shown["asks"][0])


def test_marks_and_days_are_those_of_the_routes() -> None:
    for at, events in said("!markPrice@arr@1s", 5000):
        assert [e["s"] for e in events] == ["ETHUSDT", "BTCUSDT"]
        shown = asked("premiumIndex", at, symbol="BTCUSDT")
        assert (events[1]["p"], events[1]["r"], events[1]["T"]) == (
            shown["markPrice"],
            shown["lastFundingRate"],
            shown["nextFundingTime"],
        )
    told = [(at, m) for at, m in said("ethusdt@ticker", MINUTE_MS)]
    assert len(told) > 3
    for at, event in told:
        shown = asked("ticker/24hr", at, symbol="ETHUSDT")
        assert (event["c"], event["q"], event["n"]) == (shown["lastPrice"], shown["quoteVolume"], shown["count"])


def test_a_contract_is_told_of_when_its_status_changes() -> None:
    change = RuleChange("BTCUSDT", BEGAN_MS + 4500, status="SETTLING")
    told = list(said("!contractInfo", 10_000, routes=PublicRoutes(TAPE, RuleBook([change]))))
    assert [(at, m["s"], m["cs"]) for at, m in told] == [(BEGAN_MS + 5000, "BTCUSDT", "SETTLING")]


def test_each_stream_is_served_where_the_exchange_serves_it() -> None:
    public = {"ethusdt@trade", "ethusdt@depth", "ethusdt@depth5@500ms", "ethusdt@bookTicker", "!bookTicker"}
    market = {"ethusdt@kline_1m", "ethusdt@aggTrade", "ethusdt@markPrice@1s", "!markPrice@arr", "!ticker@arr"}
    market |= {"ethusdt@ticker", "ethusdt@miniTicker", "!miniTicker@arr", "!forceOrder@arr", "!contractInfo"}
    for route, served in (("public", public), ("market", market), ("private", set()), ("legacy", public | market)):
        found = {name for name in public | market if stream_of(name, route, TAPE.symbols)}  # type: ignore[arg-type]
        assert found == served
    for name in (
        "ETHUSDT@trade",
        "ethusdt@kline_7m",
        "ethusdt@kline",
        "ethusdt@depth7",
        "ethusdt@depth@1ms",
        "none@trade",
    ):
        assert stream_of(name, "legacy", TAPE.symbols) is None
    for name in (
        "ethusdt@trade@100ms",
        "!ticker",
        "!bookTicker@arr",
        "!ticker@arr@1s",
        "ethusdt@",
        "",
        "@trade",
        "!x@arr",
    ):
        assert stream_of(name, "legacy", TAPE.symbols) is None
    assert stream_of("ethusdt@markPrice", "spot", TAPE.symbols) is None
