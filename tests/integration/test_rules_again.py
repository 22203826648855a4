"""The exchange's rules change under a running process: they are read again, and what does not fit is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from support.trading import desk as desks
from support.trading.desk import ORDER, SYMBOL, Desk, at_desk, entered, refused

from trader_cli.core.errors import ExchangeRejected
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.core.money.plans import Approved, Refused, TradePlan
from trader_cli.core.money.trading_rules import RULES_AGE_S
from trader_cli.core.types import Analysis, Claim, Signal
from trader_cli.execution import manual_orders, preflight
from trader_cli.pipelines.market_access import Market
from trader_cli.pipelines.stages.market_snapshot import store_state
from trader_cli.storage.artifacts import ArtifactStore, stage_key
from trader_cli.tactician.tactician import Tactician
from trader_cli.venue.server.public_routes import VenueRejection

pytestmark = pytest.mark.slow
INFO, PREMIUM, TICKER = "/fapi/v1/exchangeInfo", "/fapi/v1/premiumIndex", "/fapi/v1/ticker/24hr"
HOUR = 3_600_000
Bend = Callable[[dict[str, Any]], None]


class ShowingVenue(desks.BentVenue):
    """A venue that shows something else than it has: `shows` changes the answers of a path."""

    shows: dict[str, Bend]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.shows = {}

    async def _answer(self, request: web.Request) -> web.Response:
        answer = await super()._answer(request)
        bend = self.shows.get(request.path)
        if bend is None or answer.status != 200:
            return answer
        body = json.loads(answer.body)  # type: ignore[arg-type]
        bend(body)
        return web.json_response(body)


@pytest.fixture(autouse=True)
def _showing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desks, "BentVenue", ShowingVenue)


def show(desk: Desk, path: str, bend: Bend) -> None:
    assert isinstance(desk.venue, ShowingVenue)
    desk.venue.shows[path] = bend


def listed(**changes: Any) -> Bend:
    """Exchange information in which every symbol has these values; `tick` is its price filter's."""

    def bend(body: dict[str, Any]) -> None:
        for symbol in body["symbols"]:
            symbol.update({name: value for name, value in changes.items() if name != "tick"})
            for row in symbol["filters"]:
                if row["filterType"] == "PRICE_FILTER" and "tick" in changes:
                    row["tickSize"] = changes["tick"]

    return bend


def off_the_coarse_tick(plan: TradePlan) -> TradePlan:
    """The plan with a stop that lies on a tick of 0.01 and on none of 0.10."""
    body = plan.as_dict()
    body["stop_price"] = f"{plan.stop_price:f}"[:-1] + "3"
    return TradePlan.from_dict({n: v for n, v in body.items() if n != "plan_id"})


def asked_for_rules(desk: Desk) -> int:
    return desk.venue.seen.count(("GET", INFO))


async def much_later(desk: Desk) -> None:
    await desk.clock.sleep(RULES_AGE_S + 1)


