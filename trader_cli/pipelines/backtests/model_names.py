"""Which models traded when, from the names a manifest's inputs give them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

FIRST = 0
"""Stands for the beginning of the span, whenever that is: the first model trades from there."""


def models_of(inputs: Mapping[str, str]) -> dict[tuple[str, int], str]:
    """(symbol, the close from which on it trades, UTC ms) → digest, of `model SYMBOL MS` among the inputs."""
    named = [(*name.split(" ")[1:], digest) for name, digest in inputs.items() if name.startswith("model ")]
    found: dict[tuple[str, int], str] = {}
    for symbol, from_ms, digest in sorted(named, key=lambda one: (one[0], int(one[1]))):
        is_first = not any(of == symbol for of, _ in found)
        found[symbol, FIRST if is_first else int(from_ms)] = digest
    return found
