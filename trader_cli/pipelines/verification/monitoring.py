"""Position monitoring and closing: stops that only tighten, exits that close, silence that is never read as flat."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.money.orders import OrderRequest
from trader_cli.core.money.plans import Approved, Refused
from trader_cli.core.types import Abstention, Analysis, Probabilities
from trader_cli.pipelines.verification.checks import LINES, Check, Finding, at_least, at_most, equal, holds
from trader_cli.pipelines.verification.lab import SYMBOL
from trader_cli.pipelines.verification.worlds import BALANCE, POSITIONS, in_world, scripted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trader_cli.core.types import Side
    from trader_cli.pipelines.verification.lab import Lab
    from trader_cli.pipelines.verification.worlds import World
    from trader_cli.venue.engine.books import AlgoOrder
    from trader_cli.venue.server.faulty_venue import Fault
    from trader_cli.venue.simulated_market.tape import Tape

_QUANTITY = Decimal("0.5")
_FOR_S = 3600.0


@dataclass(frozen=True)
class Ended:
    """How a position that was cared for ended, by the exchange and by the ledger."""

    held: Decimal
    resting: int
    reason: str
    stops: tuple[AlgoOrder, ...]
    last_fill_ms: int
    entered_ms: int
    exit_price: Decimal
    earned: Decimal
    booked: Decimal


def _cared(
    lab: Lab, tape: Tape, side: Side = "long", *, stop: float = 0.01, target: float = 0.05, hold_minutes: float = 600
) -> Ended:
    """A position entered and monitored until flat, for an hour at most."""

    async def work(world: World) -> Ended:
        await world.enter(await world.plan(side, stop=stop, target=target, hold_minutes=hold_minutes))
        await world.monitor().start_monitoring(_FOR_S)
        return _ended(world)

    return in_world(lab, tape, work)


def _ended(world: World) -> Ended:
    fills = world.account.fills
    return Ended(
        world.held,
        world.open_count,
        world.last_exit(),
        tuple(world.stops),
        fills[-1].time_ms,
        fills[0].time_ms,
        fills[-1].price,
        world.account.wallet - BALANCE,
        world.ledger.net_income(),
    )


def _flat(what: str, ended: Ended, *reasons: str) -> Iterator[Finding]:
    yield equal(f"{what}: position at the exchange", Decimal(0), ended.held)
    yield equal(f"{what}: orders left at the exchange", 0, ended.resting)
    yield equal(
        f"{what}: reason, one of {', '.join(reasons)}",
        ended.reason if ended.reason in reasons else reasons[0],
        ended.reason,
    )


def _trailed(lab: Lab, side: Side) -> Ended:
    """Our way, as far as it takes to move the stop four rungs, then back again."""
    up, options = 1 if side == "long" else -1, lab.config.monitor
    gain = 0.01 * (options.trail_distance + 4 * options.trail_step + 1)
    tape = scripted((8, 1 + up * gain), (8, 1.0))
    return _cared(lab, tape, side, target=2 * gain)


def stop_only_tightens(lab: Lab) -> Iterator[Finding]:
    """Every stop the exchange was given, and what rested between two of them."""
    for side, sign in (("long", 1), ("short", -1)):
        ended = _trailed(lab, side)  # type: ignore[arg-type]
        levels = [sign * stop.trigger_price for stop in ended.stops]
        yield at_least(f"{side}: stops placed, one after the other", 3, len(levels))
        yield equal(f"{side}: levels, each tighter than the last", sorted(set(levels)), levels)
        uncovered = [
            old.trigger_price
            for old, new in zip(ended.stops, ended.stops[1:], strict=False)
            if old.update_ms < new.time_ms
        ]
        yield equal(f"{side}: stops taken away before the next one rested", [], uncovered)
        yield holds(f"{side}: whether it ended with a profit", ended.earned > 0)
        yield from _flat(side, ended, "stop")


def take_profit_closes(lab: Lab) -> Iterator[Finding]:
    """Price goes to the target and beyond."""
    for side, sign in (("long", 1), ("short", -1)):
        ended = _cared(lab, scripted((8, 1 + sign * 0.03)), side, target=0.02)  # type: ignore[arg-type]
        yield from _flat(side, ended, "take_profit", "target_passed")
        reached = sign * (ended.exit_price - Decimal(2000) * (1 + sign * Decimal("0.02")))
        yield at_least(f"{side}: exit price against the target", Decimal(-1), reached)


def stop_closes_without_us(lab: Lab) -> Iterator[Finding]:
    """Price falls through the stop while no process of ours runs; the next one books it."""

    async def work(world: World) -> tuple[Decimal, Decimal, Ended]:
        await world.enter(await world.plan())
        await world.clock.sleep(40 * 60)
        alone = world.held
        await world.monitor().start_monitoring(60)
        return alone, world.ledger.holding(SYMBOL).amount, _ended(world)

    alone, booked, ended = in_world(lab, scripted((20, 0.97)), work)
    yield equal("position before any process looked", Decimal(0), alone)
    yield equal("position by the ledger, after one did", Decimal(0), booked)
    yield from _flat("afterwards", ended, "stop", "backstop")
    yield at_most("loss: the stop's distance, a tenth more, and fees", Decimal("13.2"), -ended.earned)
    yield at_most("ledger against account", Decimal("1e-8"), abs(ended.booked - ended.earned))


def time_exit_closes(lab: Lab) -> Iterator[Finding]:
    """A calm market, and a plan for five minutes."""
    ended = _cared(lab, scripted(), hold_minutes=5)
    yield from _flat("time", ended, "time")
    seconds = (ended.last_fill_ms - ended.entered_ms) / 1000
    yield at_least("seconds held", 299.0, seconds)
    yield at_most("seconds held, up to the next look", 302.0 + lab.config.position_monitoring_interval, seconds)


class _Assessor:
    """An assessor that always says the same probability of a loss."""

    def __init__(self, loss: float) -> None:
        self.loss = loss
        self.requested = 0

    async def assess(self, symbol: str, timeframe: str) -> Analysis:
        """A long position's analysis at the last closed bar."""
        self.requested += 1
        return Analysis(
            symbol=symbol,
            timeframe=timeframe,
            decision_time_ms=1 << 42,
            price=2000.0,
            outcome=Abstention("scripted", "made by the verification"),
            probabilities=Probabilities(up=1 - self.loss, down=self.loss, flat=0.0),
        )


