"""The trading side of the venue: signed requests to engines, journalled; state rebuilt from the journal on start."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trader_cli.venue.engine.account_history import AccountHistory
from trader_cli.venue.engine.cover_audit import CoverAudit
from trader_cli.venue.engine.engine import Engine
from trader_cli.venue.engine.venue_journal import Command, Journal
from trader_cli.venue.server.authentication import KEYS, ApiKey, key_of, known_key, signed_parameters, verifier_of
from trader_cli.venue.server.private_routes import COMMANDS, READS
from trader_cli.venue.server.public_routes import VenueRejection
from trader_cli.venue.server.wallets import fresh_account
from trader_cli.venue.streams.listen_keys import ListenKeys

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal
    from pathlib import Path

    from trader_cli.core.json_values import JsonObject
    from trader_cli.venue.engine.engine import Watcher
    from trader_cli.venue.engine.queries import Body
    from trader_cli.venue.engine.switches import Switches
    from trader_cli.venue.server.authentication import Verifier
    from trader_cli.venue.simulated_market.rule_changes import RuleBook
    from trader_cli.venue.simulated_market.symbol_market import SymbolMarket

_LISTEN_KEY = "/fapi/v1/listenKey"
_RESTRICTIONS = "/sapi/v1/account/apiRestrictions"


def is_private(method: str, path: str) -> bool:
    """Whether this is a private route."""
    own = path in {_LISTEN_KEY, _RESTRICTIONS}
    return own or (method == "GET" and path in READS) or (method, path) in COMMANDS


@dataclass(frozen=True)
class Request:
    """A request as it came in: raw query and body, because the signature covers just those bytes.

    `parameters` are those of the query, decoded.
    """

    method: str
    path: str
    query: str
    body: str
    headers: Mapping[str, str]
    parameters: Mapping[str, str] = field(default_factory=dict)


class TradingDesk:
    """Accounts of the simulated exchange. `folder` keeps the journal; `None` keeps nothing."""

    def __init__(
        self,
        markets: Mapping[str, SymbolMarket],
        start_ms: int,
        balance: Decimal,
        folder: Path | None = None,
        *,
        switches: Switches | None = None,
        book: RuleBook | None = None,
    ) -> None:
        self._journal = Journal(folder)
        self._markets, self._start_ms, self._balance = markets, start_ms, balance
        self._switches, self._book = switches, book
        self._engines: dict[str, Engine] = {}
        self._covers: dict[str, CoverAudit] = {}
        self._verifiers: dict[str, Verifier] = {}
        self._histories: dict[str, AccountHistory] = {}
        self._remembered_from_ms: int | None = None
        self.listen_keys = ListenKeys()
        for command in self._journal.commands():
            self._replay(command)

    def _replay(self, command: Command) -> None:
        key = known_key(command.key)
        if key is None:
            return
        engine = self.engine(key)
        engine.advance(command.time_ms)
        try:
            COMMANDS[command.method, command.path](engine, command.parameters)
        except (VenueRejection, ArithmeticError, ValueError):
            return  # it was refused then, too

    def engine(self, key: ApiKey) -> Engine:
        """The engine of a key's account, opened at the first call."""
        if key.account not in self._engines:
            account = fresh_account(
                self._balance, hedge_mode=key.hedge_mode, markets=self._markets, at_ms=self._start_ms
            )
            engine = Engine(self._markets, account, self._start_ms, switches=self._switches, book=self._book)
            self._engines[key.account], self._covers[key.account] = engine, CoverAudit()
            engine.on_change.append(self._covers[key.account])
            if self._remembered_from_ms is not None:
                self._histories[key.account] = AccountHistory(engine)
        return self._engines[key.account]

    def cover(self, key: ApiKey) -> CoverAudit:
        """What was covered of a key's account, and when."""
        self.engine(key)
        return self._covers[key.account]

    def watch(self, *watchers: Watcher) -> None:
        """Call these after each change of the account `main`."""
        self.engine(KEYS["sim-key"]).on_change.extend(watchers)

    def remember(self, now_ms: int) -> None:
        """Remember from now on what the accounts were, for answers that lag."""
        self._remembered_from_ms = now_ms
        for name, engine in self._engines.items():
            engine.advance(now_ms)
            self._histories[name] = AccountHistory(engine)

    def register(self, key: ApiKey, public_key: str) -> None:
        """From now on this key signs by the private half of an RSA or Ed25519 key. Raises `ValueError`."""
        self._verifiers[key.key] = verifier_of(public_key)

    def _parameters(self, key: ApiKey, request: Request, now_ms: int) -> dict[str, str]:
        return signed_parameters(key, request.query, request.body, now_ms, self._verifiers.get(key.key))

    def check(self, request: Request, now_ms: int) -> None:
        """Raises `VenueRejection` where key, signature or time of a request are wrong now."""
        key = key_of(request.headers)
        if request.path != _LISTEN_KEY:
            self._parameters(key, request, now_ms)

    def answer(self, request: Request, now_ms: int, *, stamped_ms: int | None = None, lag_ms: int = 0) -> Body:
        """The JSON answer. Raises `VenueRejection`.

        The request's time is checked as of `stamped_ms` (default: now). A query shows the account as it was `lag_ms`
        ago, as far as it was remembered.
        """
        key = key_of(request.headers)
        if request.path == _LISTEN_KEY:
            return self._listen_key(key, request.method, now_ms)
        parameters = self._parameters(key, request, now_ms if stamped_ms is None else stamped_ms)
        if request.path == _RESTRICTIONS:
            return restrictions(can_trade=key.can_trade, can_withdraw=key.can_withdraw, ip_restricted=key.ip_restricted)
        engine = self.engine(key)
        engine.advance(now_ms)
        if request.method == "GET":
            history = self._histories.get(key.account) if lag_ms else None
            return READS[request.path](history.as_of(now_ms - lag_ms) if history else engine, parameters)
        if not key.can_trade:
            raise VenueRejection(401, -2015, "Invalid API-key, IP, or permissions for action.")
        self._journal.append(Command(now_ms, key.key, request.method, request.path, parameters))
        return COMMANDS[request.method, request.path](engine, parameters)

    def _listen_key(self, key: ApiKey, method: str, now_ms: int) -> Body:
        self.engine(key)
        if method == "DELETE":
            self.listen_keys.remove(key.account)
            return {}
        keys = self.listen_keys
        return {"listenKey": (keys.create if method == "POST" else keys.prolong)(key.account, now_ms)}

    def engine_of(self, account: str) -> Engine:
        """The engine of an account that a key has opened."""
        return self._engines[account]

    def engines(self) -> list[Engine]:
        """Of all accounts that were opened."""
        return [*self._engines.values()]

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()


def restrictions(*, can_trade: bool, can_withdraw: bool, ip_restricted: bool = True) -> JsonObject:
    """GET /sapi/v1/account/apiRestrictions."""
    return {
        "ipRestrict": ip_restricted,
        "createTime": 0,
        "enableReading": True,
        "enableFutures": can_trade,
        "enableWithdrawals": can_withdraw,
        "enableInternalTransfer": False,
        "permitsUniversalTransfer": False,
        "enableMargin": False,
        "enableSpotAndMarginTrading": False,
        "enableVanillaOptions": False,
    }
