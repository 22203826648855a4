"""The account of the `paper` profile: the venue's engine on what was seen of a real exchange, and its journal.

Every request is told first what was seen of each symbol that matters, up to one and the same moment. What can have had
an effect is journalled, in one transaction with the command it was seen for; of looks that changed nothing only the
latest is kept. A restarted account replays what was journalled since its last snapshot and is exactly where it was.
"""

from __future__ import annotations

import sqlite3
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.errors import DataInvalid
from trader_cli.core.json_values import object_of, texts_of
from trader_cli.core.market.timeframes import HOUR_MS
from trader_cli.venue.engine.account_rows import Written, restore
from trader_cli.venue.engine.books import ZERO, Income
from trader_cli.venue.engine.engine import Engine
from trader_cli.venue.engine.fill_rules import FILLS, fills_of
from trader_cli.venue.engine.funding import fund_late
from trader_cli.venue.engine.margin import cents
from trader_cli.venue.engine.triggers import bounds, last_bounds, mark_bounds
from trader_cli.venue.engine.venue_journal import WALLET, Command
from trader_cli.venue.paper.observations import Observation, mark_points, points
from trader_cli.venue.paper.observed_market import ObservedMarket
from trader_cli.venue.paper.paper_journal import PaperJournal, observation_body, read_observation
from trader_cli.venue.server.private_routes import COMMANDS, READS, Handler
from trader_cli.venue.server.public_routes import VenueRejection
from trader_cli.venue.server.wallets import fresh_account
from trader_cli.venue.simulated_market.rule_changes import RuleBook

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from trader_cli.core.money.orders import SymbolRules
    from trader_cli.venue.engine.queries import Body
    from trader_cli.venue.engine.request_parameters import Parameters

_FAILURES = (VenueRejection, ArithmeticError, ValueError, LookupError)
_SNAPSHOT_EVERY = 100
"""Commands and sightings after which the account is written down anew."""


def _fill_wallet(engine: Engine, parameters: Parameters) -> Body:
    engine.account.earn(Income("TRANSFER", "", Decimal(parameters["amount"]), engine.now_ms, asset=parameters["asset"]))
    return {}


SETTLE = "/paper/v1/settle"
"""Where the exchange itself ends what is held of a symbol that it trades no more: no request of anybody's."""


def _settle(engine: Engine, parameters: Parameters) -> Body:
    """Nothing waits any more, and the position is closed at its last mark, without a fee."""
    symbol, account = parameters["symbol"], engine.account
    for order in account.open_orders(symbol):
        engine.cancel(order)
    for algo in account.open_algos(symbol):
        engine.cancel(algo)
    position = account.position(symbol)
    if position.amount != 0:
        name = f"settlement_autoclose-{engine.now_ms}"
        engine.force(position, abs(position.amount), engine.mark(symbol), name, ZERO)
        engine.changed()
    return {}


_CARRIED_OUT: dict[tuple[str, str], Handler] = {**COMMANDS, ("POST", WALLET): _fill_wallet, ("POST", SETTLE): _settle}