def high_risk_closes(lab: Lab) -> Iterator[Finding]:
    """The model turns against the position: asked once a bar, obeyed above the threshold, not below."""

    async def work(world: World, loss: float) -> tuple[Ended, int]:
        assessor = _Assessor(loss)
        await world.enter(await world.plan(timeframe="1m"))
        await world.monitor(assessor).start_monitoring(150)
        return _ended(world), assessor.requested

    async def sure(world: World) -> tuple[Ended, int]:
        return await work(world, 1.0)

    async def fine(world: World) -> tuple[Ended, int]:
        return await work(world, 0.0)

    closed, _ = in_world(lab, scripted(), sure)
    yield from _flat("a sure loss", closed, "high_risk")
    kept, requested = in_world(lab, scripted(), fine)
    yield equal("position after a good opinion", _QUANTITY, kept.held)
    yield equal("orders that protect it", 3, kept.resting)
    yield at_least("how often the model was asked", 1, requested)
    yield at_most("how often the model was asked: once per closed bar", 3, requested)


def flat_leaves_no_order(lab: Lab) -> Iterator[Finding]:
    """A close by hand, with three conditional orders resting."""

    async def work(world: World) -> tuple[int, Decimal, Ended]:
        await world.enter(await world.plan())
        before = world.open_count
        closed = await world.executor.close(SYMBOL, "verified")
        return before, closed, _ended(world)

    before, closed, ended = in_world(lab, scripted(), work)
    yield equal("orders that rested before", 3, before)
    yield equal("quantity closed", _QUANTITY, closed)
    yield from _flat("closed", ended, "verified")


def silence_is_not_flat(lab: Lab) -> Iterator[Finding]:
    """Questions about positions that fail or come back as garbage, look after look."""
    cases: tuple[Fault, ...] = ("down", "html", "empty")
    for fault in cases:

        async def work(world: World, fault: Fault = fault) -> tuple[Decimal, int, Decimal, float, str]:
            await world.enter(await world.plan())
            world.venue.faults[POSITIONS] = [fault] * 12
            began = world.clock.now_ms()
            await world.monitor().start_monitoring(60)
            waited = next((report.action for report in world.reports), "")
            booked = world.ledger.holding(SYMBOL).amount
            return world.held, world.open_count, booked, (world.clock.now_ms() - began) / 1000, waited

        held, resting, booked, seconds, said = in_world(lab, scripted(), work)
        yield equal(f"{fault}: position at the exchange", _QUANTITY, held)
        yield equal(f"{fault}: position by the ledger", _QUANTITY, booked)
        yield equal(f"{fault}: orders that protect it", 3, resting)
        yield at_least(f"{fault}: seconds the monitor stayed", 60.0, seconds)
        yield equal(f"{fault}: what it said first", "wait", said)


