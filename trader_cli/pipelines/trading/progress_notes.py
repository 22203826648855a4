"""Whoever closes everything hears every few seconds that it goes on, whatever does not answer; and what is left."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

EVERY_S = 5.0


@contextmanager
def with_progress_notes(say: Callable[[str], None], what: str, known: Sequence[str] = ()) -> Iterator[None]:
    """Say so every five seconds of real time, in a thread of its own: the work may be waiting for anything.

    `what` is what is waited for; `known` are sentences about what was last known to be open.
    """
    ended, began = threading.Event(), time.monotonic()

    def tell() -> None:
        while not ended.wait(EVERY_S):
            say(" ".join([f"Still at it after {time.monotonic() - began:.0f} s: {what}.", *known]))

    threading.Thread(target=tell, daemon=True).start()
    try:
        yield
    finally:
        ended.set()
