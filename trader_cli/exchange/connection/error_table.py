"""ccxt's errors in our words: one table, by what the operator must do. No sentence holds a key or a signature."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trader_cli.core.errors import (
    ConfigurationError,
    ExchangeRejected,
    ExchangeUnavailable,
    RateLimited,
    TooManyOrders,
    TraderError,
)
from trader_cli.exchange.connection.ccxt_binance import ccxt_binance

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_CODE = re.compile(r'"code"\s*:\s*"?(-?\d+)')
_BANNED_UNTIL = re.compile(r"banned until (\d{10,})")
_TEMPORARY_CODES = {
    -1000: "unknown error while processing",
    -1001: "internal error, disconnected",
    -1006: "unexpected response from the message bus: what became of it is unknown",
    -1007: "timeout waiting for the backend: what became of it is unknown",
    -1008: "the server is overloaded; what reduces is let through",
    -1016: "the service is shutting down",
}
"""What is likely to pass. Words as in "Error Codes" of the exchange's USDⓈ-M futures documentation."""
_KEY_CODES = {
    -1002: "not authorised for this request",
    -1022: "the signature is not valid",
    -2014: "the format of the API key is not valid",
    -2015: "unknown key, an address it is not for, or a right it does not have",
}
"""What only a person can put right, at the key. The same page."""
_TOO_MUCH_WEIGHT = -1003
"""Too many requests: comes with HTTP 429, with 418 for those who went on ("Limits" of the same documentation)."""
_TOO_MANY_ORDERS = -1015
"""Too many new orders in 10 seconds or a minute: everything but new orders goes on."""
_FIREWALL, _TOO_MANY_REQUESTS, _BANNED, _TIMED_OUT = 403, 429, 418, 408
"""HTTP: the web application firewall; a limit is broken; banned for going on; the backend did not answer in time."""
_DEFAULT_RETRY_S = 30.0
"""Where no `Retry-After` says how long: half of the window of a minute in which weight is counted."""
_FIREWALL_S = 1.0
"""The firewall may mean one endpoint only: a pause, but care of a position must not wait for it."""
_ORDERS_HELD_S = 10.0
"""The exchange counts new orders in windows of ten seconds."""

_QUERY = re.compile(r"\?[^\s?'\"<>]*=[^\s'\"<>]*")
_FORM = re.compile(r"[\w.%+-]+=[^\s&'\"<>]*(?:&[\w.%+-]+=[^\s&'\"<>]*)+")
_SIGNATURE = re.compile(r"signature['\"]?\s*[=:]\s*['\"]?[\w%+/=]*", re.IGNORECASE)
_KEY = re.compile(r"X-MBX-APIKEY['\"]?\s*[=:,]\s*['\"]?[^\s'\",;}]*", re.IGNORECASE)
_PRIVATE_KEY = re.compile(r"-----BEGIN [^-]*PRIVATE KEY-----.*?(?:-----END [^-]*-----|$)", re.DOTALL)


@dataclass(frozen=True)
class Reply:
    """What is known of a reply beside its words: HTTP status, headers, and the exchange's time when it came."""

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    now_ms: int | None = None


def translate(
    error: Exception,
    headers: Mapping[str, str] | None = None,
    *,
    status: int | None = None,
    now_ms: int | None = None,
    secrets: Iterable[str] = (),
) -> TraderError:
    """The `TraderError` that says what a ccxt exception means. The numeric code counts more than ccxt's class.

    `headers` and `status` are those of the reply, if one came, at `now_ms` of the exchange; `secrets` are taken out.
    """
    found = _CODE.search(str(error))
    code = int(found.group(1)) if found else None
    return _meaning(error, code, _short(error, secrets), Reply(status, headers or {}, now_ms))


