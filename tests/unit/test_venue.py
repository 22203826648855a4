"""The simulated market: shows nothing before its time, and its parts agree with one another."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.market.bars import random_bars

from trader_cli.core.errors import DataInvalid, DataMissing
from trader_cli.core.market.bars import aggregate_bars, check_bars, with_close_time
from trader_cli.core.market.schemas import TIME
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.venue.clocks import DrivenClock, VirtualClock, WallClock, run_virtual
from trader_cli.venue.server.public_routes import PublicRoutes, VenueRejection
from trader_cli.venue.simulated_market.intrabar_path import expand
from trader_cli.venue.simulated_market.symbol_market import SymbolMarket
from trader_cli.venue.simulated_market.synthetic import synthetic_tape
from trader_cli.venue.simulated_market.tape import SymbolTape
from trader_cli.venue.simulated_market.tape_loading import load_tape

M1, M15 = Timeframe.parse("1m"), Timeframe.parse("15m")


def rounded(bars: pl.DataFrame) -> pl.DataFrame:
    prices = [pl.col(name).round(2) for name in ("open", "high", "low", "close")]
    return bars.select("open_time", *prices, pl.col("volume").round(3))


def tape_of(tmp_path: Path, bars: pl.DataFrame, name: str = "ETHUSDT-1m.parquet") -> SymbolTape:
    bars.write_parquet(tmp_path / name)
    return load_tape(tmp_path / name, 7).symbols["ETHUSDT"]


@pytest.fixture
def tape(tmp_path: Path) -> SymbolTape:
    return tape_of(tmp_path, rounded(random_bars(3000, "1m", sigma=0.001)))


def test_a_path_makes_its_bar_again(tape: SymbolTape) -> None:
    path = expand(tape, 0, 3000)
    assert np.array_equal(path.price[:, 0], tape.open)
    assert np.array_equal(path.price[:, -1], tape.close)
    np.testing.assert_array_equal(path.price.max(axis=1), tape.high)
    np.testing.assert_array_equal(path.price.min(axis=1), tape.low)
    np.testing.assert_allclose(path.quantity.sum(axis=1), tape.volume, atol=1e-9)
    assert (path.quantity >= 0).all()
    assert (np.diff(path.time_ms.ravel()) > 0).all()
    assert (path.time_ms >= tape.open_ms[:, None]).all()
    assert (path.time_ms < tape.open_ms[:, None] + M1.ms).all()
    assert (np.diff(path.trade_id.ravel()) == 1).all()


def test_a_path_does_not_depend_on_what_is_expanded_beside_it(tape: SymbolTape) -> None:
    whole, part = expand(tape, 0, 3000), expand(tape, 1234, 1240)
    for name in ("time_ms", "price", "quantity", "taker_buys", "trade_id"):
        assert getattr(whole, name)[1234:1240].tobytes() == getattr(part, name).tobytes()


@given(st.integers(6_000, 2_999 * 60_000))
@settings(max_examples=60, deadline=None)
def test_nothing_is_shown_before_its_time(offset: int) -> None:
    """The market at a time is the same whether the tape goes on or ends with the bar under way."""
    bars = rounded(random_bars(3000, "1m", sigma=0.001))
    now = int(bars["open_time"].to_physical()[0]) + offset
    whole = MARKETS.setdefault("whole", SymbolMarket(_tape_in_memory(bars)))
    ended = SymbolMarket(_tape_in_memory(bars[: offset // 60_000 + 1]))
    assert whole.klines(M15, now, None, None, 5) == ended.klines(M15, now, None, None, 5)
    assert whole.last_price(now) == ended.last_price(now)
    assert whole.trades(now, None, None, None, 20) == ended.trades(now, None, None, None, 20)
    assert whole.book(now, 5) == ended.book(now, 5)
    assert whole.day(now) == ended.day(now)
    forming = whole.klines(M1, now, None, None, 1)[-1]
    seen = [t.price for t in whole.trades(now, forming.open_ms, None, None, 1000)]
    if seen and forming.open_ms == now - now % 60_000:
        assert max(seen) <= forming.high + 1e-9


MARKETS: dict[str, SymbolMarket] = {}


def _tape_in_memory(bars: pl.DataFrame) -> SymbolTape:
    from trader_cli.venue.simulated_market.tape_loading import make_symbol_tape

    return make_symbol_tape("ETHUSDT", M1, with_close_time(bars, M1), 7, {})


def test_closed_klines_are_the_tapes_aggregation(tape: SymbolTape) -> None:
    market = SymbolMarket(tape)
    frame = pl.DataFrame(
        {
            "open_time": pl.Series(tape.open_ms).cast(TIME),
            **{n: getattr(tape, n) for n in ("open", "high", "low", "close", "volume")},
        }
    )
    wanted = aggregate_bars(with_close_time(frame, M1), M1, M15)
    got = market.klines(M15, tape.end_ms, None, None, 1500)
    assert [k.open_ms for k in got] == wanted["open_time"].to_physical().to_list()
    for name in ("open", "high", "low", "close"):
        assert [getattr(k, name) for k in got] == wanted[name].to_list()
    np.testing.assert_allclose([k.volume for k in got], wanted["volume"].to_numpy())


def test_minute_klines_agree_with_the_trades(tape: SymbolTape) -> None:
    market, now = SymbolMarket(tape), int(tape.open_ms[500]) + 31_000
    bar = market.klines(M1, now, None, None, 1)[-1]
    trades = market.trades(now, bar.open_ms, None, None, 1000)
    assert bar.open_ms == tape.open_ms[500]
    assert sum(t.quantity for t in trades) == pytest.approx(bar.volume)
    assert sum(t.quantity for t in trades if not t.buyer_is_maker) == pytest.approx(bar.taker_buy_base)
    assert (bar.close, bar.trades) == (trades[-1].price, len(trades))


def test_the_book_is_ordered_around_the_last_price(tape: SymbolTape) -> None:
    market = SymbolMarket(tape)
    for minute in (0, 10, 1500, 2999):
        now = int(tape.open_ms[minute]) + 7_000
        bids, asks = market.book(now, 20)
        assert bids == sorted(bids, reverse=True)
        assert asks == sorted(asks)
        assert bids[0][0] < market.last_price(now) < asks[0][0]
        assert all(q > 0 for _, q in bids + asks)
        assert market.book(now, 5) == (bids[:5], asks[:5])


def answer(routes: PublicRoutes, path: str, now: int, **query: Any) -> Any:
    return routes.table[path]({k: str(v) for k, v in query.items()}, now)


def test_the_first_book_knows_nothing_of_the_first_bar() -> None:
    bars = rounded(random_bars(10, "1m"))
    other = bars.with_columns(
        pl.when(pl.int_range(10) == 0).then(pl.col("volume") * 9).otherwise(pl.col("volume")).alias("volume")
    )
    start = int(bars["open_time"].to_physical()[0])
    ours, theirs = (SymbolMarket(_tape_in_memory(b)).book(start, 5) for b in (bars, other))
    assert ours == theirs


@pytest.fixture
def routes(tmp_path: Path) -> PublicRoutes:
    rounded(random_bars(3000, "1m", sigma=0.001)).write_parquet(tmp_path / "ETHUSDT-1m.parquet")
    return PublicRoutes(load_tape(tmp_path / "ETHUSDT-1m.parquet", 7))


def test_klines_window_and_limit(routes: PublicRoutes) -> None:
    now = routes.tape.start_ms + 1000 * 60_000 + 30_000
    start = routes.tape.start_ms + 100 * 60_000
    first = answer(routes, "/fapi/v1/klines", now, symbol="ETHUSDT", interval="1m", startTime=start, limit=10)
    assert [row[0] for row in first] == [start + i * 60_000 for i in range(10)]
    assert len(first[0]) == 12
    latest = answer(routes, "/fapi/v1/klines", now, symbol="ETHUSDT", interval="1m", limit=10)
    assert latest[-1][0] == now - 30_000
    assert latest[-1][6] > now
    window = answer(
        routes, "/fapi/v1/klines", now, symbol="ETHUSDT", interval="1m", startTime=start, endTime=start + 130_000
    )
    assert len(window) == 3


@pytest.mark.parametrize(
    ("path", "query", "code"),
    [
        ("/fapi/v1/klines", {"interval": "1m"}, -1102),
        ("/fapi/v1/klines", {"symbol": "NOPE", "interval": "1m"}, -1121),
        ("/fapi/v1/klines", {"symbol": "ETHUSDT", "interval": "7m"}, -1120),
        ("/fapi/v1/klines", {"symbol": "ETHUSDT", "interval": "1m", "limit": 1501}, -1130),
        ("/fapi/v1/klines", {"symbol": "ETHUSDT", "interval": "1m", "startTime": "soon"}, -1130),
        ("/fapi/v1/depth", {"symbol": "ETHUSDT", "limit": 7}, -4021),
    ],
)
def test_bad_requests_get_the_exchanges_codes(
    routes: PublicRoutes, path: str, query: dict[str, Any], code: int
) -> None:
    with pytest.raises(VenueRejection) as refused:
        answer(routes, path, routes.tape.end_ms, **query)
    assert refused.value.code == code


def test_funding_comes_every_eight_hours(routes: PublicRoutes) -> None:
    rates = answer(routes, "/fapi/v1/fundingRate", routes.tape.end_ms, symbol="ETHUSDT")
    times = [row["fundingTime"] for row in rates]
    assert times
    assert all(t % (8 * 3_600_000) == 0 for t in times)
    assert all(abs(float(row["fundingRate"])) < 1e-3 for row in rates)


SPOILS: dict[str, Any] = {
    "NaN": pl.when(pl.col("index") == 7).then(float("nan")).otherwise(pl.col("close")).alias("close"),
    "negative": pl.when(pl.col("index") == 7).then(-1.0).otherwise(pl.col("low")).alias("low"),
    "zero": pl.when(pl.col("index") == 7).then(0.0).otherwise(pl.col("open")).alias("open"),
}


@pytest.mark.parametrize("spoil", SPOILS)
def test_a_tape_with_a_bad_price_names_the_row(tmp_path: Path, spoil: str) -> None:
    bars = rounded(random_bars(50, "1m")).with_row_index().with_columns(SPOILS[spoil]).drop("index")
    with pytest.raises(DataInvalid, match="row 7 has a"):
        tape_of(tmp_path, bars)


def test_tapes_that_cannot_be_read_are_explained(tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match="does not exist"):
        load_tape(tmp_path / "absent.parquet", 7)
    (tmp_path / "ETHUSDT-x.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(DataInvalid, match="not a readable Parquet file"):
        load_tape(tmp_path / "ETHUSDT-x.parquet", 7)
    bars = rounded(random_bars(50, "1m"))
    with pytest.raises(DataInvalid, match="no column 'volume'"):
        tape_of(tmp_path, bars.drop("volume"))
    with pytest.raises(DataInvalid, match="cannot tell the symbol"):
        tape_of(tmp_path, bars, "bars.parquet")
    with pytest.raises(DataInvalid, match="no time frame"):
        tape_of(tmp_path, bars.with_columns(pl.col("open_time") + pl.duration(seconds=pl.int_range(50) * 7)))


def test_a_folder_or_a_long_file_holds_several_symbols(tmp_path: Path) -> None:
    bars = rounded(random_bars(50, "1h"))
    long = pl.concat([bars.with_columns(pl.lit(s).alias("symbol")) for s in ("AAAUSDT", "BBBUSDT")])
    long.write_parquet(tmp_path / "panel.parquet")
    bars.write_parquet(tmp_path / "CCCUSDT-1h.parquet")
    assert sorted(load_tape(tmp_path, 7).symbols) == ["AAAUSDT", "BBBUSDT", "CCCUSDT"]


def test_the_synthetic_market_is_valid_seeded_and_labelled() -> None:
    one, same = (synthetic_tape(("ETHUSDT", "AAAUSDT"), 6, 0.5, 3) for _ in range(2))
    other = synthetic_tape(("ETHUSDT", "AAAUSDT"), 6, 0.0, 3)
    assert one.symbols["ETHUSDT"].close.tobytes() == same.symbols["ETHUSDT"].close.tobytes()
    assert one.source == same.source != other.source
    assert "synthetic" in one.source
    assert "synthetic" in one.label
    assert "no lead" in other.label
    tape = one.symbols["ETHUSDT"]
    frame = pl.DataFrame(
        {
            "open_time": pl.Series(tape.open_ms).cast(TIME),
            **{n: getattr(tape, n) for n in ("open", "high", "low", "close", "volume")},
        }
    )
    check_bars(with_close_time(frame, M1), M1)


def test_virtual_time_costs_nothing_and_keeps_order() -> None:
    clock, seen = VirtualClock(1_000_000), []

    async def sleeper(seconds: float) -> None:
        await clock.sleep(seconds)
        seen.append((seconds, clock.now_ms()))

    async def main() -> None:
        await asyncio.gather(*(sleeper(s) for s in (86_400, 10, 3_600)))

    run_virtual(main, clock)
    assert seen == [(10, 1_010_000), (3_600, 4_600_000), (86_400, 87_400_000)]


def test_virtual_time_stands_still_while_held() -> None:
    clock = VirtualClock(0)
    moments: list[int] = []

    async def worker() -> None:
        with clock.held():
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            await reader.read(5)
            moments.append(clock.now_ms())
            writer.close()

    async def slow(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.get_running_loop().run_in_executor(None, time.sleep, 0.2)
        writer.write(b"hello")
        await writer.drain()
        writer.close()

    port = 0

    async def main() -> None:
        nonlocal port
        server = await asyncio.start_server(slow, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        sleeping = asyncio.create_task(clock.sleep(3600))
        await worker()
        await sleeping
        moments.append(clock.now_ms())
        server.close()

    run_virtual(main, clock)
    assert moments == [0, 3_600_000]


def test_driven_time_moves_when_every_lease_sleeps() -> None:
    async def main() -> list[int]:
        clock = DrivenClock(0)
        one, two = clock.lease(), clock.lease()
        first = asyncio.create_task(clock.sleep_until(one, 5_000))
        await asyncio.sleep(0)
        assert clock.now_ms() == 0
        second = asyncio.create_task(clock.sleep_until(two, 2_000))
        await second
        assert (clock.now_ms(), first.done()) == (2_000, False)
        clock.release(two)
        await first
        with pytest.raises(KeyError):
            await clock.sleep_until(two, 9_000)
        return [clock.now_ms()]

    assert asyncio.run(main()) == [5_000]


def test_a_lease_that_died_at_work_expires() -> None:
    async def main() -> int:
        clock = DrivenClock(0, expire_s=0.2)
        clock.lease()
        return await clock.sleep_until(clock.lease(), 7_000)

    assert asyncio.run(main()) == 7_000


def test_a_scaled_clock_runs_faster() -> None:
    clock = WallClock(10_000, 0)
    time.sleep(0.01)
    assert clock.now_ms() >= 100_000
    assert abs(WallClock().now_ms() - time.time() * 1000) < 1000
