"""The artifact store: immutable content-addressed chunks, manifests that list them, references to the current ones.

    root/chunks/<2>/<key>.<content>.parquet   key: what it was made from, so unchanged work is found, not redone
    root/manifests/<digest>.json      the digest of a manifest is its name
    root/refs/<profile>/<symbol>/<timeframe>/<stage>.json
    root/certificates/<key>.json      certificates of causality; key: the families and code they are of

Every write is atomic and every read is checked against a digest. Nothing here holds a time of day: the same inputs and
seed give the same bytes.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from trader_cli.core.errors import DataError, DataInvalid, DataMissing, DataStale, UsageError
from trader_cli.core.identity.digests import canonical_json, digest_bytes
from trader_cli.core.identity.manifests import MANIFEST_SCHEMA, ArtifactKey, Chunk, Manifest, another_version
from trader_cli.core.json_values import flat
from trader_cli.core.market.symbols import is_symbol
from trader_cli.storage.chunk_store import REMEMBERED_BYTES, ChunkStore
from trader_cli.storage.files import at_work, write_atomic

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    import polars as pl

    from trader_cli.core.json_values import JsonObject
    from trader_cli.core.market.timeframes import Timeframe


def stage_key(profile: str, symbol: str, timeframe: Timeframe, stage: str) -> ArtifactKey:
    """The key of a stage's current artifact in a profile (paper, sim, demo, live)."""
    return ArtifactKey(profile, symbol, timeframe.name, stage)


