"""Position monitoring where answers are late or somebody interferes: covered in time, ours only, and proved."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.money.orders import OrderRequest
from trader_cli.core.money.plans import Approved, Refused
from trader_cli.core.proofs.assurance import AllFlat, Doubt, Protected, Unproved, WalkAway, prove_flat, prove_walk_away
from trader_cli.core.proofs.evidence import AccountSnapshot, Books
from trader_cli.pipelines.verification.checks import LINES, Check, Finding, at_most, equal, holds
from trader_cli.pipelines.verification.lab import SYMBOL
from trader_cli.pipelines.verification.worlds import ENTRY, STOP, in_world, scripted
from trader_cli.venue.server.faults import Fault, FaultPlan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trader_cli.pipelines.verification.lab import Lab
    from trader_cli.pipelines.verification.worlds import World
    from trader_cli.venue.engine.books import AlgoOrder

_QUANTITY, _OTHERS = Decimal("0.5"), Decimal("0.3")
_NEVER = 10_000
_SETTLED_S = 120
"""So long after an entry a stop that is not shown is believed to be gone."""


@dataclass(frozen=True)
class Covered:
    """What the exchange has after some care: position, orders that open, its first stop, what rests."""

    held: Decimal
    entries: int
    unprotected_ms: int
    resting: tuple[AlgoOrder, ...]


def _resting(world: World) -> tuple[AlgoOrder, ...]:
    return tuple(a for a in world.account.open_algos(SYMBOL) if a.type == "STOP_MARKET")


def late_reply_is_covered(lab: Lab) -> Iterator[Finding]:
    """The exchange fills the entry at once and answers late; and it answers about stops late, too."""
    options = lab.config.execution
    for route in (ENTRY, STOP):
        for late_s in (10.0, 25.0):

            async def work(world: World, route: tuple[str, str] = route, late_s: float = late_s) -> Covered:
                plan = await world.plan()
                world.venue.bend(FaultPlan((Fault(*route, after_s=late_s, count=2),)))
                await world.enter(plan)
                filled_ms = world.account.fills[0].time_ms
                stops = [*world.stops, *world.backstops]
                first_ms = min((s.time_ms for s in stops), default=filled_ms + _NEVER * 1000)
                return Covered(world.held, len(world.entries), first_ms - filled_ms, _resting(world))

            seen = in_world(lab, scripted(), work)
            what = f"{route[1]} answers {late_s:g} s late"
            most_ms = round((options.protection_deadline + options.request_budget) * 1000)
            yield at_most(f"{what}: milliseconds without a stop, at the exchange", most_ms, seen.unprotected_ms)
            yield equal(f"{what}: orders that open", 1, seen.entries)
            yield equal(f"{what}: position", _QUANTITY, seen.held)
            yield equal(f"{what}: backstops that rest", 1, sum(s.close_position for s in seen.resting))


def missing_stop_is_replaced(lab: Lab) -> Iterator[Finding]:
    """Somebody takes both stops away; the monitor's next look finds it, and a stop is tried before a close."""
    deadline_ms = round(lab.config.execution.protection_deadline * 1000)

    async def work(world: World) -> tuple[Covered, str]:
        await world.enter(await world.plan())
        await world.clock.sleep(_SETTLED_S)
        for stop in _resting(world):
            await world.exchange.private.cancel_stop(SYMBOL, stop.client_id)
        bare, began = len(_resting(world)), world.clock.now_ms()
        await world.monitor().start_monitoring(60)
        new = [s.time_ms for s in (*world.stops, *world.backstops) if s.time_ms >= began]
        unprotected_ms = min(new, default=began + _NEVER * 1000) - began if not bare else _NEVER * 1000
        return Covered(world.held, len(world.entries), unprotected_ms, _resting(world)), world.last_exit()

    seen, closed = in_world(lab, scripted(), work)
    yield at_most("milliseconds from the look to a stop, at the exchange", deadline_ms, seen.unprotected_ms)
    yield equal("position", _QUANTITY, seen.held)
    yield equal("why it ended", "unknown", closed)
    yield equal("backstops that rest", 1, sum(s.close_position for s in seen.resting))
    yield equal("quantity behind stops", _QUANTITY, sum(s.quantity for s in seen.resting if not s.close_position))


def foreign_beside_ours_stays(lab: Lab) -> Iterator[Finding]:
    """A person buys more of the symbol beside our position; later ours is closed."""

    async def work(world: World) -> tuple[Decimal, Decimal, tuple[AlgoOrder, ...], Decimal, int, str]:
        await world.enter(await world.plan())
        await world.exchange.private.place(OrderRequest("by-hand", SYMBOL, "BUY", _OTHERS))
        await world.monitor().start_monitoring(60)
        ours, held, resting = world.ledger.holding(SYMBOL).amount, world.held, _resting(world)
        done = await world.executor.enter(Approved(await world.plan(timeframe="1h")))
        await world.executor.close(SYMBOL, "verified")
        return ours, held, resting, world.held, world.open_count, done.code if isinstance(done, Refused) else "entered"

    ours, held, resting, left, orders, code = in_world(lab, scripted(), work)
    yield equal("position by the ledger", _QUANTITY, ours)
    yield equal("position at the exchange", _QUANTITY + _OTHERS, held)
    yield equal("stops that would close everything", 0, sum(s.close_position for s in resting))
    yield equal("quantity behind stops", _QUANTITY, sum((s.quantity for s in resting), Decimal(0)))
    yield holds(f"another entry is refused: {code}", code in {"foreign_position", "symbol_latched"})
    yield equal("position at the exchange, once ours is closed", _OTHERS, left)
    yield equal("orders left", 0, orders)


