"""What requests cost at Binance: weight, and the pool in which it is counted.

Sources: "Limits" of "General Info" and the page of each endpoint ("Request Weight") in the exchange's documentation
of USDⓈ-M futures, spot and wallet. Replies say what is used, and `exchangeInfo` what the limits are now: the budget
believes those more than this table.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

MINUTE_MS = 60_000


@dataclass(frozen=True)
class Pool:
    """Requests counted together, per address: `limit` weight per clock window of `window_ms`.

    `headers` are the names under which replies say what is used. A ban holds for the whole `host`.
    """

    name: str
    host: Literal["futures", "spot"]
    limit: int
    window_ms: int
    headers: tuple[str, ...] = ()


# "IP Limits": of futures 2,400 a minute; `/futures/data` and the two funding pages state pools of their own, per five
# minutes; spot 6,000 a minute; wallet (`/sapi`) 12,000 a minute, counted by address.
FUTURES = Pool("request weight", "futures", 2400, MINUTE_MS, ("X-MBX-USED-WEIGHT-1M",))
FUTURES_DATA = Pool("futures data", "futures", 1000, 5 * MINUTE_MS)
FUNDING = Pool("funding rates", "futures", 500, 5 * MINUTE_MS)
SPOT = Pool("spot request weight", "spot", 6000, MINUTE_MS, ("X-MBX-USED-WEIGHT", "X-MBX-USED-WEIGHT-1M"))
WALLET = Pool("wallet request weight", "spot", 12_000, MINUTE_MS, ("X-SAPI-USED-IP-WEIGHT-1M",))

WEIGHT_LIMIT = FUTURES.limit
_POOLS = {"/futures/data/": FUTURES_DATA, "/fapi/v1/funding": FUNDING, "/api/": SPOT, "/sapi/": WALLET}
_KLINES = {
    "/fapi/v1/klines",
    "/fapi/v1/markPriceKlines",
    "/fapi/v1/indexPriceKlines",
    "/fapi/v1/premiumIndexKlines",
}
_WEIGHTS = {
    "/fapi/v1/aggTrades": 20,  # Compressed/Aggregate Trades List
    "/fapi/v3/account": 5,  # Account Information V3
    "/fapi/v3/positionRisk": 5,  # Position Information V3
    "/fapi/v1/userTrades": 5,  # Account Trade List
    "/fapi/v1/income": 30,  # Get Income History
    "/fapi/v1/commissionRate": 20,  # User Commission Rate
    "/fapi/v1/positionSide/dual": 30,  # Get Current Position Mode
    "/fapi/v1/symbolConfig": 5,  # Symbol Configuration
    "/fapi/v1/multiAssetsMargin": 30,  # Get Current Multi-Assets Mode
    "/fapi/v1/trades": 5,  # Recent Trades List
    "/fapi/v1/historicalTrades": 200,  # Old Trades Lookup, since 2026-07
    "/fapi/v2/account": 5,  # Account Information V2
    "/fapi/v3/balance": 5,  # Futures Account Balance V3
    "/fapi/v2/balance": 5,  # Futures Account Balance V2
    "/fapi/v1/accountConfig": 5,  # Futures Account Configuration
    "/fapi/v1/adlQuantile": 5,  # Position ADL Quantile Estimation
    "/fapi/v1/allOrders": 5,  # All Orders
    "/fapi/v1/allAlgoOrders": 5,  # Query All Algo Orders
    "/api/v3/exchangeInfo": 20,  # spot: Exchange Information
    "/api/v3/klines": 2,  # spot: Kline/Candlestick Data, whatever the limit
    "/api/v3/aggTrades": 2,  # spot: Compressed/Aggregate Trades List
}
"""By path, beside the page's title; what is not here costs 1."""


_ONE_OR_ALL = {
    "/fapi/v1/ticker/price": (1, 2),  # Symbol Price Ticker
    "/fapi/v1/ticker/bookTicker": (2, 5),  # Symbol Order Book Ticker
    "/fapi/v1/forceOrders": (20, 50),  # User's Force Orders
}
"""Of one symbol, and of all."""


@lru_cache(maxsize=1024)
def pool_of(path: str) -> Pool:
    """The pool in which a path is counted; USDⓈ-M futures' where there is no rule of its own."""
    return next((pool for start, pool in _POOLS.items() if path.startswith(start)), FUTURES)


def request_weight(path: str, query: Mapping[str, object]) -> int:
    """Weight of a GET request in its pool; `query` holds its parameters. Routes without a rule of their own cost 1."""
    limit = _whole(query.get("limit", 500))
    if path in _KLINES:  # by the number of bars: [1, 100), [100, 500), [500, 1000], above
        return 1 if limit < 100 else 2 if limit < 500 else 5 if limit <= 1000 else 10
    if path == "/fapi/v1/depth":  # Order Book: by the number of levels
        return 2 if limit <= 50 else 5 if limit <= 100 else 10 if limit <= 500 else 20
    if path == "/fapi/v1/ticker/24hr":  # 24hr Ticker: of one symbol, or of all
        return 1 if "symbol" in query else 40
    if path in _ONE_OR_ALL:
        return _ONE_OR_ALL[path]["symbol" not in query]
    if path in {"/fapi/v1/openOrders", "/fapi/v1/openAlgoOrders"}:  # Current All Open (Algo) Orders: likewise
        return 1 if "symbol" in query else 40
    return _WEIGHTS.get(path, 1)


def _whole(value: object) -> int:
    text = str(value)
    return int(text) if text.isdigit() else 500
