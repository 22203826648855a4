"""What only reduces risk: flatten. No lock, halt, claim or plan stands in its way.

Nor does the ledger: where it cannot be used, or its owner cannot be ended, `flatten_without_ledger` does it.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.errors import (
    DataError,
    ExchangeUnavailable,
    ExitCode,
    LedgerLocked,
    OwnershipLost,
    OwnerSilent,
    Terminated,
    TraderError,
    UsageError,
)
from trader_cli.core.proofs.assurance import Doubt, prove_recorded
from trader_cli.core.proofs.evidence import Books
from trader_cli.execution.coverage import last_known, naming_what_is_left
from trader_cli.execution.exchange_evidence import take_account_snapshot
from trader_cli.execution.executor import Executor
from trader_cli.pipelines.market_access import run_in_market
from trader_cli.pipelines.trading.flatten_without_ledger import FlattenRequest, FlattenResult, FlattenWithoutLedger
from trader_cli.pipelines.trading.halting import halt
from trader_cli.pipelines.trading.ledger_health import UNREADABLE, held_or_none, hint_for, unusable
from trader_cli.pipelines.trading.owner_takeover import end_owner
from trader_cli.pipelines.trading.progress_notes import with_progress_notes
from trader_cli.settings.room_options import ExecutionOptions
from trader_cli.storage import ledger_lock, owner_requests
from trader_cli.storage.ledger import Ledger
from trader_cli.storage.ledger_books import books_of
from trader_cli.storage.ledger_reading import LedgerReading
from trader_cli.storage.side_journal import SideJournal
from trader_cli.storage.state import VenueState

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from trader_cli.pipelines.market_access import Market
    from trader_cli.settings import Workspace

_ANSWER_S, _OWNER_S, _FREED_S = 3.0, 60.0, 3.0
_LOOK_S = 0.1


def flatten(workspace: Workspace, request: FlattenRequest) -> FlattenResult:
    """Close every position of ours, now, or those of the symbols wished for.

    Where another process owns the ledger it is asked to; should that process end meanwhile, it is done here. Raises
    `OwnerSilent` if it has not answered within 3 s, `ExchangeUnavailable` if it has not done it within a minute; the
    request is withdrawn then. With `force` that process is ended first.
    """
    if request.all_of_it and not request.symbols:
        raise UsageError("--all-of-it wants the symbols named.", hint="Such as `trader flatten ETHUSDT --all-of-it`.")
    said = _halted(workspace, request) if request.also_halt else []
    is_halted = request.also_halt and not said
    try:
        done = _done(workspace, request)
    except TraderError as error:
        error.sentence += " Entries are halted until `trader reset`." if is_halted else ""
        raise
    done.said[:0], done.halted = said, done.halted or is_halted
    return done


def _done(workspace: Workspace, request: FlattenRequest) -> FlattenResult:
    try:
        return _here(workspace, request)
    except LedgerLocked as locked:
        return _elsewhere(workspace, request, locked)


def _elsewhere(workspace: Workspace, request: FlattenRequest, locked: LedgerLocked) -> FlattenResult:
    """The ledger is another process's: it is ended, or asked."""
    if request.force:
        return _past_the_owner(workspace, request)
    if request.all_of_it:
        raise LedgerLocked(str(workspace.ledger_path), locked.owner)
    return _by_the_owner(workspace, request)


def _here(workspace: Workspace, request: FlattenRequest) -> FlattenResult:
    """This process does it: with the ledger, or without where it cannot be used. Raises `LedgerLocked`."""
    path = workspace.ledger_path
    trouble = None if (lacks := unusable(path)) is None else f"{lacks} {hint_for(path)}"
    if trouble is None and held_or_none(path) is not None:
        try:
            with Ledger.opened(path) as ledger:
                done = _flatten(workspace, ledger, request)
                if request.all_of_it:
                    done.closed |= FlattenWithoutLedger(workspace, request, None, {}, SideJournal(path)).run().closed
                return done
        except (DataError, sqlite3.Error) as error:
            known = error if isinstance(error, TraderError) else f"The ledger {path} cannot be used: {error}."
            trouble = str(known) if "rebuild" in str(known) else f"{known} {hint_for(path)}"
    with ExitStack() as stack:
        with suppress(DataError):
            stack.enter_context(ledger_lock.OwnerLock.acquire(path, ledger_lock.this_command()))
        return FlattenWithoutLedger(workspace, request, trouble, held_or_none(path) or {}, SideJournal(path)).run()


