"""The market as it is at a moment: ticker, book, premium and open interest as one document; depth and listing too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from trader_cli import __version__
from trader_cli.core.anchors import floor_block
from trader_cli.core.artifacts import Manifest
from trader_cli.core.digests import digest_frame, digest_value
from trader_cli.core.schemas import DEPTH, check_schema
from trader_cli.storage.artifacts import span_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from trader_cli.core.artifacts import ArtifactKey
    from trader_cli.pipelines.market import Market
    from trader_cli.storage.artifacts import ArtifactStore

    KeyOf = Callable[[str], ArtifactKey]

SNAPSHOTS = ("depth", "info")
_BOOK_LEVELS = 50
_DEPTH_LEVELS = 1000


async def store_snapshot(store: ArtifactStore, market: Market, key: KeyOf, symbol: str, kinds: Iterable[str]) -> None:
    """Store the market's state with the time it was asked for; of `kinds`, those of `SNAPSHOTS` as well."""
    exchange = market.exchange
    body = {
        "source": market.source,
        "fetched_ms": exchange.server_now_ms(),
        "ticker": await exchange.get_ticker(symbol),
        "book": await exchange.get_order_book(symbol, _BOOK_LEVELS),
        "premium": await exchange.get_premium_index(symbol),
        "open_interest": await exchange.get_open_interest(symbol),
    }
    store.point(key("market"), store.put_document(body))
    if "depth" in kinds:
        _append(store, key("depth"), market.source, depth_frame(await exchange.get_order_book(symbol, _DEPTH_LEVELS)))
    if "info" in kinds:
        listed = await exchange.exchange_info()
        mine = next((one for one in listed["symbols"] if one["symbol"] == symbol), None)
        store.point(key("info"), store.put_document({**listed, "symbols": [mine]}))


def depth_frame(book: dict[str, Any]) -> pl.DataFrame:
    """A DEPTH frame of one snapshot: bids, then asks, each best first, levels counted from 0."""
    rows = [
        (book["timestamp"], side, level, price, quantity)
        for side, levels in (("bid", book["bids"]), ("ask", book["asks"]))
        for level, (price, quantity) in enumerate(levels)
    ]
    frame = pl.DataFrame(rows, schema=dict.fromkeys(DEPTH.columns), orient="row", infer_schema_length=None)
    return check_schema(frame.select(pl.col(name).cast(dtype) for name, dtype in DEPTH.columns.items()), DEPTH)


def _append(store: ArtifactStore, key: ArtifactKey, source: str, frame: pl.DataFrame) -> None:
    """Add a snapshot to those of its day."""
    before = store.current(key)
    chunks = list(before.chunks) if before is not None and before.source == source else []
    day = floor_block(int(frame["time"].to_physical()[0]), "day")
    if chunks and chunks[-1].first_ms >= day:
        frame = pl.concat([store.read_chunk(chunks.pop()), frame])
    named = frame.with_columns(pl.col("side") == "bid")
    chunks.append(store.put_chunk(digest_value(["depth", digest_frame(named)]), frame))
    rows, first, last = span_of(chunks)
    store.publish(key, Manifest(
        stage="depth", producer=f"trader {__version__}", source=source, symbol=key.symbol, timeframe=key.timeframe,
        settings=digest_value([]), chunks=tuple(chunks), rows=rows, first_ms=first, last_ms=last,
    ))  # fmt: skip
