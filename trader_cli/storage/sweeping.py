"""Frees what no reference leads to. Refers to `inventory` for what that is; never makes anybody wait but another sweep.

What a process makes is not referred to until it is done. So nothing is freed that is younger than the grace time, than
the start of this sweep, or than the oldest lock that is held now (`files.exclusive` dates it): a process that finds an
old thing and uses it again makes it young (`files.freshen`). An unreferenced manifest that stays keeps its chunks.
Whatever is freed was unreferenced before and is so after, so that a sweep may die anywhere.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trader_cli.core.ports import silent
from trader_cli.storage.files import WORK, exclusive, is_held, remove_folder
from trader_cli.storage.inventory import PARTS, SWEPT, chunks_of_manifest, mark, take_inventory

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trader_cli.core.ports import Progress
    from trader_cli.storage.inventory import Marks, Stored

HOUR_S = 3600.0
_LOCK = "gc.lock"
_ORDER = (*SWEPT, PARTS)


@dataclass(frozen=True)
class Swept:
    """What a sweep freed, or would free: files and bytes by kind; how much stayed for being young; what was wrong."""

    freed: dict[str, tuple[int, int]] = field(default_factory=dict)
    young: tuple[int, int] = (0, 0)
    problems: tuple[str, ...] = ()


def sweep(
    root: Path,
    usable: Callable[[dict[str, str]], bool],
    grace_s: float = HOUR_S,
    *,
    dry_run: bool = False,
    progress: Progress = silent,
) -> Swept:
    """Free what nothing refers to and is older than `grace_s` seconds; half-written files once they are an hour old.

    A `dry_run` changes nothing. Raises `DataError` if the references cannot be listed.
    """
    if not root.is_dir():
        return Swept()
    if dry_run:
        return _swept(root, usable, grace_s, time.time_ns(), dry_run=True)
    lock = root / "locks" / _LOCK
    with exclusive(lock, lambda: progress("waiting for another gc", 0, 0)):
        done = _swept(root, usable, grace_s, lock.stat().st_mtime_ns, dry_run=False)
        _forget_dead_work(root, lock.stat().st_mtime_ns)
    return done


def unreferenced(found: list[Stored], marks: Marks, now_ns: int) -> list[Stored]:
    """What nothing refers to, however young; half-written files only once they are left over."""
    left_over = now_ns - int(HOUR_S * 1e9)
    return [one for one in found if (one.mtime_ns < left_over if one.kind == PARTS else not marks.is_live(one))]


def total(items: list[Stored]) -> tuple[int, int]:
    """(files, bytes)."""
    return sum(one.files for one in items), sum(one.bytes for one in items)


def by_kind(items: list[Stored]) -> dict[str, tuple[int, int]]:
    """(files, bytes) of each kind there is."""
    kinds = [kind for kind in _ORDER if any(one.kind == kind for one in items)]
    return {kind: total([one for one in items if one.kind == kind]) for kind in kinds}


def _swept(
    root: Path, usable: Callable[[dict[str, str]], bool], grace_s: float, now_ns: int, *, dry_run: bool
) -> Swept:
    before_ns = min([now_ns - int(grace_s * 1e9), *_held_since_ns(root)])
    found = take_inventory(root)
    marks = mark(root, usable, now_ns)
    loose = unreferenced(found, marks, now_ns)
    for manifest in (one for one in loose if one.kind == "manifests" and one.mtime_ns >= before_ns):
        marks.live |= chunks_of_manifest(manifest.path)
    old = [
        one
        for kind in _ORDER
        for one in loose
        if one.kind == kind and kind not in marks.spared and one.mtime_ns < before_ns and not marks.is_live(one)
    ]
    freed = old if dry_run else [one for one in old if _free(one, before_ns)]
    stayed = [one for one in loose if one.mtime_ns >= before_ns]
    return Swept(by_kind(freed), total(stayed), tuple(marks.problems))


def _held_since_ns(root: Path) -> list[int]:
    """Since when each lock that is held now has been held."""
    locks = [path for path in (root / "locks").glob("*.lock") if path.name != _LOCK]
    return [since for path in locks if (since := _mtime_ns(path)) is not None and is_held(path)]


def _mtime_ns(path: Path) -> int | None:
    try:
        return path.lstat().st_mtime_ns
    except OSError:
        return None


def _free(stored: Stored, before_ns: int) -> bool:
    """Remove it, unless it has been used again or has gone meanwhile."""
    mtime_ns = _mtime_ns(stored.path)
    if mtime_ns is None or mtime_ns >= before_ns:
        return False
    if not stored.path.is_dir():
        stored.path.unlink(missing_ok=True)
        return True
    with suppress(FileNotFoundError):
        remove_folder(stored.path)
    return True


def _forget_dead_work(root: Path, now_ns: int) -> None:
    """Remove the lock files of processes that were killed; one that is an hour old has long been locked or never."""
    for path in (root / "locks").glob(f"{WORK}*.lock"):
        if (_mtime_ns(path) or now_ns) < now_ns - HOUR_S * 1e9 and not is_held(path):
            with suppress(OSError):
                path.unlink()
