"""Leaving under filters that changed after the entry: the nearest form there is, a price in the band, before a delisting."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from support.trading import desk as desks
from support.trading.desk import ORDER, STOP, SYMBOL, Desk, at_desk, entered, sound
from support.trading.hostile_desk import HostileDesk, hostile

from trader_cli.core.money.breaker import UNPROTECTED
from trader_cli.core.money.plans import Approved
from trader_cli.core.money.trading_rules import DELISTING_MARGIN_MS, RULES_AGE_S
from trader_cli.execution.executor import Executor
from trader_cli.settings.room_options import ExecutionOptions
from trader_cli.settings.workspace import workspace_of
from trader_cli.storage.ledger import Ledger
from trader_cli.tactician.position_monitor import PositionMonitor
from trader_cli.venue.server.public_routes import VenueRejection
from trader_cli.venue.simulated_market.rule_changes import RuleChange

pytestmark = pytest.mark.slow
HOUR_MS = 3_600_000
Lines = dict[str, str]


class FilteringVenue(desks.BentVenue):
    """A venue that lists these filters instead of its own, and takes no order that does not pass them.

    `thin` refuses market orders, `takes_none` every order that reduces, `no_stops` every stop.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.listed: dict[str, Lines] = {}
        self.thin = self.takes_none = self.no_stops = False
        self.exits: list[tuple[str, str, int]] = []

    async def _answer(self, request: web.Request) -> web.Response:
        route = (request.method, request.path)
        if route == STOP and self.no_stops:
            raise VenueRejection(400, -2021, "Order would immediately trigger.")
        if route == ORDER:
            given = {name: str(value) for name, value in (await request.post()).items()}
            code = self._fault(given) if given.get("reduceOnly") == "true" else 0
            if given.get("reduceOnly") == "true":
                self.exits.append((given["type"], given["quantity"], code))
            if code:
                raise VenueRejection(400, code, "A filter says no.")
        answer = await super()._answer(request)
        if request.path != "/fapi/v1/exchangeInfo":
            return answer
        body = json.loads(answer.body)  # type: ignore[arg-type]
        for symbol in body["symbols"]:
            kept = [f for f in symbol["filters"] if f["filterType"] not in self.listed]
            symbol["filters"] = [*kept, *({"filterType": name, **lines} for name, lines in self.listed.items())]
        return web.json_response(body)

    def _fault(self, order: dict[str, str]) -> int:
        if self.takes_none:
            return -4023
        is_limit, quantity = order["type"] == "LIMIT", Decimal(order["quantity"])
        if self.thin and not is_limit:
            return -4131
        lots = self.listed.get("LOT_SIZE" if is_limit else "MARKET_LOT_SIZE", {})
        step, least, most = (Decimal(lots.get(name, 0)) for name in ("stepSize", "minQty", "maxQty"))
        if step and quantity % step:
            return -4023
        if quantity < least:
            return -4004
        if most and quantity > most:
            return -4005
        band, mark = self.listed.get("PERCENT_PRICE"), desks.engine_of(self, self._clock).mark(SYMBOL)  # type: ignore[arg-type]
        if (
            is_limit
            and band
            and order["side"] == "SELL"
            and Decimal(order["price"]) < mark * Decimal(band["multiplierDown"])
        ):
            return -4024
        if (
            is_limit
            and band
            and order["side"] == "BUY"
            and Decimal(order["price"]) > mark * Decimal(band["multiplierUp"])
        ):
            return -4016
        return 0


@pytest.fixture(autouse=True)
def _filtering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desks, "BentVenue", FilteringVenue)


def bent(desk: Desk) -> FilteringVenue:
    assert isinstance(desk.venue, FilteringVenue)
    return desk.venue


async def now_lists(desk: Desk, **filters: Lines) -> None:
    """The exchange changes its filters, and we have heard of it."""
    bent(desk).listed = filters
    await desk.exchange.refresh_rules()


OFF_STEP = [
    ({"stepSize": "0.01", "minQty": "2500"}, {"stepSize": "1000", "minQty": "0.5", "maxQty": "1000000"}),
    ({"stepSize": "0.01", "maxQty": "100"}, {"stepSize": "1000", "minQty": "1", "maxQty": "1000000"}),
    ({"stepSize": "10", "minQty": "15"}, {"stepSize": "10", "minQty": "15"}),
    ({"stepSize": "0.001", "minQty": "0.001"}, {"stepSize": "1000", "maxQty": "100"}),
]


@pytest.mark.parametrize("side", ["long", "short"])
@pytest.mark.parametrize(("lot", "market"), OFF_STEP)
def test_a_whole_position_off_the_new_lots_is_left(tmp_path: Path, lot: Lines, market: Lines, side: str) -> None:
    async def work(desk: Desk) -> None:
        await entered(desk, desk.approved(side=side))
        await now_lists(desk, LOT_SIZE=lot, MARKET_LOT_SIZE=market)
        said: list[str] = []
        with desk.open() as (ledger, executor):
            executor.say = said.append
            assert await executor.close(SYMBOL, "by_hand") == 1
            sound(desk, ledger)
        assert desk.amount == 0
        assert not [sentence for sentence in said if "dust" in sentence]

    at_desk(work, tmp_path)


