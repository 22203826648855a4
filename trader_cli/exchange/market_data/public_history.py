"""History other than bars: aggregate trades, funding payments, open interest. Frames oldest first, nothing stored."""

from __future__ import annotations

from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any

import polars as pl

from trader_cli.core.errors import DataInvalid, UsageError
from trader_cli.core.market.gaps import utc_text
from trader_cli.core.market.schemas import FUNDING, OPEN_INTEREST, TRADES, check_schema
from trader_cli.core.market.timeframes import DAY_MS, HOUR_MS, MINUTE_MS, Timeframe
from trader_cli.exchange.connection import replies
from trader_cli.exchange.market_data import reply_frames
from trader_cli.exchange.market_data.pages import SMALLEST_BARS, in_order, page_plan

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trader_cli.exchange.connection.connection import Connection

_TRADES, _PAYMENTS, _COUNTS = 1000, 1000, 500
_TRADE_COUNT = 8
"""Where a row of klines has its number of trades."""
_PERIODS = ("5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h", "1d")
_REMEMBERED_MS = 30 * DAY_MS
"""How far back the exchange tells open interest."""


class PublicHistory:
    """Reads over one connection. Raises like `Connection.read`, and `DataInvalid` for what cannot be true."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def agg_trades(self, symbol: str, first_ms: int, last_ms: int) -> AsyncGenerator[pl.DataFrame, None]:
        """Aggregate trades from `first_ms` to `last_ms` (both inclusive) as TRADES frames of up to 1000 rows.

        Their ids follow one another without a hole; a hole raises. Where the exchange has nothing from `first_ms` on
        any more, they begin later.
        """
        last_ms = min(last_ms, self._connection.server_now_ms())
        frame = await self._first_trades(symbol, first_ms, last_ms)
        while not frame.is_empty():
            wanted = frame.filter(pl.col("time").to_physical() <= last_ms)
            if not wanted.is_empty():
                yield wanted
            if wanted.height < frame.height:
                return
            frame = await self._trades(symbol, {"fromId": frame["trade_id"][-1] + 1})

    async def _first_trades(self, symbol: str, first_ms: int, last_ms: int) -> pl.DataFrame:
        """The first page of a span. The exchange looks through an hour at a time; what has no trades is passed over."""
        start = first_ms
        while start <= last_ms:
            frame = await self._trades(symbol, {"startTime": start, "endTime": min(start + HOUR_MS - 1, last_ms)})
            if not frame.is_empty():
                return frame
            start = await self._traded_hour(symbol, start + HOUR_MS, last_ms)
        return TRADES.empty()

    async def _traded_hour(self, symbol: str, start_ms: int, last_ms: int) -> int:
        """The time from `start_ms` on where an hour with trades begins, or one after `last_ms`."""
        start = start_ms
        while start <= last_ms:
            query = {"symbol": symbol, "interval": "1h", "startTime": start - start % HOUR_MS, "limit": SMALLEST_BARS}
            reply = await self._connection.read("fapiPublicGetKlines", "/fapi/v1/klines", query)
            hours = replies.parsed(
                "klines",
                replies.as_list(reply, "klines"),
                lambda r: [(int(row[0]), int(row[_TRADE_COUNT])) for row in r],
            )
            traded = next((opened for opened, count in hours if count > 0), None)
            if traded is not None or not hours:
                return last_ms + 1 if traded is None else max(start, traded)
            start = max(start, hours[-1][0]) + HOUR_MS
        return start

    async def _trades(self, symbol: str, since: dict[str, int]) -> pl.DataFrame:
        query = {"symbol": symbol, "limit": _TRADES, **since}
        reply = replies.as_list(
            await self._connection.read("fapiPublicGetAggTrades", "/fapi/v1/aggTrades", query), "trades"
        )
        frame: pl.DataFrame = check_schema(replies.parsed("trades", reply, reply_frames.trades_frame), TRADES)
        return _without_holes(frame, symbol, since)

    async def funding(self, symbol: str, first_ms: int, last_ms: int) -> AsyncGenerator[pl.DataFrame, None]:
        """Funding payments from `first_ms` to `last_ms` (both inclusive) as FUNDING frames of up to 1000 rows."""
        last_ms = min(last_ms, self._connection.server_now_ms())
        start, frame = first_ms, FUNDING.empty()
        while start <= last_ms and not _is_last(frame, start, last_ms):
            query = {"symbol": symbol, "startTime": start, "endTime": last_ms, "limit": _PAYMENTS}
            reply = await self._connection.read("fapiPublicGetFundingRate", "/fapi/v1/fundingRate", query)
            frame = replies.parsed("funding rates", replies.as_list(reply, "funding rates"), reply_frames.funding_frame)
            if frame.is_empty():
                return
            _check_times(frame, f"Funding rates of {symbol}", start, last_ms)
            yield frame
            start = int(frame["time"].to_physical()[-1]) + 1

    async def open_interest(self, symbol: str, period: str, first_ms: int, last_ms: int) -> pl.DataFrame:
        """Open contracts (base asset) at whole multiples of `period`, an OPEN_INTEREST frame.

        The exchange tells the last 30 days; what was asked for before them is left out.
        """
        if period not in _PERIODS:
            raise UsageError(f"There is no open interest every {period!r}.", hint=f"Known: {', '.join(_PERIODS)}.")
        step, now = Timeframe.parse(period).ms, self._connection.server_now_ms()
        first = -(-max(first_ms, now - _REMEMBERED_MS + step) // step) * step
        last = min(last_ms, now)
        frames = [OPEN_INTEREST.empty()]
        pages = page_plan(first, last, step, flat=_COUNTS)
        async with aclosing(in_order(partial(self._counts, symbol, period, *page) for page in pages)) as counted:
            frames += [frame async for frame in counted]
        return _check_times(pl.concat(frames), f"Open interest of {symbol}", first, last)

    async def _counts(self, symbol: str, period: str, first_ms: int, last_ms: int, limit: int) -> pl.DataFrame:
        query = {"symbol": symbol, "period": period, "limit": limit, "startTime": first_ms, "endTime": last_ms}
        reply: Any = await self._connection.read("fapiDataGetOpenInterestHist", "/futures/data/openInterestHist", query)
        frame: pl.DataFrame = replies.parsed(
            "open interest", replies.as_list(reply, "open interest"), reply_frames.open_interest_frame
        )
        return frame


def _is_last(frame: pl.DataFrame, start_ms: int, last_ms: int) -> bool:
    """Whether nothing can follow this page: it is not full, and the next payment is due after the end."""
    if not 1 < frame.height < _PAYMENTS:
        return False
    interval = int(frame["time"].to_physical().diff().drop_nulls().min())  # type: ignore[arg-type]
    return start_ms + interval - MINUTE_MS > last_ms


def _without_holes(frame: pl.DataFrame, symbol: str, since: dict[str, int]) -> pl.DataFrame:
    """The frame, if its ids follow one another, from the one that was asked for on; and no trade is too early."""
    if frame.is_empty():
        return frame
    ids, first_ms = frame["trade_id"], int(frame["time"].to_physical()[0])
    before = ids.shift(1, fill_value=since.get("fromId", ids[0]) - 1)
    if (ids != before + 1).any():
        at = int((ids != before + 1).arg_true()[0])
        raise DataInvalid(
            f"Aggregate trades of {symbol} from the exchange: id {before[at]} is followed by {ids[at]}.",
            hint="Fetch again later, or take these days from the archive.",
        )
    if first_ms < since.get("startTime", first_ms):
        raise DataInvalid(f"Aggregate trades of {symbol} from the exchange begin before the time that was asked for.")
    return frame


def _check_times(frame: pl.DataFrame, what: str, first_ms: int, last_ms: int) -> pl.DataFrame:
    """The frame, if its times ascend and lie in the span that was asked for. Raises `DataInvalid`."""
    times = frame["time"].to_physical()
    wrong = ((times.diff() <= 0).fill_null(value=False) | (times < first_ms) | (times > last_ms)).arg_true()
    if len(wrong):
        row = int(wrong[0])
        raise DataInvalid(
            f"{what} from the exchange: row {row}, {utc_text(times[row])}, is out of order or of the span asked for."
        )
    return frame
