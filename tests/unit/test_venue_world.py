"""The venue's open questions as switches, rules that change under the client, and what the exchange does by itself."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.hosts.signed_client import Caller
from test_venue_cover import WHOLE, part

from trader_cli.venue.clocks import VirtualClock, run_virtual
from trader_cli.venue.engine.books import ZERO, Account
from trader_cli.venue.engine.engine import Engine
from trader_cli.venue.engine.forced_orders import deleverage, liquidate, settle
from trader_cli.venue.engine.switches import Switches, choices, every_combination, sampled
from trader_cli.venue.server.private_routes import COMMANDS, READS
from trader_cli.venue.server.public_routes import PublicRoutes, VenueRejection
from trader_cli.venue.server.server import VenueServer
from trader_cli.venue.simulated_market.brackets import BRACKETS, brackets_of
from trader_cli.venue.simulated_market.rule_changes import PERPETUAL_DELIVERY_MS, PriceShift, RuleBook, RuleChange
from trader_cli.venue.simulated_market.symbol_market import SymbolMarket
from trader_cli.venue.simulated_market.synthetic import synthetic_tape

TAPE = synthetic_tape(("ETHUSDT", "BTCUSDT"), 6, 0.5, 3)
MARKETS = {name: SymbolMarket(symbol) for name, symbol in TAPE.symbols.items()}
START = TAPE.at(0.4)
HOUR = 3_600_000


class World:
    """An engine with its switches and changes, spoken to as by the routes."""

    def __init__(self, *changes: RuleChange, **answers: Any) -> None:
        self.book = RuleBook(changes)
        self.routes = PublicRoutes(TAPE, self.book)
        self.engine = Engine(MARKETS, Account(Decimal(50_000)), START, switches=Switches(**answers), book=self.book)
        self.engine.advance(START)
        self.do("POST", "/fapi/v1/marginType", marginType="ISOLATED")

    def do(self, method: str, path: str, **parameters: Any) -> Any:
        handler = READS[path] if method == "GET" else COMMANDS[method, path]
        given = {"symbol": "ETHUSDT", **parameters}
        return handler(self.engine, {n: str(v) for n, v in given.items()})

    def order(self, side: str, quantity: str, **extra: Any) -> Any:
        return self.do("POST", "/fapi/v1/order", **{"side": side, "type": "MARKET", "quantity": quantity, **extra})

    def stop(self, side: str, away: float, kind: str = "STOP_MARKET", **extra: Any) -> Any:
        trigger = (self.engine.mark("ETHUSDT") * Decimal(str(1 + away))).quantize(Decimal("0.1"))
        return self.do(
            "POST",
            "/fapi/v1/algoOrder",
            **{
                "side": side,
                "type": kind,
                "triggerPrice": trigger,
                "algoType": "CONDITIONAL",
                "workingType": "MARK_PRICE",
                **extra,
            },
        )

    def ask(self, path: str, **query: str) -> Any:
        return self.routes.table[path](query, self.engine.now_ms)

    def at(self, seconds: float) -> None:
        self.engine.advance(START + round(seconds * 1000))

    @property
    def amount(self) -> Decimal:
        return self.engine.account.position("ETHUSDT").amount


def code_of(act: Any) -> int:
    """The exchange's code of a refusal, 0 if it was accepted."""
    try:
        act()
    except VenueRejection as refused:
        return refused.code
    return 0


# --- switches ---


def test_every_combination_is_there_once_and_samples_are_seeded() -> None:
    everything = list(every_combination())
    expected = 1
    for answers in choices().values():
        expected *= len(answers)
    assert len(everything) == len(set(everything)) == expected
    assert everything[0] == Switches()
    assert sampled(1, 30) == sampled(1, 30) != sampled(2, 30)
    assert len(set(sampled(1, 30))) == 30
    for name, answers in choices().items():
        assert {getattr(s, name) for s in sampled(3, 12)} == set(answers), "each answer is met alone"
    assert Switches(**json.loads(json.dumps(Switches(used_id="refused").as_dict()))) == Switches(used_id="refused")


@pytest.mark.parametrize(("answer", "code", "left"), [("trimmed", 0, 0), ("refused", -2022, 1)])
def test_a_reduce_only_order_above_the_position(answer: str, code: int, left: int) -> None:
    world = World(reduce_above_position=answer)
    world.order("BUY", "1")
    assert code_of(lambda: world.order("SELL", "1.001", reduceOnly="true")) == code
    assert world.amount == left
    if left:
        assert code_of(lambda: world.order("SELL", "1", reduceOnly="true")) == 0