def _by_the_owner(workspace: Workspace, request: FlattenRequest) -> FlattenResult:
    path = workspace.ledger_path
    before = held_or_none(path) or {}
    _require_known(workspace, request)
    began, owner = time.monotonic(), ledger_lock.owner_of(path)
    if _is_closing(owner):
        request.say(f"The process {owner} closes already, and is waited for; `trader flatten --force` ends it.")
    try:
        with _naming_the_owner(path):
            owner_requests.ask(path, "flatten", request.reason, request.symbols)
        with (
            _naming_what_is_left(path, request),
            with_progress_notes(request.say, f"the process {_named(owner)} is to close it"),
        ):
            while owner_requests.request_of(path, "flatten") is not None:
                owner = ledger_lock.owner_of(path)
                if owner is None:
                    with suppress(LedgerLocked):
                        return _here(workspace, request)
                _mind_the_time(path, owner, time.monotonic() - began)
                time.sleep(_LOOK_S)
    finally:
        owner_requests.forget_request(path, "flatten")
    after = held_or_none(path) or {}
    closed = {symbol: amount - after.get(symbol, Decimal(0)) for symbol, amount in before.items()}
    done = FlattenResult({symbol: f"{abs(amount):f}" for symbol, amount in closed.items() if amount != 0})
    owner = ledger_lock.owner_of(path)
    done.at_work = str(owner) if owner is not None and "run" in owner.command.split() else None
    _attest_from_outside(workspace, request, done)
    return done


def _attest_from_outside(workspace: Workspace, request: FlattenRequest, done: FlattenResult) -> None:
    """What its owner has done, looked at from here: at the exchange, or in the ledger of an account kept with us."""
    with LedgerReading.shown(workspace.ledger_path) as ledger:
        books = Books({}, ()) if ledger is None else books_of(ledger)
    if workspace.mode in {"sim", "paper"}:
        proof = prove_recorded(books)
        (done.said if isinstance(proof, Doubt) else done.proved).append(proof.sentence)
        done.exit_code = ExitCode.UNAVAILABLE if isinstance(proof, Doubt) else done.exit_code
        return
    from trader_cli.exchange.account.account_snapshot import AccountSnapshotReader

    done.attest(request.symbols, AccountSnapshotReader.begin(workspace.settings.binance_exchange).snapshot(), books)


def _require_known(workspace: Workspace, request: FlattenRequest) -> None:
    """A symbol that is named wrongly in a hurry must not read as done. Raises `UsageError`; nobody is asked for it."""
    from trader_cli.exchange.market_data.symbol_book import SymbolBook

    book = SymbolBook(VenueState(workspace.state_dir).symbols(workspace.source))
    try:
        with LedgerReading.shown(workspace.ledger_path) as ledger:
            ours = set() if ledger is None else set(ledger.symbols())
    except UNREADABLE:
        return
    book.recall()
    for symbol in request.symbols:
        if symbol not in ours:
            book.require(symbol)


@contextmanager
def _naming_what_is_left(path: Path, request: FlattenRequest) -> Iterator[None]:
    """Whoever ends the waiting hears that nobody is asked any more, and what the ledger knows to be open."""
    try:
        yield
    except (KeyboardInterrupt, Terminated):
        request.say("The request to flatten is withdrawn; what is under way at its owner may still go.")
        with suppress(*UNREADABLE), LedgerReading.shown(path) as ledger:
            if ledger is not None:
                with naming_what_is_left(ledger, request.say):
                    raise
        raise


@contextmanager
def _naming_the_owner(path: Path) -> Iterator[None]:
    """Where no request can be left, the owner cannot answer either."""
    try:
        yield
    except DataError as error:
        raise OwnerSilent(_named(ledger_lock.owner_of(path))) from error


def _named(owner: ledger_lock.Owner | None) -> str:
    """Who owns the ledger, as far as its lock tells."""
    return str(owner or ledger_lock.Owner(0, "", "", 0))


def _is_closing(owner: ledger_lock.Owner | None) -> bool:
    """Whether the owner is another `trader flatten`: it takes no requests, for it does nothing else."""
    return owner is not None and "flatten" in owner.command.split()


