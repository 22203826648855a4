"""Model bundles: folders of plain files named by the digest of their content. No pickles; nothing unchecked is read."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from trader_cli.core.errors import DataError, DataInvalid, DataMissing, UsageError
from trader_cli.core.identity.digests import canonical_json, digest_bytes
from trader_cli.core.json_values import object_of
from trader_cli.storage.files import PART, freshen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trader_cli.core.json_values import JsonObject

BUNDLE_INDEX = "bundle.json"


class BundleStore:
    """Bundles under `root/<digest>/`."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def save(self, files: Mapping[str, bytes], description: Mapping[str, object]) -> str:
        """Store files beside `bundle.json` (the description and every file's digest); returns the bundle's digest."""
        index = {**description, "files": {name: digest_bytes(content) for name, content in sorted(files.items())}}
        content = canonical_json(index)
        digest = digest_bytes(content)
        target = self.root / digest
        if target.exists() and self._intact(digest) and freshen(target):
            return digest
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            part = Path(tempfile.mkdtemp(prefix=PART, dir=self.root))
        except OSError as error:
            raise DataError(f"Cannot write the model bundle: {error.strerror}.") from error
        try:
            for name, data in {**files, BUNDLE_INDEX: content}.items():
                _write_durably(part / name, data)
            if target.exists():
                shutil.rmtree(target)
            part.rename(target)
        except OSError as error:
            raise DataError(f"Cannot write the model bundle {target}: {error.strerror}.") from error
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return digest

    def description(self, digest: str) -> JsonObject:
        """The checked `bundle.json` of a bundle. Raises `DataInvalid`."""
        path = self.root / digest / BUNDLE_INDEX
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DataInvalid(
                f"The model bundle {path.parent} cannot be read: {error.strerror}.", hint=_HINT
            ) from error
        if digest_bytes(content) != digest:
            raise DataInvalid(
                f"The model bundle {path.parent} was changed: {BUNDLE_INDEX} is not what was written.", hint=_HINT
            )
        return dict(json.loads(content))

    def load(self, digest: str) -> tuple[dict[str, bytes], JsonObject]:
        """(files, description), every byte checked. Raises `DataInvalid` naming the file that was changed."""
        description = self.description(digest)
        files: dict[str, bytes] = {}
        for name, wanted in object_of(description["files"]).items():
            path = self.root / digest / name
            try:
                files[name] = path.read_bytes()
            except OSError as error:
                raise DataInvalid(f"The model bundle's {path} cannot be read: {error.strerror}.", hint=_HINT) from error
            if digest_bytes(files[name]) != wanted:
                raise DataInvalid(
                    f"The model bundle {path.parent} was changed: {name} is not what was written.", hint=_HINT
                )
        return files, description

    def digests(self) -> list[str]:
        """Of the bundles that are there, whole or not, in order."""
        return sorted(path.parent.name for path in self.root.glob(f"*/{BUNDLE_INDEX}"))

    def found(self, name: str) -> str:
        """The digest of the bundle that is called this, or begins so. Raises `DataMissing` or `UsageError`."""
        known = [digest for digest in self.digests() if digest.startswith(name)]
        if name in known or len(known) == 1:
            return name if name in known else known[0]
        if known and name:
            raise UsageError(f"{len(known)} model bundles begin with {name}.", hint="Write more of the digest.")
        raise DataMissing(f"There is no model bundle {name!r}.", hint="See `trader models list`.")

    def index(self, digest: str) -> bytes:
        """The bytes of a checked `bundle.json`."""
        self.description(digest)
        return (self.root / digest / BUNDLE_INDEX).read_bytes()

    def written_ms(self, digest: str) -> int:
        """When a bundle was written here, by this machine's clock, UTC ms."""
        return (self.root / digest / BUNDLE_INDEX).stat().st_mtime_ns // 1_000_000

    def _intact(self, digest: str) -> bool:
        try:
            self.load(digest)
        except DataInvalid:
            return False
        return True


_HINT = "Run `trader train` again."


def _write_durably(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