@pytest.mark.parametrize("answer", ["accepted", "-2022", "-4118"])
@pytest.mark.parametrize("targets", ["no cover", "cover"])
def test_a_reduce_only_order_beside_resting_ones(answer: str, targets: str) -> None:
    world = World(reduce_beside_cover=answer, take_profits=targets)
    world.order("BUY", "2")
    world.stop("SELL", -0.2, **WHOLE)
    world.stop("SELL", -0.1, **part("2"))
    assert code_of(lambda: world.order("SELL", "0.1", reduceOnly="true")) == 0, "stops are never counted"
    target = world.stop("SELL", 0.2, "TAKE_PROFIT_MARKET", **part("1.9"))
    code = 0 if answer == "accepted" or targets == "no cover" else int(answer)
    assert code_of(lambda: world.order("SELL", "0.1", reduceOnly="true")) == code
    world.do("DELETE", "/fapi/v1/algoOrder", algoId=target["algoId"])
    assert code_of(lambda: world.order("SELL", "0.1", reduceOnly="true")) == 0
    price = (world.engine.mark("ETHUSDT") * Decimal("1.04")).quantize(Decimal("0.1"))
    resting = {"type": "LIMIT", "price": price, "timeInForce": "GTC", "reduceOnly": "true"}
    world.order("SELL", f"{world.amount - Decimal('0.5'):f}", **resting)
    assert code_of(lambda: world.order("SELL", "0.1", reduceOnly="true")) == 0, "they do not cover the whole"
    world.order("SELL", "0.5", **resting)
    assert code_of(lambda: world.order("SELL", "0.1", reduceOnly="true")) == (
        0 if answer == "accepted" else int(answer)
    )


@pytest.mark.parametrize(("answer", "code"), [("refused", -4509), ("accepted", 0)])
def test_a_close_position_stop_while_flat(answer: str, code: int) -> None:
    world = World(close_stop_while_flat=answer)
    assert code_of(lambda: world.stop("SELL", -0.002, **WHOLE)) == code
    if code:
        return
    world.order("BUY", "1")
    world.at(20 * 3600)
    (stop,) = world.engine.account.algos.values()
    assert (stop.status, world.amount) == ("FINISHED", 0), "it closes what has come"
    late = World(close_stop_while_flat=answer)
    late.stop("SELL", -0.002, **WHOLE)
    late.at(20 * 3600)
    assert [a.status for a in late.engine.account.algos.values()] == ["EXPIRED"]
    assert late.amount == 0
    assert late.engine.account.fills == []


@pytest.mark.parametrize(("answer", "code"), [("blocks", -4130), ("ignored", 0)])
def test_a_close_position_stop_of_somebody_else(answer: str, code: int) -> None:
    world = World(foreign_close_stop=answer)
    world.order("BUY", "1")
    world.stop("SELL", -0.1, **WHOLE)
    assert code_of(lambda: world.stop("SELL", -0.2, **WHOLE, clientAlgoId="td-b-one")) == code
    world.do("DELETE", "/fapi/v1/algoOpenOrders")
    world.stop("SELL", -0.2, **WHOLE, clientAlgoId="td-b-two")
    assert code_of(lambda: world.stop("SELL", -0.2, **WHOLE, clientAlgoId="td-b-three")) == -4130, "one of ours always"


@pytest.mark.parametrize(("answer", "code"), [("accepted", 0), ("refused", -4116)])
def test_a_client_id_used_again(answer: str, code: int) -> None:
    world = World(used_id=answer)
    world.order("BUY", "1", newClientOrderId="one")
    assert code_of(lambda: world.order("BUY", "1", newClientOrderId="one")) == code
    assert world.amount == (1 if code else 2)
    stop = world.stop("SELL", -0.1, **part("1"), clientAlgoId="two")
    assert code_of(lambda: world.stop("SELL", -0.1, **part("1"), clientAlgoId="two")) == -4116, "while it waits, always"
    world.do("DELETE", "/fapi/v1/algoOrder", algoId=stop["algoId"])
    assert code_of(lambda: world.stop("SELL", -0.1, **part("1"), clientAlgoId="two")) == code


