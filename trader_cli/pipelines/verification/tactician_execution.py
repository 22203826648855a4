"""Tactician position management, the orders: exactly one per intent, and a position that is never unprotected."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.errors import ConfigurationError
from trader_cli.core.money.plans import Approved, Refused
from trader_cli.pipelines.verification.checks import LINES, Check, Finding, at_least, at_most, equal, holds
from trader_cli.pipelines.verification.lab import SYMBOL
from trader_cli.pipelines.verification.worlds import ENTRY, STOP, in_world, scripted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trader_cli.core.money.plans import TradePlan
    from trader_cli.core.types import Side
    from trader_cli.execution.entry_result import EntryResult
    from trader_cli.pipelines.verification.lab import Lab
    from trader_cli.pipelines.verification.worlds import World
    from trader_cli.venue.engine.books import AlgoOrder
    from trader_cli.venue.server.faulty_venue import Fault, Route

_SIDES: tuple[Side, ...] = ("long", "short")
_NEVER = 10_000


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


def _seen(lab: Lab, side: Side = "long", faults: dict[Route, list[Fault]] | None = None) -> Seen:
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


def _entered(lab: Lab, side: Side) -> Seen:
    return lab.once(f"entered {side}", lambda: _seen(lab, side))


def one_order_per_intent(lab: Lab) -> Iterator[Finding]:
    """The same plan entered three times, the last time after a restart; and again once it is closed."""

    async def work(world: World) -> tuple[list[int], Decimal, list[bool]]:
        plan, orders, fresh = await world.plan(), [], []
        for restart in (False, False, True):
            if restart:
                world.restart()
            await world.enter(plan)
            orders.append(len(world.entries))
        held = world.held
        await world.executor.close(SYMBOL, "verified")
        fresh.append((await world.enter(plan)).fresh)
        orders.append(len(world.entries))
        return orders, held, fresh

    orders, held, fresh = in_world(lab, scripted(), work)
    yield equal("orders that open, at the exchange, after each entry", [1, 1, 1, 1], orders)
    yield equal("position", Decimal("0.5"), held)
    yield equal("whether the entry of a closed plan was new", [False], fresh)


def one_order_after_a_lost_reply(lab: Lab) -> Iterator[Finding]:
    """The exchange takes the order and its answer is lost."""
    for fault, what in (
        ("dropped", "a reply that is dropped"),
        ("html", "a reply that is garbage"),
        ("truncated", "a reply that is cut off"),
    ):
        seen = _seen(lab, faults={ENTRY: [fault]})  # type: ignore[list-item]
        yield equal(f"orders that open, after {what}", 1, seen.orders)
        yield equal(f"position, after {what}", seen.plan.quantity, seen.held)
        yield holds(f"backstop rests, after {what}", seen.only("STOP_MARKET", close_position=True) is not None)


def an_absent_entry_is_not_sent_again(lab: Lab) -> Iterator[Finding]:
    """An order that never arrives and whose answer says nothing; its plan entered again after that."""
    wanted_ms = round(lab.config.execution.absence_after * 1000)

    async def work(world: World) -> tuple[list[str], int, int, Decimal, int]:
        plan, codes, ended = await world.plan(), [], [world.clock.now_ms()]
        for _ in range(2):
            done = await world.executor.enter(Approved(plan))
            codes.append(done.code if isinstance(done, Refused) else "entered")
            ended.append(world.clock.now_ms())
        return codes, ended[1] - ended[0], len(world.entries), world.held, world.open_count

    codes, took_ms, orders, held, resting = in_world(lab, scripted(), work, faults={ENTRY: ["down"]})
    yield equal("what each entry said", ["entry_absent"] * 2, codes)
    yield at_least("milliseconds until it was called absent", wanted_ms, took_ms)
    yield equal("orders that open, at the exchange", 0, orders)
    yield equal("position", Decimal(0), held)
    yield equal("orders left", 0, resting)


def a_kill_goes_on_where_it_was(lab: Lab) -> Iterator[Finding]:
    """Entering is cut off as soon as the exchange has the order, and started again by another process."""

    async def work(world: World) -> tuple[int, Decimal, bool, int]:
        plan = await world.plan()
        entering = asyncio.create_task(world.executor.enter(Approved(plan)))
        while ENTRY not in world.venue.seen:
            world.venue.arrivals.clear()
            await world.venue.arrivals.wait()
        entering.cancel()
        with suppress(asyncio.CancelledError):
            await entering
        before = world.open_count
        world.restart()
        done = await world.enter(plan)
        return len(world.entries), world.held, done.cover is not None and done.cover.full, before

    orders, held, covered, before = in_world(lab, scripted(), work)
    yield equal("stops that rested when it was cut off", 0, before)
    yield equal("orders that open", 1, orders)
    yield equal("position", Decimal("0.5"), held)
    yield holds("covered in the end", covered)


def stop_covers_the_position(lab: Lab) -> Iterator[Finding]:
    """Side, size, level and trigger of the quantity stop, as the exchange has it."""
    for side in _SIDES:
        seen = _entered(lab, side)
        stop, plan = seen.only("STOP_MARKET", close_position=False), seen.plan
        yield holds(f"{side}: one quantity stop rests", stop is not None)
        if stop is not None:
            yield equal(f"{side}: side", "SELL" if side == "long" else "BUY", stop.side)
            yield equal(f"{side}: quantity", abs(seen.held), stop.quantity)
            yield equal(f"{side}: trigger price", plan.stop_price, stop.trigger_price)
            yield holds(f"{side}: reduce-only", stop.reduce_only)


def stops_trigger_by_mark_price(lab: Lab) -> Iterator[Finding]:
    """What each conditional order looks at."""
    for side in _SIDES:
        algos = _entered(lab, side).algos
        yield equal(f"{side}: working types", ["MARK_PRICE"] * 3, [algo.working_type for algo in algos])


def backstop_closes_everything(lab: Lab) -> Iterator[Finding]:
    """The close-position stop at the worst level."""
    for side in _SIDES:
        seen = _entered(lab, side)
        backstop = seen.only("STOP_MARKET", close_position=True)
        yield holds(f"{side}: one backstop rests", backstop is not None)
        if backstop is not None:
            yield equal(f"{side}: trigger price", seen.plan.backstop_price, backstop.trigger_price)
            yield equal(f"{side}: side", "SELL" if side == "long" else "BUY", backstop.side)
        yield equal(f"{side}: isolated, at the plan's leverage", (True, 5), (seen.isolated, seen.leverage))


def take_profit_rests(lab: Lab) -> Iterator[Finding]:
    """The take-profit at the exchange."""
    for side in _SIDES:
        seen = _entered(lab, side)
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
        seen = _seen(lab, faults={STOP: faults})
        first = min((a.time_ms for a in seen.algos if a.type == "STOP_MARKET"), default=_NEVER * 1000)
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
        faults={STOP: ["refused"] * _NEVER},
        most_s=settings.execution.protection_deadline + 60,
    )
    deadline_ms = round(settings.execution.protection_deadline * 1000)
    yield equal("why it was closed", ("unprotected", "unprotected"), (entered.closed, reason))
    yield equal("position", Decimal(0), held)
    yield equal("orders left", 0, resting)
    yield at_most("milliseconds from fill to flat: the deadline and two seconds", deadline_ms + 2000, took_ms)


def dangerous_accounts_are_refused(lab: Lab) -> Iterator[Finding]:
    """A key that can withdraw, and an account in hedge mode."""
    for key, mode, word in (("sim-withdraw-key", "demo", "withdraw"), ("sim-hedge-key", "sim", "hedge mode")):
        plain = lab.settings(lab.folder())
        from pydantic import SecretStr

        exchange = plain.binance_exchange.model_copy(update={"api_key": SecretStr(key)})
        settings = plain.model_copy(update={"mode": mode, "binance_exchange": exchange})

        async def work(world: World) -> tuple[str, int]:
            try:
                await world.executor.enter(Approved(await world.plan()))
                said = "entered"
            except ConfigurationError as error:
                said = error.sentence
            return said, len(world.account.orders)

        said, orders = in_world(lab, scripted(), work, settings=settings, key=key)
        yield holds(f"{key}: refused, and the reason named", word in said)
        yield equal(f"{key}: orders at the exchange", 0, orders)


_KEYS = "Make a key that can only read and trade futures; switch the account to one-way mode."
_STOPS = "Run `trader monitor`: it protects first. See execution.protection_deadline."
CHECKS = (
    Check(
        "one_order_per_intent",
        LINES[3],
        "a plan entered again sends nothing more",
        "Keep the ledger: it knows what was sent.",
        one_order_per_intent,
    ),
    Check(
        "one_order_after_a_lost_reply",
        LINES[3],
        "an order whose reply is lost is found, not sent again",
        "See binance_exchange.timeout and execution.persistence.",
        one_order_after_a_lost_reply,
    ),
    Check(
        "an_absent_entry_is_not_sent_again",
        LINES[3],
        "an entry that left no trace is proved absent",
        "See execution.absence_after.",
        an_absent_entry_is_not_sent_again,
    ),
    Check(
        "a_kill_goes_on_where_it_was",
        LINES[3],
        "killed after the order was taken, the next start protects it",
        _STOPS,
        a_kill_goes_on_where_it_was,
    ),
    Check(
        "stop_covers_the_position",
        LINES[3],
        "a reduce-only stop for the whole position rests at the plan's level",
        _STOPS,
        stop_covers_the_position,
    ),
    Check(
        "stops_trigger_by_mark_price",
        LINES[3],
        "every stop triggers by mark price",
        _STOPS,
        stops_trigger_by_mark_price,
    ),
    Check(
        "backstop_closes_everything",
        LINES[3],
        "a close-position stop rests at the worst level",
        _STOPS,
        backstop_closes_everything,
    ),
    Check("take_profit_rests", LINES[3], "the take-profit rests at the exchange", _STOPS, take_profit_rests),
    Check(
        "covered_within_the_deadline",
        LINES[3],
        "from fill to stop no more time passes than is allowed",
        _STOPS,
        covered_within_the_deadline,
    ),
    Check(
        "unprotected_is_closed",
        LINES[3],
        "a position that cannot be protected in time is closed at market",
        _STOPS,
        unprotected_is_closed,
    ),
    Check(
        "dangerous_accounts_are_refused",
        LINES[3],
        "keys that can withdraw and hedge mode are refused",
        _KEYS,
        dangerous_accounts_are_refused,
    ),
)
