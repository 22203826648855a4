"""Tactician position management, the plan: sized by the smallest limit, inside every budget, refused with a code."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from decimal import ROUND_DOWN, Decimal
from typing import TYPE_CHECKING

from trader_cli.core.money.plans import Approved, Refused, Request, TradePlan
from trader_cli.core.types import Abstention, Analysis, Claim, Signal
from trader_cli.pipelines.verification.checks import (
    LINES,
    Check,
    Finding,
    Unexpected,
    at_least,
    at_most,
    equal,
    holds,
    near,
)
from trader_cli.pipelines.verification.lab import SYMBOL, TIMEFRAME
from trader_cli.pipelines.verification.worlds import in_world, scripted
from trader_cli.storage.artifacts import ArtifactStore, stage_key
from trader_cli.tactician.tactician import Tactician

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trader_cli.core.types import Side
    from trader_cli.pipelines.verification.lab import Lab
    from trader_cli.pipelines.verification.worlds import World
    from trader_cli.settings import Settings
    from trader_cli.tactician.tactician import Outcome

_BARRIER, _HORIZON = 0.01, 24
_WIN_RATE = 0.72
_SIDES: tuple[Side, ...] = ("long", "short")


@dataclass(frozen=True)
class Case:
    """What tactics find: the signal's side and win rate, a halt, a position, or an analysis that is old or abstains."""

    side: Side = "long"
    probability: float = _WIN_RATE
    wait_s: float = 0.0
    halted: bool = False
    holding: bool = False
    abstaining: bool = False


@dataclass(frozen=True)
class Decided:
    """What tactics came to, and the account's equity when they did."""

    outcome: Outcome
    equity: Decimal
    step: Decimal
    settings: Settings

    @property
    def plan(self) -> TradePlan:
        """The plan; a refusal is an error here."""
        if not isinstance(self.outcome, Approved):
            raise Unexpected(f"no plan: {self.outcome.sentence} ({self.outcome.code})")
        return self.outcome.plan


def _analysis(world: World, price: float, side: Side, probability: float) -> Analysis:
    """An analysis with a signal at this price: barriers 1 % away, a claim that holds, costs as configured."""
    settings, up = world.settings, 1 if side == "long" else -1
    target, stop = price * math.exp(up * _BARRIER), price * math.exp(-up * _BARRIER)
    gain, loss = abs(target / price - 1), abs(stop / price - 1)
    break_even = (loss + _cost(settings)) / (gain + loss)
    value = 1e4 * (probability * (gain + loss) - loss - _cost(settings))
    claim = Claim(
        edge=True,
        reason="made by the verification",
        deflated_sharpe_probability=0.99,
        excess_sharpe_probability=0.99,
        sharpe_per_bar=0.1,
        doubled_cost_sharpe_per_bar=0.1,
        trials=1,
        bars=1000,
        trades=600,
        overfitting_probability=0.1,
    )
    return Analysis(
        symbol=SYMBOL,
        timeframe=TIMEFRAME.name,
        decision_time_ms=world.clock.now_ms(),
        price=price,
        outcome=Signal(side, probability, break_even, value, target, stop, _HORIZON),
        claim=claim,
        digests={"model": "made by the verification"},
    )


def _cost(settings: Settings) -> float:
    """A round trip with funding over the horizon, share of notional."""
    costs, hours = settings.costs, _HORIZON * TIMEFRAME.ms / 3_600_000
    return 1e-4 * (2 * (costs.taker_fee_bps + costs.slippage_bps) + costs.funding_bps * hours / 8)


async def _decide(world: World, analysis: Analysis, request: Request) -> Decided:
    """Tactics about an analysis that lies in the world's store."""
    store = ArtifactStore(world.settings.cache_dir)
    key = stage_key(world.settings.mode, SYMBOL, TIMEFRAME, "analysis")
    store.point(key, store.put_document(analysis.as_dict()))
    tactician = Tactician(world.settings, exchange=world.exchange, ledger=world.ledger)
    outcome = await tactician.decide(SYMBOL, TIMEFRAME, request)
    equity = (await world.exchange.private.account()).equity
    return Decided(outcome, equity, world.exchange.symbol_rules(SYMBOL).step, world.settings)


def _decided(lab: Lab, request: Request | None = None, case: Case | None = None) -> Decided:
    """Tactics in a world of their own."""
    case = case or Case()

    async def work(world: World) -> Decided:
        price = float((await world.exchange.get_premium_index(SYMBOL))["mark_price"])
        analysis = _analysis(world, price, case.side, case.probability)
        if case.abstaining:
            analysis = replace(analysis, outcome=Abstention("no_edge", "The model claims no edge."))
        if case.halted:
            world.ledger.halt("by the verification", world.clock.now_ms())
        if case.holding:
            await world.enter(await world.plan(case.side))
        await world.clock.sleep(case.wait_s)
        return await _decide(world, analysis, request or Request())

    return in_world(lab, scripted(), work)