@pytest.mark.parametrize(("answer", "status"), [("rest", "NEW"), ("expire", "EXPIRED")])
def test_quantity_stops_when_the_position_goes_flat(answer: str, status: str) -> None:
    world = World(quantity_stops_when_flat=answer)
    world.order("BUY", "1")
    world.stop("SELL", -0.2, **WHOLE)
    world.stop("SELL", -0.2, **part("1"))
    world.order("SELL", "1", reduceOnly="true")
    assert [a.status for a in world.engine.account.algos.values()] == ["EXPIRED", status]


@pytest.mark.parametrize(("answer", "status", "left"), [("trimmed", "FINISHED", 0), ("refused", "REJECTED", 1)])
def test_a_quantity_stop_larger_than_the_position_when_it_triggers(answer: str, status: str, left: int) -> None:
    world = World(stop_above_position=answer)
    world.order("BUY", "1")
    world.stop("SELL", -0.002, **part("2"))
    world.at(20 * 3600)
    assert [a.status for a in world.engine.account.algos.values()] == [status]
    assert world.amount == left


@given(st.sampled_from(list(every_combination())), st.lists(st.integers(0, 7), max_size=12))
@settings(max_examples=60, deadline=None)
def test_whatever_is_answered_nothing_reduce_only_opens_and_money_is_kept(switches: Switches, acts: list[int]) -> None:
    world = World(**switches.as_dict())
    choice = (
        lambda: world.order("BUY", "1"),
        lambda: world.order("SELL", "0.4", reduceOnly="true"),
        lambda: world.order("SELL", "5", reduceOnly="true"),
        lambda: world.stop("SELL", -0.003, **WHOLE),
        lambda: world.stop("SELL", -0.002, **part("2")),
        lambda: world.stop("SELL", 0.003, "TAKE_PROFIT_MARKET", **part("1")),
        lambda: world.do("DELETE", "/fapi/v1/algoOpenOrders"),
        lambda: world.at((world.engine.now_ms - START) / 1000 + 900),
    )
    for act in acts:
        before = world.amount
        code_of(choice[act])
        assert world.amount >= 0
        assert world.amount <= before or act == 0
    books = world.engine.account
    assert books.wallet == 50_000 + sum((i.amount for i in books.income), ZERO)


# --- rules that change ---


def info(world: World, symbol: str = "ETHUSDT") -> Any:
    return next((s for s in world.ask("/fapi/v1/exchangeInfo")["symbols"] if s["symbol"] == symbol), None)


def filters(world: World) -> dict[str, Any]:
    return {f["filterType"]: f for f in info(world)["filters"]}


def test_filters_hold_from_their_time_where_they_are_shown_and_where_they_are_checked() -> None:
    change = RuleChange("ETHUSDT", START + 60_000, tick=Decimal("0.1"), step=Decimal("0.05"), min_notional=Decimal(500))
    world = World(change)
    world.order("BUY", "1.001")
    before = world.ask("/fapi/v1/exchangeInfo")
    fine = {"type": "LIMIT", "price": "2000.01", "timeInForce": "GTC"}
    assert code_of(lambda: world.order("SELL", "0.001", reduceOnly="true")) == 0
    world.at(59.999)
    assert world.ask("/fapi/v1/exchangeInfo")["symbols"] == before["symbols"]
    world.at(60)
    shown = filters(world)
    assert (shown["PRICE_FILTER"]["tickSize"], shown["LOT_SIZE"]["stepSize"]) == ("0.1", "0.05")
    assert shown["MARKET_LOT_SIZE"]["minQty"] == "0.05"
    assert shown["MIN_NOTIONAL"]["notional"] == "500"
    assert code_of(lambda: world.order("SELL", "0.001", reduceOnly="true")) == -1111
    assert code_of(lambda: world.order("SELL", "0.06", reduceOnly="true")) == -4023
    assert code_of(lambda: world.order("BUY", "0.05")) == -4164
    assert code_of(lambda: world.order("BUY", "1", **fine)) == -4014
    assert code_of(lambda: world.stop("SELL", 0, triggerPrice="1500.05", **WHOLE)) == -4014
    assert code_of(lambda: world.order("SELL", "0.05", reduceOnly="true")) == 0
    assert info(world, "BTCUSDT") == next(s for s in before["symbols"] if s["symbol"] == "BTCUSDT")


