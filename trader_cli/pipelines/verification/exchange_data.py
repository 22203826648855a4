"""Exchange API data fetching: what comes in is what the market showed, closed, complete and consistent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from trader_cli.core.errors import ExchangeUnavailable, UsageError
from trader_cli.core.market.timeframes import DAY_MS, HOUR_MS, MINUTE_MS, Timeframe
from trader_cli.pipelines.stages.fetching import FetchOptions, fetch_in
from trader_cli.pipelines.verification.checks import LINES, Check, Finding, at_least, at_most, equal
from trader_cli.pipelines.verification.lab import SYMBOL, TIMEFRAME, in_market
from trader_cli.pipelines.verification.worlds import in_world, scripted
from trader_cli.settings.workspace import workspace_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    import polars as pl

    from trader_cli.core.market.quotes import OrderBook, PremiumIndex, Ticker
    from trader_cli.pipelines.market_access import Market
    from trader_cli.pipelines.verification.lab import Lab
    from trader_cli.pipelines.verification.worlds import World
    from trader_cli.venue.server.faulty_venue import Fault

T = TypeVar("T")

_HOUR = Timeframe.parse("1h")
_BARS = 1200
_INTO_A_BAR_MS = 7 * MINUTE_MS + 13_000
_PRICES = ("open", "high", "low", "close")


def _fetched(lab: Lab, work: Callable[[Market], Awaitable[T]]) -> T:
    """`work` in the market, in the middle of a bar."""
    return in_market(lab.settings(lab.folder()), lab.tape, lab.start_ms + _INTO_A_BAR_MS, work)


def _aggregated(lab: Lab, first_ms: int, bars: int, timeframe: Timeframe) -> dict[str, Any]:
    """Bars of a time frame straight from the tape's minutes, by reshaping."""
    tape, each = lab.symbol_tape, timeframe.ms // MINUTE_MS
    first = int(np.searchsorted(tape.open_ms, first_ms))
    rows = {n: getattr(tape, n)[first : first + bars * each].reshape(bars, each) for n in (*_PRICES, "volume")}
    return {
        "open": rows["open"][:, 0],
        "high": rows["high"].max(axis=1),
        "low": rows["low"].min(axis=1),
        "close": rows["close"][:, -1],
        "volume": rows["volume"].sum(axis=1).round(3),
    }


def klines_equal_the_tape(lab: Lab) -> Iterator[Finding]:
    """Two time frames, one of them longer than a page."""
    for timeframe, count in ((TIMEFRAME, _BARS), (_HOUR, 300)):

        async def work(market: Market, name: str = timeframe.name, count: int = count) -> pl.DataFrame:
            return await market.exchange.get_klines(SYMBOL, name, count)

        frame = _fetched(lab, work)
        latest = timeframe.floor(lab.start_ms + _INTO_A_BAR_MS) - timeframe.ms
        first = latest - (count - 1) * timeframe.ms
        opened = frame["open_time"].to_physical().to_list()
        yield equal(f"{timeframe} opening times", list(range(first, latest + 1, timeframe.ms)), opened)
        for name, values in _aggregated(lab, first, count, timeframe).items():
            yield equal(f"{timeframe} {name}s equal to the bit", count, int((frame[name].to_numpy() == values).sum()))


def only_closed_bars(lab: Lab) -> Iterator[Finding]:
    """In the middle of a bar, and a millisecond before its close."""
    bar = lab.start_ms

    async def work(market: Market) -> list[tuple[int, int]]:
        seen = []
        for wait_ms in (0, TIMEFRAME.ms - _INTO_A_BAR_MS - 1, 1):
            await market.clock.sleep(wait_ms / 1000)
            frame = await market.exchange.get_klines(SYMBOL, TIMEFRAME.name, 2)
            seen.append((int(frame["open_time"].to_physical()[-1]), int(frame["close_time"].to_physical()[-1])))
        return seen

    middle, before, after = _fetched(lab, work)
    yield equal("last bar in the middle of the next", (bar - TIMEFRAME.ms, bar - 1), middle)
    yield equal("last bar a millisecond before the close", (bar - TIMEFRAME.ms, bar - 1), before)
    yield equal("last bar at the close", (bar, bar + TIMEFRAME.ms - 1), after)


