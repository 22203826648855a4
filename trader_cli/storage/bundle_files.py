"""Bundles outside of the store: a folder or a zip archive with all of a bundle's files and its card.

What is read is checked like a stored bundle. The card says which bundle it was: where it is there, it must be that one.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from trader_cli.core.errors import DataError, DataInvalid, UsageError
from trader_cli.core.identity.digests import canonical_json, digest_bytes
from trader_cli.core.json_values import object_of
from trader_cli.storage.bundles import BUNDLE_INDEX
from trader_cli.storage.files import PART, write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trader_cli.core.json_values import JsonObject
    from trader_cli.storage.bundles import BundleStore

CARD, ARCHIVE = "card.json", ".zip"
_LARGEST = 256 * 2**20
"""No file of a bundle is as large; what claims to be is not unpacked."""
_WRITTEN = (1980, 1, 1, 0, 0, 0)
"""The time that every file of an archive bears: the same bundle gives the same bytes."""


def is_outside(name: str) -> bool:
    """Whether a name is that of a folder or an archive rather than of a stored bundle."""
    return os.sep in name or name.endswith(ARCHIVE) or (Path(name) / BUNDLE_INDEX).is_file()


def take_in(bundles: BundleStore, source: Path) -> str:
    """Store the bundle of a folder or an archive; returns its digest. Raises `DataInvalid` for one that was changed."""
    read = _archived(source) if source.suffix == ARCHIVE else _folder(source)
    index = read(BUNDLE_INDEX)
    try:
        description = object_of(json.loads(index))
        named = {str(name): str(digest) for name, digest in object_of(description.pop("files")).items()}
    except (ValueError, KeyError, TypeError) as error:
        raise DataInvalid(f"{source}: its {BUNDLE_INDEX} is no bundle's.", hint=_HINT) from error
    files = {name: read(name) for name in named if _is_plain(name, source)}
    changed = [name for name, content in files.items() if digest_bytes(content) != named[name]]
    if changed:
        raise DataInvalid(f"{source} was changed: {changed[0]} is not what was written.", hint=_HINT)
    whole, digest = canonical_json({**description, "files": named}), digest_bytes(index)
    if whole != index or _carded(read) not in {None, digest}:
        raise DataInvalid(f"{source} was changed: {BUNDLE_INDEX} is not what was written.", hint=_HINT)
    return bundles.save(files, description)


def write_out(files: Mapping[str, bytes], card: JsonObject, target: Path) -> None:
    """A bundle's files (its index among them) and its card as a new folder, or an archive where `target` ends so."""
    if target.exists():
        raise UsageError(f"{target} is there already.", hint="Name another one with --out.")
    content = {**files, CARD: json.dumps(card, indent=1, allow_nan=False).encode()}
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.suffix == ARCHIVE:
            write_atomic(target, _zipped(content))
            return
        part = Path(tempfile.mkdtemp(prefix=PART, dir=target.parent))
        for name, data in content.items():
            (part / name).write_bytes(data)
        part.chmod(0o755)
        part.rename(target)
    except OSError as error:
        raise DataError(f"Cannot write {target}: {error.strerror}.", hint="Name another place with --out.") from error


def _zipped(content: Mapping[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted(content.items()):
            archive.writestr(zipfile.ZipInfo(name, _WRITTEN), data, zipfile.ZIP_DEFLATED)
    return made.getvalue()


def _folder(source: Path) -> Callable[[str], bytes]:
    def read(name: str) -> bytes:
        try:
            return (source / name).read_bytes()
        except OSError as error:
            raise DataInvalid(f"{source / name} cannot be read: {error.strerror}.", hint=_HINT) from error

    return read


def _archived(source: Path) -> Callable[[str], bytes]:
    def read(name: str) -> bytes:
        try:
            with zipfile.ZipFile(source) as archive:
                if archive.getinfo(name).file_size > _LARGEST:
                    raise DataInvalid(f"{name} in {source} is too large to be part of a bundle.", hint=_HINT)
                return archive.read(name)
        except (OSError, KeyError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise DataInvalid(f"{name} in {source} cannot be read.", hint=_HINT) from error

    return read


def _is_plain(name: str, source: Path) -> bool:
    """Raises `DataInvalid` for a name that leads elsewhere."""
    if Path(name).name != name or name in {BUNDLE_INDEX, CARD}:
        raise DataInvalid(f"{source}: its {BUNDLE_INDEX} names {name!r}, which is no file of a bundle.", hint=_HINT)
    return True


def _carded(read: Callable[[str], bytes]) -> str | None:
    """The digest on the card, `None` where there is no card that can be read."""
    try:
        return str(object_of(json.loads(read(CARD)))["bundle"])
    except (DataInvalid, ValueError, KeyError, TypeError):
        return None


_HINT = "Export it again with `trader models export`."
