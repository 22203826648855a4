"""`flatten` where the ledger cannot be used, or is another's: from what the exchange shows alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.errors import ExchangeUnavailable, ExitCode, TraderError
from trader_cli.core.proofs.assurance import Doubt, prove_all_flat, prove_closed, prove_flat
from trader_cli.core.proofs.evidence import Books
from trader_cli.execution.closing_without_ledger import ClosingWithoutLedger
from trader_cli.execution.exchange_evidence import take_account_snapshot
from trader_cli.execution.executor import discard_message
from trader_cli.pipelines.market_access import run_in_market
from trader_cli.pipelines.trading.progress_notes import with_progress_notes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from trader_cli.core.proofs.assurance import AllFlat, Closed, Flat
    from trader_cli.core.proofs.evidence import AccountSnapshot
    from trader_cli.execution.attribution import Attribution
    from trader_cli.pipelines.market_access import Market
    from trader_cli.settings import Workspace
    from trader_cli.storage.side_journal import SideJournal

ZERO = Decimal(0)


@dataclass(frozen=True)
class FlattenRequest:
    """What is to be closed, and how far one may go for it. No `symbols`: all. `say` hears what cannot wait."""

    reason: str
    symbols: tuple[str, ...] = ()
    also_halt: bool = False
    force: bool = False
    all_of_it: bool = False
    say: Callable[[str], None] = discard_message


@dataclass
class FlattenResult:
    """What came of it: quantities closed and left by symbol, what there is to say, and the code to leave with.

    `proved` are sentences made from proofs; where something could not be proved, `said` has the doubt. `halted`:
    whether entries were halted with it; `at_work`: the process that did it and may enter again.
    """

    closed: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    exit_code: ExitCode = ExitCode.DONE
    proved: list[str] = field(default_factory=list)
    halted: bool = False
    at_work: str | None = None

    def attest(self, symbols: Sequence[str], snapshot: AccountSnapshot, books: Books) -> None:
        """Weigh what was closed against what the exchange shows now: of these symbols, or of the whole account."""
        proofs: list[AllFlat | Flat | Closed | Doubt] = [] if symbols else [prove_all_flat(snapshot, books)]
        for symbol in dict.fromkeys([*symbols, *self.closed]):
            amount = Decimal(self.closed.get(symbol, 0))
            proofs.append(
                prove_closed(symbol, amount, snapshot, books) if amount else prove_flat(symbol, snapshot, books)
            )
        self.proved += [proof.sentence for proof in proofs if not isinstance(proof, Doubt)]
        doubts = dict.fromkeys(reason for proof in proofs if isinstance(proof, Doubt) for reason in proof.reasons)
        if doubts:
            self.said.append(Doubt(tuple(doubts)).sentence)
            self.exit_code = max(self.exit_code, ExitCode.UNAVAILABLE)


@dataclass(frozen=True)
class FlattenWithoutLedger:
    """A flatten without a ledger. `trouble` says why; `known` is what a ledger that can be read holds, signed."""

    workspace: Workspace
    request: FlattenRequest
    trouble: str | None
    known: Mapping[str, Decimal] = field(default_factory=dict)
    journal: SideJournal | None = None

    def run(self) -> FlattenResult:
        """Close what is ours. Raises the first error after all symbols had their turn."""
        with with_progress_notes(self.request.say, "the exchange has not answered it all"):
            return run_in_market(self.workspace, self._run, protection=True)

    async def _run(self, market: Market) -> FlattenResult:
        exchange = market.exchange
        account = self.workspace.account.fingerprint
        closing = ClosingWithoutLedger(exchange.protection, market.clock, exchange.server_now_ms, account, self.journal)
        positions = await closing.positions()
        exchange.require_listed(*(s for s in self.request.symbols if s not in positions and s not in self.known))
        done, failed = FlattenResult(), list[TraderError]()
        for symbol in self.request.symbols or sorted({*positions, *self.known}):
            position = positions.get(symbol)
            try:
                await self._one(closing, symbol, position.amount if position else ZERO, done)
            except TraderError as error:
                failed.append(error)
        if self.trouble is not None and (done.closed or done.left or failed):
            done.said.insert(0, self.trouble)
        if failed:
            words = [*done.said, *(f"{symbol}: {amount} went." for symbol, amount in done.closed.items())]
            raise type(failed[0])(" ".join([*words, *(e.sentence for e in failed)]), hint=failed[0].hint)
        if not done.left:
            snapshot = await take_account_snapshot(exchange.protection, market.clock, exchange.server_now_ms())
            done.attest(self.request.symbols or sorted(positions), snapshot, Books({}, ()))
        return done

    async def _one(self, closing: ClosingWithoutLedger, symbol: str, shown: Decimal, done: FlattenResult) -> None:
        if shown == 0:
            await self._sweep(closing, symbol)
            return
        found = await closing.explain(symbol, shown, self.known.get(symbol))
        closed = await closing.close(symbol, shown, found.ours) if found.ours else ZERO
        if self.request.all_of_it and found.foreign:
            closed += await closing.close(symbol, shown - closed.copy_sign(shown), found.foreign, foreign=True)
        if closed:
            done.closed[symbol] = f"{closed.normalize():f}"
        if closed < abs(shown):
            self._leave(found, abs(shown) - closed, done)
        if closed == abs(shown) or (found.ours and found.resting <= found.ours):
            await self._sweep(closing, symbol)

    def _leave(self, found: Attribution, left: Decimal, done: FlattenResult) -> None:
        """Name what was not closed; where our ledger is whole, what it does not know is another's business."""
        if self.trouble is None and not found.ours:
            return
        symbol = found.symbol
        done.left[symbol] = f"{left.copy_sign(found.shown).normalize():f}"
        done.exit_code = max(done.exit_code, ExitCode.UNAVAILABLE if found.unanswered else ExitCode.DATA)
        unasked = f" ({', '.join(found.unanswered)} did not answer)" if found.unanswered else ""
        done.said.append(
            f"{symbol}: {left:f} of {found.shown:f} was left, for {_nothing(found)}{unasked}."
            f" `trader flatten {symbol} --all-of-it` takes it, whoever opened it."
        )

    @staticmethod
    async def _sweep(closing: ClosingWithoutLedger, symbol: str) -> None:
        _, still = await closing.sweep(symbol)
        if still:
            raise ExchangeUnavailable(
                f"{symbol}: these orders of ours may still rest: {', '.join(still)}.",
                hint="Run `trader flatten` again.",
            )


def _nothing(found: Attribution) -> str:
    return f"only {found.ours:f} is ours: {found.because}" if found.ours else found.because
