"""A book that is followed is the book: on recorded changes of the exchange, and whatever is lost or doubled on the way."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from trader_cli.exchange.streams.followed_book import FollowedBook
from trader_cli.venue.server.public_routes import PublicRoutes
from trader_cli.venue.server.stream_routes import StreamedQuotes
from trader_cli.venue.simulated_market.synthetic import synthetic_tape
from trader_cli.venue.streams.market_events import StreamSource
from trader_cli.venue.streams.stream_names import stream_of

TAPE = synthetic_tape(("ETHUSDT",), 2, 0.0, 4)
ROUTES = PublicRoutes(TAPE)
BEGAN_MS, SPAN_MS = TAPE.start_ms + 86_400_000, 60_000


def snapshot(now_ms: int) -> Any:
    return ROUTES.table["/fapi/v1/depth"]({"symbol": "ETHUSDT", "limit": "1000"}, now_ms)


@pytest.fixture(scope="module")
def changes() -> list[dict[str, Any]]:
    one = stream_of("ethusdt@depth@100ms", "public", TAPE.symbols)
    assert one is not None
    source = StreamSource(one, ROUTES.markets, StreamedQuotes(ROUTES, list), BEGAN_MS)
    times = range(BEGAN_MS + 100, BEGAN_MS + SPAN_MS, 100)
    return [event for at in times for event in source.at(at) if isinstance(event, dict)]


def sides(now_ms: int) -> tuple[Any, Any]:
    shown = snapshot(now_ms)
    both = (tuple((float(p), float(q)) for p, q in shown[side]) for side in ("bids", "asks"))
    return next(both), next(both)


@pytest.mark.parametrize("seed", range(3))
def test_a_book_is_whole_or_says_that_it_is_not(changes: list[dict[str, Any]], seed: int) -> None:
    """Changes are lost, doubled and swapped; whenever a snapshot is needed it comes some changes later."""
    dice, book, compared, asked = np.random.default_rng(seed), FollowedBook("ETHUSDT"), 0, 0
    order = [change for change in changes for _ in range(int(dice.choice([0, 1, 1, 1, 1, 1, 1, 1, 2])))]
    for at in range(len(order) - 1):
        if dice.random() < 0.05:
            order[at], order[at + 1] = order[at + 1], order[at]
    due: int | None = None
    for number, change in enumerate(order):
        whole = book.hear(change)
        if not whole and not book.is_begun and due is None:
            due, asked = number + int(dice.integers(0, 4)), asked + 1
        if due is not None and number >= due:
            due = None
            book.begin(snapshot(change["E"] + int(dice.integers(0, 60))))
        if book.is_whole:
            shown = book.shown(1000)
            assert (shown.bids, shown.asks) == sides(shown.time_ms)
            compared += 1
    assert compared > 10
    assert asked > 1


def test_a_snapshot_from_before_the_changes_that_were_kept_is_not_taken(changes: list[dict[str, Any]]) -> None:
    book = FollowedBook("ETHUSDT")
    for change in changes[10:12]:
        assert not book.hear(change)
    assert not book.begin(snapshot(changes[5]["E"]))
    assert not book.is_begun
    assert book.begin(snapshot(changes[10]["E"] + 5))
    assert book.shown(1).bids[0] == sides(changes[11]["E"])[0][0]


def recorded(path: Path) -> Iterator[tuple[bool, dict[str, Any]]]:
    """(Whether it is the snapshot, message) of a recording."""
    frame = pl.read_parquet(path).with_columns(pl.col("event_time").to_physical(), pl.col("side").cast(pl.String))
    columns = ("is_snapshot", "final_update_id", "first_update_id", "prev_final_update_id", "event_time")
    for (is_snapshot, last, first, before, at_ms), rows in itertools.groupby(
        zip(*(frame[name].to_list() for name in (*columns, "side", "price", "qty")), strict=True), lambda row: row[:5]
    ):
        sides: dict[str, list[Any]] = {"b": [], "a": []}
        for row in rows:
            sides[row[5]].append(row[6:])
        ids = {"U": first, "u": last, "pu": before, "E": at_ms}
        yield (
            is_snapshot,
            {"lastUpdateId": last, "bids": sides["b"], "asks": sides["a"]} if is_snapshot else {**ids, **sides},
        )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ETHUSDT-um-20240719", "BTCUSDT-um-20230405"])
def test_recorded_changes_give_the_recorded_best_prices(market_data: Path, name: str) -> None:
    best = pl.read_parquet(market_data / "book_ticker" / f"{name}.parquet").sort("update_id")
    ids, compared, book = best["update_id"].to_numpy(), 0, FollowedBook(name[:7])
    for number, (is_snapshot, told) in enumerate(recorded(market_data / "depth" / f"{name}.parquet")):
        if is_snapshot:
            book.begin(told)
            continue
        book.hear(told)
        if book.is_whole and number % 4 == 0:
            at = int(np.searchsorted(ids, told["u"], side="right")) - 1
            row, shown = best.row(at, named=True), book.shown(1)
            assert (shown.bids[0][0], shown.asks[0][0]) == (row["bid_price"], row["ask_price"])
            compared += 1
    assert compared > 1000