def closed_outside_is_booked(lab: Lab) -> Iterator[Finding]:
    """A person closes our position in the exchange's own app."""

    async def work(world: World) -> tuple[Decimal, Ended]:
        await world.enter(await world.plan())
        await world.exchange.private.place(OrderRequest("by-hand", SYMBOL, "SELL", _QUANTITY, reduce_only=True))
        await world.monitor().start_monitoring(60)
        return world.ledger.holding(SYMBOL).amount, _ended(world)

    booked, ended = in_world(lab, scripted(), work)
    yield equal("position by the ledger", Decimal(0), booked)
    yield from _flat("closed outside", ended, "external")
    yield at_most("ledger against account", Decimal("1e-8"), abs(ended.booked - ended.earned))


def loss_limit_halts(lab: Lab) -> Iterator[Finding]:
    """A position that loses more than a day may; what is open is closed, and nothing is opened any more."""
    settings = lab.settings(lab.folder(), max_daily_loss=0.01, max_drawdown=0.05, close_on_halt=True)

    async def work(world: World) -> tuple[Ended, str, str, str, str]:
        await world.enter(await world.plan(quantity="4", stop=0.05, target=0.2))
        await world.monitor().start_monitoring(_FOR_S)
        ended, halted = _ended(world), world.ledger.halted() or ""
        world.restart()
        after = world.ledger.halted() or ""
        done = await world.executor.enter(Approved(await world.plan()))
        code = done.code if isinstance(done, Refused) else "entered"
        world.ledger.clear_halt("verified", world.clock.now_ms())
        return ended, halted, after, code, world.ledger.halted() or ""

    ended, halted, after, code, cleared = in_world(lab, scripted((20, 0.97)), work, settings=settings)
    yield holds("the halt names the limit", "1.0% of" in halted)
    yield equal("the halt, after a restart", halted, after)
    yield equal("an entry while halted", "halted", code)
    yield equal("the halt, once a person lifted it", "", cleared)
    yield equal("position at the exchange", Decimal(0), ended.held)
    yield equal("orders left", 0, ended.resting)
    yield at_most("loss: the limit and a fifth", BALANCE * Decimal("0.012"), -ended.earned)


def nothing_is_invented(lab: Lab) -> Iterator[Finding]:
    """A position that is named to the monitor and that the exchange does not have."""

    async def work(world: World) -> tuple[list[str], int, str]:
        monitor = world.monitor()
        monitor.add_position("position_001", {"symbol": SYMBOL, "side": "long", "quantity": 0.1, "entry_price": 100.0})
        await monitor.start_monitoring(30)
        status = monitor.get_position_status("position_001")
        return [report.reason for report in world.reports], len(world.account.orders), str(status["state"])

    said, orders, state = in_world(lab, scripted(), work)
    yield equal("what was said", ["not_at_exchange"], said)
    yield equal("its state", "not_at_exchange", state)
    yield equal("orders at the exchange", 0, orders)


_MONITOR = "Run `trader monitor`; see position_monitoring_interval and monitor."
CHECKS = (
    Check(
        "stop_only_tightens",
        LINES[4],
        "the stop follows the best price, never loosens, and never leaves a hole",
        "See monitor.trail_distance and monitor.trail_step.",
        stop_only_tightens,
    ),
    Check("take_profit_closes", LINES[4], "at its target a position is closed", _MONITOR, take_profit_closes),
    Check(
        "stop_closes_without_us",
        LINES[4],
        "the stop closes the position with no process of ours running",
        _MONITOR,
        stop_closes_without_us,
    ),
    Check("time_exit_closes", LINES[4], "at the end of its horizon a position is closed", _MONITOR, time_exit_closes),
    Check(
        "high_risk_closes",
        LINES[4],
        "the model's opinion is asked once a bar and closes above the threshold",
        "See high_risk_threshold and monitor.min_dwell.",
        high_risk_closes,
    ),
    Check(
        "flat_leaves_no_order",
        LINES[4],
        "flat means that no order of ours is left",
        "Run `trader flatten`.",
        flat_leaves_no_order,
    ),
    Check(
        "silence_is_not_flat",
        LINES[4],
        "a question that fails is never read as no position",
        "Check the network; the stops rest at the exchange meanwhile.",
        silence_is_not_flat,
    ),
    Check(
        "closed_outside_is_booked",
        LINES[4],
        "a position closed by somebody else is booked, not invented",
        _MONITOR,
        closed_outside_is_booked,
    ),
    Check(
        "loss_limit_halts",
        LINES[4],
        "a broken loss limit closes and halts, until a person lifts it",
        "Lift it with `trader reset`; see tactician.max_daily_loss.",
        loss_limit_halts,
    ),
    Check(
        "nothing_is_invented",
        LINES[4],
        "a position that is not at the exchange is reported, never made up",
        _MONITOR,
        nothing_is_invented,
    ),
)