def breakdown_latches(lab: Lab) -> Iterator[Finding]:
    """A position closed as unprotected, a new plan after a restart, and a person who unlocks the symbol."""

    async def work(world: World) -> tuple[str | None, str, Decimal, Decimal]:
        closed = (await world.enter(await world.plan())).closed
        world.venue.faults.clear()
        world.restart()
        done = await world.executor.enter(Approved(await world.plan(timeframe="1h")))
        held, code = world.held, done.code if isinstance(done, Refused) else "entered"
        world.ledger.unlatch(SYMBOL, "verified", world.clock.now_ms())
        await world.enter(await world.plan(timeframe="1m"))
        return closed, code, held, world.held

    closed, code, held, after = in_world(lab, scripted(), work, faults={STOP: ["refused"] * _NEVER})
    yield equal("why it was closed", "unprotected", closed)
    yield equal("an entry after that", "symbol_latched", code)
    yield equal("position after that", Decimal(0), held)
    yield equal("position, once a person unlocked it", _QUANTITY, after)


def comfort_is_proved(lab: Lab) -> Iterator[Finding]:
    """What reassures, asked of silence and of contradictions; and of an account that is in order."""

    async def work(world: World) -> tuple[AccountSnapshot, frozenset[str]]:
        await world.enter(await world.plan())
        private = world.exchange.private
        look = AccountSnapshot(
            world.exchange.server_now_ms(),
            tuple(await private.positions()),
            tuple(await private.open_stops(SYMBOL)),
            tuple(await private.open_orders(SYMBOL)),
        )
        return look, frozenset(world.ledger.client_ids())

    look, known = in_world(lab, scripted(), work)
    books = Books({SYMBOL: _QUANTITY}, known)
    silent, empty = (
        AccountSnapshot(look.requested_ms, None, None, None, ("silent",)),
        AccountSnapshot(look.requested_ms, (), (), ()),
    )
    good = prove_walk_away(look, books)
    yield holds("an account in order can be left alone", isinstance(good, WalkAway) and good.sentence.startswith("yes"))
    bare = AccountSnapshot(look.requested_ms, look.positions, (), look.orders)
    doubtful = (
        ("nothing has answered", silent, books),
        ("an empty list against a ledger", empty, books),
        ("no stop is shown", bare, books),
        ("stops of nobody we know", look, Books({SYMBOL: _QUANTITY}, frozenset())),
    )
    for what, shown, kept in doubtful:
        said = prove_walk_away(shown, kept)
        yield holds(f"{what}: NO", isinstance(said, Doubt) and said.sentence.startswith("NO"))
        for proof, arguments in ((WalkAway, (shown, kept)), (AllFlat, (shown, kept))):
            yield holds(f"{what}: {proof.__name__} cannot be made", _cannot_be_made(proof, *arguments))
    yield holds("silence is not flat", isinstance(prove_flat(SYMBOL, silent, Books({}, known)), Doubt))
    yield holds("what no stop covers is not protected", _cannot_be_made(Protected, SYMBOL, bare, books))


def _cannot_be_made(proof: type, *arguments: object) -> bool:
    try:
        proof(*arguments)
    except Unproved:
        return True
    return False


_CARE = "Run `trader monitor`; see execution.protection_deadline and execution.request_budget."
CHECKS = (
    Check(
        "late_reply_is_covered",
        LINES[4],
        "a position whose order is answered late is covered all the same",
        _CARE,
        late_reply_is_covered,
    ),
    Check(
        "missing_stop_is_replaced",
        LINES[4],
        "a stop that is gone is placed again before anything is closed",
        _CARE,
        missing_stop_is_replaced,
    ),
    Check(
        "foreign_beside_ours_stays",
        LINES[4],
        "what is not ours beside our position is neither closed nor covered",
        "Close it by hand, or run `trader adopt`.",
        foreign_beside_ours_stays,
    ),
    Check(
        "breakdown_latches",
        LINES[4],
        "after an unprotected close nothing is opened until a person unlocks it",
        "Run `trader status`, then `trader unlock SYMBOL`.",
        breakdown_latches,
    ),
    Check(
        "comfort_is_proved",
        LINES[4],
        "what reassures is said only where exchange and ledger prove it",
        "Run `trader status` again; it names what has not answered.",
        comfort_is_proved,
    ),
)
