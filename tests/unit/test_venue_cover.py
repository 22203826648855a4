"""The measure "without cover by the venue's own books": exact in time, whoever acts, also between requests."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trader_cli.venue.engine.books import Account
from trader_cli.venue.engine.cover_audit import CoverAudit
from trader_cli.venue.engine.engine import Engine
from trader_cli.venue.server.private_routes import COMMANDS
from trader_cli.venue.server.public_routes import VenueRejection
from trader_cli.venue.simulated_market.symbol_market import SymbolMarket
from trader_cli.venue.simulated_market.synthetic import synthetic_tape

TAPE = synthetic_tape(("ETHUSDT",), 6, 0.5, 3)
MARKETS = {name: SymbolMarket(symbol) for name, symbol in TAPE.symbols.items()}
START = TAPE.at(0.4)
HOUR = 3_600_000


class Played:
    """An engine with a watch; `at(s)` moves it to so many seconds after the start."""

    def __init__(self) -> None:
        self.engine = Engine(MARKETS, Account(Decimal(100_000)), START)
        self.watch = CoverAudit()
        self.engine.on_change.append(self.watch)
        self.engine.advance(START)

    def at(self, seconds: float) -> Played:
        self.engine.advance(START + round(seconds * 1000))
        return self

    def do(self, method: str, path: str, **parameters: Any) -> Any:
        given = {"symbol": "ETHUSDT", **parameters}
        return COMMANDS[method, path](self.engine, {n: str(v) for n, v in given.items()})

    def order(self, side: str, quantity: str, **extra: Any) -> Any:
        return self.do("POST", "/fapi/v1/order", side=side, type="MARKET", quantity=quantity, **extra)

    def stop(self, side: str, away: float, kind: str = "STOP_MARKET", **extra: Any) -> Any:
        trigger = (self.engine.mark("ETHUSDT") * Decimal(str(1 + away))).quantize(Decimal("0.01"))
        return self.do(
            "POST",
            "/fapi/v1/algoOrder",
            side=side,
            type=kind,
            triggerPrice=trigger,
            algoType="CONDITIONAL",
            workingType="MARK_PRICE",
            **extra,
        )

    def drop(self, algo: Any) -> Any:
        return self.do("DELETE", "/fapi/v1/algoOrder", algoId=algo["algoId"])

    def spans(self, until_s: float, *, ours_only: bool = False) -> list[tuple[float, float]]:
        self.at(until_s)
        found = self.watch.unprotected_spans("ETHUSDT", START + round(until_s * 1000), ours_only=ours_only)
        return [((start - START) / 1000, (end - START) / 1000) for start, end in found]


def part(quantity: str) -> dict[str, str]:
    return {"quantity": quantity, "reduceOnly": "true"}


WHOLE = {"closePosition": "true"}
SIDES = pytest.mark.parametrize(("side", "other", "away"), [("BUY", "SELL", -0.2), ("SELL", "BUY", 0.2)])


@SIDES
@pytest.mark.parametrize("stop", [WHOLE, part("2")])
def test_from_the_fill_to_the_stop(side: str, other: str, away: float, stop: dict[str, str]) -> None:
    one = Played()
    one.order(side, "2")
    one.at(3).stop(other, away, **stop)
    assert one.spans(60) == [(0, 3)]


@SIDES
def test_what_does_not_close_the_whole_position_is_no_cover(side: str, other: str, away: float) -> None:
    one = Played()
    one.order(side, "2")
    one.at(1).stop(other, away, **part("1.999"))
    one.at(2).stop(side, -away, **part("2"))  # the wrong direction
    one.at(3).stop(other, -away, "TAKE_PROFIT_MARKET", **part("2"))
    one.at(4).stop(other, away, quantity="2")  # it could open
    assert one.spans(10) == [(0, 10)]
    one.stop(other, away, **part("0.001"))
    assert one.spans(20) == [(0, 10)]


@SIDES
def test_a_stop_that_is_taken_away_or_a_position_that_grows_is_bare_again(side: str, other: str, away: float) -> None:
    one = Played()
    one.order(side, "2")
    first = one.stop(other, away, **part("2"))
    second = one.at(5).stop(other, away, **part("2"))
    one.at(6).drop(first)
    one.at(10).order(side, "1")
    one.at(12).stop(other, away, **part("1"))
    one.at(20).drop(second)
    one.at(25).order(other, "2", reduceOnly="true")
    assert one.spans(60) == [(10, 12), (20, 25)]


def test_flat_is_not_bare_and_one_that_lasts_ends_now() -> None:
    one = Played()
    one.order("BUY", "1")
    one.at(4).order("SELL", "1", reduceOnly="true")
    one.at(50).order("SELL", "1")
    assert one.spans(60) == [(0, 4), (50, 60)]
    assert one.spans(61) == [(0, 4), (50, 61)]


def test_a_turned_position_is_bare_behind_the_stops_of_the_old_one() -> None:
    one = Played()
    one.order("BUY", "1")
    one.stop("SELL", -0.2, **part("1"))
    one.at(7).order("SELL", "3")
    assert one.spans(9) == [(7, 9)]


def test_cover_that_comes_in_the_millisecond_of_the_fill_leaves_nothing_bare() -> None:
    one = Played()
    one.order("BUY", "1")
    one.stop("SELL", -0.2, **WHOLE)
    assert one.spans(HOUR / 1000) == []


@SIDES
def test_a_stop_that_triggers_between_two_requests_is_seen_at_its_own_time(side: str, other: str, away: float) -> None:
    one = Played()
    one.order(side, "2")
    one.stop(other, away / 100, **part("1"))  # 0.2 % away: triggers, closes half
    one.stop(other, away, **part("1"))
    one.at(20 * 3600)
    near, far = one.engine.account.algos.values()
    assert near.status == "FINISHED"
    assert abs(one.engine.account.position("ETHUSDT").amount) == 1
    assert one.spans(20 * 3600) == [], "half of it is gone, the other half still has its stop"
    one.do("DELETE", "/fapi/v1/algoOrder", algoId=far.algo_id)
    assert one.spans(21 * 3600) == [(20 * 3600, 21 * 3600)]


def test_a_resting_order_that_fills_later_is_bare_from_its_fill() -> None:
    one = Played()
    mark = one.engine.mark("ETHUSDT")
    price = (mark * Decimal("0.997")).quantize(Decimal("0.01"))
    one.do("POST", "/fapi/v1/order", side="BUY", type="LIMIT", quantity="1", price=price, timeInForce="GTC")
    one.at(40 * 3600)
    fill = one.engine.account.fills[0]
    assert fill.time_ms > START
    assert one.spans(40 * 3600)[0] == ((fill.time_ms - START) / 1000, 40 * 3600)


def test_foreign_quantity_needs_no_cover_where_only_ours_is_asked_about() -> None:
    one = Played()
    one.order("BUY", "1", newClientOrderId="td-one")
    one.at(2).stop("SELL", -0.2, **part("1"), clientAlgoId="td-stop")
    one.at(5).order("BUY", "4")  # somebody else
    one.at(6).do("DELETE", "/fapi/v1/algoOpenOrders")
    one.at(7).stop("SELL", -0.2, **part("1"), clientAlgoId="td-again")
    assert one.spans(9) == [(0, 2), (5, 9)]
    assert one.spans(9, ours_only=True) == [(0, 2), (6, 7)]
    one.at(10).order("SELL", "5", reduceOnly="true")
    one.at(11).order("BUY", "3")  # somebody else again: ours ended with the position
    assert one.spans(12, ours_only=True) == [(0, 2), (6, 7)]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5)), min_size=1, max_size=25), st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_it_is_what_looking_at_every_change_and_at_every_second_sees(steps: list[tuple[int, int]], cut: int) -> None:
    def played(looks: int) -> tuple[list[tuple[float, float]], list[bool]]:
        one, clock, seen = Played(), 0, list[bool]()
        for wait, what in steps:
            for _ in range(wait):
                clock += 1
                if clock % looks == 0:
                    one.at(clock)
                seen.append(_bare(one.at(clock).engine.account) if looks == 1 else False)
            one.at(clock)
            act(one, what)
        return one.spans(clock + 1), seen

    spans, _ = played(1)
    assert spans == played(cut)[0], "it does not matter how often it is looked"
    for second, bare in enumerate(played(1)[1], start=1):
        inside = any(start < second <= end for start, end in spans)
        assert bare == inside or any(second in span for span in spans)


def act(one: Played, what: int) -> None:
    acts = (
        lambda: one.order("BUY", "1"),
        lambda: one.order("SELL", "1"),
        lambda: one.stop("SELL", -0.003, **part("1")),
        lambda: one.stop("BUY", 0.003, **part("1")),
        lambda: one.stop("SELL", -0.01, **WHOLE),
        lambda: one.do("DELETE", "/fapi/v1/algoOpenOrders"),
    )
    try:
        acts[what]()
    except VenueRejection:
        return  # as the exchange would


def _bare(account: Account) -> bool:
    amount = account.position("ETHUSDT").amount
    side = "SELL" if amount > 0 else "BUY"
    stops = [a for a in account.open_algos("ETHUSDT") if a.side == side]
    whole = any(a.close_position for a in stops)
    return amount != 0 and not whole and sum(a.quantity for a in stops) < abs(amount)
