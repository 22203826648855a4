"""Entries on a simulated exchange, and what was seen of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trader_cli.pipelines.verification.lab import SYMBOL
from trader_cli.pipelines.verification.worlds import in_world, scripted

if TYPE_CHECKING:
    from decimal import Decimal

    from trader_cli.core.money.plans import TradePlan
    from trader_cli.core.types import Side
    from trader_cli.execution.entry_result import EntryResult
    from trader_cli.pipelines.verification.lab import Lab
    from trader_cli.pipelines.verification.worlds import World
    from trader_cli.venue.engine.books import AlgoOrder
    from trader_cli.venue.server.faulty_venue import Fault, Route


SIDES: tuple[Side, ...] = ("long", "short")


NEVER = 10_000


@dataclass(frozen=True)
class Seen:
    """What the exchange has after an entry."""

    plan: TradePlan
    entered: EntryResult
    held: Decimal
    orders: int
    algos: tuple[AlgoOrder, ...]
    filled_ms: int
    leverage: int
    isolated: bool

    def only(self, kind: str, *, close_position: bool) -> AlgoOrder | None:
        """The one conditional order of a kind that rests, if there is just one."""
        found = [a for a in self.algos if a.is_open and a.type == kind and a.close_position == close_position]
        return found[0] if len(found) == 1 else None


def entry_seen(lab: Lab, side: Side = "long", faults: dict[Route, list[Fault]] | None = None) -> Seen:
    """An entry in a world of its own, and what the exchange has then."""

    async def work(world: World) -> Seen:
        plan = await world.plan(side)
        entered = await world.enter(plan)
        books = world.account
        option = books.option(SYMBOL)
        return Seen(
            plan,
            entered,
            world.held,
            len(world.entries),
            tuple(books.algos.values()),
            books.fills[0].time_ms,
            option.leverage,
            option.isolated,
        )

    return in_world(lab, scripted(), work, faults=faults)


def entry_made(lab: Lab, side: Side) -> Seen:
    return lab.once(f"entered {side}", lambda: entry_seen(lab, side))
