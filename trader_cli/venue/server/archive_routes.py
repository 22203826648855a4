"""The bulk archive of the exchange: a path and a moment in, the bytes of a file out, or nothing. No sockets, no clock.

Files are zips of one CSV and their checksums, named as on the exchange, and made when they are asked for. Their numbers
are those of the routes, to the letter. What differs between markets there differs here: futures files begin with a
header, spot files do not; spot times are microseconds from 2025 on; spot trades say `True` and carry a column more.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.core.errors import UsageError
from trader_cli.core.market.timeframes import HOUR_MS, Timeframe
from trader_cli.venue.simulated_market.derived_series import FUNDING_INTERVAL_MS, METRICS_MS
from trader_cli.venue.simulated_market.number_format import (
    DERIVED_PLACES,
    KLINE_FIELDS,
    View,
    decimals,
    formatted,
    kline_columns,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from trader_cli.venue.simulated_market.symbol_market import SymbolMarket

_FUTURES, _SPOT = "futures/um", "spot"
_PATH = re.compile(
    r"/data/(?P<market>futures/um|spot)/(?P<period>monthly|daily)/(?P<kind>[A-Za-z]+)/(?P<symbol>\w+)/"
    r"(?:(?P<interval>[0-9a-z]+)/)?(?P<file>[\w-]+)\.zip(?P<checksum>\.CHECKSUM)?"
)
_VIEWS: dict[tuple[str, str], View] = {
    (_SPOT, "klines"): "last",
    (_FUTURES, "klines"): "last",
    (_FUTURES, "markPriceKlines"): "mark",
    (_FUTURES, "indexPriceKlines"): "index",
    (_FUTURES, "premiumIndexKlines"): "premium",
}
_OTHERS = {
    (_SPOT, "aggTrades"): {"monthly", "daily"},
    (_FUTURES, "aggTrades"): {"monthly", "daily"},
    (_FUTURES, "fundingRate"): {"monthly"},
    (_FUTURES, "metrics"): {"daily"},
}
_PUBLISHED_AFTER_MS = 8 * HOUR_MS
"""Files appear at 08:00 UTC of their day of publication."""
_MICROSECONDS_FROM_MS = 1_735_689_600_000  # 2025-01-01, spot only
_FUNDINGS = 31 * 3
_COMPRESSION = 1
_KEPT = 8
"""Files kept: a checksum is asked for apart from its file."""
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class ArchiveFile:
    """One file of the archive: what it holds, of which days [first, stop), UTC ms, and when it appears."""

    market: str
    kind: str
    symbol: str
    interval: str | None
    name: str
    first_ms: int
    stop_ms: int
    published_ms: int

    @classmethod
    def parse(cls, path: str) -> tuple[ArchiveFile, bool] | None:
        """The file a path names, and whether its checksum is meant; `None` for what the archive never has."""
        found = _PATH.fullmatch(path)
        if found is None:
            return None
        market, period, kind, symbol, interval, file, checksum = found.groups()
        date = file.removeprefix(f"{symbol}-{interval or kind}-")
        days = _days(period, date)
        known = interval is not None if (market, kind) in _VIEWS else period in _OTHERS.get((market, kind), set())
        if days is None or date == file or not known or (interval is not None) != ((market, kind) in _VIEWS):
            return None
        return cls(market, kind, symbol, interval, file, *days), checksum is not None

    @property
    def unit(self) -> int:
        """How many of the file's time units are a millisecond."""
        return 1000 if self.market == _SPOT and self.first_ms >= _MICROSECONDS_FROM_MS else 1


@dataclass(frozen=True)
class _Made:
    zipped: bytes
    checksum: bytes


class BulkArchive:
    """The archive of a tape. Files appear the next day (daily) or on the first Monday of the next month (monthly).

    A day, or a month, without a single bar has no file. Time frames above a day are not offered.
    """

    def __init__(self, markets: Mapping[str, SymbolMarket]) -> None:
        self._markets = markets
        self._made: OrderedDict[ArchiveFile, _Made] = OrderedDict()

    def read(self, path: str, now_ms: int) -> bytes | None:
        """The bytes at a path (it begins with `/data/`) as of `now_ms`; `None` if there is no such file, or not yet."""
        requested = ArchiveFile.parse(path)
        if requested is None:
            return None
        file, checksum = requested
        market = self._markets.get(file.symbol)
        if market is None or now_ms < file.published_ms or not _traded(market, file):
            return None
        made = self._kept(file, market)
        if made is None:
            return None
        return made.checksum if checksum else made.zipped

    def _kept(self, file: ArchiveFile, market: SymbolMarket) -> _Made | None:
        if file not in self._made:
            columns = _columns(file, market)
            if columns is None:
                return None
            self._made[file] = _zipped(file, columns)
            if len(self._made) > _KEPT:
                self._made.popitem(last=False)
        self._made.move_to_end(file)
        return self._made[file]