@pytest.mark.parametrize(
    ("status", "opening", "reducing"),
    [
        ("BREAK", -4140, -4141),
        ("PRE_SETTLE", -4140, 0),
        ("SETTLING", -4140, -4141),
        ("CLOSE", -4140, -4141),
        ("REMOVED", -1121, -1121),
    ],
)
def test_what_a_status_forbids(status: Any, opening: int, reducing: int) -> None:
    delivery = START + HOUR
    world = World(RuleChange("ETHUSDT", START + 1000, status=status, delivery_ms=delivery))
    world.order("BUY", "1")
    assert info(world)["status"] == "TRADING"
    assert info(world)["deliveryDate"] == PERPETUAL_DELIVERY_MS
    assert info(world)["contractType"] == "PERPETUAL"
    assert info(world)["onboardDate"] <= START
    world.at(1)
    assert code_of(lambda: world.order("BUY", "1")) == opening
    assert code_of(lambda: world.stop("SELL", -0.1, **WHOLE)) == reducing
    assert code_of(lambda: world.order("SELL", "1", reduceOnly="true")) == reducing
    if status == "REMOVED":
        assert info(world) is None
    else:
        assert (info(world)["status"], info(world)["deliveryDate"]) == (status, delivery)


def test_brackets_change_what_is_shown_and_what_is_allowed() -> None:
    tight = brackets_of([(10, 5_000, "0.05"), (2, 50_000, "0.2")])
    world = World(RuleChange("ETHUSDT", START + 1000, brackets=tight))
    world.do("POST", "/fapi/v1/leverage", leverage=20)
    world.order("BUY", "2")
    before = world.do("GET", "/fapi/v1/leverageBracket")[0]["brackets"]
    level = Decimal(world.do("GET", "/fapi/v3/positionRisk")[0]["liquidationPrice"])
    assert len(before) == len(BRACKETS)
    world.at(1)
    shown = world.do("GET", "/fapi/v1/leverageBracket")[0]["brackets"]
    assert [b["initialLeverage"] for b in shown] == [10, 2]
    assert code_of(lambda: world.do("POST", "/fapi/v1/leverage", leverage=20)) == -4028
    assert code_of(lambda: world.order("BUY", "1")) == -2027
    positions = world.do("GET", "/fapi/v3/positionRisk")
    assert positions == [] or Decimal(positions[0]["liquidationPrice"]) > level, "less is maintained, or it is gone"
    assert code_of(lambda: world.do("POST", "/fapi/v1/leverage", leverage=20, symbol="BTCUSDT")) == 0


