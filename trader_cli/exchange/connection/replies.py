"""From the exchange's JSON to checked values. An empty or garbled 200 is an error, never "nothing there"."""

from __future__ import annotations

import math
import sys
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

from trader_cli.core.errors import DataInvalid, ExchangeUnavailable
from trader_cli.exchange.connection.error_table import scrubbed

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
_HINT = "Check binance_exchange.base_url and the network; try again later."


def as_list(reply: Any, what: str) -> list[Any]:
    """The reply, if it is a list."""
    if not isinstance(reply, list):
        raise ExchangeUnavailable(
            f"Expected a list of {what} from the exchange; it answered {shown(reply)}.", hint=_HINT
        )
    return reply


def as_mapping(reply: Any, what: str, *needed: str) -> dict[str, Any]:
    """The reply, if it is an object that has the needed fields."""
    if not isinstance(reply, dict) or any(reply.get(name) is None for name in needed):
        raise ExchangeUnavailable(f"Expected {what} from the exchange; it answered {shown(reply)}.", hint=_HINT)
    return reply


def shown(reply: Any) -> str:
    """A reply shortened for a message: HTML is called HTML."""
    if reply is None or reply in ("", b"", {}, []):
        return "nothing"
    words = reply.decode(errors="replace") if isinstance(reply, bytes) else str(reply)
    text = " ".join(scrubbed(words).split())
    kind = "an HTML page" if text.lstrip().lower().startswith(("<!doctype", "<html")) else "what cannot be used"
    return f"{kind}: {text[:80]!r}"


def parsed(what: str, reply: Any, parse: Callable[[Any], T]) -> T:
    """`parse(reply)`, with a shape it did not expect turned into `ExchangeUnavailable`."""
    try:
        return parse(reply)
    except _misfits():
        raise ExchangeUnavailable(
            f"Expected {what} from the exchange; it answered {shown(reply)}.", hint=_HINT
        ) from None


def _misfits() -> tuple[type[Exception], ...]:
    """What parsing raises for a shape it did not expect; polars' own errors only where a frame was made by it."""
    polars = sys.modules.get("polars")
    plain = (ValueError, TypeError, IndexError, KeyError, OverflowError)
    return plain if polars is None else (*plain, polars.exceptions.PolarsError)


def number(value: Any, *, above: float | None = None, least: float | None = None) -> float:
    """A finite float, above or at least a bound. Raises `ValueError`."""
    found = float(value)
    if not math.isfinite(found) or (above is not None and found <= above) or (least is not None and found < least):
        raise ValueError(f"out of range: {value!r}")
    return found


def order_book(reply: dict[str, Any], symbol: str, depth: int) -> dict[str, Any]:
    """`{symbol, timestamp, bids, asks}` with [price, quantity] floats, best first, at most `depth` a side.

    Raises `DataInvalid` for an empty side, a crossed book or numbers that are not positive.
    """
    sides = {side: [[number(price), number(size)] for price, size in reply[side]] for side in ("bids", "asks")}
    bids, asks = sides["bids"], sides["asks"]
    if not bids or not asks:
        raise DataInvalid(f"The order book of {symbol} has an empty side: {len(bids)} bids, {len(asks)} asks.")
    if any(not price > 0 or not size >= 0 for price, size in bids + asks):
        raise DataInvalid(f"The order book of {symbol} holds a price or size that is not positive.")
    ordered = all(a[0] > b[0] for a, b in pairwise(bids)) and all(a[0] < b[0] for a, b in pairwise(asks))
    if bids[0][0] >= asks[0][0] or not ordered:
        raise DataInvalid(f"The order book of {symbol} is crossed or out of order: bid {bids[0][0]}, ask {asks[0][0]}.")
    return {"symbol": symbol, "timestamp": int(reply["T"]), "bids": bids[:depth], "asks": asks[:depth]}


_TICKER = {
    "last": "lastPrice",
    "open": "openPrice",
    "high": "highPrice",
    "low": "lowPrice",
    "volume": "volume",
    "quote_volume": "quoteVolume",
    "change_percent": "priceChangePercent",
}


def ticker(reply: dict[str, Any], symbol: str) -> dict[str, Any]:
    """`{symbol, timestamp, last, open, high, low, volume, quote_volume, change_percent}` of the last 24 hours."""
    if reply["symbol"] != symbol:
        raise ValueError(f"a ticker of {reply['symbol']!r}")
    values = {ours: number(reply[theirs]) for ours, theirs in _TICKER.items()}
    if not values["last"] > 0:
        raise DataInvalid(f"The ticker of {symbol} has a last price of {values['last']}.")
    return {"symbol": symbol, "timestamp": int(reply["closeTime"]), **values}
