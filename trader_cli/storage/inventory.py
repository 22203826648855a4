"""What lies under a cache folder, and what of it a reference leads to. Reads no data: names, sizes, manifests only.

Roots are the references of every profile, certificates of the versions in use, and what fetches that were killed or are
under way have staged. From a reference: its manifest and the manifest's chunks and certificate, or its document, or its
model bundle; from a backtest or a trading session also what it was made from. Digests that a model or an analysis names
as its inputs are only ever compared, never followed, so what they name is not kept for their sake.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from trader_cli.core.errors import DataError, DataInvalid
from trader_cli.core.identity.manifests import ArtifactKey, Manifest
from trader_cli.storage.artifacts import ArtifactStore
from trader_cli.storage.files import PART, is_held
from trader_cli.storage.staging import staged_chunks
from trader_cli.storage.stamps import STAMPS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from trader_cli.core.identity.manifests import Chunk

_DIGEST = "[0-9a-f]{32}"
SWEPT: Mapping[str, re.Pattern[str]] = MappingProxyType(
    {
        "manifests": re.compile(rf"({_DIGEST})\.json"),
        "chunks": re.compile(rf"({_DIGEST}\.{_DIGEST})\.parquet"),
        "documents": re.compile(rf"({_DIGEST})\.json"),
        "models": re.compile(rf"({_DIGEST})"),
        "certificates": re.compile(rf"({_DIGEST})\.json"),
        "staging": re.compile(r"(.+)\.json"),
    }
)
"""Folder → how things in it are named. Nothing of another name is ever swept. A manifest goes before its chunks."""
PARTS = "parts"
DATABASE = "cache.db"
"""By this file one knows the folder of a block cache."""
BLOCK_CACHE_BYTES = 2**30
"""The size limit of a block cache."""
STAGED_S = 7 * 86_400
"""How long the next fetch may take to go on from where a killed one stopped."""
BACKTEST, SESSION, MODEL_UNTIL = "backtest-", "session-", "model-"
"""How stages of backtests, of trading sessions, and of models beside the current one begin: `model-UNTIL_MS` was
trained on the beginning of a series."""
MODEL, FORMER_MODEL, RETIRED_MODEL = "model", f"{MODEL_UNTIL}former", f"{MODEL_UNTIL}retired"
"""The current model of a series, the one that was current before, and the one that was taken away."""
WATCH = "watch"
"""What the watches over the current model of a series know."""
_DOCUMENTS = frozenset({WATCH, "market", "info", "analysis", "plan", "quality", "asked"})


@dataclass(frozen=True)
class Stored:
    """One thing that is freed or kept as a whole: a file, or a model's folder. `name` is what refers to it."""

    kind: str
    name: str
    path: Path
    files: int
    bytes: int
    mtime_ns: int


