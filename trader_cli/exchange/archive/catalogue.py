"""The files of the exchange's bulk archive: their names, the time each promises to hold, and which ones a span needs.

Pure: nothing is downloaded here (`exchange.archive.download`) and nothing is read (`exchange.archive.parsing`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from trader_cli.core.errors import UsageError
from trader_cli.core.market.timeframes import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trader_cli.core.market.timeframes import Timeframe

Market = Literal["spot", "futures/um", "futures/cm"]
Period = Literal["monthly", "daily"]
Kind = Literal["klines", "markPriceKlines", "indexPriceKlines", "aggTrades", "fundingRate", "metrics"]

BAR_KINDS = frozenset({"klines", "markPriceKlines", "indexPriceKlines"})
SPOT_KINDS = frozenset({"klines", "aggTrades"})
MARKETS = ("spot", "futures/um", "futures/cm")
PERIODS: Mapping[str, tuple[Period, ...]] = MappingProxyType(
    {
        "klines": ("monthly", "daily"),
        "markPriceKlines": ("monthly", "daily"),
        "indexPriceKlines": ("monthly", "daily"),
        "aggTrades": ("monthly", "daily"),
        "fundingRate": ("monthly",),
        "metrics": ("daily",),
    }
)
"""How the archive cuts each kind."""

_TAKEN_BY_DAY = frozenset({"aggTrades"})  # a month of a busy symbol inflates to gigabytes

_EPOCH = date(1970, 1, 1)
_PATIENCE = timedelta(days=1)
_A_NAME = re.compile(r"\w{2,40}")
_AN_INTERVAL = re.compile(r"[1-9]\d?(?:s|m|h|d|w|M|mo)")


@dataclass(frozen=True)
class ArchiveFile:
    """One zip of the archive. `date` is the day a daily file holds, or the first of the month a monthly one holds.

    `interval` is that of bars (`1m`), `None` for the other kinds. Raises `UsageError` for what the archive has not.
    """

    market: Market
    period: Period
    kind: Kind
    symbol: str
    interval: str | None
    date: date

    def __post_init__(self) -> None:
        _check_kind(self.market, self.kind, self.symbol, self.interval)
        if self.period not in PERIODS[self.kind]:
            raise UsageError(
                f"The archive has no {self.period} files of {self.kind}; it has {PERIODS[self.kind][0]} ones."
            )
        if self.period == "monthly" and self.date.day != 1:
            raise UsageError(f"A monthly file is named by the first of its month; found {self.date}.")

    @property
    def name(self) -> str:
        """`ETHUSDT-1m-2024-01.zip`. The exchange writes a month's interval `1M` as `1mo`."""
        when = f"{self.date:%Y-%m}" if self.period == "monthly" else f"{self.date:%Y-%m-%d}"
        return f"{self.symbol}-{self._interval or self.kind}-{when}.zip"

    @property
    def path(self) -> str:
        """`data/futures/um/monthly/klines/ETHUSDT/1m/ETHUSDT-1m-2024-01.zip`, below the archive's base URL."""
        folder = f"data/{self.market}/{self.period}/{self.kind}/{self.symbol}"
        return f"{folder}/{self._interval}/{self.name}" if self._interval else f"{folder}/{self.name}"

    @property
    def _interval(self) -> str | None:
        return "1mo" if self.interval == "1M" else self.interval

    @property
    def first_ms(self) -> int:
        """The first millisecond (UTC) of the file's day or month."""
        return _midnight_ms(self.date)

    @property
    def end_ms(self) -> int:
        """The first millisecond (UTC) after the file's day or month."""
        return _midnight_ms(_next_month(self.date) if self.period == "monthly" else self.date + timedelta(days=1))

    @property
    def published_ms(self) -> int:
        """From when (UTC ms) the file can be expected to be there.

        A month is published on the first Monday of the next one, here with a day of patience; a day, once it is over.
        """
        if self.period == "daily":
            return self.end_ms
        return _midnight_ms(_first_monday(_next_month(self.date)) + _PATIENCE)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class ArchivePlan:
    """The files that cover a span, oldest first, and the end of it that no file holds yet: `(first_ms, last_ms)`."""

    files: tuple[ArchiveFile, ...]
    rest: tuple[int, int] | None


