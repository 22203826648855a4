"""What the cache folder holds and how much of it nothing refers to; and freeing that. Recordings are never touched."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trader_cli.core.ports import silent
from trader_cli.storage.files import remove_folder
from trader_cli.storage.inventory import BLOCK_CACHE_BYTES, DATABASE, PARTS, SWEPT, mark, measured, take_inventory
from trader_cli.storage.stamps import STAMPS
from trader_cli.storage.sweeping import HOUR_S, by_kind, sweep, unreferenced

if TYPE_CHECKING:
    from collections.abc import Callable

    from trader_cli.core.ports import Progress
    from trader_cli.settings import Settings
    from trader_cli.storage.inventory import Marks, Stored

WAVELET = "wavelet"
_BESIDE = ("refs", STAMPS, "recordings", "locks")


@dataclass(frozen=True)
class KindStats:
    """Files and bytes of one kind of thing, and how many of them nothing refers to."""

    files: int
    bytes: int
    unreferenced_files: int = 0
    unreferenced_bytes: int = 0


@dataclass(frozen=True)
class SeriesBytes:
    """The bytes of a series' current artifacts. What two series share is counted with each."""

    profile: str
    symbol: str
    timeframe: str
    bytes: int


@dataclass(frozen=True)
class CacheStats:
    """What lies under the cache folder, by kind and by series; `problems`: what is damaged."""

    cache_dir: str
    kinds: dict[str, KindStats]
    series: tuple[SeriesBytes, ...]
    problems: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """All of it."""
        return sum(kind.bytes for kind in self.kinds.values())

    @property
    def unreferenced_bytes(self) -> int:
        """What nothing refers to, old enough to be freed or not."""
        return sum(kind.unreferenced_bytes for kind in self.kinds.values())


@dataclass(frozen=True)
class Freed:
    """What was freed, or would be: (files, bytes) by kind; what nothing refers to but is too young; what is damaged."""

    cache_dir: str
    dry_run: bool
    freed: dict[str, tuple[int, int]]
    young: tuple[int, int]
    problems: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """All of it."""
        return sum(size for _, size in self.freed.values())


def cache_stats(settings: Settings) -> CacheStats:
    """Look at names, sizes, references and manifests; nothing is changed and no data are read."""
    root = Path(settings.cache_dir).expanduser()
    found, now_ns = take_inventory(root), time.time_ns()
    marks = mark(root, _usable(), now_ns)
    loose, held = by_kind(unreferenced(found, marks, now_ns)), by_kind(found)
    kinds = {kind: KindStats(*held.get(kind, (0, 0)), *loose.get(kind, (0, 0))) for kind in (*SWEPT, PARTS)}
    kinds |= {name: KindStats(*measured(root / name)) for name in _BESIDE if (root / name).is_dir()}
    for folder in _block_caches(settings, root):
        size = measured(folder)
        name = WAVELET if folder == _used(settings) else f"{WAVELET}, not used"
        kinds[name] = KindStats(*size, *(size if _is_forgotten(settings, root, folder) else (0, 0)))
    return CacheStats(str(root), kinds, _series(found, marks), tuple(marks.problems))


def free_cache(
    settings: Settings, older_than_s: float = HOUR_S, *, dry_run: bool = False, progress: Progress = silent
) -> Freed:
    """Free what nothing refers to and is older than `older_than_s`, and bring the block cache below its size limit."""
    root = Path(settings.cache_dir).expanduser()
    swept = sweep(root, _usable(), older_than_s, dry_run=dry_run, progress=progress)
    freed = dict(swept.freed)
    for folder in _block_caches(settings, root):
        gone = _freed_blocks(folder, older_than_s, forgotten=_is_forgotten(settings, root, folder), dry_run=dry_run)
        if gone[1]:
            freed[WAVELET] = gone
    return Freed(str(root), dry_run, freed, swept.young, swept.problems)


def _usable() -> Callable[[dict[str, str]], bool]:
    """Whether a certificate's versions are those in use: one of other versions is never found again."""
    from trader_cli.features.library_versions import library_versions

    ours = library_versions()
    return lambda versions: versions == ours


def _series(found: list[Stored], marks: Marks) -> tuple[SeriesBytes, ...]:
    sizes = {(one.kind, one.name): one.bytes for one in found}
    return tuple(
        SeriesBytes(*series, sum(sizes.get(named, 0) for named in reached))
        for series, reached in sorted(marks.series.items())
    )


def _used(settings: Settings) -> Path:
    return Path(settings.wavelet_folder).expanduser().absolute()


def _block_caches(settings: Settings, root: Path) -> list[Path]:
    """The folders of block caches there are: the one the settings name, and the one where it usually lies."""
    folders = dict.fromkeys((_used(settings), (root / WAVELET).absolute()))
    return [folder for folder in folders if (folder / DATABASE).is_file()]


def _is_forgotten(settings: Settings, root: Path, folder: Path) -> bool:
    """Whether these settings do not use the usual folder; one that lies elsewhere is somebody's business."""
    on = settings.feature_engineering_orchestrator.wavelet_cache.cache_enabled
    return folder == (root / WAVELET).absolute() and not (on and folder == _used(settings))


def _freed_blocks(folder: Path, older_than_s: float, *, forgotten: bool, dry_run: bool) -> tuple[int, int]:
    """(files, bytes) that a block cache loses: all, if it is forgotten and old; else what is above the size limit."""
    files, size = measured(folder)
    if forgotten:
        written_s = max(path.stat().st_mtime for path in folder.glob(f"{DATABASE}*"))
        if written_s > time.time() - older_than_s:
            return 0, 0
        if not dry_run:
            remove_folder(folder)
        return files, size
    if dry_run:
        return 0, max(0, size - BLOCK_CACHE_BYTES)
    from trader_cli.storage.block_cache import BlockCache

    cache = BlockCache(folder)
    cache.cull()
    cache.close()
    left, rest = measured(folder)
    return max(0, files - left), max(0, size - rest)
