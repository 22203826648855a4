"""The artifact store: immutable content-addressed chunks, manifests that list them, references to the current ones.

    root/chunks/<2>/<key>.<content>.parquet   key: what it was made from, so unchanged work is found, not redone
    root/manifests/<digest>.json      the digest of a manifest is its name
    root/refs/<profile>/<symbol>/<timeframe>/<stage>.json
    root/certificates/<key>.json      certificates of causality; key: the families and code they are of

Every write is atomic and every read is checked against a digest. Nothing here holds a time of day: the same inputs and
seed give the same bytes.
"""

from __future__ import annotations

import io
import json
from dataclasses import asdict
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from trader_cli.core.errors import DataError, DataInvalid, DataMissing, DataStale, UsageError
from trader_cli.core.identity.digests import canonical_json, digest_bytes, digest_value
from trader_cli.core.identity.manifests import MANIFEST_SCHEMA, ArtifactKey, Chunk, Manifest, another_version
from trader_cli.core.market.symbols import is_symbol
from trader_cli.storage.files import at_work, freshen, write_atomic

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager

    import polars as pl

    from trader_cli.core.json_values import JsonObject
    from trader_cli.core.market.timeframes import Timeframe


def stage_key(profile: str, symbol: str, timeframe: Timeframe, stage: str) -> ArtifactKey:
    """The key of a stage's current artifact in a profile (paper, sim, demo, live)."""
    return ArtifactKey(profile, symbol, timeframe.name, stage)


_REMEMBERED_BYTES = 256 << 20
_REMEMBERED_ROWS = 10_000
"""Larger chunks are read again when they are wanted again: years of minute bars do not stay in memory."""


