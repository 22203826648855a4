"""A secret signs as its kind wants, however its lines came here; one that cannot sign is refused and never shown."""

from __future__ import annotations

import base64
import hashlib
import hmac
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from pydantic import SecretStr
from support.hosts.key_pairs import KINDS, ec_key, ed25519_key, pair_of, pem, rsa_key

from trader_cli.core.errors import ConfigurationError, ExitCode
from trader_cli.exchange.connection.error_table import scrubbed
from trader_cli.exchange.connection.request_signing import Signer
from trader_cli.settings import as_settings

PAYLOAD = "symbol=ETHUSDT&timestamp=1700000000000&recvWindow=5000"
HMAC_SECRET = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"

WRITTEN: dict[str, Callable[[str], str]] = {
    "as it is": lambda text: text,
    "without its last end of line": str.rstrip,
    "with CRLF": lambda text: text.replace("\n", "\r\n"),
    "with old ends of lines": lambda text: text.replace("\n", "\r"),
    "with backslash and n": lambda text: text.replace("\n", "\\n"),
    "with both escaped": lambda text: text.replace("\n", "\\r\\n"),
    "with blanks": lambda text: text.replace("\n", " "),
    "indented": lambda text: text.replace("\n", "\n    "),
    "in quotes": lambda text: f'"{text}"',
    "with a mark and blank lines": lambda text: "\ufeff" + text.replace("\n", "\n\n") + "\n\n\n",
    "in one line": lambda text: text.replace("\n", ""),
}


def signer(text: str) -> Signer:
    return Signer(SecretStr(text))


def verify(kind: str, signature: str) -> None:
    """Raises where the signature is not that of the payload."""
    signed = base64.b64decode(signature, validate=True)
    if kind == "RSA":
        rsa_key().public_key().verify(signed, PAYLOAD.encode(), PKCS1v15(), hashes.SHA256())
    else:
        ed25519_key().public_key().verify(signed, PAYLOAD.encode())


@pytest.mark.parametrize("how", WRITTEN)
@pytest.mark.parametrize("kind", KINDS)
def test_a_private_key_signs_however_its_lines_were_written(kind: str, how: str) -> None:
    made = signer(WRITTEN[how](pem(KINDS[kind]())))
    assert made.kind == kind
    verify(kind, made.signature(PAYLOAD))
    verify(kind, made.signature(PAYLOAD.encode()))


def test_the_older_form_of_an_rsa_key_signs_too() -> None:
    made = signer(pem(rsa_key(), "TraditionalOpenSSL"))
    verify("RSA", made.signature(PAYLOAD))


@pytest.mark.parametrize("how", [str, "{}\n".format, "{}\r\n".format, " {} ".format, '"{}"'.format])
def test_any_other_secret_signs_by_hmac_without_what_stands_around_it(how: Callable[[str], str]) -> None:
    made = signer(how(HMAC_SECRET))
    assert made.kind == "HMAC"
    assert made.signature(PAYLOAD) == hmac.new(HMAC_SECRET.encode(), PAYLOAD.encode(), hashlib.sha256).hexdigest()


def spoilt() -> dict[str, tuple[str, str]]:
    """Secrets that cannot sign, and words of the refusal."""
    whole = pem(ed25519_key())
    body = "".join(whole.splitlines()[1:-1])
    return {
        "cut": (whole[:90], "only a part"),
        "a line lost": (whole.replace(body, body[:40]), "cannot be read"),
        "a letter lost": (pem(rsa_key()).replace("M", "", 1), "cannot be read"),
        "no base64": (whole.replace(body, "?" * 64), "cannot be read"),
        "empty": ("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n", "cannot be read"),
        "without its lines": (body, "without its BEGIN and END"),
        "locked": (pem(ed25519_key(), passphrase=b"open sesame"), "locked by a passphrase"),
        "locked in the older form": (pem(rsa_key(), "TraditionalOpenSSL", b"open sesame"), "locked by a passphrase"),
        "OpenSSH": (pem(ed25519_key(), "OpenSSH"), "an OpenSSH key"),
        "the public half": (pair_of(ed25519_key()).public, "a public key"),
        "another curve": (pem(ec_key()), "a kind the exchange does not know"),
        "another curve in the older form": (pem(ec_key(), "TraditionalOpenSSL"), "another kind of key"),
        "a file": ("/home/me/binance/ed25519.pem", "names a file"),
        "a file of the home": ("~/.keys/binance", "names a file"),
        "a file here": ("binance.key", "names a file"),
        "a file on a drive": ("C:\\keys\\binance.txt", "names a file"),
    }


@pytest.mark.parametrize("what", list(spoilt()))
def test_what_cannot_sign_is_refused_in_a_sentence_that_does_not_show_it(what: str) -> None:
    secret, words = spoilt()[what]
    with pytest.raises(ConfigurationError) as refused:
        signer(secret)
    error = refused.value
    assert error.exit_code == ExitCode.CONFIGURATION
    assert words in error.sentence
    assert error.hint
    said = f"{error} {error.hint} {error.__cause__} {error.__context__ if not error.__suppress_context__ else ''}"
    pieces = {secret[at : at + 12] for at in range(0, max(1, len(secret) - 12), 4)}
    shown = {piece for piece in pieces if piece in said}
    assert all(set(piece) <= set("- BEGINPRIVATEKYOSHURAC\n") for piece in shown), shown


def test_a_key_s_name_is_taken_without_what_stands_around_it() -> None:
    settings = as_settings({"binance_exchange": {"api_key": ' "name"\r\n'}})
    assert settings.binance_exchange.api_key.get_secret_value() == "name"


@pytest.mark.parametrize("kind", KINDS)
def test_a_private_key_is_taken_out_of_words(kind: str) -> None:
    text = pem(KINDS[kind]())
    said = scrubbed(f"went wrong with {text} there")
    assert "PRIVATE KEY" not in said
    assert said.startswith("went wrong with") and said.endswith("there")
    assert text.splitlines()[1] not in scrubbed(f"cut {text[:100]}")


def test_only_a_private_key_needs_the_library_for_it() -> None:
    """`trader status` answers at once: nothing heavy is loaded for a secret that signs by HMAC."""
    program = (
        "import sys; from pydantic import SecretStr; from trader_cli.exchange.account.account_snapshot import AccountSnapshotReader;"
        " from trader_cli.exchange.connection.request_signing import Signer; Signer(SecretStr(sys.argv[1])).signature('a');"
        " print('cryptography' in sys.modules, 'ccxt' in sys.modules)"
    )

    def loads(secret: str) -> Any:
        return subprocess.run(
            [sys.executable, "-c", program, secret], capture_output=True, text=True, check=True
        ).stdout.split()

    assert loads(HMAC_SECRET) == ["False", "False"]
    assert loads(pem(ed25519_key())) == ["True", "False"]
