"""Keys of the three kinds, made when they are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa


@dataclass(frozen=True)
class Pair:
    """A private key as PEM text, and its public half."""

    private: str
    public: str


def pem(key: Any, form: str = "PKCS8", passphrase: bytes | None = None) -> str:
    """A private key as text."""
    lock = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    shape = getattr(serialization.PrivateFormat, form)
    return str(key.private_bytes(serialization.Encoding.PEM, shape, lock).decode())


def pair_of(key: Any) -> Pair:
    """Both halves as text."""
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return Pair(pem(key), public.decode())


@cache
def rsa_key() -> rsa.RSAPrivateKey:
    """An RSA key."""
    return rsa.generate_private_key(65537, 2048)


@cache
def ed25519_key() -> ed25519.Ed25519PrivateKey:
    """An Ed25519 key."""
    return ed25519.Ed25519PrivateKey.generate()


def ec_key() -> ec.EllipticCurvePrivateKey:
    """A key of a kind no exchange takes."""
    return ec.generate_private_key(ec.SECP256R1())


KINDS = {"RSA": rsa_key, "Ed25519": ed25519_key}