def _both_sides(lab: Lab) -> list[Decided]:
    return lab.once("plans", lambda: [_decided(lab, case=Case(side)) for side in _SIDES])


def size_is_the_smallest_cap(lab: Lab) -> Iterator[Finding]:
    """The recorded caps, and limits computed here."""
    for decided in _both_sides(lab):
        plan, t = decided.plan, decided.settings.tactician
        smallest = min(plan.caps, key=lambda name: plan.caps[name])
        steps = (Decimal(repr(plan.caps[smallest])) / plan.price / decided.step).to_integral_value(ROUND_DOWN)
        yield equal(f"{plan.side}: the limit that binds", smallest, plan.binding)
        yield equal(f"{plan.side}: quantity, {smallest} down to a step", steps * decided.step, plan.quantity)
        notional, equity = float(plan.quantity * plan.price), float(decided.equity)
        yield at_most(f"{plan.side}: notional, by max_exposure", equity * t.max_exposure, notional)
        yield at_most(f"{plan.side}: notional, by max_same_side", equity * t.max_same_side, notional)
        yearly = _BARRIER / math.sqrt(_HORIZON * TIMEFRAME.ms / (365 * 86_400_000))
        volatility = equity * t.target_volatility / (yearly / decided.settings.analyst.barrier_width)
        yield at_most(f"{plan.side}: notional, by target_volatility", volatility * 1.0001, notional)


def risk_within_budget(lab: Lab) -> Iterator[Finding]:
    """What is lost at the stop, costs included, as a share of equity."""
    for decided in _both_sides(lab):
        plan, allowed = decided.plan, Decimal(str(decided.settings.tactician.risk_per_trade)) * decided.equity
        distance = (plan.price - plan.stop_price) * plan.sign
        lost = plan.quantity * (distance + plan.price * Decimal(str(_cost(decided.settings))))
        yield at_most(f"{plan.side}: loss at the stop", allowed * Decimal("1.000001"), lost)
        yield at_most(
            f"{plan.side}: the risk the plan states is that loss", Decimal("0.01"), abs(plan.risk_quote - lost)
        )
        target = (plan.take_profit_price - plan.price) * plan.sign
        yield equal(f"{plan.side}: stop and target on their sides", (True, True), (distance > 0, target > 0))
        beyond = (plan.stop_price - plan.backstop_price) * plan.sign
        yield holds(f"{plan.side}: backstop beyond the stop", beyond > 0)


def leverage_within_liquidation_limit(lab: Lab) -> Iterator[Finding]:
    """The stated probability, and where the exchange itself would liquidate the position."""

    async def work(world: World) -> tuple[TradePlan, Decimal]:
        price = float((await world.exchange.get_premium_index(SYMBOL))["mark_price"])
        plan = (await _decide(world, _analysis(world, price, "long", _WIN_RATE), Request())).plan
        await world.enter(plan)
        (position,) = await world.exchange.private.positions()
        return plan, position.liquidation_price or Decimal(0)

    settings = lab.settings(lab.folder())
    plan, liquidation = in_world(lab, scripted(), work, settings=settings)
    t = settings.tactician
    yield at_most("probability to touch liquidation", t.max_liquidation_probability, plan.liquidation_probability)
    yield at_most("leverage", t.max_leverage, plan.leverage)
    yield at_least("leverage", 1, plan.leverage)
    yield at_most("the exchange's liquidation price, below the backstop", plan.backstop_price, liquidation)


def requests_only_lower(lab: Lab) -> Iterator[Finding]:
    """Size, leverage and risk asked for, below and above what the limits allow."""
    free = _both_sides(lab)[0].plan
    less = _decided(lab, Request(quantity=free.quantity / 2)).plan
    yield at_most("quantity, half of it asked for", free.quantity / 2, less.quantity)
    more = _decided(lab, Request(quantity=free.quantity * 10, leverage=125, risk_level="high")).plan
    yield equal("quantity, ten times it asked for", free.quantity, more.quantity)
    yield equal("leverage, 125 asked for", free.leverage, more.leverage)
    flat = _decided(lab, Request(leverage=1)).plan
    yield equal("leverage, 1 asked for", 1, flat.leverage)
    low = _decided(lab, Request(risk_level="low")).plan
    yield at_most("risk, low asked for", free.risk_quote, low.risk_quote)
    yield at_most("quantity, low risk asked for", free.quantity, low.quantity)
    for name in ("kelly", "risk_per_trade"):
        yield near(f"notional by {name}, low risk asked for", free.caps[name] / 4, low.caps[name], 0.01)