class ArtifactStore:
    """Artifacts under one root folder. Chunks never change, so those read or found once are remembered."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser()
        self._found: dict[str, Chunk] = {}
        self._frames: dict[str, pl.DataFrame] = {}
        self._held_bytes = 0
        self._remembering = Lock()
        self._certificates: dict[str, JsonObject] = {}

    def chunk_path(self, key: str, content: str) -> Path:
        """Where the chunk of this key and content digest lies."""
        return self.root / "chunks" / key[:2] / f"{key}.{content}.parquet"

    def at_work(self) -> AbstractContextManager[None]:
        """While this lasts, nothing that is made here is swept away before a reference names it."""
        return at_work(self.root / "locks")

    def put_chunk(self, key: str, frame: pl.DataFrame) -> Chunk:
        """Store a non-empty frame whose first column is a time; damaged files of the same key go."""
        written = _parquet(frame)
        return self._put(key, digest_bytes(written), written, frame)

    def put_rows(self, stage: str, frame: pl.DataFrame) -> Chunk:
        """Store a non-empty frame of a raw series, named by nothing but what it holds."""
        written = _parquet(frame)
        content = digest_bytes(written)
        return self._put(digest_value([stage, content]), content, written, frame)

    def _put(self, key: str, content: str, written: bytes, frame: pl.DataFrame) -> Chunk:
        path = self.chunk_path(key, content)
        if _content_of(path) != content or not freshen(path):
            write_atomic(path, written, durable=False)
        for other in path.parent.glob(f"{key}.*.parquet"):
            if other != path:
                other.unlink(missing_ok=True)
        times = frame.to_series(0).to_physical()
        self._found[key] = Chunk(key, content, frame.height, int(times[0]), int(times[-1]))
        return self._found[key]

    def holds(self, chunk: Chunk) -> bool:
        """Whether the file of a chunk is there and what its manifest says."""
        known = self._found.get(chunk.key)
        if known is None or known.content != chunk.content:
            path = self.chunk_path(chunk.key, chunk.content)
            if _content_of(path) != chunk.content or not freshen(path):
                return False
            self._found[chunk.key] = chunk
        return True

    def find_chunk(self, key: str) -> Chunk | None:
        """The chunk of this key if there is one whose bytes are those that were written. It counts as used now."""
        known = self._found.get(key) or self._searched(key)
        if known is None or not freshen(self.chunk_path(key, known.content)):
            self._found.pop(key, None)
            return None
        self._found[key] = known
        return known

    def _searched(self, key: str) -> Chunk | None:
        import polars as pl

        for path in sorted((self.root / "chunks" / key[:2]).glob(f"{key}.*.parquet")):
            content = path.name.split(".")[1]
            if _content_of(path) == content:
                times = pl.read_parquet(path, columns=[0]).to_series().to_physical()
                return Chunk(key, content, len(times), int(times[0]), int(times[-1]))
        return None

    def read_chunk(self, chunk: Chunk) -> pl.DataFrame:
        """The frame of a chunk. Raises `DataInvalid` if the file is missing or not what the manifest says."""
        known = self._frames.get(chunk.content)
        if known is not None:
            return known
        frame = self._frame(chunk)
        if chunk.rows <= _REMEMBERED_ROWS:
            self._remember(chunk.content, frame)
        return frame

    def _remember(self, content: str, frame: pl.DataFrame) -> None:
        with self._remembering:
            if content not in self._frames:
                self._frames[content] = frame
                self._held_bytes += int(frame.estimated_size())
            while self._held_bytes > _REMEMBERED_BYTES:
                self._held_bytes -= int(self._frames.pop(next(iter(self._frames))).estimated_size())

    def _frame(self, chunk: Chunk) -> pl.DataFrame:
        import polars as pl

        path = self.chunk_path(chunk.key, chunk.content)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DataInvalid(f"The artifact file {path} cannot be read: {error.strerror}.") from error
        if digest_bytes(content) != chunk.content:
            raise DataInvalid(f"The artifact file {path} is corrupt: it is not what its manifest describes.")
        return pl.read_parquet(io.BytesIO(content))

    def read(self, manifest: Manifest) -> pl.DataFrame:
        """All rows of an artifact. Raises `DataInvalid` naming the stage to run again."""
        import polars as pl

        parts: dict[str, list[pl.DataFrame]] = {}
        try:
            for chunk in manifest.chunks:
                parts.setdefault(chunk.part, []).append(self.read_chunk(chunk))
        except DataInvalid as error:
            raise DataInvalid(error.sentence, hint=f"Run `trader {command_of(manifest)}` again.") from error
        columns: dict[str, pl.Series] = {}
        for frames in parts.values():
            for column in pl.concat(frames).iter_columns():
                columns.setdefault(column.name, column)
        return pl.DataFrame(list(columns.values()))

    def publish(self, key: ArtifactKey, manifest: Manifest) -> None:
        """Store a manifest and make it the current one of its key."""
        write_atomic(self.root / "manifests" / f"{manifest.digest}.json", canonical_json(manifest.as_dict()))
        self.point(key, manifest.digest, manifest.source)

    def point(self, key: ArtifactKey, digest: str, market: str = "") -> None:
        """Make the thing of this digest the current one of a key, and say whose market it is of."""
        if self._names(key, market) != digest:
            body = {"digest": digest, **asdict(key), **({"market": market} if market else {})}
            write_atomic(self.reference_path(key), canonical_json(body))

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
        named = {**asdict(key), **{name: body[name] for name in asdict(key) if name in body}}  # earlier ones name none
        if named != asdict(key):
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
        return None if digest is None else self._manifest(digest, key)

    def require(self, key: ArtifactKey, command: str) -> Manifest:
        """The current manifest of a key. Raises `DataMissing` naming the command that makes it."""
        manifest = self.current(key)
        if manifest is None:
            raise DataMissing(
                f"There are no {key.stage} of {key.symbol} {key.timeframe} in profile {key.profile}.",
                hint=f"Run `trader {command}` first.",
            )
        return manifest

    def _manifest(self, digest: str, key: ArtifactKey) -> Manifest:
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


def _parquet(frame: pl.DataFrame) -> bytes:
    """The bytes of a frame; the same however it was put together in memory."""
    buffer = io.BytesIO()
    frame.rechunk().write_parquet(buffer, compression="lz4", statistics=True)
    return buffer.getvalue()


def _again(key: ArtifactKey) -> str:
    return f"Run `trader {_COMMANDS.get(key.stage, key.stage)} {key.symbol} --timeframe {key.timeframe}` again."


def _content_of(path: Path) -> str | None:
    """The digest of a file's bytes, or `None` if it cannot be read."""
    try:
        return digest_bytes(path.read_bytes())
    except OSError:
        return None


def command_of(manifest: Manifest) -> str:
    """The command line that makes this artifact."""
    return f"{_COMMANDS.get(manifest.stage, manifest.stage)} {manifest.symbol} --timeframe {manifest.timeframe}"


def span_of(chunks: Iterable[Chunk]) -> tuple[int, int | None, int | None]:
    """(rows, first, last) over chunks in time order."""
    listed = list(chunks)
    if not listed:
        return 0, None, None
    return sum(chunk.rows for chunk in listed), listed[0].first_ms, listed[-1].last_ms
