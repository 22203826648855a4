"""Who is asking: API keys, signatures and timestamps, enforced as the exchange enforces them.

A key signs by HMAC with its secret, or by RSA or Ed25519 once a public key was registered for it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote

from trader_cli.venue.engine.queries import VenueRejection

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Verifier = Callable[[bytes, bytes], bool]
    """Whether a signature (decoded from base64) is that of a payload."""

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
    ip_restricted: bool = True


KEYS = {
    k.key: k
    for k in (
        ApiKey("sim-key", "sim-secret", "main"),
        ApiKey("sim-read-key", "sim-secret", "main", can_trade=False),
        ApiKey("sim-withdraw-key", "sim-secret", "withdraw", can_withdraw=True),
        ApiKey("sim-hedge-key", "sim-secret", "hedge", hedge_mode=True),
        ApiKey("sim-anywhere-key", "sim-secret", "anywhere", ip_restricted=False),
    )
}
"""The keys every simulated exchange knows. They open nothing real."""
_OWN = re.compile(r"sim-key-[a-z0-9]{1,32}")


def known_key(name: str) -> ApiKey | None:
    """The key of this name: one of `KEYS`, or `sim-key-NAME`, which opens an account of its own."""
    if _OWN.fullmatch(name):
        return ApiKey(name, "sim-secret", name)
    return KEYS.get(name)


def key_of(headers: Mapping[str, str]) -> ApiKey:
    """The API key of a request."""
    given = headers.get("X-MBX-APIKEY", "")
    if not given:
        raise VenueRejection(401, -2014, "API-key format invalid.")
    key = known_key(given)
    if key is None:
        raise VenueRejection(401, -2015, "Invalid API-key, IP, or permissions for action.")
    return key


def verifier_of(public_key: str) -> Verifier:
    """How signatures by the private half of this key (PEM: RSA or Ed25519) are verified. Raises `ValueError`."""
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(public_key.encode())
    except UnsupportedAlgorithm as error:
        raise ValueError(str(error)) from error
    if not isinstance(key, (RSAPublicKey, Ed25519PublicKey)):
        raise ValueError("neither RSA nor Ed25519")  # noqa: TRY004

    def verifies(payload: bytes, signature: bytes) -> bool:
        try:
            if isinstance(key, RSAPublicKey):
                key.verify(signature, payload, PKCS1v15(), hashes.SHA256())
            else:
                key.verify(signature, payload)
        except InvalidSignature:
            return False
        return True

    return verifies


def signed_parameters(
    key: ApiKey, query: str, body: str, now_ms: int, verifier: Verifier | None = None
) -> dict[str, str]:
    """Parameters of a signed request: signature last and right, timestamp inside its window.

    By HMAC with the key's secret, or by `verifier` where a public key was registered.
    """
    text = query + body
    payload, marker, signature = text.rpartition("&signature=")
    if not marker:
        raise VenueRejection(400, -1102, "Mandatory parameter 'signature' was not sent, was empty/null, or malformed.")
    is_right = _is_hmac(key, payload, signature) if verifier is None else _is_verified(verifier, payload, signature)
    if not is_right:
        raise VenueRejection(400, -1022, "Signature for this request is not valid.")
    parameters = dict(parse_qsl(payload, keep_blank_values=True))
    _check_time(parameters, now_ms)
    return parameters


def _is_hmac(key: ApiKey, payload: str, signature: str) -> bool:
    wanted = hmac.new(key.secret.encode(), payload.encode(), hashlib.sha256).hexdigest()
    return hmac.compare_digest(wanted.encode(), signature.encode())


def _is_verified(verifier: Verifier, payload: str, signature: str) -> bool:
    """A base64 signature is percent-encoded in a query and in a form; `+` bare is a blank there, and so not right."""
    try:
        decoded = base64.b64decode(unquote(signature.replace("+", " ")), validate=True)
    except (binascii.Error, ValueError):
        return False
    return verifier(payload.encode(), decoded)


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
