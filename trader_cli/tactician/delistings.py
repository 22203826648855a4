"""Symbols that end while we hold them: a delisting announced after the entry is heard of, said, and left in time."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from trader_cli.core.errors import ExchangeUnavailable, TraderError
from trader_cli.core.money.trading_rules import DELISTING_MARGIN_MS, RULES_AGE_S, leave_by_ms

if TYPE_CHECKING:
    from collections.abc import Collection

    from trader_cli.core.money.orders import SymbolRules
    from trader_cli.execution.executor import Executor

_TRY_AGAIN_MS = 60_000
_SAID_AGAIN_MS = 12 * 3_600_000


class Delistings:
    """Reads the rules again while positions are open, and says of each symbol that ends when it does."""

    def __init__(self) -> None:
        self._tried_ms: int | None = None
        self._said: dict[str, tuple[int, int]] = {}

    async def look(self, executor: Executor, symbols: Collection[str]) -> None:
        """Hear of ends; an end is said at once, again when its time changes, and every twelve hours."""
        held = [symbol for symbol in symbols if executor.ledger.holding(symbol).amount != 0]
        if held:
            await self._read(executor)
        for symbol in held:
            rules, now = _rules(executor, symbol), executor.exchange.server_now_ms()
            if rules is None or rules.delivery_ms is None:
                continue
            ends_ms, said_ms = self._said.get(symbol, (0, 0))
            if ends_ms != rules.delivery_ms or now - said_ms > _SAID_AGAIN_MS:
                self._said[symbol] = (rules.delivery_ms, now)
                executor.say(_sentence(symbol, rules.delivery_ms, now))

    @staticmethod
    def leave_by_ms(executor: Executor, symbol: str) -> int | None:
        """When a position there must be over; `None` where no end is known."""
        rules = _rules(executor, symbol)
        return None if rules is None else leave_by_ms(rules)

    async def _read(self, executor: Executor) -> None:
        """The rules again, if they are old; care waits no longer for them than for any reply."""
        clock = executor.exchange.clock
        now = clock.monotonic_ms()
        if self._tried_ms is not None and now - self._tried_ms < _TRY_AGAIN_MS:
            return
        self._tried_ms = now
        with suppress(TraderError, TimeoutError):
            async with asyncio.timeout(clock.loop_s(executor.submitter.budget_s)):
                await executor.exchange.refresh_rules(older_than_s=RULES_AGE_S)


def _rules(executor: Executor, symbol: str) -> SymbolRules | None:
    """The symbol's rules; `None` where they are not known or cannot be read."""
    with suppress(ExchangeUnavailable):
        return executor.exchange.rules_or_none(symbol)
    return None


def _sentence(symbol: str, delivery_ms: int, now_ms: int) -> str:
    when, left_h = datetime.fromtimestamp(delivery_ms / 1000, UTC), (delivery_ms - now_ms) / 3_600_000
    margin_h = DELISTING_MARGIN_MS / 3_600_000
    closed = f"{margin_h:g} h before" if left_h > margin_h else "now"
    return (
        f"ALARM: {symbol} is delisted at {when:%Y-%m-%d %H:%M} UTC, in {left_h:.1f} h, and settled by force then:"
        f" our position there is closed {closed}."
    )
