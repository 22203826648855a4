"""Work on independent items in threads: LightGBM and NumPy let go of the interpreter while they work.

Each piece keeps to one core, so that what it makes does not depend on how many there are, and none waits for another.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Item = TypeVar("Item")
Result = TypeVar("Result")

_COPIES_BYTES = 1 << 28
"""Rows of features that pieces of work may hold copies of at once, in all."""


def side_by_side(work: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """What `work` makes of each item, in order; so many at once."""
    if threads == 1:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="training") as pool:
        yield from pool.map(work, items)


def threads_within(threads: int, copied_bytes: int) -> int:
    """How many of the threads can be used where each copies so much: at least one."""
    return max(1, min(threads, _COPIES_BYTES // max(copied_bytes, 1)))
