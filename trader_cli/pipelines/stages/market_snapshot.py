"""The market as it is at a moment: ticker, book, premium and open interest as one document; depth and listing too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from trader_cli import __version__
from trader_cli.core.errors import DataInvalid, DataMissing, ExchangeRejected
from trader_cli.core.identity.anchors import floor_block
from trader_cli.core.identity.digests import digest_value
from trader_cli.core.identity.manifests import Manifest
from trader_cli.core.market.schemas import DEPTH, check_schema
from trader_cli.storage.artifacts import span_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from trader_cli.core.identity.manifests import ArtifactKey, Chunk
    from trader_cli.core.market.quotes import OrderBook
    from trader_cli.exchange.binance import BinanceExchange
    from trader_cli.pipelines.market_access import Market
    from trader_cli.storage.artifacts import ArtifactStore

    KeyOf = Callable[[str], ArtifactKey]

SNAPSHOTS = ("depth", "info")
_BOOK_LEVELS = 50
_DEPTH_LEVELS = 1000
_NOT_TOLD = frozenset({-4108, -1122, -4141})
"""The symbol is being delivered, settled or closed: its bars are still there, this is not told any more."""


async def store_state(store: ArtifactStore, market: Market, key: KeyOf, symbol: str) -> list[str]:
    """Store the market's state with the time it was asked for, whole or not at all; sentences on what is not told."""
    exchange = market.exchange
    open_interest, notes = await _open_interest(exchange, symbol)
    body = {
        "source": market.source,
        "fetched_ms": exchange.server_now_ms(),
        "ticker": (await exchange.ticker(symbol)).as_dict(),
        "book": (await exchange.order_book(symbol, _BOOK_LEVELS)).as_dict(),
        "premium": (await exchange.premium_index(symbol)).as_dict(),
        "open_interest": open_interest,
    }
    if (known := exchange.remembered_brackets(symbol)) is not None:
        lowest = known.rows[0]
        body["bracket"] = {"maintenance_rate": float(lowest.maintenance_rate), "max_leverage": lowest.max_leverage}
    store.point(key("market"), store.put_document(body))
    return notes


async def store_snapshot(
    store: ArtifactStore, market: Market, key: KeyOf, symbol: str, kind: str
) -> tuple[list[str], int]:
    """Store one of `SNAPSHOTS`: sentences on stored ones that nobody can show again, and how many rows are new."""
    exchange = market.exchange
    if kind == "depth":
        book = depth_frame(await exchange.order_book(symbol, _DEPTH_LEVELS))
        return _append(store, key("depth"), market.source, book), book.height
    listed = await exchange.exchange_info()
    mine = listed.only(symbol)
    if not mine.symbols:
        exchange.require_listed(symbol)
        raise DataMissing(f"The exchange lists no {symbol} now.")
    store.point(key("info"), store.put_document(mine.as_dict()))
    return [], 1


async def _open_interest(exchange: BinanceExchange, symbol: str) -> tuple[float | None, list[str]]:
    """Open interest, or None and a sentence where the symbol is being settled or closed: the rest is stored still."""
    try:
        return await exchange.get_open_interest(symbol), []
    except ExchangeRejected as error:
        if error.code not in _NOT_TOLD:
            raise
        return None, [f"The exchange does not tell the open interest of {symbol} any more: it is not trading now."]


def depth_frame(book: OrderBook) -> pl.DataFrame:
    """A DEPTH frame of one snapshot: bids, then asks, each best first, levels counted from 0."""
    rows = [
        (book.time_ms, side, level, price, quantity)
        for side, levels in (("bid", book.bids), ("ask", book.asks))
        for level, (price, quantity) in enumerate(levels)
    ]
    frame = pl.DataFrame(rows, schema=dict.fromkeys(DEPTH.columns), orient="row", infer_schema_length=None)
    return check_schema(frame.select(pl.col(name).cast(dtype) for name, dtype in DEPTH.columns.items()), DEPTH)


def _append(store: ArtifactStore, key: ArtifactKey, source: str, frame: pl.DataFrame) -> list[str]:
    """Add a snapshot to those of its day; later ones, of a tape that was wound back, go."""
    chunks, notes = _earlier(store, key, source)
    at = int(frame["time"].to_physical()[0])
    chunks = [chunk for chunk in chunks if chunk.first_ms < at]
    if chunks and chunks[-1].last_ms >= floor_block(at, "day"):
        today = store.read_chunk(chunks.pop())
        frame = pl.concat([today.filter(pl.col("time").to_physical() < at), frame])
    chunks.append(store.put_rows("depth", frame))
    rows, first, last = span_of(chunks)
    store.publish(
        key,
        Manifest(
            stage="depth",
            producer=f"trader {__version__}",
            source=source,
            symbol=key.symbol,
            timeframe=key.timeframe,
            settings=digest_value([]),
            chunks=tuple(chunks),
            rows=rows,
            first_ms=first,
            last_ms=last,
        ),
    )
    return notes


def _earlier(store: ArtifactStore, key: ArtifactKey, source: str) -> tuple[list[Chunk], list[str]]:
    """The chunks of the snapshots stored before that can be read, and what is to be said of the others."""
    try:
        before = store.current(key)
    except DataInvalid as error:
        return [], [f"{error.sentence} The order books stored before are lost."]
    if before is None or before.source != source:
        return [], []
    whole = [chunk for chunk in before.chunks if store.holds(chunk)]
    lost = len(before.chunks) - len(whole)
    return whole, [f"{lost} day(s) of order books could not be read any more and are lost."] if lost else []
