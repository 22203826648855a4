"""`flatten` where the ledger cannot be used, or is another's: from what the exchange shows alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.errors import ExchangeUnavailable, ExitCode, TraderError
from trader_cli.core.proofs.assurance import Doubt, prove_all_flat, prove_closed, prove_flat
from trader_cli.core.proofs.evidence import Books
from trader_cli.execution.closing_without_ledger import BareCloser
from trader_cli.execution.exchange_evidence import account_look
from trader_cli.execution.executor import unsaid
from trader_cli.pipelines.market_access import run_in_market
from trader_cli.pipelines.trading.progress_notes import still_at_it

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from trader_cli.core.proofs.assurance import AllFlat, Closed, Flat
    from trader_cli.core.proofs.evidence import Look
    from trader_cli.execution.attribution import Explained
    from trader_cli.pipelines.market_access import Market
    from trader_cli.settings import Workspace
    from trader_cli.storage.side_journal import SideJournal

ZERO = Decimal(0)


@dataclass(frozen=True)
class Wish:
    """What is to be closed, and how far one may go for it. No `symbols`: all. `say` hears what cannot wait."""

    reason: str
    symbols: tuple[str, ...] = ()
    also_halt: bool = False
    force: bool = False
    all_of_it: bool = False
    say: Callable[[str], None] = unsaid


@dataclass
class Flattened:
    """What came of it: quantities closed and left by symbol, what there is to say, and the code to leave with.

    `proved` are sentences made from proofs; where something could not be proved, `said` has the doubt. `halted`:
    whether entries were halted with it; `at_work`: the process that did it and goes on.
    """

    closed: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    exit_code: ExitCode = ExitCode.DONE
    proved: list[str] = field(default_factory=list)
    halted: bool = False
    at_work: str | None = None

    def attest(self, symbols: Sequence[str], look: Look, books: Books) -> None:
        """Weigh what was closed against what the exchange shows now: of these symbols, or of the whole account."""
        proofs: list[AllFlat | Flat | Closed | Doubt] = [] if symbols else [prove_all_flat(look, books)]
        for symbol in dict.fromkeys([*symbols, *self.closed]):
            amount = Decimal(self.closed.get(symbol, 0))
            proofs.append(prove_closed(symbol, amount, look, books) if amount else prove_flat(symbol, look, books))
        self.proved += [proof.sentence for proof in proofs if not isinstance(proof, Doubt)]
        doubts = dict.fromkeys(reason for proof in proofs if isinstance(proof, Doubt) for reason in proof.reasons)
        if doubts:
            self.said.append(Doubt(tuple(doubts)).sentence)
            self.exit_code = max(self.exit_code, ExitCode.UNAVAILABLE)


@dataclass(frozen=True)
class Bare:
    """A flatten without a ledger. `trouble` says why; `known` is what a ledger that can be read holds, signed."""

    workspace: Workspace
    wish: Wish
    trouble: str | None
    known: Mapping[str, Decimal] = field(default_factory=dict)
    journal: SideJournal | None = None

    def run(self) -> Flattened:
        """Close what is ours. Raises the first error after all symbols had their turn."""
        with still_at_it(self.wish.say, "the exchange has not answered it all"):
            return run_in_market(self.workspace, self._run, care=True)

    async def _run(self, market: Market) -> Flattened:
        exchange = market.exchange
        account = self.workspace.account.fingerprint
        closer = BareCloser(exchange.care, market.clock, exchange.server_now_ms, account, self.journal)
        positions = await closer.positions()
        exchange.require_listed(*(s for s in self.wish.symbols if s not in positions and s not in self.known))
        done, failed = Flattened(), list[TraderError]()
        for symbol in self.wish.symbols or sorted({*positions, *self.known}):
            position = positions.get(symbol)
            try:
                await self._one(closer, symbol, position.amount if position else ZERO, done)
            except TraderError as error:
                failed.append(error)
        if self.trouble is not None and (done.closed or done.left or failed):
            done.said.insert(0, self.trouble)
        if failed:
            words = [*done.said, *(f"{symbol}: {amount} went." for symbol, amount in done.closed.items())]
            raise type(failed[0])(" ".join([*words, *(e.sentence for e in failed)]), mend=failed[0].mend)
        if not done.left:
            look = await account_look(exchange.care, market.clock, exchange.server_now_ms())
            done.attest(self.wish.symbols or sorted(positions), look, Books({}, ()))
        return done

    async def _one(self, closer: BareCloser, symbol: str, shown: Decimal, done: Flattened) -> None:
        if shown == 0:
            await self._sweep(closer, symbol)
            return
        found = await closer.explain(symbol, shown, self.known.get(symbol))
        closed = await closer.close(symbol, shown, found.ours) if found.ours else ZERO
        if self.wish.all_of_it and found.foreign:
            closed += await closer.close(symbol, shown - closed.copy_sign(shown), found.foreign, foreign=True)
        if closed:
            done.closed[symbol] = f"{closed.normalize():f}"
        if closed < abs(shown):
            self._leave(found, abs(shown) - closed, done)
        if closed == abs(shown) or (found.ours and found.resting <= found.ours):
            await self._sweep(closer, symbol)

    def _leave(self, found: Explained, left: Decimal, done: Flattened) -> None:
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
    async def _sweep(closer: BareCloser, symbol: str) -> None:
        _, still = await closer.sweep(symbol)
        if still:
            raise ExchangeUnavailable(
                f"{symbol}: these orders of ours may still rest: {', '.join(still)}.",
                mend="Run `trader flatten` again.",
            )


def _nothing(found: Explained) -> str:
    return f"only {found.ours:f} is ours: {found.because}" if found.ours else found.because
