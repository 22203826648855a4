"""ccxt's errors in our words: one table, by what the operator must do."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from trader_cli.core.errors import ConfigurationError, ExchangeRejected, ExchangeUnavailable, RateLimited, TraderError

if TYPE_CHECKING:
    from collections.abc import Mapping

_CODE = re.compile(r'"code"\s*:\s*"?(-?\d+)')
_TEMPORARY_CODES = frozenset({-1000, -1001, -1006, -1007, -1008, -1016})
_KEY_CODES = frozenset({-1002, -1022, -2014, -2015})
_DEFAULT_RETRY_S = 30.0


def translate(error: Exception, headers: Mapping[str, str] | None = None) -> TraderError:
    """The `TraderError` that says what a ccxt exception means. The numeric code counts more than ccxt's class."""
    import ccxt

    found = _CODE.search(str(error))
    code = int(found.group(1)) if found else None
    text = _short(error)
    if isinstance(error, (ccxt.DDoSProtection, ccxt.RateLimitExceeded)) or code in {-1003, -1015}:
        wait = retry_after_s(headers)
        return RateLimited(f"The exchange asks us to slow down: {text}.", retry_after_s=wait, mend=f"Wait {wait:g} s.")
    if code in _KEY_CODES or isinstance(error, ccxt.AuthenticationError):
        return ConfigurationError(
            f"The exchange does not accept the API key: {text}.", mend="Check the key and its rights."
        )
    vague = code is None and isinstance(error, (ccxt.OperationFailed, ccxt.BadResponse, ccxt.NullResponse))
    if code in _TEMPORARY_CODES or vague:
        return ExchangeUnavailable(
            f"The exchange did not answer properly: {text}.", mend="Check the network; try again later."
        )
    if code is not None:
        return ExchangeRejected(f"The exchange rejected the request: {text}.", code=code)
    return ExchangeUnavailable(f"The exchange cannot be used: {text}.", mend="Try again later.")


def retry_after_s(headers: Mapping[str, str] | None) -> float:
    """Seconds from a `Retry-After` header, whatever its case; 30 if there is none."""
    for name, value in (headers or {}).items():
        if name.lower() == "retry-after" and value.replace(".", "", 1).isdigit():
            return float(value)
    return _DEFAULT_RETRY_S


def _short(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:200] + " …"