class ArtifactStore(ChunkStore):
    """Artifacts under one root folder. Chunks never change, so those read or found once are remembered."""

    def __init__(self, root: str | Path, remembered_bytes: int = REMEMBERED_BYTES) -> None:
        """`remembered_bytes`: about how many bytes of small chunks that were read are held, the newest."""
        super().__init__(root, remembered_bytes)
        self._certificates: dict[str, JsonObject] = {}

    def at_work(self) -> AbstractContextManager[None]:
        """While this lasts, nothing that is made here is swept away before a reference names it."""
        return at_work(self.root / "locks")

    def read(self, manifest: Manifest, columns: tuple[str, ...] | None = None) -> pl.DataFrame:
        """All rows of an artifact, of these columns if they are named, which all its chunks have.

        Raises `DataInvalid` naming the stage to run again.
        """
        import polars as pl

        parts: dict[str, list[pl.DataFrame]] = {}
        try:
            for chunk in manifest.chunks:
                parts.setdefault(chunk.part, []).append(self.read_chunk(chunk, columns))
        except DataInvalid as error:
            raise DataInvalid(error.sentence, hint=f"Run `trader {command_of(manifest)}` again.") from error
        found: dict[str, pl.Series] = {}
        for frames in parts.values():
            for column in pl.concat(frames).iter_columns():
                found.setdefault(column.name, column)
        return pl.DataFrame(list(found.values()))

    def publish(self, key: ArtifactKey, manifest: Manifest) -> None:
        """Store a manifest and make it the current one of its key."""
        write_atomic(self.root / "manifests" / f"{manifest.digest}.json", canonical_json(manifest.as_dict()))
        self.point(key, manifest.digest, manifest.source)

    def point(self, key: ArtifactKey, digest: str, market: str = "") -> None:
        """Make the thing of this digest the current one of a key, and say whose market it is of."""
        if self._names(key, market) != digest:
            body = {"digest": digest, **flat(key), **({"market": market} if market else {})}
            write_atomic(self.reference_path(key), canonical_json(body))

    def unpoint(self, key: ArtifactKey) -> None:
        """Let nothing be the current one of a key any more."""
        self.reference_path(key).unlink(missing_ok=True)

    def _names(self, key: ArtifactKey, market: str) -> str | None:
        """The digest a key points to, `None` also where it is of another market than this one."""
        try:
            return self.pointed(key, market)
        except DataError:
            return None

    def found(self, key: ArtifactKey) -> str | None:
        """The digest a key points to, or `None` where there is none or it cannot be read."""
        try:
            return self.pointed(key)
        except DataInvalid:
            return None

    def pointed(self, key: ArtifactKey, market: str = "") -> str | None:
        """The digest a key points to.

        Raises `DataInvalid` for a reference that is damaged or of another key, `DataStale` for one of another market
        than the one that is named. References of earlier versions say nothing of either.
        """
        path = self.reference_path(key)
        try:
            body = dict(json.loads(path.read_bytes()))
            digest = str(body["digest"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataInvalid(f"The reference {path} is corrupt.", hint=_again(key)) from error
        expected = flat(key)
        named = {**expected, **{name: body[name] for name in expected if name in body}}  # earlier ones name none
        if named != expected:
            raise DataInvalid(f"The reference {path} is of {'/'.join(map(str, named.values()))}.", hint=_again(key))
        if market and body.get("market", market) != market:
            raise DataStale(
                f"The stored {key.stage} of {key.symbol} {key.timeframe} is of {body['market']}; the settings name"
                f" {market}.",
                hint=_again(key),
            )
        return digest

    def current(self, key: ArtifactKey) -> Manifest | None:
        """The current manifest of a key, or `None` where there is none yet."""
        digest = self.pointed(key)
        return None if digest is None else self.manifest(digest, key)

    def require(self, key: ArtifactKey, command: str) -> Manifest:
        """The current manifest of a key. Raises `DataMissing` naming the command that makes it."""
        manifest = self.current(key)
        if manifest is None:
            raise DataMissing(
                f"There are no {key.stage} of {key.symbol} {key.timeframe} in profile {key.profile}.",
                hint=f"Run `trader {command}` first.",
            )
        return manifest

    def manifest(self, digest: str, key: ArtifactKey) -> Manifest:
        """The manifest of this digest, which a key pointed to once. Raises `DataInvalid`."""
        path = self.root / "manifests" / f"{digest}.json"
        try:
            body = dict(json.loads(path.read_bytes()))
            if body.get("schema") != MANIFEST_SCHEMA:
                found = another_version(body.get("schema"), MANIFEST_SCHEMA)
                raise DataInvalid(f"The manifest {path} was written by {found}.", hint=_again(key))
            manifest = Manifest.from_dict(body)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataInvalid(f"The manifest {path} is missing or corrupt.", hint=_again(key)) from error
        if manifest.digest != digest:
            raise DataInvalid(f"The manifest {path} was changed after it was written.", hint=_again(key))
        if (manifest.symbol, manifest.timeframe, manifest.stage) != (key.symbol, key.timeframe, key.stage):
            raise DataInvalid(
                f"The reference {self.reference_path(key)} names the {manifest.stage} of {manifest.symbol}"
                f" {manifest.timeframe}.",
                hint=_again(key),
            )
        self.tell(manifest.chunks)
        return manifest

    def put_document(self, body: Mapping[str, object]) -> str:
        """Store a JSON document, its keys in the order given; returns its digest."""
        content = json.dumps(dict(body), separators=(",", ":"), allow_nan=False).encode()
        digest = digest_bytes(content)
        write_atomic(self.root / "documents" / f"{digest}.json", content)
        return digest

    def get_document(self, digest: str) -> JsonObject | None:
        """A stored document, or `None` if it is missing or damaged."""
        try:
            content = (self.root / "documents" / f"{digest}.json").read_bytes()
        except OSError:
            return None
        return dict(json.loads(content)) if digest_bytes(content) == digest else None

    def require_document(self, digest: str) -> JsonObject:
        """A stored document. Raises `DataInvalid` if it is missing or damaged."""
        body = self.get_document(digest)
        if body is None:
            raise DataInvalid(f"The stored document {digest} is missing or damaged.")
        return body

    def put_certificate(self, key: str, body: JsonObject) -> None:
        """Store the certificate of a key, in place of an earlier one."""
        written = {"digest": digest_bytes(canonical_json(body)), "certificate": body}
        write_atomic(self._certificate_path(key), canonical_json(written))
        self._certificates[key] = body

    def certificate(self, key: str) -> JsonObject | None:
        """The certificate of a key, read once, or `None` if it is missing or damaged."""
        if key not in self._certificates:
            try:
                written = json.loads(self._certificate_path(key).read_bytes())
                body = dict(written["certificate"])
                if written["digest"] != digest_bytes(canonical_json(body)):
                    return None
            except (OSError, ValueError, KeyError, TypeError):
                return None
            self._certificates[key] = body
        return self._certificates[key]

    def _certificate_path(self, key: str) -> Path:
        return self.root / "certificates" / f"{key}.json"

    def remember_series(self, profile: str, symbol: str, timeframe: str) -> None:
        """Note which series a person worked on last, for commands that are not told one."""
        write_atomic(self._last_path(profile), canonical_json({"symbol": symbol, "timeframe": timeframe}))

    def last_series(self, profile: str) -> tuple[str, str] | None:
        """(symbol, time frame) fetched last, or `None`."""
        try:
            body = json.loads(self._last_path(profile).read_bytes())
            return str(body["symbol"]), str(body["timeframe"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _last_path(self, profile: str) -> Path:
        return self.root / "refs" / profile / "last.json"

    def references(self) -> Iterator[ArtifactKey]:
        """Every key that has a reference, in order."""
        for path in sorted((self.root / "refs").glob("*/*/*/*.json")):
            profile, symbol, timeframe, name = path.relative_to(self.root / "refs").parts
            yield ArtifactKey(profile, symbol, timeframe, name.removesuffix(".json"))

    def reference_path(self, key: ArtifactKey) -> Path:
        """Where the reference of a key lies. Raises `UsageError` for a symbol that cannot name a folder."""
        if not is_symbol(key.symbol):
            raise UsageError(f"{key.symbol!r} is not a symbol.", hint="Write it as the exchange does, such as ETHUSDT.")
        return self.root / "refs" / key.profile / key.symbol / key.timeframe / f"{key.stage}.json"


_COMMANDS = {
    "bars": "fetch",
    "funding": "fetch",
    "market": "fetch",
    "plan": "tactics",
    "model": "train",
    "analysis": "analyze",
}


def _again(key: ArtifactKey) -> str:
    return f"Run `trader {_COMMANDS.get(key.stage, key.stage)} {key.symbol} --timeframe {key.timeframe}` again."


def command_of(manifest: Manifest) -> str:
    """The command line that makes this artifact."""
    return f"{_COMMANDS.get(manifest.stage, manifest.stage)} {manifest.symbol} --timeframe {manifest.timeframe}"


def require_source(manifest: Manifest, source: str | None) -> None:
    """Refuse an artifact of another market. Raises `DataStale`."""
    if source is not None and manifest.source != source:
        raise DataStale(
            f"The stored {manifest.stage} of {manifest.symbol} {manifest.timeframe} are from {manifest.source};"
            f" the settings name {source}.",
            hint=f"Give the --tape and profile they were fetched with, or run `trader {command_of(manifest)}`.",
        )


def span_of(chunks: Iterable[Chunk]) -> tuple[int, int | None, int | None]:
    """(rows, first, last) over chunks in time order."""
    listed = list(chunks)
    if not listed:
        return 0, None, None
    return sum(chunk.rows for chunk in listed), listed[0].first_ms, listed[-1].last_ms