def prices_agree(lab: Lab) -> Iterator[Finding]:
    """Ticker, book, mark price and trades of one moment, against each other and against the tape."""

    async def work(market: Market) -> tuple[Ticker, OrderBook, PremiumIndex, pl.DataFrame]:
        exchange = market.exchange
        return (
            await exchange.ticker(SYMBOL),
            await exchange.order_book(SYMBOL, 10),
            await exchange.premium_index(SYMBOL),
            await exchange.get_agg_trades(SYMBOL, 200),
        )

    ticker, book, premium, trades = _fetched(lab, work)
    tape, now = lab.symbol_tape, lab.start_ms + _INTO_A_BAR_MS
    minute = int(np.searchsorted(tape.open_ms, now, side="right")) - 1
    last, bid, ask = ticker.last_price, book.bids[0][0], book.asks[0][0]
    yield at_least("last price, no lower than its minute on the tape", float(tape.low[minute]), last)
    yield at_most("last price, no higher than its minute on the tape", float(tape.high[minute]), last)
    yield equal("mark price of a market without a recorded one: the last", last, premium.mark_price)
    yield equal("price of the latest trade", last, float(trades["price"][-1]))
    yield equal("bid < last < ask", (True, True), (bid < last, last < ask))
    yield equal("levels asked for", (10, 10), (len(book.bids), len(book.asks)))
    for side, levels, falling in (("bids", book.bids, True), ("asks", book.asks, False)):
        prices = [price for price, _ in levels]
        yield equal(f"{side}, best first", sorted(prices, reverse=falling), prices)
    yield equal(
        "trades in order and none from the future",
        (True, True),
        (trades["trade_id"].is_sorted(), int(trades["time"].to_physical()[-1]) <= now),
    )
    day = slice(int(np.searchsorted(tape.open_ms, now - DAY_MS)), minute)
    yield at_least("24 h high", float(tape.high[day].max()), ticker.high_price)
    yield at_most("24 h high", float(max(tape.high[day].max(), tape.high[minute])), ticker.high_price)


def server_time_is_known(lab: Lab) -> Iterator[Finding]:
    """The exchange's clock, and funding that has happened by it."""

    async def work(market: Market) -> tuple[int, int, list[int], Any]:
        exchange = market.exchange
        rates = (await exchange.get_funding_rates(SYMBOL, 9))["time"].to_physical().to_list()
        return exchange.server_now_ms(), market.clock.now_ms(), rates, exchange.get_exchange_status()

    server, ours, funded, status = _fetched(lab, work)
    last = ours - ours % (8 * HOUR_MS)
    yield equal("server time", lab.start_ms + _INTO_A_BAR_MS, server)
    yield equal("clock offset", 0, status["clock_offset_ms"])
    yield equal("funding times so far", [last - n * 8 * HOUR_MS for n in reversed(range(9))], funded)


def a_bad_answer_is_never_data(lab: Lab) -> Iterator[Finding]:
    """One failure is retried; garbage that stays is an error; an unknown symbol is the caller's mistake."""

    def read(faults: list[Fault], symbol: str = SYMBOL) -> str:
        async def work(world: World) -> str:
            world.venue.faults["GET", "/fapi/v1/klines"] = list(faults)
            try:
                frame = await world.exchange.get_klines(symbol, "1m", 5)
            except (ExchangeUnavailable, UsageError) as error:
                return type(error).__name__
            return f"{frame.height} bars"

        return in_world(lab, scripted(), work)

    yield equal("after one 503", "5 bars", read(["down"]))
    for fault in ("html", "truncated", "empty"):
        yield equal(f"answers that stay {fault}", "ExchangeUnavailable", read([fault] * 4))
    yield equal("an unknown symbol", "NotListed", read([], "NOSUCHUSDT"))


def fetching_again_appends(lab: Lab) -> Iterator[Finding]:
    """The stored series grows by what has closed since, and by nothing else."""
    settings = lab.settings(lab.folder())
    workspace = workspace_of(settings)

    async def work(market: Market) -> tuple[Any, ...]:
        first = await fetch_in(market, workspace, SYMBOL, TIMEFRAME, FetchOptions(limit=100))
        again = await fetch_in(market, workspace, SYMBOL, TIMEFRAME, FetchOptions(limit=100))
        await market.clock.sleep(2 * TIMEFRAME.ms / 1000)
        return first, again, await fetch_in(market, workspace, SYMBOL, TIMEFRAME, FetchOptions(limit=100))

    first, again, later = in_market(settings, lab.tape, lab.start_ms, work)
    yield equal("new bars, fetched again at once", (0, first.digest), (again.new_bars, again.digest))
    yield equal("new bars, two bars later", (2, first.bars + 2), (later.new_bars, later.bars))
    yield equal("gaps", (), later.gaps)


_NETWORK = "Check binance_exchange.base_url and the network; `trader fetch` shows what comes."
CHECKS = (
    Check(
        "klines_equal_the_tape",
        LINES[0],
        "klines equal the market's minutes put together, to the bit",
        _NETWORK,
        klines_equal_the_tape,
    ),
    Check(
        "only_closed_bars",
        LINES[0],
        "a bar is shown once it has closed, and not a millisecond earlier",
        "Set the machine's clock; see binance_exchange.max_clock_skew.",
        only_closed_bars,
    ),
    Check(
        "prices_agree",
        LINES[0],
        "ticker, book, mark price and trades tell the tape's last price",
        _NETWORK,
        prices_agree,
    ),
    Check(
        "server_time_is_known",
        LINES[0],
        "the exchange's time is ours, funding is told up to it",
        "Set the machine's clock; see binance_exchange.max_clock_skew.",
        server_time_is_known,
    ),
    Check(
        "a_bad_answer_is_never_data",
        LINES[0],
        "a failed read is tried again, garbage is an error, never data",
        "See binance_exchange.max_retries and binance_exchange.timeout.",
        a_bad_answer_is_never_data,
    ),
    Check(
        "fetching_again_appends",
        LINES[0],
        "fetching again adds the bars that have closed, and changes none",
        "Run `trader fetch` again; see fetch.history_bars.",
        fetching_again_appends,
    ),
)