def _meaning(error: Exception, code: int | None, text: str, reply: Reply) -> TraderError:
    _, ccxt = ccxt_binance()
    if code == _TOO_MANY_ORDERS:
        wait = retry_after_s(reply.headers, _ORDERS_HELD_S)
        return TooManyOrders(
            f"The exchange takes no more new orders for now: {text}.",
            code=code,
            retry_after_s=wait,
            hint=f"Wait {wait:g} s.",
        )
    if isinstance(error, (ccxt.DDoSProtection, ccxt.RateLimitExceeded)) or _wants_quiet(code, reply.status):
        return _limited(error, text, reply)
    if code in _KEY_CODES or isinstance(error, ccxt.AuthenticationError):
        return ConfigurationError(
            f"The exchange does not accept the API key: {text}.", hint="Check the key and its rights."
        )
    vague = code is None and isinstance(error, (ccxt.OperationFailed, ccxt.BadResponse, ccxt.NullResponse))
    if code in _TEMPORARY_CODES or vague or _tells_nothing(code, reply.status):
        answered = _answered(code, reply)
        said = f"did not answer properly: {text}" if answered else f"cannot be reached: {text}{_reason(error)}"
        return ExchangeUnavailable(
            f"The exchange {said}.", hint="Check the network; try again later.", answered=answered
        )
    if code is not None:
        return ExchangeRejected(f"The exchange rejected the request: {text}.", code=code)
    return ExchangeUnavailable(
        f"The exchange cannot be used: {text}.", hint="Try again later.", answered=_answered(code, reply)
    )


def _reason(error: Exception) -> str:
    """Why no connection came about, where the system has a word for it."""
    words = getattr(error.__cause__, "strerror", None)
    return f" ({words})" if isinstance(words, str) else ""


def _answered(code: int | None, reply: Reply) -> bool:
    return code is not None or reply.status is not None


def _tells_nothing(code: int | None, status: int | None) -> bool:
    """A 5xx or 408 is no refusal, whatever is written in it, nor is a code that is none of the exchange's errors."""
    return (status is not None and (status >= 500 or status == _TIMED_OUT)) or (code is not None and code >= 0)


def _wants_quiet(code: int | None, status: int | None) -> bool:
    """A limit, a ban, or the firewall, which has no code of the exchange's own."""
    return code == _TOO_MUCH_WEIGHT or status in {_TOO_MANY_REQUESTS, _BANNED} or (status == _FIREWALL and code is None)


def _limited(error: Exception, text: str, reply: Reply) -> RateLimited:
    until = _BANNED_UNTIL.search(str(error))
    wait = retry_after_s(reply.headers, _FIREWALL_S if reply.status == _FIREWALL else _DEFAULT_RETRY_S)
    if until is not None and reply.now_ms is not None:
        wait = max(wait if _says_when(reply.headers) else 0.0, (int(until.group(1)) - reply.now_ms) / 1000)
    return RateLimited(
        f"The exchange asks us to slow down: {text}.",
        retry_after_s=wait,
        hint=f"Wait {wait:g} s.",
        banned=until is not None or reply.status == _BANNED,
    )


def retry_after_s(headers: Mapping[str, str] | None, default_s: float = _DEFAULT_RETRY_S) -> float:
    """Seconds from a `Retry-After` header, whatever its case; `default_s` if there is none."""
    for name, value in (headers or {}).items():
        if name.lower() == "retry-after" and value.replace(".", "", 1).isdigit():
            return float(value)
    return default_s


def _says_when(headers: Mapping[str, str]) -> bool:
    return retry_after_s(headers, -1.0) >= 0


def scrubbed(text: str, secrets: Iterable[str] = ()) -> str:
    """Text without queries, form bodies, signatures, keys and these secrets."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "…")
    for pattern in (_PRIVATE_KEY, _QUERY, _FORM, _SIGNATURE, _KEY):
        text = pattern.sub("…", text)
    return text


_BODY = re.compile(r'^\w+ \{"code": ?(?P<code>-?\d+), ?"msg": ?"(?P<words>[^"]+)"\}$')
"""What ccxt makes of an error of the exchange: its own name, and the reply as it came."""


def _short(error: Exception, secrets: Iterable[str] = ()) -> str:
    text = " ".join(scrubbed(str(error), secrets).split()) or type(error).__name__
    text = _BODY.sub(lambda found: f"{found['words'].rstrip('.')} ({found['code']})", text)
    return text if len(text) <= 200 else text[:200] + " …"
