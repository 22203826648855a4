"""A quick look at the account: positions and stops by two signed reads, at once and without loading the ccxt client.

For `trader status`, which has to answer within a second: loading ccxt alone takes most of that. Reads only.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from trader_cli.core.errors import ExchangeUnavailable
from trader_cli.exchange.account_replies import position_state, stop_state

if TYPE_CHECKING:
    from trader_cli.core.orders import PositionState, StopState
    from trader_cli.settings.model import BinanceExchangeSettings

_TIMEOUT_S = 2.0
_WINDOW_MS = 5000


@dataclass(frozen=True)
class QuickLook:
    """What the exchange shows of the account right now."""

    positions: tuple[PositionState, ...]
    stops: tuple[StopState, ...]


def quick_look(options: BinanceExchangeSettings) -> QuickLook:
    """Positions that are not flat, and conditional orders that wait. Raises `ExchangeUnavailable` for any fault."""
    base = _base(options)
    with ThreadPoolExecutor(2) as pool:
        server_ms = int(_json(Request(f"{base}/fapi/v1/time"))["serverTime"])  # noqa: S310
        asked = [
            pool.submit(_json, _signed(options, f"{base}{path}", server_ms))
            for path in ("/fapi/v3/positionRisk", "/fapi/v1/openAlgoOrders")
        ]
        positions, stops = (future.result() for future in asked)
    try:
        held = tuple(p for p in map(position_state, positions) if p.amount != 0)
        return QuickLook(held, tuple(map(stop_state, stops)))
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise ExchangeUnavailable(f"The exchange's answer cannot be read: {error!r}.") from error


def _base(options: BinanceExchangeSettings) -> str:
    if options.base_url is not None:
        return options.base_url.rstrip("/")
    return "https://demo-fapi.binance.com" if options.use_testnet else "https://fapi.binance.com"


def _signed(options: BinanceExchangeSettings, url: str, server_ms: int) -> Request:
    query = urlencode({"timestamp": server_ms, "recvWindow": _WINDOW_MS})
    secret = options.api_secret.get_secret_value().encode()
    signature = hmac.new(secret, query.encode(), hashlib.sha256).hexdigest()
    headers = {"X-MBX-APIKEY": options.api_key.get_secret_value()}
    return Request(f"{url}?{query}&signature={signature}", headers=headers)  # noqa: S310


def _json(request: Request) -> Any:
    try:
        with urlopen(request, timeout=_TIMEOUT_S) as reply:  # noqa: S310
            return json.load(reply)
    except HTTPError as error:
        words = error.read(200).decode(errors="replace")
        raise ExchangeUnavailable(f"The exchange answered {error.code}: {words}") from error
    except (URLError, OSError, ValueError) as error:
        raise ExchangeUnavailable(f"The exchange cannot be reached: {getattr(error, 'reason', error)}.") from error