def plan_files(
    market: Market, kind: Kind, symbol: str, timeframe: Timeframe | None, first_ms: int, last_ms: int, now_ms: int
) -> ArchivePlan:
    """The fewest files that cover [first_ms, last_ms] (UTC ms, both inside), and the span left for REST.

    A published month of which more than one day is needed is one monthly file; other days that are over are daily
    files. Metrics come by day only, funding by month only, aggregate trades are taken by day (`PERIODS`). What is
    published may still be absent (404: before a listing, after a delisting, or late): `Archive.fetch` gives `None`.
    A file may reach beyond the span: cut what it holds.
    Raises `UsageError` for a span that ends before it begins and for what the archive has not.
    """
    if first_ms > last_ms:
        raise UsageError(f"The span to plan ends ({last_ms}) before it begins ({first_ms}).")
    interval = timeframe.name if timeframe is not None else None
    _check_kind(market, kind, symbol, interval)
    at, last = _day_of(first_ms), _day_of(last_ms)
    files: list[ArchiveFile] = []
    while at <= last:
        month = ArchiveFile(market, "monthly", kind, symbol, interval, at.replace(day=1)) if _by_month(kind) else None
        day = ArchiveFile(market, "daily", kind, symbol, interval, at) if "daily" in PERIODS[kind] else None
        found = _better(month, day, last_ms)
        if found is not None and found.published_ms > now_ms:
            found = day
        if found is None or found.published_ms > now_ms:
            break
        files.append(found)
        at = _day_of(found.end_ms)
    covered = files[-1].end_ms if files else first_ms
    return ArchivePlan(tuple(files), (covered, last_ms) if covered <= last_ms else None)


def _by_month(kind: Kind) -> bool:
    return "monthly" in PERIODS[kind] and kind not in _TAKEN_BY_DAY


def _better(month: ArchiveFile | None, day: ArchiveFile | None, last_ms: int) -> ArchiveFile | None:
    """The month, unless the day alone reaches as far into the span."""
    if month is None or (day is not None and min(month.end_ms, last_ms + 1) <= day.end_ms):
        return day
    return month


def _check_kind(market: str, kind: str, symbol: str, interval: str | None) -> None:
    if market not in MARKETS or kind not in PERIODS or (market == "spot" and kind not in SPOT_KINDS):
        raise UsageError(
            f"The archive has no {kind!r} of {market!r}.",
            hint=f"Markets: {', '.join(MARKETS)}. Kinds: {', '.join(PERIODS)}; spot has only klines and aggTrades.",
        )
    if _A_NAME.fullmatch(symbol) is None:
        raise UsageError(f"{symbol!r} is no symbol: letters and digits are expected, as in ETHUSDT.")
    if kind not in BAR_KINDS and interval is not None:
        raise UsageError(f"Archive files of {kind} have no interval; found {interval!r}.")
    if kind in BAR_KINDS and (interval is None or _AN_INTERVAL.fullmatch(interval) is None):
        raise UsageError(f"Archive files of {kind} need an interval such as 1m; found {interval!r}.")


def _next_month(month: date) -> date:
    return (month.replace(day=1) + timedelta(days=32)).replace(day=1)


def _first_monday(month: date) -> date:
    return month.replace(day=1) + timedelta(days=-month.replace(day=1).weekday() % 7)


def _midnight_ms(day: date) -> int:
    return (day - _EPOCH).days * DAY_MS


def _day_of(time_ms: int) -> date:
    return _EPOCH + timedelta(days=time_ms // DAY_MS)
