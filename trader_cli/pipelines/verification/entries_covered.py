"""What protects a position from its first fill on: stops, the backstop, the deadline."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.pipelines.verification.checks import Finding, at_most, equal, holds
from trader_cli.pipelines.verification.entries_seen import NEVER, SIDES, entry_made, entry_seen
from trader_cli.pipelines.verification.worlds import STOP, in_world, scripted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trader_cli.execution.entry_result import EntryResult
    from trader_cli.pipelines.verification.lab import Lab
    from trader_cli.pipelines.verification.worlds import World
    from trader_cli.venue.server.faulty_venue import Fault


def stop_covers_the_position(lab: Lab) -> Iterator[Finding]:
    """Side, size, level and trigger of the quantity stop, as the exchange has it."""
    for side in SIDES:
        seen = entry_made(lab, side)
        stop, plan = seen.only("STOP_MARKET", close_position=False), seen.plan
        yield holds(f"{side}: one quantity stop rests", stop is not None)
        if stop is not None:
            yield equal(f"{side}: side", "SELL" if side == "long" else "BUY", stop.side)
            yield equal(f"{side}: quantity", abs(seen.held), stop.quantity)
            yield equal(f"{side}: trigger price", plan.stop_price, stop.trigger_price)
            yield holds(f"{side}: reduce-only", stop.reduce_only)


def stops_trigger_by_mark_price(lab: Lab) -> Iterator[Finding]:
    """What each conditional order looks at."""
    for side in SIDES:
        algos = entry_made(lab, side).algos
        yield equal(f"{side}: working types", ["MARK_PRICE"] * 3, [algo.working_type for algo in algos])


def backstop_closes_everything(lab: Lab) -> Iterator[Finding]:
    """The close-position stop at the worst level."""
    for side in SIDES:
        seen = entry_made(lab, side)
        backstop = seen.only("STOP_MARKET", close_position=True)
        yield holds(f"{side}: one backstop rests", backstop is not None)
        if backstop is not None:
            yield equal(f"{side}: trigger price", seen.plan.backstop_price, backstop.trigger_price)
            yield equal(f"{side}: side", "SELL" if side == "long" else "BUY", backstop.side)
        yield equal(f"{side}: isolated, at the plan's leverage", (True, 5), (seen.isolated, seen.leverage))


def take_profit_rests(lab: Lab) -> Iterator[Finding]:
    """The take-profit at the exchange."""
    for side in SIDES:
        seen = entry_made(lab, side)
        target = seen.only("TAKE_PROFIT_MARKET", close_position=False)
        yield holds(f"{side}: one take-profit rests", target is not None)
        if target is not None:
            wanted = (seen.plan.take_profit_price, abs(seen.held), True)
            yield equal(
                f"{side}: level, quantity, reduce-only",
                wanted,
                (target.trigger_price, target.quantity, target.reduce_only),
            )


def covered_within_the_deadline(lab: Lab) -> Iterator[Finding]:
    """From the exchange's fill to its first stop; with an honest exchange and with one that loses stops' replies."""
    deadline_ms = round(lab.config.execution.protection_deadline * 1000)
    cases: dict[str, list[Fault]] = {"honest": [], "loses the first reply": ["dropped"], "refuses once": ["refused"]}
    for what, faults in cases.items():
        seen = entry_seen(lab, faults={STOP: faults})
        first = min((a.time_ms for a in seen.algos if a.type == "STOP_MARKET"), default=NEVER * 1000)
        yield at_most(f"{what}: milliseconds without a stop, at the exchange", deadline_ms, first - seen.filled_ms)
        yield at_most(f"{what}: milliseconds without cover, by the ledger", deadline_ms, seen.entered.uncovered_ms)
        yield equal(f"{what}: backstops that rest", 1, sum(a.is_open and a.close_position for a in seen.algos))


def unprotected_is_closed(lab: Lab) -> Iterator[Finding]:
    """An exchange that takes the entry and refuses every stop."""
    settings = lab.settings(lab.folder())

    async def work(world: World) -> tuple[EntryResult, Decimal, int, int, str]:
        entered = await world.enter(await world.plan())
        fills = world.account.fills
        return entered, world.held, fills[-1].time_ms - fills[0].time_ms, world.open_count, world.last_exit()

    entered, held, took_ms, resting, reason = in_world(
        lab,
        scripted(),
        work,
        settings=settings,
        faults={STOP: ["refused"] * NEVER},
        most_s=settings.execution.protection_deadline + 60,
    )
    deadline_ms = round(settings.execution.protection_deadline * 1000)
    yield equal("why it was closed", ("unprotected", "unprotected"), (entered.closed, reason))
    yield equal("position", Decimal(0), held)
    yield equal("orders left", 0, resting)
    yield at_most("milliseconds from fill to flat: the deadline and two seconds", deadline_ms + 2000, took_ms)
