"""One stored series brought up to date: what is missing is read, stored as it comes, and put into its blocks.

Nothing that was read is read again after a kill (`storage.staging`), and blocks that nothing new touches stay as they
are. In memory is one block at a time; rows that the exchange contradicts are replaced, and said.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import numpy as np
import polars as pl

from trader_cli.core.errors import DataInvalid
from trader_cli.core.identity.anchors import blocks_between, storage_blocks
from trader_cli.core.market.gaps import utc_text
from trader_cli.core.market.schemas import check_schema, milliseconds, rows_between
from trader_cli.core.market.timeframes import DAY_MS, HOUR_MS

if TYPE_CHECKING:
    from collections.abc import Callable

    from trader_cli.core.identity.manifests import Chunk
    from trader_cli.core.ports import Progress
    from trader_cli.pipelines.stages.history_source import HistoryReader, SeriesKind
    from trader_cli.storage.artifacts import ArtifactStore
    from trader_cli.storage.staging import Staging

P = ParamSpec("P")
T = TypeVar("T")

_RECENT_MS = 7 * DAY_MS
"""Holes younger than this are asked for again by every fetch; older ones only by a repair."""
_NEAR_ROWS = 499
"""Holes nearer to each other than a page of the exchange are read as one."""
_WORTH_STAGING = 5_000
"""Fewer rows at the end of a read are not stored before they are put into their block."""
_COMPARED = 100
"""So many stored rows tell one that was saved too early from another market."""


@dataclass(frozen=True)
class Span:
    """What is wanted of a series: rows from `first_ms` to `last_ms`, both inclusive.

    Stored rows after `latest_ms` go: the market has not come there yet (a tape wound back). `requested_ms` is from when
    on the exchange was asked before: what is absent there, it does not have.
    """

    first_ms: int
    last_ms: int
    latest_ms: int
    requested_ms: int | None = None
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

    def rows(self, read: Callable[[Chunk], pl.DataFrame]) -> pl.DataFrame:
        """The rows; `read` gives those of a chunk."""
        if self.frame is not None:
            return self.frame
        assert self.chunk is not None
        return read(self.chunk)


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

        The last stored row is read again and compared. Where the exchange shows another, the rows before it are, too:
        if they agree, it had been saved too early; if not, the stored rows are of another market and all are read anew.
        """
        known = [chunk for chunk in stored if chunk.first_ms <= span.latest_ms]
        kept = await self._whole(known)
        staged = await self._whole(self.staging.chunks())
        whole = [piece.chunk for piece in kept]
        lost = [(chunk.first_ms, chunk.last_ms) for chunk in known if chunk not in whole]
        first = min([span.first_ms, *(chunk.first_ms for chunk in known)])
        last = max([span.last_ms, *(end for _, end in lost)])
        before = self._count(kept, span)
        if not (kept or staged):
            fresh = await self._read(first, last)
        else:
            if span.repair:
                missing = self._missing(kept + staged, [(first, last), *lost], replace(span, requested_ms=None))
            else:
                missing = self._missing(kept + staged, lost, span)
            fresh = [piece for wanted in missing for piece in await self._read(*wanted)]
            if kept and not span.repair and not await self._is_same_market(kept, staged + fresh, span):
                self.notes.append("The exchange shows other rows than those stored: the stored rows were replaced.")
                self.staging.clear()
                kept, staged, fresh, before = [], [], await self._read(first, last), 0
        chunks, replaced = await self._work(self._in_blocks, [*kept, *staged, *fresh], span)
        return SeriesUpdate(chunks, sum(chunk.rows for chunk in chunks) - before, replaced)

    async def _work(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do it in a thread, where that is allowed: downloads go on meanwhile."""
        return await asyncio.to_thread(work, *args, **kwargs) if self.reader.threads else work(*args, **kwargs)

    async def _whole(self, chunks: list[Chunk]) -> list[_Piece]:
        """The chunks that can be read; one that cannot is read from the exchange again, and that is said."""
        holds = await self._work(lambda: [self.store.holds(chunk) for chunk in chunks])
        for chunk, whole in zip(chunks, holds, strict=True):
            if not whole:
                path = self.store.chunk_path(chunk.key, chunk.content)
                self.notes.append(f"The artifact file {path} is missing or corrupt. Fetched again.")
        return [_Piece.stored(chunk) for chunk, whole in zip(chunks, holds, strict=True) if whole]

    def _count(self, pieces: list[_Piece], span: Span) -> int:
        """Rows of stored pieces that the market has come to."""
        return sum(
            piece.chunk.rows
            if piece.chunk is not None and piece.last_ms <= span.latest_ms
            else rows_between(piece.rows(self.store.read_chunk), piece.first_ms, span.latest_ms + 1).height
            for piece in pieces
        )

    async def _is_same_market(self, kept: list[_Piece], read: list[_Piece], span: Span) -> bool:
        """Whether the exchange still shows what is stored, but for a last row that was saved too early."""
        latest = [
            rows_between(piece.rows(self.store.read_chunk), piece.first_ms, span.latest_ms + 1) for piece in kept[-2:]
        ]
        ours = pl.concat(latest).tail(_COMPARED)
        if not self._contradicted(ours.tail(1), read):
            return True
        earlier = ours[:-1]
        if earlier.is_empty():
            return False
        return not self._contradicted(earlier, await self._read(_time(earlier, 0), _time(earlier, -1)))

    def _contradicted(self, ours: pl.DataFrame, read: list[_Piece]) -> bool:
        """Whether the exchange shows one of our rows otherwise; what only one of the two knows does not count."""
        key, compared = self.kind.key, [name for name in ours.columns if name not in self.kind.schema.nullable]
        known = set(ours.select(compared).rows())
        near = [piece for piece in read if piece.first_ms <= _time(ours, -1) and piece.last_ms >= _time(ours, 0)]
        shown = (piece.rows(self.store.read_chunk).join(ours.select(key), on=key, how="semi") for piece in near)
        return any(not known.issuperset(rows.select(compared).rows()) for rows in shown)

    def _missing(self, known: list[_Piece], lost: list[tuple[int, int]], span: Span) -> list[tuple[int, int]]:
        """The spans to read: before what is known, from its last row on, what was lost of it, recent holes in it."""
        ordered = sorted(known, key=lambda piece: piece.first_ms)
        first, end = ordered[0].first_ms, min(max(piece.last_ms for piece in ordered), span.latest_ms)
        recent = span.latest_ms - _RECENT_MS
        requested = span.requested_ms is not None and span.first_ms >= span.requested_ms
        missing = [*lost, *self._holes(ordered, span), (max(span.first_ms, recent if requested else 0), first - 1)]
        if end <= span.last_ms:  # payments are so few that a week of them costs no more than the last one
            missing.append((max(first, min(end, recent)) if self.kind.stage == "funding" else end, span.last_ms))
        return _merged(missing, _NEAR_ROWS * self._grid_ms)

    def _holes(self, ordered: list[_Piece], span: Span) -> list[tuple[int, int]]:
        """Holes on the grid, and between pieces of events, that nobody asked for yet or that are recent."""
        grid, recent, requested = self._grid_ms, span.latest_ms - _RECENT_MS, span.requested_ms
        found: list[tuple[int, int]] = []
        end = ordered[0].last_ms
        for piece in ordered:
            if piece.first_ms - end > (grid or DAY_MS):
                found.append((end + 1, piece.first_ms - 1))
            if grid and piece.last_ms >= recent:
                found += _holes_of(piece.rows(self.store.read_chunk), grid)
            end = max(end, piece.last_ms)
        return [(first, last) for first, last in found if last >= recent or requested is None or first < requested]

    @property
    def _grid_ms(self) -> int:
        """What lies between two rows, ms; 0 for events."""
        return self.kind.grid_ms(self.reader.timeframe)

    async def _read(self, first_ms: int, last_ms: int) -> list[_Piece]:
        """The rows of a span, stored block by block as they come."""
        pieces: list[_Piece] = []
        waiting: list[pl.DataFrame] = []
        what, step = f"{self.reader.symbol} {self.reader.timeframe} {self.kind.stage}", self._grid_ms or HOUR_MS
        async with aclosing(self.reader.stream(self.kind, first_ms, last_ms)) as frames:
            async for frame in frames:
                if frame.is_empty():
                    continue
                waiting.append(frame)
                start, end = _time(waiting[0], 0), _time(frame, -1)
                if self._block_of(start) != self._block_of(end):
                    *over, last = self._blocks(start, end)
                    for block in over:
                        pieces += await self._stage([rows_between(part, *block) for part in waiting])
                    waiting = [rest for part in waiting if (rest := rows_between(part, *last)).height]
                self.progress(what, (end - first_ms) // step + 1, max(1, (last_ms - first_ms) // step + 1))
        if sum(part.height for part in waiting) >= _WORTH_STAGING:
            return pieces + await self._stage(waiting)
        return pieces + ([_Piece.held(self._checked(pl.concat(waiting)))] if waiting else [])

    async def _stage(self, parts: list[pl.DataFrame]) -> list[_Piece]:
        """Rows of one block, stored and remembered, so that a killed fetch goes on after them."""
        if not any(part.height for part in parts):
            return []
        chunk = await self._work(lambda: self._put(pl.concat(parts)))
        self.staging.add(chunk)
        return [_Piece.stored(chunk)]

    def _put(self, rows: pl.DataFrame) -> Chunk:
        return self.store.put_rows(self.kind.stage, self._checked(rows))

    def _checked(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame, made of frames that were checked as they came. Raises `DataInvalid` for rows in disorder."""
        check_schema(frame, self.kind.schema)
        wrong = np.flatnonzero(np.diff(frame[self.kind.key].to_numpy().view("int64")) <= 0) + 1
        if len(wrong):
            at = utc_text(_time(frame, int(wrong[0])))
            raise DataInvalid(
                f"{self.reader.symbol} {self.reader.timeframe} {self.kind.stage}: the row of {at} does not come after"
                " the one before it.",
                hint="Fetch again.",
            )
        return frame

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
        replaced, read = 0, lru_cache(maxsize=2)(self.store.read_chunk)  # a month may be cut into days
        for start, end in blocks:
            stop = min(end, span.latest_ms + 1)
            mine = [piece for piece in pieces if piece.first_ms < stop and piece.last_ms >= start]
            whole = mine[0].chunk if len(mine) == 1 and start <= mine[0].first_ms and mine[0].last_ms < stop else None
            if whole is not None:
                chunks.append(whole)
                continue
            frames = [rows_between(piece.rows(read), start, stop) for piece in mine]
            joined, changed = _joined(frames, self.kind) if frames else (self.kind.schema.empty(), 0)
            replaced += changed
            if not joined.is_empty():
                chunks.append(self._put(joined))
        return tuple(chunks), replaced


def _merged(spans: list[tuple[int, int]], near_ms: int) -> list[tuple[int, int]]:
    """The same spans, those that overlap or are near each other as one, oldest first."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(span for span in spans if span[0] <= span[1]):
        if merged and first <= merged[-1][1] + near_ms:
            merged[-1] = merged[-1][0], max(last, merged[-1][1])
        else:
            merged.append((first, last))
    return merged


def _holes_of(rows: pl.DataFrame, grid_ms: int) -> list[tuple[int, int]]:
    """What lies between two neighbouring rows that are more than a step apart, UTC ms."""
    times = milliseconds(rows.to_series(0))
    before = np.flatnonzero(np.diff(times) > grid_ms)
    return list(zip((times[before] + 1).tolist(), (times[before + 1] - 1).tolist(), strict=True))


def _joined(frames: list[pl.DataFrame], kind: SeriesKind) -> tuple[pl.DataFrame, int]:
    """The rows of all frames in order; of two of one time (trades: id) the later frame's. And how many differed."""
    key = kind.key
    every = pl.concat(frames)
    distinct = every.unique(maintain_order=True)
    joined = distinct.unique(key, keep="last", maintain_order=True).sort(key)
    return joined, distinct.height - joined.height


def _time(frame: pl.DataFrame, row: int) -> int:
    """The time of a row, UTC ms."""
    return int(milliseconds(frame.to_series(0))[row])
