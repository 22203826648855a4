"""One stored series brought up to date: what is missing is read, stored as it comes, and put into its blocks.

Nothing that was read is read again after a kill (`storage.staging`), and blocks that nothing new touches stay as they
are. In memory is one block at a time; rows that the exchange contradicts are replaced, and said.
"""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import polars as pl

from trader_cli.core.anchors import blocks_between, storage_blocks
from trader_cli.core.bars import check_bars, find_gaps, utc_text
from trader_cli.core.digests import digest_frame, digest_value
from trader_cli.core.errors import DataInvalid
from trader_cli.core.schemas import BARS, check_schema
from trader_cli.core.timeframes import DAY_MS

if TYPE_CHECKING:
    from trader_cli.core.artifacts import Chunk
    from trader_cli.core.ports import Progress
    from trader_cli.pipelines.history import HistoryReader, SeriesKind
    from trader_cli.storage.artifacts import ArtifactStore
    from trader_cli.storage.staging import Staging

_RECENT_MS = 7 * DAY_MS
"""Holes younger than this are asked for again by every fetch; older ones only by a repair."""
_WORTH_STAGING = 5_000
"""Fewer rows at the end of a read are not stored before they are put into their block."""


@dataclass(frozen=True)
class Span:
    """What is wanted of a series: rows from `first_ms` to `last_ms`, both inclusive.

    Stored rows after `latest_ms` go: the market has not come there yet (a tape wound back). `asked_ms` is from when on
    the exchange was asked before: what is absent there, it does not have.
    """

    first_ms: int
    last_ms: int
    latest_ms: int
    asked_ms: int | None = None
    repair: bool = False


@dataclass(frozen=True)
class SeriesUpdate:
    """The chunks of a series after an update, how many rows are new, and how many were replaced."""

    chunks: tuple[Chunk, ...]
    new_rows: int
    replaced_rows: int


@dataclass(frozen=True)
class _Piece:
    """Rows in time order: stored, or not yet."""

    first_ms: int
    last_ms: int
    chunk: Chunk | None = None
    frame: pl.DataFrame | None = None

    @classmethod
    def stored(cls, chunk: Chunk) -> _Piece:
        return cls(chunk.first_ms, chunk.last_ms, chunk=chunk)

    @classmethod
    def held(cls, frame: pl.DataFrame) -> _Piece:
        return cls(_time(frame, 0), _time(frame, -1), frame=frame)

    def rows(self, store: ArtifactStore) -> pl.DataFrame:
        """The rows."""
        if self.frame is not None:
            return self.frame
        assert self.chunk is not None
        return store.read_chunk(self.chunk)


