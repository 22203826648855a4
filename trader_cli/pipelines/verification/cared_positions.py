"""Positions cared for on a simulated exchange, and how each ended."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.pipelines.verification.checks import Finding, equal
from trader_cli.pipelines.verification.worlds import BALANCE, in_world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trader_cli.core.types import Side
    from trader_cli.pipelines.verification.lab import Lab
    from trader_cli.pipelines.verification.worlds import World
    from trader_cli.venue.engine.books import AlgoOrder
    from trader_cli.venue.simulated_market.tape import Tape


QUANTITY = Decimal("0.5")


FOR_S = 3600.0


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


def care_for(
    lab: Lab, tape: Tape, side: Side = "long", *, stop: float = 0.01, target: float = 0.05, hold_minutes: float = 600
) -> Ended:
    """A position entered and monitored until flat, for an hour at most."""

    async def work(world: World) -> Ended:
        await world.enter(await world.plan(side, stop=stop, target=target, hold_minutes=hold_minutes))
        await world.monitor().start_monitoring(FOR_S)
        return end_of(world)

    return in_world(lab, tape, work)


def end_of(world: World) -> Ended:
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


def ended_flat(what: str, ended: Ended, *reasons: str) -> Iterator[Finding]:
    yield equal(f"{what}: position at the exchange", Decimal(0), ended.held)
    yield equal(f"{what}: orders left at the exchange", 0, ended.resting)
    yield equal(
        f"{what}: reason, one of {', '.join(reasons)}",
        ended.reason if ended.reason in reasons else reasons[0],
        ended.reason,
    )
