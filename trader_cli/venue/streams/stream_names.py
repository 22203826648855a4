"""The names of market streams: what each is of, how often it speaks, and on which route the exchange serves it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from trader_cli.core.errors import UsageError
from trader_cli.core.market.timeframes import Timeframe

if TYPE_CHECKING:
    from collections.abc import Collection

Route = Literal["public", "market", "private", "legacy", "spot"]
"""By the first part of a socket's path; `legacy` serves what the three routes of futures serve together."""

REAL_TIME_MS = 100
"""What has happened is told at most so much later on streams that the exchange calls real-time."""
_PUBLIC = frozenset({"trade", "bookTicker", "depth"})
_MARKET = frozenset({"kline", "continuousKline", "aggTrade", "markPrice"})
_TICKERS = frozenset({"ticker", "miniTicker", "forceOrder", "contractInfo"})
_SERVED: dict[Route, frozenset[str]] = {
    "public": _PUBLIC,
    "market": _MARKET | _TICKERS,
    "private": frozenset(),
    "legacy": _PUBLIC | _MARKET | _TICKERS,
    "spot": frozenset({"kline", "aggTrade", "trade", "bookTicker", "depth", "ticker", "miniTicker"}),
}
_OF_ONE = re.compile(r"(?P<symbol>[a-z0-9_]+)@(?P<kind>[a-zA-Z]+?)(?P<given>_[0-9]+[a-zA-Z]|\d+)?(?:@(?P<speed>\w+))?")
_OF_ALL = re.compile(
    r"!(?P<kind>markPrice|ticker|miniTicker|bookTicker|forceOrder|contractInfo)(?P<rest>@arr(?:@1s)?)?"
)
_ALL_MS = {"markPrice": 3000, "ticker": 1000, "miniTicker": 1000, "bookTicker": 5000, "forceOrder": 1000}
_BARS, _PERPETUAL = ("kline", "continuousKline"), "_PERPETUAL"
_DEPTHS = frozenset({5, 10, 20})
_SPEEDS: dict[str, dict[str | None, int]] = {
    "kline": {None: 250},
    "continuousKline": {None: 250},
    "aggTrade": {None: REAL_TIME_MS},
    "trade": {None: REAL_TIME_MS},
    "bookTicker": {None: REAL_TIME_MS},
    "depth": {None: 250, "100ms": 100, "250ms": 250, "500ms": 500},
    "markPrice": {None: 3000, "1s": 1000},
    "ticker": {None: 2000},
    "miniTicker": {None: 2000},
    "forceOrder": {None: 1000},
}
_SPOT_SPEEDS: dict[str, dict[str | None, int]] = {
    **{kind: _SPEEDS[kind] for kind in ("aggTrade", "trade", "bookTicker")},
    "kline": {None: 2000},
    "depth": {None: 1000, "100ms": 100, "1000ms": 1000},
    "ticker": {None: 1000},
    "miniTicker": {None: 1000},
}


@dataclass(frozen=True)
class Stream:
    """One market stream. `symbol`: None of all. `levels`: of a partial book, 0 of its changes.

    It speaks at whole multiples of `period_ms` since the epoch, UTC.
    """

    name: str
    kind: str
    symbol: str | None
    period_ms: int
    timeframe: Timeframe | None = None
    levels: int = 0
    spot: bool = False


def stream_of(name: str, route: Route, symbols: Collection[str]) -> Stream | None:
    """The stream of this name; None where the exchange has none on this route, or the market is not here."""
    found = _of_all(name, route) if name.startswith("!") else _of_one(name, route, symbols)
    return found if found is not None and found.kind in _SERVED[route] else None


def _of_all(name: str, route: Route) -> Stream | None:
    match = _OF_ALL.fullmatch(name)
    if match is None or (route == "spot" and match["kind"] not in {"ticker", "miniTicker"}):
        return None
    kind, rest = match["kind"], match["rest"]
    if (rest is None) != (kind in {"bookTicker", "contractInfo"}) or (rest == "@arr@1s" and kind != "markPrice"):
        return None
    return Stream(name, kind, None, 1000 if rest == "@arr@1s" else _ALL_MS.get(kind, 1000), spot=route == "spot")


def _of_one(name: str, route: Route, symbols: Collection[str]) -> Stream | None:
    match, spot = _OF_ONE.fullmatch(name), route == "spot"
    if match is None:
        return None
    kind, given, symbol = match["kind"], match["given"], match["symbol"].upper()
    if kind == "continuousKline":
        symbol = symbol.removesuffix(_PERPETUAL) if symbol.endswith(_PERPETUAL) else ""
    if symbol not in symbols:
        return None
    period_ms = (_SPOT_SPEEDS if spot else _SPEEDS).get(kind, {}).get(match["speed"])
    levels = int(given) if given and given.isdigit() else 0
    timeframe = _timeframe(given[1:]) if kind in _BARS and given and given.startswith("_") else None
    has_sense = {**dict.fromkeys(_BARS, timeframe is not None), "depth": given is None or levels in _DEPTHS}
    if period_ms is None or not has_sense.get(kind, given is None):
        return None
    return Stream(name, kind, symbol, period_ms, timeframe, levels, spot)


def _timeframe(name: str) -> Timeframe | None:
    try:
        return Timeframe.parse(name)
    except UsageError:
        return None
