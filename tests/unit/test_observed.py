"""A market known by looks alone: the engine trades on it as on the tape that was looked at, however the looks fall."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trader_cli.core.errors import ConfigurationError, DataInvalid
from trader_cli.core.market.timeframes import MINUTE_MS
from trader_cli.venue.engine.books import Account
from trader_cli.venue.engine.engine import Engine
from trader_cli.venue.engine.triggers import BOOK_LEVELS
from trader_cli.venue.paper.observations import MINUTE, Observation, SeenBar, SeenBook, look_ms, points
from trader_cli.venue.paper.observed_market import ObservedMarket
from trader_cli.venue.paper.paper_account import PaperAccount
from trader_cli.venue.paper.paper_journal import PaperJournal
from trader_cli.venue.server.private_routes import COMMANDS
from trader_cli.venue.server.public_routes import VenueRejection
from trader_cli.venue.simulated_market.derived_series import FUNDING_INTERVAL_MS
from trader_cli.venue.simulated_market.intrabar_path import expand
from trader_cli.venue.simulated_market.symbol_market import SymbolMarket
from trader_cli.venue.simulated_market.synthetic import synthetic_tape

TAPE = synthetic_tape(("ETHUSDT", "BTCUSDT"), 6, 0.5, 3)
MARKETS = {name: SymbolMarket(symbol) for name, symbol in TAPE.symbols.items()}
RULES = {name: market.rules for name, market in MARKETS.items()}
START = TAPE.at(0.4)
HOUR = 60 * MINUTE_MS
ETH = "ETHUSDT"


def book_at(symbol: str, time_ms: int) -> SeenBook:
    bids, asks = MARKETS[symbol].book(time_ms, BOOK_LEVELS)
    return SeenBook(tuple(bids), tuple(asks))


def everything_shown(upto_ms: int) -> ObservedMarket:
    """An observed market that was shown each point, book and rate of the tape since START."""
    shown, market, tape = ObservedMarket(RULES[ETH]), MARKETS[ETH], TAPE.symbols[ETH]
    path = expand(tape, *np.searchsorted(tape.open_ms, [START - HOUR, upto_ms]).tolist())
    rows = list(
        zip(path.time_ms.ravel().tolist(), path.price.ravel().tolist(), path.quantity.ravel().tolist(), strict=True)
    )
    shown.show_points(rows)
    for time_ms in [START, *(t for t, _, _ in rows if t > START)]:
        shown.show_book(time_ms, book_at(ETH, time_ms))
    for boundary in range(START // FUNDING_INTERVAL_MS * FUNDING_INTERVAL_MS, upto_ms, FUNDING_INTERVAL_MS):
        shown.show_rate(boundary, market.funding_rate(boundary))
    return shown


@cache
def shown_for_hours() -> ObservedMarket:
    return everything_shown(START + 9 * HOUR)


def do(engine: Engine, path: str, **parameters: Any) -> Any:
    return COMMANDS["POST", path](engine, {name: str(value) for name, value in ({"symbol": ETH} | parameters).items()})


def off(price: Any, share: float) -> Decimal:
    return (Decimal(str(price)) * Decimal(str(1 + share))).quantize(Decimal("0.01"))


def stop(side: str, trigger: Any, kind: str = "STOP_MARKET", **extra: Any) -> dict[str, Any]:
    return {
        "side": side,
        "type": kind,
        "triggerPrice": trigger,
        "algoType": "CONDITIONAL",
        "workingType": "MARK_PRICE",
        **extra,
    }


def state(engine: Engine) -> tuple[Any, ...]:
    books = engine.account
    held = {name: p for name, p in books.positions.items() if p.amount}
    money = (books.wallet, books.others, books.maker_fee, books.taker_fee, books.fees_in_bnb)
    return money, books.fills, books.income, held, books.options, books.orders, books.algos, books.owed


def test_a_mark_is_asked_anew_where_prices_are_only_observed() -> None:
    """A look at a moment may bring what was traded before it."""
    shown = ObservedMarket(RULES[ETH])
    shown.show_points([(START, 100.0, 1.0)])
    engine = Engine({ETH: shown}, Account(Decimal(1000)), START + 5_000)
    assert engine.mark(ETH) == 100
    shown.show_points([(START + 2_000, 101.0, 1.0)])
    assert engine.mark(ETH) == 101


@pytest.mark.parametrize(("side", "other", "sign"), [("BUY", "SELL", 1), ("SELL", "BUY", -1)])
def test_the_engine_on_what_was_seen_is_the_engine_on_the_tape(side: str, other: str, sign: int) -> None:
    played = []
    for market in (MARKETS[ETH], shown_for_hours()):
        one = Engine({ETH: market}, Account(Decimal(10_000)), START)
        do(one, "/fapi/v1/marginType", marginType="ISOLATED")
        do(one, "/fapi/v1/leverage", leverage=20)
        entry = do(one, "/fapi/v1/order", side=side, type="MARKET", quantity=3)["avgPrice"]
        do(one, "/fapi/v1/algoOrder", **stop(other, off(entry, -0.004 * sign), quantity=1, reduceOnly="true"))
        do(
            one,
            "/fapi/v1/algoOrder",
            **stop(other, off(entry, 0.003 * sign), "TAKE_PROFIT_MARKET", quantity=1, reduceOnly="true"),
        )
        do(
            one,
            "/fapi/v1/order",
            side=side,
            type="LIMIT",
            quantity=1,
            price=off(entry, -0.003 * sign),
            timeInForce="GTC",
        )
        one.advance(START + 8 * HOUR + 17)
        played.append(state(one))
    tape, seen = played
    assert len(tape[1]) > 2, "this tape fills something within eight hours"
    assert any(income.kind == "FUNDING_FEE" for income in tape[2])
    assert seen == tape


def bars_at(symbol: str, start_ms: int, now_ms: int) -> list[SeenBar]:
    """Minute bars as an exchange shows them at `now_ms`, the unfinished one last."""
    rows = MARKETS[symbol].klines(MINUTE, now_ms, start_ms, None, 100_000)
    return [SeenBar(k.open_ms, k.open, k.high, k.low, k.close, k.volume) for k in rows]


def look(symbol: str, since: Observation | None, upto_ms: int) -> Observation:
    """A look at the tape, as `exchange.market_data.market_poller` looks at an exchange."""
    rules = RULES[symbol]
    if since is None:
        return Observation(rules, upto_ms, upto_ms, bars_at(symbol, upto_ms - 3 * MINUTE_MS, upto_ms)[-1])
    if since.upto_ms >= upto_ms:
        return since
    first = (since.upto_ms // FUNDING_INTERVAL_MS + 1) * FUNDING_INTERVAL_MS
    rates = tuple((b, MARKETS[symbol].funding_rate(b)) for b in range(first, upto_ms + 1, FUNDING_INTERVAL_MS))
    bars = tuple(bars_at(symbol, MINUTE.floor(since.upto_ms + 1), upto_ms))
    return Observation(rules, since.upto_ms, upto_ms, since.before, bars, funding=rates)


def looks(moments: list[int]) -> Iterator[Observation]:
    """Looks at a busy symbol, one after the other."""
    since = look(ETH, None, look_ms(START))
    for moment in moments:
        observation = look(ETH, since, moment)
        yield observation
        since = observation.end()


def joined(observations: Iterator[Observation]) -> list[np.ndarray[Any, Any]]:
    return [np.concatenate(column) for column in zip(*map(points, observations), strict=True)]


@given(st.sets(st.integers(1, 90), min_size=1, max_size=12))
@settings(max_examples=30, deadline=None)
def test_of_closed_minutes_it_does_not_matter_when_one_looked(minutes: set[int]) -> None:
    moments = sorted(look_ms(START + m * MINUTE_MS) for m in {*minutes, 91})
    cut, whole = joined(looks(moments)), joined(looks([moments[-1]]))
    assert all(np.array_equal(a, b) for a, b in zip(cut, whole, strict=True))


@given(st.lists(st.integers(1, 5 * MINUTE_MS), min_size=1, max_size=15))
@settings(max_examples=60, deadline=None)
def test_whenever_one_looks_every_minute_shows_its_high_low_close_and_volume(steps: list[int]) -> None:
    sums = [sum(steps[: i + 1]) for i in range(len(steps))]
    last = START + (sums[-1] // MINUTE_MS + 1) * MINUTE_MS
    moments = sorted({look_ms(START + s) for s in sums} | {look_ms(last)})
    times, prices, quantities = joined(looks(moments))
    assert (np.diff(times) > 0).all()
    assert look_ms(START) < times[0] <= times[-1] <= moments[-1]
    for bar in bars_at(ETH, START, last - 1):
        inside = (times >= bar.open_ms) & (times < bar.open_ms + MINUTE_MS)
        assert (prices[inside].max(), prices[inside].min(), prices[inside][-1]) == (bar.high, bar.low, bar.close)
        assert quantities[inside].sum() == pytest.approx(bar.volume)


@given(st.lists(st.integers(1, 5 * MINUTE_MS), min_size=1, max_size=15))
@settings(max_examples=20, deadline=None)
def test_no_price_is_shown_before_it_was_traded(steps: list[int]) -> None:
    moments = sorted({look_ms(START + sum(steps[: i + 1])) for i in range(len(steps))} - {look_ms(START)})
    for observation in looks(moments):
        seen = points(observation)
        if len(seen[0]):
            assert seen[0][0] > observation.after_ms
            assert seen[0][-1] <= observation.upto_ms
            assert observation.end().before.close == seen[1][-1]


def test_a_look_never_stands_for_a_later_moment_nor_for_the_first_of_a_minute() -> None:
    for now in [
        START,
        START + 1,
        START + 9,
        START + 10,
        START + 59_999,
        START + 60_000,
        START + 60_004,
        START + 60_010,
    ]:
        assert now - 10 <= look_ms(now) <= now
        assert look_ms(now) % MINUTE_MS
        assert look_ms(look_ms(now) + 1) >= look_ms(now)


def test_a_bar_seen_by_another_server_takes_nothing_back() -> None:
    first = SeenBar(0, 10.0, 12.0, 9.0, 11.0, 5.0)
    stale = SeenBar(0, 10.0, 11.0, 9.5, 10.5, 4.0)
    assert first.joined(stale) == SeenBar(0, 10.0, 12.0, 9.0, 10.5, 5.0)


def test_what_was_not_seen_is_not_known() -> None:
    market = ObservedMarket(RULES[ETH])
    with pytest.raises(LookupError, match="no price was seen"):
        market.last_price(START)
    assert market.book(START, 5) == ([], [])
    market.show_points([(START, 100.0, 1.0)])
    with pytest.raises(ValueError, match="a price at"):
        market.show_points([(START, 101.0, 1.0)])
    assert market.first_beyond(START, START + HOUR, 100.0, 100.0) is None
    assert market.first_beyond(START - 1, START, 100.0, 200.0) == (START, 100.0, 1.0, None)


def test_an_older_book_is_moved_to_the_last_price() -> None:
    market, book = ObservedMarket(RULES[ETH]), SeenBook(((99.99, 2.0), (99.98, 3.0)), ((100.01, 1.0), (100.02, 4.0)))
    market.show_points([(START, 100.0, 1.0)])
    market.show_book(START, book)
    assert market.book(START, 1) == ([(99.99, 2.0)], [(100.01, 1.0)])
    market.show_points([(START + 5, 90.0, 1.0)])
    (bid, *_), (ask, *_) = market.book(START + 5, 2)
    assert (round(bid[0], 2), bid[1], round(ask[0], 2), ask[1]) == (89.99, 2.0, 90.01, 1.0)


def test_two_symbols_seen_to_move_in_the_same_millisecond_both_trigger() -> None:
    markets = {name: ObservedMarket(rules) for name, rules in RULES.items()}
    for market in markets.values():
        market.show_points([(START, 100.0, 1.0), (START + 5, 98.0, 1.0)])
        market.show_book(START, SeenBook(((99.9, 50.0),), ((100.1, 50.0),)))
    one = Engine(markets, Account(Decimal(10_000)), START)
    for symbol in markets:
        do(one, "/fapi/v1/marginType", symbol=symbol, marginType="ISOLATED")
        do(one, "/fapi/v1/order", symbol=symbol, side="BUY", type="MARKET", quantity=1)
        do(one, "/fapi/v1/algoOrder", symbol=symbol, **stop("SELL", 99, closePosition="true"))
    one.advance(START + 5)
    assert [algo.status for algo in one.account.algos.values()] == ["FINISHED", "FINISHED"]


# --- the account ---

Step = tuple[int, Callable[[PaperAccount], tuple[str, str, dict[str, str]]] | None]


def looked(
    desk: PaperAccount, moment: int, asked: set[str], *, with_book: bool = False
) -> tuple[list[Observation], int]:
    """What `exchange.account.paper_connection` tells the desk."""
    now = max(look_ms(moment), desk.now_ms)
    seen = []
    for symbol in sorted(desk.busy() | asked):
        observation = look(symbol, desk.since(symbol, now), now)
        if desk.stirs(observation) or (with_book and symbol in asked and not desk.has_book_of(symbol, now)):
            made = [getattr(observation, name) for name in ("rules", "after_ms", "upto_ms", "before", "bars")]
            observation = Observation(*made, book=book_at(symbol, now), funding=observation.funding)
        seen.append(observation)
    return seen, now


def tell(desk: PaperAccount, moment: int, path: str, **parameters: Any) -> Any:
    text = {name: str(value) for name, value in parameters.items()}
    return desk.command("POST", path, text, *looked(desk, moment, {text["symbol"]}, with_book=path.endswith("/order")))


def watch(desk: PaperAccount, moment: int) -> Any:
    return desk.read("/fapi/v3/account", {}, *looked(desk, moment, set()))


def opened(folder: Path | None) -> PaperAccount:
    return PaperAccount(RULES, look_ms(START), Decimal(10_000), folder)


def traded(desk: PaperAccount) -> None:
    """Two positions with stops, a limit order and a refusal."""
    for symbol, quantity in ((ETH, "2"), ("BTCUSDT", "0.05")):
        tell(desk, START + 500, "/fapi/v1/leverage", symbol=symbol, leverage=9)
        tell(desk, START + 700, "/fapi/v1/marginType", symbol=symbol, marginType="ISOLATED")
        bought = tell(
            desk, START + 20_000, "/fapi/v1/order", symbol=symbol, side="BUY", type="MARKET", quantity=quantity
        )
        trigger = off(bought["avgPrice"], -0.002).quantize(Decimal("0.1"))
        tell(desk, START + 20_004, "/fapi/v1/algoOrder", symbol=symbol, **stop("SELL", trigger, closePosition="true"))
    price = off(MARKETS[ETH].last_price(START + 20_004), -0.003)
    tell(
        desk,
        START + 70_001,
        "/fapi/v1/order",
        symbol=ETH,
        side="BUY",
        type="LIMIT",
        quantity="1",
        price=price,
        timeInForce="GTC",
    )
    with pytest.raises(VenueRejection):
        tell(desk, START + 70_500, "/fapi/v1/order", symbol=ETH, side="BUY", type="MARKET", quantity="9000")


WATCHED = [START + 100_000 + step * 137_770 for step in range(160)]


def restarted_now_and_then(folder: Path, every: int) -> PaperAccount:
    """An account that is closed and opened again at every so many looks, and is always where an undisturbed one is."""
    whole, cut = opened(None), opened(folder)
    traded(whole)
    traded(cut)
    for number, moment in enumerate(WATCHED):
        if number % every == 3:
            cut.close()
            cut = opened(folder)
        assert (watch(cut, moment), cut.now_ms) == (watch(whole, moment), whole.now_ms)
        assert state(cut.engine) == state(whole.engine)
        assert cut.engine.counters() == whole.engine.counters()
    return cut


def test_a_restarted_account_is_exactly_where_it_was_and_goes_on_alike(tmp_path: Path) -> None:
    cut = restarted_now_and_then(tmp_path, 7)
    ended = [algo.status for algo in cut.engine.account.algos.values()]
    assert "FINISHED" in ended, "this tape reaches a stop within six hours"
    cut.close()


def test_an_account_killed_at_any_moment_is_found_as_it_was(tmp_path: Path) -> None:
    """A copy of the files at a moment is what a kill at that moment leaves."""
    desk = opened(tmp_path / "live")
    traded(desk)
    for number, moment in enumerate(WATCHED[::8]):
        watch(desk, moment)
        shutil.copytree(tmp_path / "live", tmp_path / str(number))
        found = opened(tmp_path / str(number))
        assert (state(found.engine), found.now_ms) == (state(desk.engine), desk.now_ms)
        assert watch(found, WATCHED[-1] + HOUR)["totalWalletBalance"]
        found.close()
    desk.close()


class Torn(Exception):
    """The process dies here."""


def test_what_was_seen_and_the_command_it_was_seen_for_are_written_together_or_not_at_all(tmp_path: Path) -> None:
    desk = opened(tmp_path)
    traded(desk)
    before = state(desk.engine)
    desk.close()
    journal = PaperJournal(tmp_path)
    entries = list(journal.entries())

    def torn() -> Iterator[Observation]:
        yield look(ETH, None, look_ms(START + HOUR))
        raise Torn

    with pytest.raises(Torn):
        journal.write([look(ETH, None, look_ms(START + HOUR))], torn(), None)
    assert list(journal.entries()) == entries
    journal.close()
    again = opened(tmp_path)
    assert state(again.engine) == before
    again.close()


def test_looks_that_changed_nothing_leave_no_trace_but_the_latest(tmp_path: Path) -> None:
    desk = opened(tmp_path)
    tell(desk, START, "/fapi/v1/order", symbol=ETH, side="BUY", type="MARKET", quantity="0.1")
    for step in range(1, 400):
        watch(desk, START + 10_000 * step)
    desk.close()
    journal = PaperJournal(tmp_path)
    hours = (START + 10_000 * 399) // HOUR - look_ms(
        START
    ) // HOUR  # each may be a stamp of funding: its mark price is kept
    assert (len(list(journal.entries())), len(journal.latest())) == (2 + hours, 1)
    journal.close()


def test_a_gap_of_a_day_pays_every_funding_and_triggers_in_its_minute(tmp_path: Path) -> None:
    desk = opened(tmp_path)
    sold = tell(desk, START, "/fapi/v1/order", symbol=ETH, side="SELL", type="MARKET", quantity="1")
    trigger = off(sold["avgPrice"], 0.015)
    tell(desk, START, "/fapi/v1/algoOrder", symbol=ETH, **stop("BUY", trigger, closePosition="true"))
    watch(desk, START + 24 * HOUR)
    (algo,) = desk.engine.account.algos.values()
    assert algo.status == "FINISHED", "this tape rises by 1.5 % within a day"
    reached = next(bar for bar in bars_at(ETH, START, START + 24 * HOUR) if bar.high >= float(trigger))
    assert MINUTE.floor(algo.trigger_ms) == reached.open_ms
    fill = desk.engine.account.fills[-1]
    assert fill.time_ms == algo.trigger_ms
    assert float(fill.price) == pytest.approx(float(trigger), rel=0.002)
    fees = [i for i in desk.engine.account.income if i.kind == "FUNDING_FEE"]
    first = (START // FUNDING_INTERVAL_MS + 1) * FUNDING_INTERVAL_MS
    assert [fee.time_ms for fee in fees] == [first, first + FUNDING_INTERVAL_MS]
    for fee in fees:
        received = MARKETS[ETH].last_price(fee.time_ms) * MARKETS[ETH].funding_rate(fee.time_ms)
        assert float(fee.amount) == pytest.approx(received, rel=1e-3)
    desk.close()


def test_an_account_has_one_owner_and_says_when_it_cannot_write(tmp_path: Path) -> None:
    desk = opened(tmp_path)
    with pytest.raises(ConfigurationError, match="Another process"):
        opened(tmp_path)
    desk.close()
    with pytest.raises(DataInvalid, match="cannot be written"):
        watch(desk, START + HOUR)


def test_a_symbol_that_is_listed_no_longer_keeps_its_account(tmp_path: Path) -> None:
    desk = opened(tmp_path)
    traded(desk)
    desk.close()
    again = PaperAccount({}, look_ms(START), Decimal(10_000), tmp_path)
    assert state(again.engine) == state(desk.engine)
    again.close()