def _mind_the_time(path: Path, owner: ledger_lock.Owner | None, waited_s: float) -> None:
    if waited_s > _ANSWER_S and not _is_closing(owner) and not owner_requests.is_acknowledged(path, "flatten"):
        raise OwnerSilent(_named(owner))
    if waited_s > _OWNER_S:
        raise ExchangeUnavailable(
            f"The process {_named(owner)} owns the ledger, was asked to flatten, and has not for {_OWNER_S:.0f} s.",
            hint="`trader flatten --force` ends it and goes on. Its stops rest at the exchange meanwhile.",
        )


def _past_the_owner(workspace: Workspace, request: FlattenRequest) -> FlattenResult:
    """End the process that owns the ledger; where that cannot be, close beside it with a journal of our own."""
    owner = ledger_lock.owner_of(workspace.ledger_path)
    if owner is not None and owner.pid == os.getpid():
        raise LedgerLocked(str(workspace.ledger_path), str(owner))
    why = None if owner is None else end_owner(owner)
    until = time.monotonic() + _FREED_S
    while why is None:
        with suppress(LedgerLocked):
            done = _here(workspace, request)
            if owner is not None:
                done.said.insert(0, f"The process {owner} was ended.")
            return done
        if time.monotonic() > until:
            why = "its lock is still held"
        time.sleep(_LOOK_S)
    return _beside_the_owner(workspace, request, f"The process {_named(owner)} could not be ended: {why}.")


def _beside_the_owner(workspace: Workspace, request: FlattenRequest, why: str) -> FlattenResult:
    path = workspace.ledger_path
    known = held_or_none(path) or {}
    silenced = ledger_lock.supersede(path)
    quiet = "It sends no order from now on" if silenced else "It may still send, for its lock cannot be written"
    said = _halted(workspace, replace(request, reason=f"flatten --force: {why}"))
    done = FlattenWithoutLedger(workspace, request, f"{why} {quiet}.", known, SideJournal(path)).run()
    done.said[:0] = [*said, f"{why} {quiet}."]
    done.halted = not said
    return done


def _halted(workspace: Workspace, request: FlattenRequest) -> list[str]:
    """Halt, as far as the disk lets one; what there is to say of it."""
    try:
        halt(workspace, request.reason)
    except (DataError, OSError) as error:
        return [f"Entries could not be halted: {error}"]
    return []


def _flatten(workspace: Workspace, ledger: Ledger, request: FlattenRequest) -> FlattenResult:
    """Close what is ours, all symbols at once; what one lacks does not keep the others open."""
    symbols = [symbol for symbol in ledger.symbols() if not request.symbols or symbol in request.symbols]

    async def close(market: Market) -> FlattenResult:
        market.exchange.require_listed(*(symbol for symbol in request.symbols if symbol not in symbols))
        executor = Executor(market.exchange, ledger, ExecutionOptions.of(workspace), say=request.say)
        done, failed = FlattenResult(), []

        async def one(symbol: str) -> Decimal | TraderError:
            try:
                await executor.settle_entries(symbol)
                return await executor.close(symbol, request.reason)
            except OwnershipLost:
                raise
            except TraderError as error:
                return error

        for symbol, found in zip(symbols, await asyncio.gather(*map(one, symbols)), strict=True):
            if isinstance(found, TraderError):
                failed.append((symbol, found))
            elif found:
                done.closed[symbol] = f"{found:f}"
        if failed:
            symbol, first = failed[0]
            first.sentence = f"{first.sentence} {await executor.standing(symbol)}"
            raise first
        exchange = market.exchange
        snapshot = await take_account_snapshot(exchange.protection, market.clock, exchange.server_now_ms())
        done.attest(request.symbols, snapshot, books_of(ledger))
        for symbol in done.closed:
            executor.notifications.note_end(symbol)
        return done

    known = [last_known(ledger, s) for s in symbols if ledger.holding(s).amount != 0]
    try:
        with (
            naming_what_is_left(ledger, request.say),
            with_progress_notes(request.say, "the exchange has not answered it all", known),
        ):
            return run_in_market(workspace, close, protection=True)
    except ExchangeUnavailable as error:
        known = [last_known(ledger, s) for s in symbols if ledger.holding(s).amount != 0]
        raise ExchangeUnavailable(" ".join([error.sentence, *known]), hint=error.hint) from error