def _days(period: str, date: str) -> tuple[int, int, int] | None:
    """(first, stop, published) of a period, UTC ms."""
    try:
        first = datetime.strptime(date, "%Y-%m" if period == "monthly" else "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return None
    if len(date) != (7 if period == "monthly" else 10):
        return None
    stop = first + timedelta(days=1)
    published = stop
    if period == "monthly":
        stop = (first + timedelta(days=31)).replace(day=1)
        published = stop + timedelta(days=-stop.weekday() % 7)
    return _ms(first), _ms(stop), _ms(published) + _PUBLISHED_AFTER_MS


def _ms(moment: datetime) -> int:
    return int(moment.timestamp()) * 1000


def _traded(market: SymbolMarket, file: ArchiveFile) -> bool:
    """Whether the tape has a bar that opens in the file's days."""
    first, stop = np.searchsorted(market.tape.open_ms, [file.first_ms, file.stop_ms]).tolist()
    return bool(first < stop)


def _columns(file: ArchiveFile, market: SymbolMarket) -> pl.DataFrame | None:
    """The file's rows, or `None` where there are none."""
    if file.kind == "aggTrades":
        return _trade_frame(file, market)
    if file.kind == "fundingRate":
        return _funding_frame(file, market)
    if file.kind == "metrics":
        return _metrics_frame(file, market)
    return _kline_frame(file, market)


def _kline_frame(file: ArchiveFile, market: SymbolMarket) -> pl.DataFrame | None:
    import polars as pl

    try:
        timeframe = Timeframe.parse(file.interval or "")
    except UsageError:
        return None
    if timeframe.ms % market.tape.timeframe.ms:
        return None
    view = _VIEWS[file.market, file.kind]
    bars = market.closed_bars(view, timeframe, file.first_ms, file.stop_ms)
    columns = dict(zip(KLINE_FIELDS, kline_columns(bars, view, market.tape, timeframe.ms), strict=True))
    frame = pl.DataFrame(columns)
    if file.unit != 1:
        close = (pl.col("close_time") + 1) * file.unit - 1
        frame = frame.with_columns(pl.col("open_time") * file.unit, close)
    return frame


def _trade_frame(file: ArchiveFile, market: SymbolMarket) -> pl.DataFrame | None:
    import polars as pl

    trades = market.closed_trades(file.first_ms, file.stop_ms)
    if not len(trades.trade_id):
        return None
    ids, tape, yes, no = pl.Series(trades.trade_id), market.tape, "true", "false"
    if file.market == _SPOT:
        yes, no = "True", "False"
    frame = pl.DataFrame(
        {
            "agg_trade_id": ids,
            "price": formatted([trades.price], decimals(tape.tick))[0],
            "quantity": formatted([trades.quantity], decimals(tape.step))[0],
            "first_trade_id": ids,
            "last_trade_id": ids,
            "transact_time": pl.Series(trades.time_ms) * file.unit,
            "is_buyer_maker": pl.Series(trades.maker),
        }
    ).with_columns(pl.when("is_buyer_maker").then(pl.lit(yes)).otherwise(pl.lit(no)).alias("is_buyer_maker"))
    return frame.with_columns(pl.lit(yes).alias("is_best_match")) if file.market == _SPOT else frame


def _funding_frame(file: ArchiveFile, market: SymbolMarket) -> pl.DataFrame | None:
    import polars as pl

    last = file.stop_ms - 1
    times = market.funding_times(last, file.first_ms, last, _FUNDINGS)
    if not times:
        return None
    rates = np.array([market.funding_rate(at) for at in times])
    hours = pl.Series([FUNDING_INTERVAL_MS // HOUR_MS]).new_from_index(0, len(times))
    return pl.DataFrame(
        {
            "calc_time": times,
            "funding_interval_hours": hours,
            "last_funding_rate": formatted([rates], DERIVED_PLACES)[0],
        }
    )


def _metrics_frame(file: ArchiveFile, market: SymbolMarket) -> pl.DataFrame | None:
    import polars as pl

    interest, tape = market.interest, market.tape
    times = interest.times(file.first_ms, file.stop_ms - 1, METRICS_MS)
    if not len(times):
        return None
    held, value = interest.at(times)
    quantity, both = decimals(tape.step), decimals(tape.tick) + decimals(tape.step)
    by_count, by_size, all_by_count = interest.ratios(times)
    ratios = formatted([by_count, by_size, all_by_count, interest.taker_ratio(times)], DERIVED_PLACES)
    return pl.DataFrame(
        {
            "create_time": pl.Series(times).cast(pl.Datetime("ms")).dt.strftime("%Y-%m-%d %H:%M:%S"),
            "symbol": pl.Series([tape.symbol]).new_from_index(0, len(times)),
            "sum_open_interest": formatted([held], quantity)[0],
            "sum_open_interest_value": formatted([value], both)[0],
            "count_toptrader_long_short_ratio": ratios[0],
            "sum_toptrader_long_short_ratio": ratios[1],
            "count_long_short_ratio": ratios[2],
            "sum_taker_long_short_vol_ratio": ratios[3],
        }
    )


def _zipped(file: ArchiveFile, frame: pl.DataFrame) -> _Made:
    """The zip, the same bytes on every machine with the same zlib, and the text of its checksum."""
    text = frame.write_csv(include_header=file.market != _SPOT, quote_style="never").encode()
    entry = zipfile.ZipInfo(f"{file.name}.csv", _ZIP_DATE)
    entry.compress_type, entry.create_system, entry.external_attr = zipfile.ZIP_DEFLATED, 3, 0o644 << 16
    made = BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(entry, text, compresslevel=_COMPRESSION)
    zipped = made.getvalue()
    return _Made(zipped, f"{hashlib.sha256(zipped).hexdigest()}  {file.name}.zip\n".encode())
