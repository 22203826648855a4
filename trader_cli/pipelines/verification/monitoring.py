"""Position monitoring and closing: stops that only tighten, exits that close, silence that is never read as flat."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.types import Abstention, Analysis, Probabilities
from trader_cli.pipelines.verification.cared_positions import QUANTITY, Ended, care_for, end_of, ended_flat
from trader_cli.pipelines.verification.checks import LINES, Check, Finding, at_least, at_most, equal, holds
from trader_cli.pipelines.verification.lab import SYMBOL
from trader_cli.pipelines.verification.monitoring_doubts import (
    closed_outside_is_booked,
    loss_limit_halts,
    nothing_is_invented,
    silence_is_not_flat,
)
from trader_cli.pipelines.verification.worlds import in_world, scripted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trader_cli.core.types import Side
    from trader_cli.pipelines.verification.lab import Lab
    from trader_cli.pipelines.verification.worlds import World


def _trailed(lab: Lab, side: Side) -> Ended:
    """Our way, as far as it takes to move the stop four rungs, then back again."""
    up, options = 1 if side == "long" else -1, lab.config.monitor
    gain = 0.01 * (options.trail_distance + 4 * options.trail_step + 1)
    tape = scripted((8, 1 + up * gain), (8, 1.0))
    return care_for(lab, tape, side, target=2 * gain)


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
        yield from ended_flat(side, ended, "stop")


def take_profit_closes(lab: Lab) -> Iterator[Finding]:
    """Price goes to the target and beyond."""
    for side, sign in (("long", 1), ("short", -1)):
        ended = care_for(lab, scripted((8, 1 + sign * 0.03)), side, target=0.02)  # type: ignore[arg-type]
        yield from ended_flat(side, ended, "take_profit", "target_passed")
        reached = sign * (ended.exit_price - Decimal(2000) * (1 + sign * Decimal("0.02")))
        yield at_least(f"{side}: exit price against the target", Decimal(-1), reached)


def stop_closes_without_us(lab: Lab) -> Iterator[Finding]:
    """Price falls through the stop while no process of ours runs; the next one books it."""

    async def work(world: World) -> tuple[Decimal, Decimal, Ended]:
        await world.enter(await world.plan())
        await world.clock.sleep(40 * 60)
        alone = world.held
        await world.monitor().start_monitoring(60)
        return alone, world.ledger.holding(SYMBOL).amount, end_of(world)

    alone, booked, ended = in_world(lab, scripted((20, 0.97)), work)
    yield equal("position before any process looked", Decimal(0), alone)
    yield equal("position by the ledger, after one did", Decimal(0), booked)
    yield from ended_flat("afterwards", ended, "stop", "backstop")
    yield at_most("loss: the stop's distance, a tenth more, and fees", Decimal("13.2"), -ended.earned)
    yield at_most("ledger against account", Decimal("1e-8"), abs(ended.booked - ended.earned))


def time_exit_closes(lab: Lab) -> Iterator[Finding]:
    """A calm market, and a plan for five minutes."""
    ended = care_for(lab, scripted(), hold_minutes=5)
    yield from ended_flat("time", ended, "time")
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
        return end_of(world), assessor.requested

    async def sure(world: World) -> tuple[Ended, int]:
        return await work(world, 1.0)

    async def fine(world: World) -> tuple[Ended, int]:
        return await work(world, 0.0)

    closed, _ = in_world(lab, scripted(), sure)
    yield from ended_flat("a sure loss", closed, "high_risk")
    kept, requested = in_world(lab, scripted(), fine)
    yield equal("position after a good opinion", QUANTITY, kept.held)
    yield equal("orders that protect it", 3, kept.resting)
    yield at_least("how often the model was asked", 1, requested)
    yield at_most("how often the model was asked: once per closed bar", 3, requested)


def flat_leaves_no_order(lab: Lab) -> Iterator[Finding]:
    """A close by hand, with three conditional orders resting."""

    async def work(world: World) -> tuple[int, Decimal, Ended]:
        await world.enter(await world.plan())
        before = world.open_count
        closed = await world.executor.close(SYMBOL, "verified")
        return before, closed, end_of(world)

    before, closed, ended = in_world(lab, scripted(), work)
    yield equal("orders that rested before", 3, before)
    yield equal("quantity closed", QUANTITY, closed)
    yield from ended_flat("closed", ended, "verified")


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