@dataclass
class SeriesUpdater:
    """Brings one kind of history of one symbol up to date."""

    store: ArtifactStore
    staging: Staging
    reader: HistoryReader
    kind: SeriesKind
    progress: Progress
    notes: list[str] = field(default_factory=list)

    async def update(self, stored: tuple[Chunk, ...], span: Span) -> SeriesUpdate:
        """Read what is missing of the span.

        The last stored row is read again and compared: if the exchange shows another, the stored rows are of another
        market, or were saved too early, and all are read anew.
        """
        known = [chunk for chunk in stored if chunk.first_ms <= span.latest_ms]
        whole = [chunk for chunk in known if self._is_whole(chunk)]
        kept = [_Piece.stored(chunk) for chunk in whole]
        before = self._count(kept, span)
        staged = [_Piece.stored(chunk) for chunk in self.staging.chunks() if self._is_whole(chunk)]
        lost = [(chunk.first_ms, chunk.last_ms) for chunk in known if chunk not in whole]
        if span.repair:
            fresh = await self._read(
                min(span.first_ms, *(p.first_ms for p in kept)) if kept else span.first_ms, span.last_ms
            )
        else:
            fresh = [
                piece for wanted in self._missing(kept + staged, lost, span) for piece in await self._read(*wanted)
            ]
            if kept and not self._agree(kept[-1], staged + fresh, span):
                again = min(span.first_ms, kept[0].first_ms)
                kept, staged, fresh, before = [], [], await self._read(again, span.last_ms), 0
        chunks, replaced = self._in_blocks([*kept, *staged, *fresh], span)
        return SeriesUpdate(chunks, sum(chunk.rows for chunk in chunks) - before, replaced)

    def _is_whole(self, chunk: Chunk) -> bool:
        """Whether the chunk can be read; one that cannot is read from the exchange again, and that is said."""
        try:
            if self.kind.stage != "trades" or not self.store.chunk_path(chunk.key, chunk.content).is_file():
                self.store.read_chunk(chunk)
        except DataInvalid as error:
            self.notes.append(f"{error.sentence} Fetched again.")
            return False
        return True

    def _count(self, pieces: list[_Piece], span: Span) -> int:
        """Rows of stored pieces that the market has come to."""
        return sum(
            piece.chunk.rows if piece.chunk is not None and piece.last_ms <= span.latest_ms
            else _cut(piece.rows(self.store), piece.first_ms, span.latest_ms + 1).height
            for piece in pieces
        )  # fmt: skip

    def _agree(self, last: _Piece, read: list[_Piece], span: Span) -> bool:
        """Whether the exchange still shows the last stored row, as far as it was read again."""
        ours = _cut(last.rows(self.store), last.first_ms, span.latest_ms + 1).tail(1)
        at = _time(ours, 0)
        for piece in read:
            if piece.first_ms <= at <= piece.last_ms and not _same(ours, piece.rows(self.store), self.kind):
                self.notes.append(
                    f"The row of {utc_text(at)} differs from the stored one: the stored rows were replaced."
                )
                return False
        return True

    def _missing(self, known: list[_Piece], lost: list[tuple[int, int]], span: Span) -> list[tuple[int, int]]:
        """The spans to read: before what is known, from its last row on, what was lost of it, recent holes in it."""
        if not known:
            return [(span.first_ms, span.last_ms)]
        ordered = sorted(known, key=lambda piece: piece.first_ms)
        first, end = ordered[0].first_ms, min(max(piece.last_ms for piece in ordered), span.latest_ms)
        missing = [*lost, *self._holes(ordered, span)]
        if span.first_ms < first and not (span.asked_ms is not None and span.first_ms >= span.asked_ms):
            missing.append((span.first_ms, first - self._step))
        if end <= span.last_ms:
            missing.append((end, span.last_ms))
        return _merged(missing)

    def _holes(self, ordered: list[_Piece], span: Span) -> list[tuple[int, int]]:
        """Holes of bars, and of events between pieces, that nobody asked for yet or that are recent."""
        found: list[tuple[int, int]] = []
        step, end = self._step, ordered[0].last_ms
        for piece in ordered[1:]:
            if piece.first_ms - end > (step if self.kind.is_bars else DAY_MS):
                found.append((end + step, piece.first_ms - step))
            end = max(end, piece.last_ms)
        recent = span.latest_ms - _RECENT_MS
        if self.kind.is_bars:
            inside = (gap for piece in ordered if piece.last_ms >= recent
                      for gap in find_gaps(piece.rows(self.store), self.reader.timeframe))  # fmt: skip
            found += [(gap.first_ms, gap.last_ms) for gap in inside]
        asked = span.asked_ms
        return [(first, last) for first, last in found if last >= recent or asked is None or first < asked]

    @property
    def _step(self) -> int:
        return self.reader.timeframe.ms if self.kind.is_bars else 1

    async def _read(self, first_ms: int, last_ms: int) -> list[_Piece]:
        """The rows of a span, stored block by block as they come."""
        pieces: list[_Piece] = []
        waiting: list[pl.DataFrame] = []
        what = f"{self.reader.symbol} {self.reader.timeframe} {self.kind.stage}"
        total = max(1, (last_ms - first_ms) // self._step + 1)
        async with aclosing(self.reader.stream(self.kind, first_ms, last_ms)) as frames:
            async for frame in frames:
                if frame.is_empty():
                    continue
                waiting.append(frame)
                if self._block_of(_time(waiting[0], 0)) != self._block_of(_time(frame, -1)):
                    *over, last = self._blocks(_time(waiting[0], 0), _time(frame, -1))
                    joined = pl.concat(waiting)
                    parts = (_cut(joined, start, end) for start, end in over)
                    pieces += [self._stage(part) for part in parts if not part.is_empty()]
                    waiting = [_cut(joined, *last)]
                self.progress(what, (_time(frame, -1) - first_ms) // self._step + 1, total)
        if waiting:
            rest = pl.concat(waiting)
            pieces.append(self._stage(rest) if rest.height >= _WORTH_STAGING else _Piece.held(self._checked(rest)))
        return pieces

    def _stage(self, frame: pl.DataFrame) -> _Piece:
        chunk = self.store.put_chunk(self._name(frame), frame)
        self.staging.add(chunk)
        return _Piece.stored(chunk)

    def _name(self, frame: pl.DataFrame) -> str:
        """The name of a chunk of checked rows: what it holds."""
        return digest_value([self.kind.stage, digest_frame(self._checked(frame))])

    def _checked(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame. Raises `DataInvalid` for rows that break their rules."""
        if self.kind.schema is BARS:
            return check_bars(frame, self.reader.timeframe, origin=f"{self.reader.symbol} {self.reader.timeframe}")
        return check_schema(frame, self.kind.schema)

    def _blocks(self, first_ms: int, last_ms: int) -> list[tuple[int, int]]:
        """Months of bars and of rare events, days of trades."""
        return blocks_between(first_ms, last_ms, "day" if self.kind.stage == "trades" else "month")

    def _block_of(self, time_ms: int) -> int:
        return self._blocks(time_ms, time_ms)[0][0]

    def _in_blocks(self, pieces: list[_Piece], span: Span) -> tuple[tuple[Chunk, ...], int]:
        """The chunks of everything, cut as artifacts are; and how many stored rows were replaced by others."""
        if not pieces:
            return (), 0
        first = min(piece.first_ms for piece in pieces)
        last = min(span.latest_ms, max(piece.last_ms for piece in pieces))
        blocks = storage_blocks(first, last, self.reader.timeframe) if self.kind.is_bars else self._blocks(first, last)
        chunks: list[Chunk] = []
        replaced = 0
        for start, end in blocks:
            stop = min(end, span.latest_ms + 1)
            mine = [piece for piece in pieces if piece.first_ms < stop and piece.last_ms >= start]
            whole = mine[0].chunk if len(mine) == 1 and start <= mine[0].first_ms and mine[0].last_ms < stop else None
            if whole is not None:
                chunks.append(whole)
                continue
            frames = [_cut(piece.rows(self.store), start, stop) for piece in mine]
            joined, changed = _joined(frames, self.kind) if frames else (self.kind.schema.empty(), 0)
            replaced += changed
            if not joined.is_empty():
                chunks.append(self.store.put_chunk(self._name(joined), joined))
        return tuple(chunks), replaced


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same spans without overlaps, oldest first."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(span for span in spans if span[0] <= span[1]):
        if merged and first <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(last, merged[-1][1])
        else:
            merged.append((first, last))
    return merged


def _joined(frames: list[pl.DataFrame], kind: SeriesKind) -> tuple[pl.DataFrame, int]:
    """The rows of all frames in order; of two of one time (trades: id) the later frame's. And how many differed."""
    key = kind.key
    every = pl.concat(frames)
    distinct = every.unique(maintain_order=True)
    joined = distinct.unique(key, keep="last", maintain_order=True).sort(key)
    return joined, distinct.height - joined.height


def _cut(frame: pl.DataFrame, start_ms: int, end_ms: int) -> pl.DataFrame:
    """The rows whose time lies in [start, end)."""
    times = frame.to_series(0).to_physical()
    return frame[int(times.search_sorted(start_ms)) : int(times.search_sorted(end_ms))]


def _time(frame: pl.DataFrame, row: int) -> int:
    """The time of a row, UTC ms."""
    return int(frame.to_series(0).to_physical()[row])


def _same(ours: pl.DataFrame, theirs: pl.DataFrame, kind: SeriesKind) -> bool:
    """Whether the exchange still shows a stored row; what only one of the two knows does not count."""
    key = kind.key
    shown = theirs.filter(pl.col(key) == ours[key][0])
    compared = [name for name in ours.columns if name not in kind.schema.nullable]
    return shown.is_empty() or ours.select(compared).row(0) in shown.select(compared).rows()