def test_rules_are_read_again_when_they_are_older_than_a_few_minutes(tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        before = asked_for_rules(desk)
        assert not isinstance(await preflight.current_rules(desk.exchange, SYMBOL), Refused)
        assert asked_for_rules(desk) == before, "they are fresh"
        show(desk, INFO, listed(tick="0.10"))
        await much_later(desk)
        rules = await preflight.current_rules(desk.exchange, SYMBOL)
        assert not isinstance(rules, Refused)
        assert (f"{rules.tick:f}", asked_for_rules(desk)) == ("0.10", before + 1)
        await preflight.current_rules(desk.exchange, SYMBOL)
        assert asked_for_rules(desk) == before + 1

    at_desk(work, tmp_path)


@pytest.mark.parametrize("doubled", [0.5, 2])
def test_a_plan_whose_stops_the_new_tick_does_not_take_names_tactics(tmp_path: Path, doubled: float) -> None:
    async def work(desk: Desk) -> None:
        plan = off_the_coarse_tick(desk.plan(expires_ms=desk.clock.now_ms() + HOUR, max_drift=desk.plan().price / 50))
        show(desk, INFO, listed(tick="0.10"))
        await desk.clock.sleep(RULES_AGE_S * doubled)
        with desk.open() as (ledger, executor):
            if doubled < 1:
                await desk.exchange.refresh_rules()  # as after a refusal of the exchange
            done = await executor.enter(Approved(plan))
            assert isinstance(done, Refused)
            assert (done.code, "trader tactics" in done.sentence) == ("stops_impossible", True)
            assert ledger.intents() == []
        assert ORDER not in desk.venue.seen
        show(desk, INFO, listed())
        await much_later(desk)
        await entered(desk, Approved(plan))

    at_desk(work, tmp_path)


@pytest.mark.parametrize(
    ("info", "code"),
    [
        (lambda _now: listed(status="SETTLING"), "not_trading"),
        (lambda _now: listed(status="PENDING_TRADING"), "not_trading"),
        (lambda now: listed(deliveryDate=now + 2 * HOUR), "delisting"),
    ],
)
def test_nothing_is_opened_or_planned_on_a_symbol_that_ends(
    tmp_path: Path, info: Callable[[int], Bend], code: str
) -> None:
    async def work(desk: Desk) -> None:
        signal = await stored_signal(desk)
        show(desk, INFO, info(desk.clock.now_ms()))
        await much_later(desk)
        planned = await decided(desk)
        assert isinstance(planned, Refused), planned
        assert planned.code == code
        assert signal.side == "long"
        assert await refused(desk, desk.approved()) == code
        answer = await manual_orders.place(desk.exchange, SYMBOL, "BUY", "MARKET", "1")
        assert (bool(answer), answer["code"]) == (False, code)
        assert desk.amount == 0

    at_desk(work, tmp_path, state_dir=str(tmp_path / "s"), cache_dir=str(tmp_path / "c"))


@pytest.mark.parametrize(
    ("path", "name", "code"),
    [
        (PREMIUM, "indexPrice", "prices_apart"),
        (TICKER, "lastPrice", "prices_apart"),
        (PREMIUM, "time", "stale_price"),
        (TICKER, "closeTime", "stale_price"),
    ],
)
def test_prices_that_are_stale_or_disagree_open_and_plan_nothing(
    tmp_path: Path, path: str, name: str, code: str
) -> None:
    def bend(body: dict[str, Any]) -> None:
        body[name] = body[name] - 61_000 if code == "stale_price" else str(float(body[name]) * 1.02)

    async def work(desk: Desk) -> None:
        await stored_signal(desk)
        show(desk, path, bend)
        planned = await decided(desk)
        assert isinstance(planned, Refused), planned
        assert planned.code == code
        assert await refused(desk, desk.approved()) == code
        show(desk, path, lambda _body: None)
        assert isinstance(await decided(desk), Approved)
        await entered(desk, desk.approved())

    at_desk(work, tmp_path, state_dir=str(tmp_path / "s"), cache_dir=str(tmp_path / "c"))


def test_a_latched_symbol_is_neither_planned_nor_entered(tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        await stored_signal(desk)
        with desk.open() as (ledger, _):
            ledger.latch(SYMBOL, "unprotected", "no stop could be had", desk.clock.now_ms())
        planned = await decided(desk)
        assert isinstance(planned, Refused), planned
        assert (planned.code, f"trader unlock {SYMBOL}" in planned.sentence) == ("symbol_latched", True)
        assert await refused(desk, desk.approved()) == "symbol_latched"
        with desk.open() as (ledger, _):
            ledger.unlatch(SYMBOL, "looked", desk.clock.now_ms())
        assert isinstance(await decided(desk), Approved)
        await entered(desk, desk.approved())

    at_desk(work, tmp_path, state_dir=str(tmp_path / "s"), cache_dir=str(tmp_path / "c"))


def test_the_runaway_brake_lets_so_many_entries_through_and_no_more(tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        for _ in range(2):
            await entered(desk, desk.approved())
            with desk.open() as (_, executor):
                await executor.close(SYMBOL, "test")
            await desk.clock.sleep(60)
        assert await refused(desk, desk.approved()) == "too_many_entries"
        await desk.clock.sleep(2 * 3600)
        assert await refused(desk, desk.approved()) == "symbol_latched", "until a person has looked"

    at_desk(work, tmp_path, execution={"max_entries_per_hour": 2})


async def stored_signal(desk: Desk) -> Signal:
    """An analysis with a signal, stored as `analyze` would, valid for hours."""
    price = float(desk.engine.mark(SYMBOL))
    claim = Claim(True, "", 1.0, 1.0, 0.1, 0.1, 3, 5000, 900, 0.0)
    signal = Signal("long", 0.7, 0.53, 40.0, price * 1.03, price * 0.97, 24)
    now = desk.clock.now_ms()
    analysis = Analysis(SYMBOL, "4h", now, price, signal, claim=claim, digests={"model": "m"})
    store = ArtifactStore(desk.settings.cache_dir)
    key = stage_key(desk.settings.mode, SYMBOL, Timeframe.parse("4h"), "analysis")
    store.point(key, store.put_document(analysis.as_dict()))
    return signal


async def decided(desk: Desk) -> Any:
    """What tactics make of the stored analysis."""
    with desk.open() as (ledger, _):
        return await Tactician(desk.settings, exchange=desk.exchange, ledger=ledger).decide(
            SYMBOL, Timeframe.parse("4h")
        )


def test_of_a_symbol_that_is_settled_the_rest_is_stored_and_what_is_missing_is_said(tmp_path: Path) -> None:
    async def snapshot(desk: Desk) -> list[str]:
        store = ArtifactStore(desk.settings.cache_dir)
        key = partial(stage_key, desk.settings.mode, SYMBOL, Timeframe.parse("1h"))
        market = Market(desk.exchange, desk.clock, "test")
        notes = await store_state(store, market, key, SYMBOL)
        body = store.get_document(store.pointed(key("market")) or "")
        assert body is not None
        assert body["ticker"]["last"] > 0
        assert (body["open_interest"] is None) == bool(notes)
        return notes

    def refuse(code: int) -> Bend:
        def bend(_body: dict[str, Any]) -> None:
            raise VenueRejection(400, code, "Symbol is on delivering or delivered or settling or closed.")

        return bend

    async def work(desk: Desk) -> None:
        assert await snapshot(desk) == []
        show(desk, "/fapi/v1/openInterest", refuse(-4108))
        assert SYMBOL in " ".join(await snapshot(desk))
        show(desk, "/fapi/v1/openInterest", refuse(-1102))
        with pytest.raises(ExchangeRejected):
            await snapshot(desk)

    at_desk(work, tmp_path, state_dir=str(tmp_path / "s"), cache_dir=str(tmp_path / "c"))
