"""Which models traded when, from the names a manifest's inputs give them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

FIRST = 0
"""Stands for the beginning of the span, whenever that is: a model that trades from there on."""


def models_of(inputs: Mapping[str, str], since_ms: int) -> dict[tuple[str, int], str]:
    """(symbol, the close from which on it trades, UTC ms) → digest, of `model SYMBOL MS` among the inputs.

    The span begins at `since_ms`. A symbol that is chosen later has a first model that trades from then on.
    """
    named = [(*name.split(" ")[1:], digest) for name, digest in inputs.items() if name.startswith("model ")]
    ordered = sorted((symbol, int(from_ms), digest) for symbol, from_ms, digest in named)
    return {(symbol, FIRST if from_ms <= since_ms else from_ms): digest for symbol, from_ms, digest in ordered}
