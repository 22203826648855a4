"""Messages over a socket between two processes, a number and a body: whole by a moment, however they come, or none.

The number says which question an answer is to: what speaks out of turn, such as a fork, need not be listened to.
"""

from __future__ import annotations

import struct
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

_HEAD = struct.Struct("!QQ")
"""The number, and how many bytes follow."""
_PIECE = 1 << 20
_MOST = 1 << 28
"""Bytes of a message: the signals of ten million bars."""


def send(pipe: socket.socket, number: int, body: bytes, until_s: float | None = None) -> None:
    """Raises `TimeoutError` where the other side has not taken it by then (monotonic)."""
    pipe.settimeout(_left_s(until_s))
    pipe.sendall(_HEAD.pack(number, len(body)) + body)


def receive(pipe: socket.socket, until_s: float | None = None) -> tuple[int, bytes]:
    """(number, body) of a whole message.

    Raises `TimeoutError` where it is not there by then, `EOFError` at the end, `ValueError` where it is no message.
    """
    number, size = _HEAD.unpack(_exactly(pipe, _HEAD.size, until_s))
    if size > _MOST:
        raise ValueError(f"a message of {size} bytes")
    return int(number), _exactly(pipe, int(size), until_s)


def _exactly(pipe: socket.socket, size: int, until_s: float | None) -> bytes:
    body = bytearray()
    while len(body) < size:
        pipe.settimeout(_left_s(until_s))
        piece = pipe.recv(min(size - len(body), _PIECE))
        if not piece:
            raise EOFError
        body += piece
    return bytes(body)


def _left_s(until_s: float | None) -> float | None:
    left_s = None if until_s is None else until_s - monotonic()
    if left_s is not None and left_s <= 0:
        raise TimeoutError
    return left_s
