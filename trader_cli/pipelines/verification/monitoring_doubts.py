"""What the monitor concludes from silence, from acts of others and from losses."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.money.orders import OrderRequest
from trader_cli.core.money.plans import Approved, Refused
from trader_cli.pipelines.verification.cared_positions import FOR_S, QUANTITY, Ended, end_of, ended_flat
from trader_cli.pipelines.verification.checks import Finding, at_least, at_most, equal, holds
from trader_cli.pipelines.verification.lab import SYMBOL
from trader_cli.pipelines.verification.worlds import BALANCE, POSITIONS, in_world, scripted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trader_cli.pipelines.verification.lab import Lab
    from trader_cli.pipelines.verification.worlds import World
    from trader_cli.venue.server.faulty_venue import Fault


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
        yield equal(f"{fault}: position at the exchange", QUANTITY, held)
        yield equal(f"{fault}: position by the ledger", QUANTITY, booked)
        yield equal(f"{fault}: orders that protect it", 3, resting)
        yield at_least(f"{fault}: seconds the monitor stayed", 60.0, seconds)
        yield equal(f"{fault}: what it said first", "wait", said)


def closed_outside_is_booked(lab: Lab) -> Iterator[Finding]:
    """A person closes our position in the exchange's own app."""

    async def work(world: World) -> tuple[Decimal, Ended]:
        await world.enter(await world.plan())
        await world.exchange.private.place(OrderRequest("by-hand", SYMBOL, "SELL", QUANTITY, reduce_only=True))
        await world.monitor().start_monitoring(60)
        return world.ledger.holding(SYMBOL).amount, end_of(world)

    booked, ended = in_world(lab, scripted(), work)
    yield equal("position by the ledger", Decimal(0), booked)
    yield from ended_flat("closed outside", ended, "external")
    yield at_most("ledger against account", Decimal("1e-8"), abs(ended.booked - ended.earned))


def loss_limit_halts(lab: Lab) -> Iterator[Finding]:
    """A position that loses more than a day may; what is open is closed, and nothing is opened any more."""
    settings = lab.settings(lab.folder(), max_daily_loss=0.01, max_drawdown=0.05, close_on_halt=True)

    async def work(world: World) -> tuple[Ended, str, str, str, str]:
        await world.enter(await world.plan(quantity="4", stop=0.05, target=0.2))
        await world.monitor().start_monitoring(FOR_S)
        ended, halted = end_of(world), world.ledger.halted() or ""
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
