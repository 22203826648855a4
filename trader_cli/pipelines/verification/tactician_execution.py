"""Tactician position management, the orders: exactly one per intent, and a position that is never unprotected."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.errors import ConfigurationError
from trader_cli.core.money.plans import Approved, Refused
from trader_cli.pipelines.verification.checks import LINES, Check, Finding, at_least, equal, holds
from trader_cli.pipelines.verification.entries_covered import (
    backstop_closes_everything,
    covered_within_the_deadline,
    stop_covers_the_position,
    stops_trigger_by_mark_price,
    take_profit_rests,
    unprotected_is_closed,
)
from trader_cli.pipelines.verification.entries_seen import entry_seen
from trader_cli.pipelines.verification.lab import SYMBOL
from trader_cli.pipelines.verification.worlds import ENTRY, in_world, scripted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trader_cli.pipelines.verification.lab import Lab
    from trader_cli.pipelines.verification.worlds import World


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
        seen = entry_seen(lab, faults={ENTRY: [fault]})  # type: ignore[list-item]
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