class PaperAccount:
    """One paper account. `folder` keeps its journal (None: memory); `balance` USDT is what a new one opens with."""

    def __init__(
        self, rules: Mapping[str, SymbolRules], now_ms: int, balance: Decimal, folder: Path | None = None
    ) -> None:
        self._markets = {symbol: ObservedMarket(rule) for symbol, rule in rules.items()}
        self._latest: dict[str, Observation] = {}
        self._journal = PaperJournal(folder)
        self._written, self._unwritten = Written(), 0
        try:
            opened_ms, balance = self._journal.opened(now_ms, balance)
            fills = fills_of(self._journal.fill_rules())
            opened, book = fresh_account(balance, hedge_mode=False), RuleBook(observed=True)
            self.engine = Engine(self._markets, opened, opened_ms, book=book, fills=fills)
            self._replay()
            if self._unwritten >= _SNAPSHOT_EVERY or fills is not FILLS:
                self._keep()
        except BaseException:
            self._journal.close()
            raise

    def _replay(self) -> None:
        kept = self._journal.snapshots()
        if kept.parts:
            restore(self.engine, [object_of(part["engine"]) for part in kept.parts])
            self._written.note(self.engine.account)
            for body in texts_of(kept.parts[-1]["latest"]):
                self._show(read_observation(body))
        entries, upto_ms = list(self._journal.entries(kept)), self.engine.now_ms
        self.know({entry.symbol: entry.rules for entry in entries if isinstance(entry, Observation)})
        for entry in entries:
            self._unwritten += 1
            if isinstance(entry, Observation):
                if entry.upto_ms > upto_ms:
                    self.engine.advance(upto_ms)
                upto_ms = entry.upto_ms
                self._show(entry)
            else:
                self.engine.advance(entry.time_ms)
                self._carry_out_again(entry)
        for observation in self._journal.latest():
            self._show(observation)
            upto_ms = max(upto_ms, observation.upto_ms)
        self.engine.advance(upto_ms)

    def _keep(self) -> None:
        """Write down what is new in the account. From here on it trades by the rules of today."""
        self.engine.fills = FILLS
        latest = [observation_body(observation) for observation in self._latest.values()]
        try:
            self._journal.keep({"engine": self._written.part(self.engine), "latest": latest}, FILLS.version)
        except sqlite3.Error as error:
            raise _unwritable(error) from error
        self._written.note(self.engine.account)
        self._unwritten = 0

    def know(self, rules: Mapping[str, SymbolRules]) -> None:
        """There are these symbols, too. The filters of one that is known change when it is looked at."""
        for symbol, rule in rules.items():
            self._markets.setdefault(symbol, ObservedMarket(rule))

    def _show(self, observation: Observation) -> None:
        """Show the market what was seen. A symbol that is listed no longer keeps its account."""
        market = self._markets.setdefault(observation.symbol, ObservedMarket(observation.rules))
        market.take(observation)
        fund_late(self.engine, observation.symbol)
        self._latest[observation.symbol] = observation.end()

    def _carry_out_again(self, command: Command) -> None:
        try:
            _CARRIED_OUT[command.method, command.path](self.engine, command.parameters)
        except _FAILURES:
            return  # it was refused then, too

    # --- what has to be looked at ---

    @property
    def now_ms(self) -> int:
        """The account's time."""
        return self.engine.now_ms

    def busy(self) -> set[str]:
        """Symbols with a position or open orders: nothing may be missed on them."""
        return self.engine.busy()

    def since(self, symbol: str, now_ms: int) -> Observation | None:
        """Where the next sighting begins: what stood at the last one; None where nothing in between could matter."""
        latest = self._latest.get(symbol)
        current = latest is not None and latest.upto_ms == now_ms
        return latest if current or symbol in self.busy() else None

    def rules(self, symbol: str) -> SymbolRules:
        """The filters by which it was looked at last."""
        return self._markets[symbol].rules

    def latest(self, symbol: str) -> Observation | None:
        """What stood at the last look."""
        return self._latest.get(symbol)

    def owed(self) -> dict[str, set[int]]:
        """Full hours (UTC ms) by symbol at which something was held and no funding rate was known yet."""
        hours: dict[str, set[int]] = {}
        for owed in self.engine.account.owed:
            hours.setdefault(owed.symbol, set()).add(owed.time_ms)
        return hours

    def stirs(self, observation: Observation) -> bool:
        """Whether a price of the sighting triggers or fills something."""
        symbol = observation.symbol
        if symbol not in self.busy():
            return False
        if observation.mark_before is None:
            return _beyond(points(observation)[1], *bounds(self.engine, symbol))
        waiting = self.engine.account.open_algos(symbol)
        by_mark = _beyond(mark_points(observation)[1], *mark_bounds(self.engine, symbol, waiting))
        return by_mark or _beyond(points(observation)[1], *last_bounds(self.engine, symbol, waiting))

    def has_book_of(self, symbol: str, now_ms: int) -> bool:
        """Whether the book of just that moment was seen."""
        return symbol in self._markets and self._markets[symbol].has_book_of(now_ms)

    # --- requests ---

    def read(self, path: str, parameters: Parameters, seen: list[Observation], now_ms: int) -> Body:
        """The answer to a signed GET at `now_ms`. Raises `VenueRejection`."""
        self._take(seen, now_ms, None)
        return READS[path](self.engine, parameters)

    def command(self, method: str, path: str, parameters: dict[str, str], seen: list[Observation], now_ms: int) -> Body:
        """Journal a command together with what was seen for it, then carry it out. Raises `VenueRejection`."""
        if self._unwritten >= _SNAPSHOT_EVERY:
            self._keep()
        self._take(seen, now_ms, Command(now_ms, "paper", method, path, parameters))
        return _CARRIED_OUT[method, path](self.engine, parameters)

    def has_wallet(self, asset: str) -> bool:
        """Whether the account holds, or has held, this asset."""
        return asset in self.engine.account.assets()

    def open_wallet(self, asset: str, dollars: Decimal, price: Decimal) -> None:
        """From now on the account holds so many dollars' worth of an asset; the journal names the price of one."""
        named = {"asset": asset, "amount": str(cents(dollars / price)), "dollar_price": str(price)}
        if not self.has_wallet(asset):
            self.command("POST", WALLET, named, [], self.now_ms)

    def _take(self, seen: list[Observation], now_ms: int, command: Command | None) -> None:
        is_hour = now_ms // HOUR_MS > self.engine.now_ms // HOUR_MS  # a stamp, perhaps: what was held, at which mark
        matters = command is not None or is_hour or any(s.book or s.funding for s in seen)
        try:
            self._journal.write(seen if matters else [], [s.end() for s in seen], command)
        except sqlite3.Error as error:
            raise _unwritable(error) from error
        self._unwritten += (len(seen) if matters else 0) + (command is not None)
        for observation in seen:
            self._show(observation)
        self.engine.advance(now_ms)

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()


def _unwritable(error: sqlite3.Error) -> DataInvalid:
    return DataInvalid(f"The paper account's journal cannot be written: {error}.", hint="Check the disk and state_dir.")


def _beyond(prices: NDArray[np.float64], below: float, above: float) -> bool:
    return bool(((prices <= below) | (prices >= above)).any())
