"""What only reduces risk: flatten, halt; and the lifting of a halt. No lock, halt, claim or plan stands in its way."""

from __future__ import annotations

import time
from contextlib import suppress
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.errors import DataError, ExchangeUnavailable, LedgerLocked, TraderError
from trader_cli.execution.coverage import last_known
from trader_cli.execution.executor import Executor
from trader_cli.pipelines.market import run_in_market
from trader_cli.storage import asked
from trader_cli.storage.ledger import Ledger
from trader_cli.storage.ledger_reading import LedgerReading
from trader_cli.storage.markets import ledger_path

if TYPE_CHECKING:
    from trader_cli.pipelines.market import Market
    from trader_cli.settings import Settings

_OWNER_S = 60.0
_LOOK_S = 0.5


def flatten(settings: Settings, reason: str, *, also_halt: bool = False) -> dict[str, str]:
    """Close every position of ours, now; the quantity that was closed, by symbol.

    Where another process owns the ledger it is asked to; should that process end meanwhile, it is done here. Raises
    `ExchangeUnavailable` if the owner does not do it within a minute; the request is withdrawn then.
    """
    if also_halt:
        halt(settings, reason)
    path, before = ledger_path(settings), _held(settings)
    asked.ask(path, "flatten", reason)
    began = time.monotonic()
    try:
        while asked.asked_of(path, "flatten") is not None:
            try:
                with Ledger.opened(path) as ledger:
                    return _flatten(settings, ledger, reason)
            except LedgerLocked:
                if time.monotonic() - began > _OWNER_S:
                    raise ExchangeUnavailable(
                        f"The process that owns the ledger was asked to flatten, and has not for {_OWNER_S:.0f} s.",
                        mend="Stop it, and run `trader flatten` again. Stops rest at the exchange meanwhile.",
                    ) from None
            time.sleep(_LOOK_S)
    finally:
        asked.forget_asked(path, "flatten")
    after = _held(settings)
    closed = {symbol: amount - after.get(symbol, Decimal(0)) for symbol, amount in before.items()}
    return {symbol: f"{abs(amount):f}" for symbol, amount in closed.items() if amount != 0}


def _flatten(settings: Settings, ledger: Ledger, reason: str) -> dict[str, str]:
    """Close what is ours, one symbol after the other; what one lacks does not keep the others open."""

    async def close(market: Market) -> dict[str, str]:
        executor, closed, failed = Executor(market.exchange, ledger, settings), {}, []
        for symbol in ledger.symbols():
            try:
                await executor.settle_entries(symbol)
                quantity = await executor.close(symbol, reason)
                if quantity:
                    closed[symbol] = f"{quantity:f}"
            except TraderError as error:
                failed.append((symbol, error))
        if failed:
            symbol, first = failed[0]
            raise type(first)(f"{first.sentence} {await executor.standing(symbol)}", mend=first.mend) from first
        return closed

    try:
        return run_in_market(settings, close)
    except ExchangeUnavailable as error:
        known = [last_known(ledger, s) for s in ledger.symbols() if ledger.holding(s).amount != 0]
        raise ExchangeUnavailable(" ".join([error.sentence, *known]), mend=error.mend) from error


def _held(settings: Settings) -> dict[str, Decimal]:
    """What the ledger holds, by symbol."""
    with LedgerReading.shown(ledger_path(settings)) as ledger:
        if ledger is None:
            return {}
        held = {symbol: ledger.holding(symbol).amount for symbol in ledger.symbols()}
    return {symbol: amount for symbol, amount in held.items() if amount != 0}


def halt(settings: Settings, reason: str) -> None:
    """Stop all entries from now on; needs neither exchange nor keys, nor the ledger that another process owns."""
    asked.ask(ledger_path(settings), "halt", reason)
    with suppress(LedgerLocked), Ledger.opened(ledger_path(settings)) as ledger:
        ledger.take_requests(_now_ms(settings))


def reset(settings: Settings, reason: str) -> str | None:
    """A person lifts the halt; what it was, `None` if there was none. A process at work is asked to write it down."""
    path = ledger_path(settings)
    with LedgerReading.shown(path) as shown:
        was = asked.asked_of(path, "halt") if shown is None else shown.halted()
    asked.forget_asked(path, "halt")
    if was is not None:
        asked.ask(path, "reset", reason)
        with suppress(LedgerLocked), Ledger.opened(path) as ledger:
            ledger.take_requests(_now_ms(settings))
    return was


def _now_ms(settings: Settings) -> int:
    from trader_cli.pipelines.market import market_now_ms
    from trader_cli.venue.clocks import WallClock

    try:
        return market_now_ms(settings)
    except (DataError, ExchangeUnavailable):
        return WallClock().now_ms()
