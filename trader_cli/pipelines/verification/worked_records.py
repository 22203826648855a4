"""What is read and what is kept, worked examples: a kline as the exchange writes it, and files that were changed."""

from __future__ import annotations

import shutil
from decimal import Decimal
from typing import TYPE_CHECKING

import polars as pl

from trader_cli.core.errors import DataInvalid
from trader_cli.core.identity.manifests import ArtifactKey, Manifest
from trader_cli.core.market.schemas import TIME
from trader_cli.exchange.account import account_replies
from trader_cli.exchange.market_data import reply_frames
from trader_cli.pipelines.verification.checks import LINES, Check, Finding, equal
from trader_cli.pipelines.verification.lab import SYMBOL, TIMEFRAME
from trader_cli.storage.artifacts import ArtifactStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trader_cli.pipelines.verification.lab import Lab

_START = 1_704_067_200_000
_BAR = {
    "open": 4.1,
    "high": 4.4,
    "low": 4.0,
    "close": 4.3,
    "volume": 12.5,
    "quote_volume": 52.5,
    "trades": 7,
    "taker_buy_base": 5.25,
    "taker_buy_quote": 22.05,
}


def klines_by_hand(lab: Lab) -> Iterator[Finding]:  # noqa: ARG001
    """The documented row: opening time, open, high, low, close, volume, closing time, quote volume, trades, bought."""
    row = [_START, "4.1", "4.4", "4.0", "4.3", "12.5", _START + 899_999, "52.5", 7, "5.25", "22.05", "0"]
    found = reply_frames.bars_as_written([reply_frames.klines_as_written([row])]).row(0, named=True)
    for name, value in _BAR.items():
        yield equal(name, value, found[name])
    times = {name: round(found[name].timestamp() * 1000) for name in ("open_time", "close_time")}
    yield equal("open_time and close_time", (_START, _START + 899_999), (times["open_time"], times["close_time"]))


_TRADE = {
    "id": 11,
    "orderId": 22,
    "symbol": SYMBOL,
    "side": "SELL",
    "price": "2010.5",
    "qty": "0.4",
    "commission": "0.4021",
    "commissionAsset": "USDT",
    "realizedPnl": "-4.2",
    "maker": False,
    "time": _START,
}
_INCOME = {
    "incomeType": "FUNDING_FEE",
    "tranId": 33,
    "symbol": SYMBOL,
    "income": "-0.15",
    "asset": "USDT",
    "time": _START,
}
_POSITION = {
    "symbol": SYMBOL,
    "positionAmt": "-0.4",
    "entryPrice": "2000",
    "markPrice": "2010.5",
    "liquidationPrice": "2380",
    "unRealizedProfit": "-4.2",
    "isolatedWallet": "160",
    "updateTime": _START,
}


def account_by_hand(lab: Lab) -> Iterator[Finding]:  # noqa: ARG001
    """A losing sale with its fee, funding that was paid, and a short position, as the exchange writes them."""
    trade = account_replies.trade_state(_TRADE)
    paid = (trade.side, trade.price, trade.quantity, trade.commission, trade.commission_asset, trade.realized_profit)
    wanted = ("SELL", Decimal("2010.5"), Decimal("0.4"), Decimal("0.4021"), "USDT", Decimal("-4.2"))
    yield equal("a fill: side, price, quantity, fee, its asset, profit", wanted, paid)
    yield equal(
        "a fill's time, its order, as taker", (_START, "22", False), (trade.time_ms, trade.order_id, trade.maker)
    )
    income = account_replies.income_state(_INCOME)
    told = (income.kind, income.symbol, income.amount, income.asset, income.time_ms)
    yield equal("funding that was paid", ("FUNDING_FEE", SYMBOL, Decimal("-0.15"), "USDT", _START), told)
    held = account_replies.position_state(_POSITION)
    shown = (held.amount, held.entry_price, held.mark_price, held.liquidation_price, held.unrealized_profit)
    short = (Decimal("-0.4"), Decimal(2000), Decimal("2010.5"), Decimal(2380), Decimal("-4.2"))
    yield equal("a short: amount, entry, mark, liquidation, profit", short, shown)


def _said(read: Callable[[], object]) -> str:
    try:
        read()
    except DataInvalid:
        return "refused"
    return "read as if nothing had happened"


def damage_is_refused(lab: Lab) -> Iterator[Finding]:
    """A chunk, a manifest and a document with one byte changed; and a reference that lies where another belongs."""
    root = lab.root / lab.folder()
    store, key = ArtifactStore(root), ArtifactKey("sim", SYMBOL, TIMEFRAME.name, "bars")
    frame = pl.DataFrame({"open_time": pl.Series([_START, _START + 1]).cast(TIME), "close": [1.0, 2.0]})
    chunk = store.put_chunk("ab" * 16, frame)
    manifest = Manifest("bars", "verify", "made up", SYMBOL, TIMEFRAME.name, "none", chunks=(chunk,), rows=2)
    store.publish(key, manifest)
    document = store.put_document({"price": 1.5})
    yield equal("what was written", frame.rows(), ArtifactStore(root).read(manifest).rows())
    path = store.chunk_path(chunk.key, chunk.content)
    whole = path.read_bytes()
    path.write_bytes(whole[:20] + bytes([whole[20] ^ 1]) + whole[21:])
    yield equal("a chunk with one wrong byte", "refused", _said(lambda: ArtifactStore(root).read(manifest)))
    named = root / "manifests" / f"{manifest.digest}.json"
    whole = named.read_bytes()
    named.write_bytes(whole.replace(b'"rows":2', b'"rows":3'))
    yield equal("a manifest with one wrong byte", "refused", _said(lambda: ArtifactStore(root).current(key)))
    named.write_bytes(whole)
    kept = root / "documents" / f"{document}.json"
    kept.write_bytes(kept.read_bytes().replace(b"1.5", b"1.6"))
    yield equal("a document with one wrong byte", "missing", ArtifactStore(root).get_document(document) or "missing")
    for what, other in (
        ("another symbol", ArtifactKey("sim", "BTCUSDT", TIMEFRAME.name, "bars")),
        ("another time frame", ArtifactKey("sim", SYMBOL, "4h", "bars")),
    ):
        there = store.reference_path(other)
        there.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(store.reference_path(key), there)
        yield equal(f"a reference copied to {what}", "refused", _said(lambda k=other: ArtifactStore(root).current(k)))  # type: ignore[misc]


CHECKS = (
    Check(
        "klines_by_hand",
        LINES[0],
        "every number of a kline is read as what the exchange says it is",
        "Install the locked versions (requirements.lock), and fetch again.",
        klines_by_hand,
    ),
    Check(
        "account_by_hand",
        LINES[0],
        "fills, fees, funding and positions are read with their signs",
        "Install the locked versions (requirements.lock); do not trade meanwhile.",
        account_by_hand,
    ),
)
STORED = (
    Check(
        "damage_is_refused",
        LINES[5],
        "what was changed on disk is refused, never used",
        "Run the stage again that the message names.",
        damage_is_refused,
    ),
)
