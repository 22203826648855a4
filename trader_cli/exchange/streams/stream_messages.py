"""What streams and the depth route say, as far as it is read. What has another shape ends its connection."""

from __future__ import annotations

from typing import TypedDict

Levels = list[tuple[str, str]]
"""Prices and quantities, as written."""


class Event(TypedDict, total=False):
    """One event: its kind, the exchange's time, the symbol, a mark price; of depth its ids and what has changed."""

    e: str
    E: int
    s: str
    p: str
    U: int
    u: int
    pu: int
    b: Levels
    a: Levels


class DepthSnapshot(TypedDict):
    """A reply of the depth route."""

    lastUpdateId: int
    bids: Levels
    asks: Levels
