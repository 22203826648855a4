"""A quick look at the account: a few reads side by side, at once and without loading the ccxt client. Reads only.

For `trader status`, which answers within a second and never later than three: whatever each endpoint does (a connection
that hangs, a header that does not come, a body that trickles), what has not answered when the budget ends is None.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field, replace
from functools import partial
from http.client import HTTPException
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from trader_cli.core.errors import ConfigurationError, ExchangeUnavailable
from trader_cli.core.proofs.evidence import AccountSnapshot
from trader_cli.exchange.account.account_replies import order_state, position_state, stop_state
from trader_cli.exchange.connection.request_signing import Signer
from trader_cli.venue.request_weights import FUTURES, WEIGHT_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from urllib.request import OpenerDirector

    from trader_cli.core.money.orders import OrderState
    from trader_cli.settings.model import BinanceExchangeSettings

BUDGET_S = 1.5
"""A status is looked at by a person: what has not come by then is said to be unknown."""
_WINDOW_MS = 5000
"""The exchange's own default of `recvWindow`: this asks once and by this machine's clock."""
_WRONG_TIME = -1021
"""The time stamp lies outside `recvWindow`, or more than a second ahead of the exchange."""
_ENOUGH = frozenset({418, 429})
"""HTTP: banned, and too many requests: nothing more is asked."""
_LONGEST = 8 << 20
"""Bytes of a reply: the longest, exchange information of every symbol, is not asked here."""
_TIME, _CLOCK = "/fapi/v1/time", "/venue/clock"
_POSITIONS, _STOPS, _ORDERS = "/fapi/v3/positionRisk", "/fapi/v1/openAlgoOrders", "/fapi/v1/openOrders"
_PAST = "/fapi/v1/allOrders"
(_USED,) = FUTURES.headers
_WORDS = {_POSITIONS: "positions", _STOPS: "stops", _ORDERS: "orders", _PAST: "past orders", _CLOCK: "its clock"}


_MOST_USED = round(0.85 * WEIGHT_LIMIT)
"""With more of the minute's weight used nothing heavy is asked: a status that is watched must not get care banned."""
_FIRST_S = 0.25
"""How long the heavy questions wait to hear from a light one how much is used."""


class _WrongTime(ExchangeUnavailable):
    """The exchange does not take the time a request was signed at."""


class _NoRedirect(HTTPRedirectHandler):
    """Our key goes to the host it is meant for and to no other."""

    def redirect_request(self, *_: Any) -> None:
        """Follow none."""


@dataclass
class _Answer:
    """What one thread found, once `come` is set."""

    path: str
    come: threading.Event = field(default_factory=threading.Event)
    body: Any = None
    problem: str | None = None
    at_s: float = 0.0