@dataclass
class Marks:
    """What is referred to: (kind, name) of each; per series its share; what could not be read, and so what is spared.

    `problems` are sentences for the person; nothing of a kind in `spared` may be swept, for something damaged might
    refer to it.
    """

    live: set[tuple[str, str]] = field(default_factory=set)
    series: dict[tuple[str, str, str], set[tuple[str, str]]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    spared: set[str] = field(default_factory=set)

    def is_live(self, stored: Stored) -> bool:
        """Whether something refers to it."""
        return (stored.kind, stored.name) in self.live


def take_inventory(root: Path) -> list[Stored]:
    """Everything under `root` that could be swept, and every half-written file beside it."""
    found: list[Stored] = []
    for kind, pattern in SWEPT.items():
        for entry in _entries(root / kind, deep=kind == "chunks"):
            named = pattern.fullmatch(entry.name)
            if entry.name.startswith(PART):
                found += _stored(PARTS, entry.name, entry)
            elif named is not None and entry.is_dir(follow_symlinks=False) == (kind == "models"):
                found += _stored(kind, named[1], entry)
    for folder in (root, *_folders(root / "refs"), *_folders(root / STAMPS)):
        found += [one for e in _entries(folder) if e.name.startswith(PART) for one in _stored(PARTS, e.name, e)]
    return found


def mark(root: Path, usable: Callable[[dict[str, str]], bool], now_ns: int) -> Marks:
    """What is referred to now. `usable` tells from its versions whether a certificate can still be found by anyone.

    Staging lists are read before references: what a fetch takes from the one to the other is seen in at least one.
    Raises `DataError` if the folder of references cannot be read at all.
    """
    marks, store = Marks(), ArtifactStore(root)
    for entry in _entries(root / "staging"):
        if SWEPT["staging"].fullmatch(entry.name) and _is_wanted(root, entry, now_ns):
            marks.live.add(("staging", entry.name.removesuffix(".json")))
            marks.live |= _names(staged_chunks(root / "staging" / entry.name))
    certified: set[str] = set()
    for key in _references(root):
        reached = _reach(store, key, marks, certified)
        marks.series.setdefault((key.profile, key.symbol, key.timeframe), set()).update(reached)
        marks.live |= reached
    marks.live |= {("certificates", name) for name in _usable_certificates(root, certified, usable)}
    return marks


def chunks_of_manifest(path: Path) -> set[tuple[str, str]]:
    """The chunks a manifest that nothing refers to names; none where it cannot be read."""
    try:
        return _names(Manifest.from_dict(json.loads(path.read_bytes())).chunks)
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _names(chunks: tuple[Chunk, ...] | list[Chunk]) -> set[tuple[str, str]]:
    return {("chunks", f"{chunk.key}.{chunk.content}") for chunk in chunks}


def _reach(store: ArtifactStore, key: ArtifactKey, marks: Marks, certified: set[str]) -> set[tuple[str, str]]:
    """All that one reference leads to; what is damaged on the way is noted in `marks`."""
    named: set[tuple[str, str]] = set()
    try:
        digest = store.pointed(key)
        if digest is None:
            return named
        named = {(kind, digest) for kind in ("manifests", "documents", "models")}
        if (key.stage in _DOCUMENTS or _is_model(key.stage)) and not (
            store.root / "manifests" / f"{digest}.json"
        ).exists():
            return named | _behind_plan(store, digest) if key.stage == "plan" else named
        manifest = store.current(key)
    except DataInvalid as error:
        spared = _kinds_behind(key.stage)
        marks.problems.append(f"{key}: {error} Until then nothing is freed of: {', '.join(sorted(spared))}.")
        marks.spared |= spared
        return named
    if manifest is None:
        return named
    certified.add(str(manifest.notes.get("certificate")))
    reached = named | {("manifests", manifest.digest)} | _names(manifest.chunks)
    return reached | _inputs_of(store, manifest) if key.stage.startswith((BACKTEST, SESSION)) else reached


def _behind_plan(store: ArtifactStore, digest: str) -> set[tuple[str, str]]:
    """What the last plan was made from: its position may be open, and its session is written down at its end only."""
    body = store.get_document(digest) or {}
    plan = body.get("plan")
    digests = plan.get("digests") if isinstance(plan, dict) else None
    return _made_from(store, {str(x) for x in digests.values()}) if isinstance(digests, dict) else set()


def _inputs_of(store: ArtifactStore, manifest: Manifest) -> set[tuple[str, str]]:
    """What a backtest or a session was made from: it can be made again as long as it is kept."""
    return _made_from(store, set(manifest.inputs.values()))


def _made_from(store: ArtifactStore, named: set[str]) -> set[tuple[str, str]]:
    chunks = [chunks_of_manifest(store.root / "manifests" / f"{digest}.json") for digest in sorted(named)]
    return {(kind, digest) for kind in ("manifests", "models") for digest in named}.union(*chunks)


def _is_model(stage: str) -> bool:
    """Whether a reference is to a model bundle: the current one, or one of the beginning of a series."""
    return stage == MODEL or stage.startswith(MODEL_UNTIL)


def _kinds_behind(stage: str) -> set[str]:
    """What a reference of a stage might lead to."""
    if _is_model(stage):
        return {"models"}
    return {"documents"} if stage in _DOCUMENTS else {"manifests", "chunks", "certificates"}


def _is_wanted(root: Path, entry: os.DirEntry[str], now_ns: int) -> bool:
    """Whether a fetch is under way that staged this, or one may still go on from it."""
    lock = root / "locks" / f"{entry.name.removesuffix('.json').rpartition('-')[0]}.lock"
    return is_held(lock) or _mtime_ns(entry) > now_ns - STAGED_S * 10**9


def _usable_certificates(root: Path, certified: set[str], usable: Callable[[dict[str, str]], bool]) -> Iterator[str]:
    """Names of certificates that a live manifest names or that the versions in use may still find."""
    for entry in _entries(root / "certificates"):
        named = SWEPT["certificates"].fullmatch(entry.name)
        if named is None:
            continue
        try:
            with open(entry.path, "rb") as file:  # noqa: PTH123
                written = json.load(file)
            versions, digest = dict(written["certificate"]["versions"]), str(written["digest"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if digest in certified or usable(versions):
            yield named[1]


def _references(root: Path) -> Iterator[ArtifactKey]:
    """Every key that has a reference. Raises `DataError` where they cannot be listed."""
    for folder in _folders(root / "refs"):
        parts = folder.relative_to(root / "refs").parts
        for entry in _entries(folder) if len(parts) == 3 else ():
            if entry.name.endswith(".json") and not entry.name.startswith(PART):
                yield ArtifactKey(parts[0], parts[1], parts[2], entry.name.removesuffix(".json"))


def _folders(root: Path, depth: int = 3) -> Iterator[Path]:
    """`root` and the folders in it, so many levels down."""
    yield root
    for entry in _entries(root) if depth else ():
        if entry.is_dir():
            yield from _folders(root / entry.name, depth - 1)


def _entries(folder: Path, *, deep: bool = False) -> Iterator[os.DirEntry[str]]:
    """What lies in a folder, nothing if it is not there; `deep`: what lies in its folders. Raises `DataError`."""
    try:
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
    except FileNotFoundError:
        return
    except OSError as error:
        raise DataError(
            f"The folder {folder} cannot be read: {error.strerror}.", hint="Nothing was freed; mend the folder first."
        ) from error
    for entry in listed:
        if deep and entry.is_dir():
            yield from _entries(folder / entry.name)
        else:
            yield entry


def _stored(kind: str, name: str, entry: os.DirEntry[str]) -> list[Stored]:
    """The entry with its size and age; nothing if it has gone meanwhile."""
    from pathlib import Path

    path = Path(entry.path)
    files, size = measured(path)
    return [Stored(kind, name, path, files, size, _mtime_ns(entry))] if files or path.exists() else []


def _mtime_ns(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_mtime_ns
    except OSError:
        return 0


def measured(path: Path) -> tuple[int, int]:
    """(files, bytes) of a file, or of all files below a folder; links are not followed."""
    files = size = 0
    try:
        if not path.is_dir() or path.is_symlink():
            return 1, path.lstat().st_size
    except OSError:
        return 0, 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                size += os.lstat(os.path.join(folder, name)).st_size  # noqa: PTH118
                files += 1
            except OSError:
                continue  # gone meanwhile
    return files, size
