"""Who is asking: API keys, signatures and timestamps, enforced as the exchange enforces them."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from trader_cli.venue.queries import VenueRejection

if TYPE_CHECKING:
    from collections.abc import Mapping

_AHEAD_MS = 1000
_MOST_WINDOW_MS = 60_000


@dataclass(frozen=True)
class ApiKey:
    """A key of the simulated exchange: its secret, its account and what it may do."""

    key: str
    secret: str
    account: str
    can_trade: bool = True
    can_withdraw: bool = False
    hedge_mode: bool = False


KEYS = {
    k.key: k
    for k in (
        ApiKey("sim-key", "sim-secret", "main"),
        ApiKey("sim-read-key", "sim-secret", "main", can_trade=False),
        ApiKey("sim-withdraw-key", "sim-secret", "withdraw", can_withdraw=True),
        ApiKey("sim-hedge-key", "sim-secret", "hedge", hedge_mode=True),
    )
}
"""The keys every simulated exchange knows. They open nothing real."""


def key_of(headers: Mapping[str, str]) -> ApiKey:
    """The API key of a request."""
    given = headers.get("X-MBX-APIKEY", "")
    if not given:
        raise VenueRejection(401, -2014, "API-key format invalid.")
    if given not in KEYS:
        raise VenueRejection(401, -2015, "Invalid API-key, IP, or permissions for action.")
    return KEYS[given]


def signed_parameters(key: ApiKey, query: str, body: str, now_ms: int) -> dict[str, str]:
    """Parameters of a signed request: signature last and right, timestamp inside its window."""
    text = query + body
    payload, marker, signature = text.rpartition("&signature=")
    if not marker:
        raise VenueRejection(400, -1102, "Mandatory parameter 'signature' was not sent, was empty/null, or malformed.")
    wanted = hmac.new(key.secret.encode(), payload.encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(wanted, signature):
        raise VenueRejection(400, -1022, "Signature for this request is not valid.")
    parameters = dict(parse_qsl(payload, keep_blank_values=True))
    _check_time(parameters, now_ms)
    return parameters


def _check_time(parameters: dict[str, str], now_ms: int) -> None:
    stamp, window = parameters.pop("timestamp", ""), parameters.pop("recvWindow", "5000")
    if not stamp.isdigit():
        raise VenueRejection(400, -1102, "Mandatory parameter 'timestamp' was not sent, was empty/null, or malformed.")
    if not window.isdigit() or int(window) > _MOST_WINDOW_MS:
        raise VenueRejection(400, -1131, "recvWindow must be less than 60000.")
    if int(stamp) >= now_ms + _AHEAD_MS:
        raise VenueRejection(400, -1021, "Timestamp for this request was 1000ms ahead of the server's time.")
    if now_ms - int(stamp) > int(window):
        raise VenueRejection(400, -1021, "Timestamp for this request is outside of the recvWindow.")