@pytest.mark.parametrize("hours", [1, pytest.param(4, marks=pytest.mark.long)])
def test_another_funding_interval_is_shown_and_paid(hours: int) -> None:
    world = World(RuleChange("ETHUSDT", START, funding_interval_h=hours))
    assert world.ask("/fapi/v1/fundingInfo")[0]["fundingIntervalHours"] == hours
    following = world.ask("/fapi/v1/premiumIndex", symbol="ETHUSDT")["nextFundingTime"]
    assert following == (START // (hours * HOUR) + 1) * hours * HOUR
    world.order("BUY", "1")
    world.at(24 * 3600)
    paid = [i.time_ms for i in world.engine.account.income if i.kind == "FUNDING_FEE"]
    assert paid == [t for t in range(START + 1, START + 24 * HOUR + 1) if t % (hours * HOUR) == 0]
    told = world.ask("/fapi/v1/fundingRate", symbol="ETHUSDT", startTime=str(START + 1))
    assert [row["fundingTime"] for row in told] == paid
    assert World().ask("/fapi/v1/fundingInfo") == []


@given(st.lists(st.integers(1, 3 * HOUR), min_size=1, max_size=8))
@settings(max_examples=15, deadline=None)
def test_it_does_not_matter_how_time_is_cut_where_rules_change(cuts: list[int]) -> None:
    changes = (
        RuleChange("ETHUSDT", START + HOUR + 7, brackets=brackets_of([(20, 900_000, "0.0495")])),
        RuleChange("ETHUSDT", START + 2 * HOUR, funding_interval_h=1),
    )

    def played(stops: list[int]) -> Any:
        world = World(*changes)
        world.do("POST", "/fapi/v1/leverage", leverage=20)
        world.order("BUY", "3")
        for moment in stops:
            world.engine.advance(START + moment)
        books = world.engine.account
        return books.wallet, books.fills, books.income, books.positions, books.algos

    running = [sum(cuts[: i + 1]) for i in range(len(cuts))]
    assert played(running) == played([sum(cuts)])


# --- quotes that lie apart ---


def test_quotes_can_lie_apart_and_be_stale_and_trading_goes_on_at_the_last_price() -> None:
    async def work(caller: Caller, venue: VenueServer) -> None:
        async def quote() -> dict[str, Any]:
            return dict((await caller.ask("GET", "/fapi/v1/premiumIndex", symbol="ETHUSDT"))[1])

        honest, mark = await quote(), Decimal((await quote())["markPrice"])
        assert honest["time"] == START
        venue.shift(PriceShift("ETHUSDT", START + 1000, START + 5000, mark=0.98, index=1.01))
        venue.shift(PriceShift("ETHUSDT", START + 3000, START + 4000, stale_ms=90_000))
        assert await quote() == honest
        await caller.clock.sleep(1)
        apart = await quote()
        assert Decimal(apart["markPrice"]) == pytest.approx(mark * Decimal("0.98"), rel=Decimal("0.001"))
        assert Decimal(apart["indexPrice"]) / Decimal(apart["markPrice"]) == pytest.approx(
            Decimal("1.03"), rel=Decimal("0.005")
        )
        bought = (await caller.buy())[1]
        assert Decimal(bought["avgPrice"]) == pytest.approx(mark, rel=Decimal("0.005"))
        await caller.clock.sleep(2)
        assert (await quote())["time"] == START + 3000 - 90_000
        await caller.clock.sleep(3)
        assert (await quote())["time"] == START + 6000

    clock = VirtualClock(START)

    async def main() -> None:
        async with VenueServer(TAPE, clock) as venue, aiohttp.ClientSession() as session:
            await work(Caller(session, venue.url, clock), venue)

    run_virtual(main, clock)


# --- what the exchange does by itself ---


def held() -> World:
    world = World()
    world.order("BUY", "2")
    world.stop("SELL", -0.2, **WHOLE)
    world.stop("SELL", -0.1, **part("2"))
    world.at(60)
    return world


def conserved(world: World) -> bool:
    books = world.engine.account
    return books.wallet == 50_000 + sum((i.amount for i in books.income), ZERO)


def test_a_forced_liquidation_takes_the_margin_and_ends_the_close_position_stop() -> None:
    world = held()
    wallet, stake = world.engine.account.wallet, world.engine.account.position("ETHUSDT").isolated
    liquidate(world.engine, "ETHUSDT")
    order = [*world.engine.account.orders.values()][-1]
    assert order.client_id == f"autoclose-{START + 60_000}"
    assert world.amount == 0
    assert world.engine.account.wallet == pytest.approx(wallet - stake, abs=Decimal("0.00001"))
    assert world.engine.account.income[-1].kind == "INSURANCE_CLEAR"
    assert world.engine.account.income[-1].amount < 0
    assert [a.status for a in world.engine.account.algos.values()] == ["EXPIRED", "NEW"]
    assert conserved(world)


@pytest.mark.parametrize(
    ("act", "name", "fee"), [(deleverage, "adl_autoclose-", False), (settle, "settlement_autoclose-", True)]
)
@pytest.mark.parametrize("quantity", [None, Decimal("0.5")])
def test_the_exchange_closes_a_position_or_a_part(act: Any, name: str, fee: bool, quantity: Decimal | None) -> None:
    world = held()
    mark = world.engine.mark("ETHUSDT")
    order = act(world.engine, "ETHUSDT", quantity)
    assert order.client_id == f"{name}{START + 60_000}"
    fill = world.engine.account.fills[-1]
    assert (fill.price, fill.quantity) == (mark, quantity or 2)
    assert (fill.commission > 0) == fee
    assert world.amount == 2 - (quantity or 2)
    shown = world.do("GET", "/fapi/v1/userTrades")[-1]
    assert Decimal(shown["qty"]) == fill.quantity
    assert conserved(world)
    statuses = [a.status for a in world.engine.account.algos.values()]
    if quantity is not None:
        assert statuses == ["NEW", "NEW"]
    else:
        assert statuses == (["EXPIRED", "EXPIRED"] if act is settle else ["EXPIRED", "NEW"])


def test_there_is_nothing_to_close_where_nothing_is_open() -> None:
    for act in (liquidate, deleverage, settle):
        with pytest.raises(ValueError, match="no position of ETHUSDT"):
            act(World().engine, "ETHUSDT")
