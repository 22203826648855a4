"""How requests are signed: by HMAC, RSA or Ed25519, as the secret says. The one place that reads a secret.

The quick look and the ccxt client sign with the same `Signer`. No sentence from here holds any part of a secret.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from typing import TYPE_CHECKING, Any, Literal

from trader_cli.core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import SecretStr

Kind = Literal["HMAC", "RSA", "Ed25519"]

_NAME = "TRADER_BINANCE_EXCHANGE__API_SECRET"
_PEM = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", re.DOTALL)
_LINE_ENDS = re.compile(r"\\r|\\n|\s")
"""Ends of lines as they are, and as two characters each, which is how many tools write them into one line."""
_READ = frozenset({"PRIVATE KEY", "RSA PRIVATE KEY"})
_FILE = re.compile(r"(?:[~.]{0,2}/|[A-Za-z]:\\|file:).*|.*\.(?:pem|key|der|p8|txt)", re.IGNORECASE)
_ED25519_HEAD = "MC4CAQAwBQYDK2VwBCIEI"
"""How the base64 of every Ed25519 private key begins: 64 characters, as long as an HMAC secret."""
_LINE = 64
_KEPT = {"OPENSSH": "an OpenSSH key", "PUBLIC": "a public key", "CERTIFICATE": "a certificate"}
_OPENSSL = "`openssl pkey -in KEY.pem` writes one"


class Signer:
    """Signs with one secret. A PEM private key is read once, when it is made.

    Raises `ConfigurationError` for a secret that cannot be used.
    """

    def __init__(self, secret: SecretStr) -> None:
        text = _usable(secret.get_secret_value())
        self.is_set = bool(text)
        self.kind: Kind = "HMAC"
        self._sign: Callable[[bytes], str] = _by_hmac(text.encode())
        if _PEM.search(text):
            self.kind, self._sign = _by_private_key(text)

    def signature(self, payload: str | bytes) -> str:
        """The signature of a payload: hex for HMAC, else base64, which is percent-encoded where it goes into a URL."""
        return self._sign(payload.encode() if isinstance(payload, str) else payload)


def sign_with(client: Any, signer: Signer) -> None:
    """Let a ccxt client sign by this signer.

    The client tells kinds apart by words in its secret, and Ed25519 from RSA by its length, blank lines and all: it is
    given the words alone, percent-encodes what a private key has signed, and takes hex as it is.
    """

    def sign(request: str | bytes, *_secret_and_algorithm: Any, **_: Any) -> str:
        return signer.signature(request)

    client.hmac = client.rsa = client.eddsa = sign
    client.secret = "" if not signer.is_set else "HMAC" if signer.kind == "HMAC" else "PRIVATE KEY"


def _usable(text: str) -> str:
    """The secret as it is signed with: a PEM key in its usual lines, else the text without blanks around it.

    Raises `ConfigurationError`.
    """
    text = text.strip().strip("\ufeff\"'").strip()
    found = _PEM.search(text)
    if found is None:
        _refuse_what_is_no_hmac_secret(text)
        return text
    label, body = found[1], found[2]
    if "ENCRYPTED" in label or "ENCRYPTED" in body:
        raise _refused("is a private key locked by a passphrase", f"Unlock it: {_OPENSSL} that is not.")
    if label not in _READ:
        raise _refused(
            f"is {_KEPT.get(label.split()[0], 'another kind of key')}",
            f"Set a PEM private key (RSA or Ed25519); {_OPENSSL}.",
        )
    packed = _LINE_ENDS.sub("", body)
    lines = [packed[at : at + _LINE] for at in range(0, len(packed), _LINE)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""])


def _refuse_what_is_no_hmac_secret(text: str) -> None:
    if "-----" in text or "PRIVATE KEY" in text:
        raise _refused("holds only a part of a PEM private key", f'Set all of it: export {_NAME}="$(cat KEY.pem)".')
    if text.startswith(_ED25519_HEAD):
        raise _refused(
            "is a private key without its BEGIN and END lines", f'Set all of it: export {_NAME}="$(cat KEY.pem)".'
        )
    if _FILE.fullmatch(text):
        raise _refused("names a file", f'Set what is in it: export {_NAME}="$(cat FILE)".')


def _by_hmac(secret: bytes) -> Callable[[bytes], str]:
    return lambda payload: hmac.new(secret, payload, hashlib.sha256).hexdigest()


def _by_private_key(text: str) -> tuple[Kind, Callable[[bytes], str]]:
    """Kind and signing of a PEM private key."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(text.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm, binascii.Error):
        raise _refused("is a PEM private key that cannot be read", "Copy it again, every line of it.") from None
    if isinstance(key, Ed25519PrivateKey):
        return "Ed25519", lambda payload: _base64(key.sign(payload))
    if isinstance(key, RSAPrivateKey):
        return "RSA", lambda payload: _base64(key.sign(payload, PKCS1v15(), hashes.SHA256()))
    raise _refused("is a private key of a kind the exchange does not know", "Make an Ed25519 or RSA key.")


def _base64(signed: bytes) -> str:
    return base64.b64encode(signed).decode()


def _refused(what: str, hint: str) -> ConfigurationError:
    return ConfigurationError(f"The API secret {what}.", hint=hint)