def test_dust_is_said_only_after_every_form_was_refused_and_the_stop_stays(tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        await entered(desk, desk.approved())
        await now_lists(desk, LOT_SIZE={"stepSize": "10", "minQty": "15"}, MARKET_LOT_SIZE={"stepSize": "1000"})
        bent(desk).takes_none = True
        said: list[str] = []
        with desk.open() as (ledger, executor):
            executor.say = said.append
            assert await executor.close(SYMBOL, "by_hand") == 0
            tried = bent(desk).exits
            assert {("MARKET", "1000"), ("MARKET", "1"), ("LIMIT", "20"), ("LIMIT", "1")} <= {t[:2] for t in tried}
            assert len(tried) == len(set(tried)), "no form twice"
            assert [("dust" in sentence, "A filter says no" in sentence) for sentence in said] == [(True, True)]
            assert desks.covered(desk.amount, desk.stops())
            bent(desk).takes_none = False
            assert await executor.close(SYMBOL, "by_hand") == 1, "it is tried again"
            sound(desk, ledger)

    at_desk(work, tmp_path)


def test_what_cannot_be_covered_is_closed_whatever_its_lots(tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        await entered(desk, desk.approved())
        await now_lists(desk, LOT_SIZE=OFF_STEP[0][0], MARKET_LOT_SIZE=OFF_STEP[0][1])
        bent(desk).no_stops = True
        desk.by_hand("DELETE", "/fapi/v1/algoOpenOrders")
        with desk.open() as (ledger, executor):
            await desk.monitor(ledger).start_monitoring(60)
            assert executor.exit_reason(SYMBOL) == UNPROTECTED
            sound(desk, ledger)
        assert desk.amount == 0

    at_desk(work, tmp_path)


@pytest.mark.parametrize("side", ["long", "short"])
@pytest.mark.parametrize("known", [True, False])
def test_in_a_thin_book_it_is_left_at_the_edge_of_the_band(tmp_path: Path, side: str, known: bool) -> None:
    async def work(desk: Desk) -> None:
        await entered(desk, desk.approved(side=side))
        await now_lists(desk, PERCENT_PRICE={"multiplierUp": "1.02", "multiplierDown": "0.98"} if known else {})
        bent(desk).listed = {"PERCENT_PRICE": {"multiplierUp": "1.02", "multiplierDown": "0.98"}}
        bent(desk).thin = True
        with desk.open() as (ledger, executor):
            assert await executor.close(SYMBOL, "by_hand") == 1
            sound(desk, ledger)
        refused = [code for kind, _, code in bent(desk).exits if kind == "LIMIT" and code]
        assert len(refused) <= (0 if known else 1), "the next one lies nearer to the mark price"

    at_desk(work, tmp_path)


@pytest.mark.parametrize("side", ["long", "short"])
def test_a_delisting_announced_while_held_is_said_and_left_in_time(tmp_path: Path, side: str) -> None:
    announced_s, left_ms = 120, 3 * HOUR_MS
    ends: list[int] = []

    def changes(now: int) -> list[RuleChange]:
        ends.append(now + left_ms)
        return [RuleChange(SYMBOL, now + announced_s * 1000, delivery_ms=now + left_ms)]

    async def work(desk: HostileDesk) -> None:
        mark = desk.engine.mark(SYMBOL)
        up = 1 if side == "long" else -1
        far = {
            "stop_price": mark - up * mark / 5,
            "backstop_price": mark - up * mark / 4,
            "take_profit_price": mark + up * mark / 5,
        }
        levels = {name: level.quantize(Decimal("0.01")) for name, level in far.items()}
        said: list[tuple[int, str]] = []
        with Ledger.opened(desk.path) as ledger:
            executor = Executor(desk.exchange, ledger, ExecutionOptions.of(workspace_of(desk.settings)))
            plan = desk.plan(side=side, leverage=2, exit_by_ms=desk.clock.now_ms() + 6 * HOUR_MS, **levels)
            await executor.enter(Approved(plan))
            monitor = PositionMonitor(desk.settings, exchange=desk.exchange, ledger=ledger)
            monitor.say = lambda sentence: said.append((desk.clock.now_ms(), sentence))
            began = desk.clock.now_ms()
            await monitor.start_monitoring(left_ms / 1000 - 60)
            assert executor.exit_reason(SYMBOL) == "delisting"
            closed_ms = ledger.fills(decision_id=plan.plan_id)[-1].time_ms
            sound(desk, ledger)
        heard = [(at, sentence) for at, sentence in said if "delisted" in sentence]
        assert len(heard) == 1, "once"
        assert heard[0][0] <= began + (announced_s + RULES_AGE_S + 20) * 1000
        assert 0 <= closed_ms - (ends[0] - DELISTING_MARGIN_MS) < 20_000
        assert desk.amount == 0
        assert desk.unprotected_s() < 5, "stops go last"

    hostile(work, tmp_path, changes=changes)