class AccountSnapshotReader:
    """Begin it, do something else, then ask for what came. Threads that still wait do not keep the process alive."""

    def __init__(self, options: BinanceExchangeSettings, budget_s: float) -> None:
        self._options, self._budget_s = options, budget_s
        self._until = time.monotonic() + budget_s
        self._requested_ms = time.time_ns() // 1_000_000
        self._opener: OpenerDirector = build_opener(_NoRedirect, ProxyHandler({}))
        self._time = _Answer(_TIME)
        self._used, self._told = 0, threading.Event()
        self._requested: dict[str, _Answer] = {}
        self._signer: Signer | None = None
        self._unsigned = "no API key is set."

    @classmethod
    def begin(
        cls, options: BinanceExchangeSettings, budget_s: float = BUDGET_S, *, account: bool = True
    ) -> AccountSnapshotReader:
        """Everything is asked side by side: time, positions, stops and orders; a venue's clock where it is followed."""
        made = cls(options, budget_s)
        if options.clock == "venue" and options.base_url is not None:
            made._start(_CLOCK, made._plain)
        if account and options.api_key.get_secret_value():
            made._begun(made._time, made._plain)
            made._get_ready_to_sign()
        if made._signer is not None:
            made._start(_POSITIONS, made._signed)
            for path in (_STOPS, _ORDERS):
                made._start(path, made._heavy)
        return made

    def snapshot(self) -> AccountSnapshot:
        """What the exchange showed within the budget."""
        if self._signer is None:
            return AccountSnapshot(self._requested_ms, None, None, None, (self._unsigned,))
        problems: list[str] = []
        positions = self._read(_POSITIONS, position_state, problems)
        stops, orders = self._read(_STOPS, stop_state, problems), self._read(_ORDERS, order_state, problems)
        held = None if positions is None else tuple(p for p in positions if p.amount != 0)
        return AccountSnapshot(self._requested_ms, held, stops, orders, tuple(dict.fromkeys(problems)))

    def with_past(self, snapshot: AccountSnapshot, symbols: Sequence[str]) -> AccountSnapshot:
        """The same look with the last days' orders of these symbols, as far as they come in time."""
        names = {symbol: f"{_PAST}?{symbol}" for symbol in symbols}
        for symbol, name in names.items():
            self._requested[name] = self._begun(
                _Answer(_PAST), partial(self._signed, query={"symbol": symbol, "limit": 1000})
            )
        problems: list[str] = list(snapshot.problems)
        found: list[OrderState] = []
        for name in names.values():
            found += self._read(name, order_state, problems) or ()
        return replace(snapshot, past=tuple(found), problems=tuple(dict.fromkeys(problems)))

    def venue_now_ms(self) -> int | None:
        """The time of the venue whose clock is followed; `None` where it has not told it."""
        answer = self._requested.get(_CLOCK)
        if answer is None or not self._has_come(answer) or not isinstance(answer.body, dict):
            return None
        shown = answer.body.get("now_ms")
        return int(shown) if isinstance(shown, (int, float)) else None

    def _get_ready_to_sign(self) -> None:
        try:
            self._signer = Signer(self._options.api_secret)
        except ConfigurationError as error:
            self._unsigned = str(error)

    # --- asking, in threads ---

    def _start(self, path: str, ask: Callable[[_Answer], Any]) -> None:
        self._requested[path] = self._begun(_Answer(path), ask)

    def _begun(self, answer: _Answer, ask: Callable[[_Answer], Any]) -> _Answer:
        def work() -> None:
            try:
                answer.body = ask(answer)
            except ExchangeUnavailable as error:
                answer.problem = error.sentence
            answer.at_s = time.monotonic()
            answer.come.set()

        threading.Thread(target=work, daemon=True).start()
        return answer

    def _plain(self, answer: _Answer) -> Any:
        return self._json(Request(f"{_base(self._options)}{answer.path}"))  # noqa: S310

    def _signed(self, answer: _Answer, query: dict[str, Any] | None = None) -> Any:
        """By this machine's clock; refused for the time, once more by the exchange's."""
        try:
            return self._json(self._request(answer.path, query or {}, time.time_ns() // 1_000_000))
        except _WrongTime:
            shown = self._server_ms()
            if shown is None:
                raise
            return self._json(self._request(answer.path, query or {}, shown))

    def _heavy(self, answer: _Answer) -> Any:
        """A question of weight 40, where the minute has room for it."""
        self._told.wait(_FIRST_S)
        if self._used > _MOST_USED:
            raise ExchangeUnavailable(
                f"{self._used} of the {WEIGHT_LIMIT} request weight of this minute is used: stops and orders are asked"
                " for in the next one."
            )
        return self._signed(answer)

    def _server_ms(self) -> int | None:
        """The exchange's time now, by its answer to the question that was asked beside the others."""
        try:
            told = int(self._time.body["serverTime"]) if self._has_come(self._time) else None
        except (KeyError, TypeError, ValueError):
            return None
        return None if told is None else told + int(1000 * (time.monotonic() - self._time.at_s))

    def _request(self, path: str, query: dict[str, Any], at_ms: int) -> Request:
        if self._signer is None:
            raise ExchangeUnavailable(self._unsigned)
        text = urlencode({**query, "timestamp": at_ms, "recvWindow": _WINDOW_MS})
        signature = quote(self._signer.signature(text), safe="")
        headers = {"X-MBX-APIKEY": self._options.api_key.get_secret_value()}
        return Request(f"{_base(self._options)}{path}?{text}&signature={signature}", headers=headers)  # noqa: S310

    def _json(self, request: Request) -> Any:
        try:
            with self._opener.open(request, timeout=max(0.05, self._until - time.monotonic())) as reply:
                self._hear(reply.headers.get(_USED, ""))
                return json.loads(reply.read(_LONGEST))
        except HTTPError as error:
            self._hear(str(WEIGHT_LIMIT) if error.code in _ENOUGH else error.headers.get(_USED, ""))
            raise _refusal(error) from None
        except (URLError, OSError, HTTPException) as error:
            reason = getattr(error, "reason", error)
            words = getattr(reason, "strerror", None) or type(reason).__name__
            raise ExchangeUnavailable(f"The exchange cannot be reached: {words}.") from None
        except ValueError:
            raise ExchangeUnavailable("The exchange's answer cannot be read.") from None

    def _hear(self, used: str) -> None:
        """How much of the minute's weight is used, if a reply says so."""
        if used.isdigit():
            self._used = max(self._used, int(used))
            self._told.set()

    # --- what came ---

    def _has_come(self, answer: _Answer) -> bool:
        return answer.come.wait(max(0.0, self._until - time.monotonic()))

    def _read(self, name: str, shape: Callable[[dict[str, Any]], Any], problems: list[str]) -> tuple[Any, ...] | None:
        """The rows of an answer as values; `None`, and why, where it did not come or cannot be read."""
        answer = self._requested[name]
        what = _WORDS[answer.path]
        if not self._has_come(answer):
            problems.append(f"No answer about {what} within {self._budget_s:g} s.")
        elif answer.problem is not None:
            problems.append(answer.problem)
        elif not isinstance(answer.body, list):
            problems.append(f"The exchange's answer about {what} is not a list.")
        else:
            try:
                return tuple(shape(row) for row in answer.body)
            except (KeyError, ValueError, TypeError, AttributeError) as error:
                problems.append(f"The exchange's answer about {what} cannot be read: {type(error).__name__}.")
        return None


def _base(options: BinanceExchangeSettings) -> str:
    if options.base_url is not None:
        return options.base_url.rstrip("/")
    return "https://demo-fapi.binance.com" if options.use_testnet else "https://fapi.binance.com"


def _refusal(error: HTTPError) -> ExchangeUnavailable:
    """The exchange's code and words. Any other body is left out: it may repeat what was asked, signature and all."""
    try:
        body = json.loads(error.read(2000))
        code, words = int(body["code"]), str(body["msg"])
    except (OSError, HTTPException, ValueError, KeyError, TypeError):
        return ExchangeUnavailable(f"The exchange answered {error.code}.")
    kind = _WrongTime if code == _WRONG_TIME else ExchangeUnavailable
    return kind(f"The exchange answered {error.code}: {words.partition('signature')[0][:120]} ({code}).")