def refusals_have_codes(lab: Lab) -> Iterator[Finding]:
    """Each reason not to trade, by the code that programs read."""
    fresh = _both_sides(lab)[0].plan.price
    late_s = lab.config.tactician.plan_validity * TIMEFRAME.ms / 1000 + 1
    cases: list[tuple[str, str, Callable[[], Decided]]] = [
        ("a price that has moved", "price_moved", lambda: _decided(lab, Request(price=fresh * Decimal("1.1")))),
        ("a risk level nobody knows", "bad_request", lambda: _decided(lab, Request(risk_level="reckless"))),
        ("a size of nothing", "bad_request", lambda: _decided(lab, Request(quantity=Decimal(0)))),
        ("a win rate below break-even", "no_room_kelly", lambda: _decided(lab, case=Case(probability=0.5))),
        ("a halt", "halted", lambda: _decided(lab, case=Case(halted=True))),
        ("a position that is open", "position_open", lambda: _decided(lab, case=Case(holding=True))),
        ("an old analysis", "analysis_stale", lambda: _decided(lab, case=Case(wait_s=late_s))),
        ("an analysis that abstains", "no_edge", lambda: _decided(lab, case=Case(abstaining=True))),
    ]
    for what, code, decide in cases:
        outcome = decide().outcome
        yield equal(what, code, "a plan" if isinstance(outcome, Approved) else outcome.code)


def same_decision_same_plan(lab: Lab) -> Iterator[Finding]:
    """Tactics run again about one analysis, half a minute later."""

    async def work(world: World) -> tuple[TradePlan, Outcome, int]:
        price = float((await world.exchange.get_premium_index(SYMBOL))["mark_price"])
        analysis = _analysis(world, price, "long", _WIN_RATE)
        first = await _decide(world, analysis, Request())
        await world.clock.sleep(30)
        second = await _decide(world, analysis, Request())
        return first.plan, second.outcome, len(world.ledger.decisions())

    first, second, decisions = in_world(lab, scripted(), work)
    again = second.plan.plan_id if isinstance(second, Approved) else f"refused: {second.code}"
    yield equal("the plan's id", first.plan_id, again)
    yield equal("decisions in the ledger", 1, decisions)
    yield holds("client id of its entry: at most 36 characters", len(first.client_id("entry")) <= 36)


def halt_stops_entries(lab: Lab) -> Iterator[Finding]:
    """A plan made before the halt, carried out after it, after a restart, and after it is lifted."""

    async def work(world: World) -> tuple[str, str, int, str]:
        plan, codes = await world.plan(), []
        world.ledger.halt("by the verification", world.clock.now_ms())
        for _ in range(2):
            done = await world.executor.enter(Approved(plan))
            codes.append(done.code if isinstance(done, Refused) else "entered")
            world.restart()
        sent = len(world.account.orders)
        world.ledger.clear_halt("verified", world.clock.now_ms())
        done = await world.executor.enter(Approved(plan))
        return codes[0], codes[1], sent, done.code if isinstance(done, Refused) else "entered"

    first, restarted, sent, lifted = in_world(lab, scripted(), work)
    yield equal("while halted", "halted", first)
    yield equal("halted, after a restart", "halted", restarted)
    yield equal("orders at the exchange while halted", 0, sent)
    yield equal("once a person lifted it", "entered", lifted)


_LIMITS = "See the tactician's limits: `trader config`; a smaller one binds."
CHECKS = (
    Check(
        "size_is_the_smallest_cap",
        LINES[3],
        "the size is the smallest limit's, rounded down to a step",
        _LIMITS,
        size_is_the_smallest_cap,
    ),
    Check(
        "risk_within_budget",
        LINES[3],
        "the loss at the stop, costs included, is within risk_per_trade",
        "See tactician.risk_per_trade and costs.",
        risk_within_budget,
    ),
    Check(
        "leverage_within_liquidation_limit",
        LINES[3],
        "liquidation is improbable, and beyond the backstop",
        "See tactician.max_liquidation_probability and tactician.max_leverage.",
        leverage_within_liquidation_limit,
    ),
    Check(
        "requests_only_lower",
        LINES[3],
        "what a person asks for lowers limits and never raises them",
        _LIMITS,
        requests_only_lower,
    ),
    Check(
        "refusals_have_codes",
        LINES[3],
        "each reason not to trade is a refusal with its code",
        _LIMITS,
        refusals_have_codes,
    ),
    Check(
        "same_decision_same_plan",
        LINES[3],
        "tactics run again about one analysis give the plan there is",
        "Move the ledger away only by `trader venue reset`.",
        same_decision_same_plan,
    ),
    Check(
        "halt_stops_entries",
        LINES[3],
        "a halt stops entries until a person lifts it, across restarts",
        "Lift it with `trader reset`.",
        halt_stops_entries,
    ),
)
