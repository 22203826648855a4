"""The bulk archive: which files a span needs, and what their zips hold, however they were written."""

from __future__ import annotations

import random
import struct
import zipfile
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any, get_args

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.market.archive_zips import KLINE_HEADER, Way, kline_csv, written, zipped, zipped_members
from support.market.bars import random_bars

from trader_cli.core.errors import DataInvalid, UsageError
from trader_cli.core.market.schemas import FUNDING, MARK, OPEN_INTEREST, TIME
from trader_cli.core.market.timeframes import DAY_MS, Timeframe
from trader_cli.exchange.archive.catalogue import (
    BAR_KINDS,
    PERIODS,
    ArchiveFile,
    Kind,
    plan_files,
)
from trader_cli.exchange.archive.parsing import Parsed, parse_archive
from trader_cli.pipelines.stages.history_source import KINDS, HistoryReader

M15, M1 = Timeframe.parse("15m"), Timeframe.parse("1m")
QUICK = settings(deadline=None, max_examples=60)


def ms(*at: int) -> int:
    return int(datetime(*at, tzinfo=UTC).timestamp() * 1000)


def bar_file(kind: Kind = "klines", interval: str = "15m") -> ArchiveFile:
    return ArchiveFile("futures/um", "daily", kind, "ETHUSDT", interval, date(2024, 1, 1))


DAY = bar_file()
TRADE_DAY = ArchiveFile("futures/um", "daily", "aggTrades", "ETHUSDT", None, date(2024, 1, 1))
METRICS_DAY = ArchiveFile("futures/um", "daily", "metrics", "ETHUSDT", None, date(2024, 1, 1))
FUNDING_MONTH = ArchiveFile("futures/um", "monthly", "fundingRate", "ETHUSDT", None, date(2024, 1, 1))


# Names ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "path"),
    [
        (
            ArchiveFile("futures/um", "monthly", "klines", "ETHUSDT", "1m", date(2024, 1, 1)),
            "data/futures/um/monthly/klines/ETHUSDT/1m/ETHUSDT-1m-2024-01.zip",
        ),
        (
            ArchiveFile("spot", "daily", "klines", "BTCUSDT", "1h", date(2024, 1, 31)),
            "data/spot/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2024-01-31.zip",
        ),
        (
            ArchiveFile("spot", "monthly", "klines", "BTCUSDT", "1M", date(2024, 2, 1)),
            "data/spot/monthly/klines/BTCUSDT/1mo/BTCUSDT-1mo-2024-02.zip",
        ),
        (
            bar_file("markPriceKlines", "1m"),
            "data/futures/um/daily/markPriceKlines/ETHUSDT/1m/ETHUSDT-1m-2024-01-01.zip",
        ),
        (TRADE_DAY, "data/futures/um/daily/aggTrades/ETHUSDT/ETHUSDT-aggTrades-2024-01-01.zip"),
        (METRICS_DAY, "data/futures/um/daily/metrics/ETHUSDT/ETHUSDT-metrics-2024-01-01.zip"),
        (FUNDING_MONTH, "data/futures/um/monthly/fundingRate/ETHUSDT/ETHUSDT-fundingRate-2024-01.zip"),
    ],
)
def test_paths_are_the_archives(file: ArchiveFile, path: str) -> None:
    assert file.path == path
    assert file.end_ms - file.first_ms == DAY_MS * (1 if file.period == "daily" else 31 if file.date.month == 1 else 29)


@pytest.mark.parametrize(
    ("month", "published"),
    [((2024, 3), (2024, 4, 2)), ((2024, 4), (2024, 5, 7)), ((2023, 12), (2024, 1, 2)), ((2024, 8), (2024, 9, 3))],
)
def test_a_month_is_published_on_the_first_monday_of_the_next_and_given_a_day(month: Any, published: Any) -> None:
    file = ArchiveFile("futures/um", "monthly", "klines", "ETHUSDT", "1m", date(*month, 1))
    assert file.published_ms == ms(*published)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("futures/um", "monthly", "metrics", "ETHUSDT", None, date(2024, 1, 1)), "no monthly files of metrics"),
        (("futures/um", "daily", "fundingRate", "ETHUSDT", None, date(2024, 1, 1)), "no daily files of fundingRate"),
        (("spot", "daily", "metrics", "ETHUSDT", None, date(2024, 1, 1)), "no 'metrics' of 'spot'"),
        (("futures", "daily", "klines", "ETHUSDT", "1m", date(2024, 1, 1)), "no 'klines' of 'futures'"),
        (("futures/um", "daily", "klines", "ETHUSDT", None, date(2024, 1, 1)), "need an interval"),
        (("futures/um", "daily", "klines", "ETHUSDT", "../1m", date(2024, 1, 1)), "need an interval"),
        (("futures/um", "daily", "aggTrades", "ETHUSDT", "1m", date(2024, 1, 1)), "have no interval"),
        (("futures/um", "daily", "klines", "../ETH", "1m", date(2024, 1, 1)), "is no symbol"),
        (("futures/um", "monthly", "klines", "ETHUSDT", "1m", date(2024, 1, 2)), "the first of its month"),
    ],
)
def test_what_the_archive_has_not_is_refused(arguments: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ArchiveFile(*arguments)


# Plans ---------------------------------------------------------------------------------------------------------------

NOW = ms(2024, 6, 20, 7)
TIMES = st.integers(ms(2023, 1, 1), ms(2024, 7, 15))


@QUICK
@given(st.sampled_from(get_args(Kind)), TIMES, st.integers(0, 500 * DAY_MS), st.integers(0, 40 * DAY_MS))
def test_files_and_rest_tile_the_span_and_nothing_unpublished_is_planned(
    kind: Any, first: int, length: int, later: int
) -> None:
    last, now = first + length, NOW + later
    plan = plan_files("futures/um", kind, "ETHUSDT", M1 if kind in BAR_KINDS else None, first, last, now)
    pieces = [(file.first_ms, file.end_ms - 1) for file in plan.files] + ([plan.rest] if plan.rest else [])
    assert pieces[0][0] <= first
    assert pieces[-1][1] >= last
    assert all(a[1] + 1 == b[0] for a, b in zip(pieces, pieces[1:], strict=False)), "no hole, nothing twice"
    assert all(file.published_ms <= now for file in plan.files)
    assert all(file.first_ms <= last for file in plan.files)
    if plan.rest and plan.files:
        assert plan.rest[1] == last
    if plan.rest and "daily" in PERIODS[kind]:
        assert plan.rest[0] >= now // DAY_MS * DAY_MS or not plan.files, "every day that is over has a file"


@QUICK
@given(st.integers(ms(2023, 1, 1), ms(2024, 6, 19, 23)), st.integers(0, 500 * DAY_MS))
def test_no_other_choice_of_months_and_days_needs_fewer_files(first: int, length: int) -> None:
    last = min(first + length, NOW)
    plan = plan_files("futures/um", "klines", "ETHUSDT", M1, first, last, NOW)
    fewest, at = 0, first // DAY_MS * DAY_MS
    until = last if plan.rest is None else plan.rest[0] - 1
    while at <= until:  # reaching furthest with each file is fewest: files are nested days and months
        day = datetime.fromtimestamp(at / 1000, UTC).date()
        month = ArchiveFile("futures/um", "monthly", "klines", "ETHUSDT", "1m", day.replace(day=1))
        at = month.end_ms if month.published_ms <= NOW else at + DAY_MS
        fewest += 1
    assert len(plan.files) == fewest


def test_the_running_month_comes_by_days_and_today_is_left_to_rest() -> None:
    plan = plan_files("futures/um", "klines", "ETHUSDT", M1, ms(2024, 3, 31), ms(2024, 6, 20, 6, 59), NOW)
    assert [file.name for file in plan.files[:3]] == [
        "ETHUSDT-1m-2024-03-31.zip",
        "ETHUSDT-1m-2024-04.zip",
        "ETHUSDT-1m-2024-05.zip",
    ]
    assert [file.date for file in plan.files[3:]] == [date(2024, 6, day) for day in range(1, 20)]
    assert plan.rest == (ms(2024, 6, 20), ms(2024, 6, 20, 6, 59))


def test_funding_comes_by_months_metrics_and_trades_by_days() -> None:
    span = ms(2024, 4, 10), ms(2024, 6, 19, 23)
    funding = plan_files("futures/um", "fundingRate", "ETHUSDT", None, *span, NOW)
    assert [file.date for file in funding.files] == [date(2024, 4, 1), date(2024, 5, 1)]
    assert funding.rest == (ms(2024, 6, 1), span[1])
    for kind in ("metrics", "aggTrades"):
        daily = plan_files("futures/um", kind, "ETHUSDT", None, *span, NOW)
        assert [file.date for file in daily.files] == [date(2024, 4, 10) + timedelta(days=n) for n in range(71)]
        assert daily.rest is None


def test_a_span_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(UsageError, match="before it begins"):
        plan_files("futures/um", "klines", "ETHUSDT", M1, 2, 1, NOW)


# Parsing: the same frame, however it is written ------------------------------------------------------------------------


def day_of_bars(seed: int, n: int = 96) -> pl.DataFrame:
    whole = pl.col("volume")
    return random_bars(n, seed=seed).with_columns(
        quote_volume=whole * pl.col("close"),
        trades=whole.cast(pl.Int64),
        taker_buy_base=whole / 2,
        taker_buy_quote=whole * pl.col("close") / 2,
    )


@st.composite
def ways(draw: st.DrawFn, width: int = 12) -> Way:
    header = draw(st.booleans())
    order = tuple(draw(st.permutations(range(width)))) if header and draw(st.booleans()) else ()
    ends = draw(st.sampled_from(["\n", "\r\n"]))
    return Way(header, draw(st.booleans()), order, ends, draw(st.booleans()))


@QUICK
@given(st.integers(0, 2**31), ways(), st.integers(1, 96))
def test_klines_read_back_to_the_bit_in_every_way_they_are_written(seed: int, way: Way, n: int) -> None:
    bars = day_of_bars(seed, n)
    assert_parsed(parse_archive(zipped(kline_csv(bars, way), DAY), DAY), Parsed(bars))


@QUICK
@given(st.sampled_from(["markPriceKlines", "indexPriceKlines"]), ways(), st.integers(0, 2**31))
def test_mark_and_index_klines_are_mark_frames(kind: Any, way: Way, seed: int) -> None:
    bars = day_of_bars(seed).with_columns(volume=pl.lit(0.0), quote_volume=pl.lit(0.0), taker_buy_base=pl.lit(0.0))
    file = bar_file(kind)
    assert_parsed(parse_archive(zipped(kline_csv(bars, way), file), file), Parsed(bars.select(list(MARK.columns))))


def assert_parsed(found: Parsed, expected: Parsed) -> None:
    assert (found.repeated, found.contradictory, found.outside, found.empty) == (
        expected.repeated,
        expected.contradictory,
        expected.outside,
        expected.empty,
    )
    assert found.frame.equals(expected.frame)
    assert found.frame.schema == expected.frame.schema


@QUICK
@given(st.integers(0, 2**31), ways(), st.data())
def test_disorder_repeats_contradictions_and_neighbours_change_nothing_and_are_counted(
    seed: int, way: Way, data: st.DataObject
) -> None:
    bars = day_of_bars(seed)
    rows = st.lists(st.integers(0, 95), max_size=10, unique=True)
    again, open_still = data.draw(rows), data.draw(rows)
    while_open = bars[open_still].with_columns(trades=pl.col("trades") - 1, volume=pl.col("volume") / 2)
    before = random_bars(5, start_ms=ms(2023, 12, 31, 22)).with_columns(
        trades=pl.lit(9_999, dtype=pl.Int64),
        **dict.fromkeys(("quote_volume", "taker_buy_base", "taker_buy_quote"), pl.lit(0.0)),
    )
    after = before.with_columns(pl.col("open_time", "close_time") + pl.duration(milliseconds=2 * 3_600_000 + DAY_MS))
    beside = pl.concat([before, after])[: data.draw(st.integers(0, 10))]
    every = pl.concat([bars, bars[again], while_open, beside])
    mixed = every[data.draw(st.permutations(range(every.height)))]
    parsed = parse_archive(zipped(kline_csv(mixed, way), DAY), DAY)
    assert_parsed(parsed, Parsed(bars, len(again), len(open_still), beside.height))
    assert len(parsed.defects) == sum(1 for part in (again, open_still, beside.rows()) if part)


def trades(n: int = 50) -> pl.DataFrame:
    rng = random.Random(n)
    rows = [
        (
            1000 + i,
            round(2000 + rng.random(), 2),
            round(rng.random(), 3),
            10 * i,
            10 * i + 1,
            ms(2024, 1, 1) + i * 977,
            rng.random() < 0.5,
        )
        for i in range(n)
    ]
    return pl.DataFrame(rows, schema=["a", "price", "quantity", "f", "l", "time", "maker"], orient="row")


TRADE_HEADER = [
    "agg_trade_id",
    "price",
    "quantity",
    "first_trade_id",
    "last_trade_id",
    "transact_time",
    "is_buyer_maker",
]


def as_trades(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(
        pl.col("time").cast(TIME),
        pl.col("a").alias("trade_id"),
        "price",
        "quantity",
        pl.col("maker").alias("buyer_is_maker"),
    )


@QUICK
@given(ways(7), st.booleans(), st.data())
def test_trades_come_out_by_their_ids_however_they_are_ordered_and_written(
    way: Way, spot: bool, data: st.DataObject
) -> None:
    """The archive has files with two interleaved streams of ids (binance-public-data#339)."""
    rows = trades()
    mixed = pl.concat([rows, rows[:3]])[data.draw(st.permutations(range(53)))]
    if way.micro:
        mixed = mixed.with_columns(pl.col("time") * 1000 + 7)
    csv = written(mixed, TRADE_HEADER, way)
    if spot and not way.header:
        csv = csv.replace("true", "True").replace("false", "False").replace(way.ends, ",True" + way.ends)
    assert_parsed(parse_archive(zipped(csv, TRADE_DAY), TRADE_DAY), Parsed(as_trades(rows), repeated=3))


@QUICK
@given(ways(3))
def test_funding_times_stay_as_they_are_and_the_mark_price_is_not_known(way: Way) -> None:
    times = [ms(2024, 1, 1) + i * 8 * 3_600_000 + i % 3 for i in range(93)]
    rows = pl.DataFrame({"t": times, "h": [8] * 93, "r": [(i - 40) / 1e6 for i in range(93)]})
    csv = written(
        rows.with_columns(pl.col("t") * (1000 if way.micro else 1)),
        ["calc_time", "funding_interval_hours", "last_funding_rate"],
        way,
    )
    expected = rows.select(
        pl.col("t").cast(TIME).alias("time"),
        pl.col("r").alias("funding_rate"),
        pl.lit(None, dtype=pl.Float64).alias("mark_price"),
    )
    parsed = parse_archive(zipped(csv, FUNDING_MONTH), FUNDING_MONTH)
    assert_parsed(parsed, Parsed(expected))
    assert parsed.frame.schema == dict(FUNDING.columns)


METRICS_HEADER = (
    "create_time,symbol,sum_open_interest,sum_open_interest_value,count_toptrader_long_short_ratio,"
    "sum_toptrader_long_short_ratio,count_long_short_ratio,sum_taker_long_short_vol_ratio"
)


def metrics_line(at: datetime, value: str) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S},ETHUSDT,{value},1.0,,1.1,,0.9"


@pytest.mark.parametrize("header", [True, False])
def test_metrics_are_open_interest_by_text_times_and_end_with_midnight(header: bool) -> None:
    times = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=5 * i) for i in range(1, 289)]
    lines = [METRICS_HEADER] * header + [metrics_line(at, f"{i}.5") for i, at in enumerate(times)]
    lines += [metrics_line(times[7], "7.5"), metrics_line(times[9], "999.0"), metrics_line(times[9], "")]
    parsed = parse_archive(zipped("\n".join(lines), METRICS_DAY), METRICS_DAY)
    expected = [999.0 if i == 9 else i + 0.5 for i in range(288)]
    frame = pl.DataFrame({"time": pl.Series(times).cast(TIME), "open_interest": expected})
    assert_parsed(parsed, Parsed(frame, repeated=1, contradictory=1, empty=1))
    assert parsed.frame.schema == dict(OPEN_INTEREST.columns)
    assert "1 row left out: without a value." in parsed.defects


# Parsing: refusals -----------------------------------------------------------------------------------------------------

LINES = kline_csv(day_of_bars(1), Way()).splitlines()


def with_cell(line: int, name: str, value: str) -> str:
    cells = LINES[line - 1].split(",")
    cells[KLINE_HEADER.split(",").index(name)] = value
    return "\n".join([*LINES[: line - 1], ",".join(cells), *LINES[line:]])


SPOILED = {
    "line 5: high should be a number; found 'much'": with_cell(5, "high", "much"),
    "line 7: open_time should be a number; found '17x'": with_cell(7, "open_time", "17x"),
    "line 9: volume is missing": with_cell(9, "volume", ""),
    "line 4: close_time is missing": "\n".join([*LINES[:3], ",".join(LINES[3].split(",")[:6]), *LINES[4:]]),
    "line 3: open is missing|line 3: .* is missing": "\n".join([*LINES[:2], "", *LINES[2:]]),
    "line 6: 12 cells are expected; found 13": with_cell(6, "close", "1,2"),
    "row 8 has a close that is not a positive number: 2024-01-01 02:00 UTC": with_cell(10, "close", "nan"),
    "row 8 has a high below its open or close": with_cell(10, "high", "0.001"),
    "row 8 closes at the wrong time": with_cell(10, "close_time", str(ms(2024, 1, 1, 3))),
    "row 0 opens off the time frame's grid": with_cell(2, "open_time", str(ms(2024, 1, 1) + 60_000)),
    "line 2: open_time 1704067200 lies outside the file's span": with_cell(2, "open_time", "1704067200"),
    "line 2: open_time 1704067200000000000 lies outside": with_cell(2, "open_time", "1704067200000000000"),
    "line 97: open_time 1706745600000 lies outside": with_cell(97, "open_time", str(ms(2024, 2, 1))),
    "line 1: the columns .* are expected once each": "\n".join(LINES).replace("high", "height"),
    "line 1: the columns .* once each; found open_time, open, open,": "\n".join(LINES).replace("high", "open"),
    "line 1: 12 columns are expected; found 11": "\n".join(line.rpartition(",")[0] for line in LINES[1:]),
    "holds no rows": KLINE_HEADER,
    "ETHUSDT-15m-2024-01-01.zip holds no rows": "",
}


@pytest.mark.parametrize("message", SPOILED)
def test_what_cannot_be_read_is_refused_with_the_file_and_the_line(message: str) -> None:
    with pytest.raises(DataInvalid, match=message) as refused:
        parse_archive(zipped(SPOILED[message], DAY), DAY)
    assert refused.value.sentence.startswith(DAY.name)


def test_a_file_of_another_day_is_refused() -> None:
    tomorrow = ArchiveFile("futures/um", "daily", "klines", "ETHUSDT", "15m", date(2024, 1, 2))
    with pytest.raises(DataInvalid, match="every row is of a day beside the file's own"):
        parse_archive(zipped("\n".join(LINES), tomorrow), tomorrow)


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        (TRADE_DAY, f"1,0.0,1,1,1,{ms(2024, 1, 1)},true", "00:00:00 UTC has a price of 0.0"),
        (TRADE_DAY, f"1,5.0,-1,1,1,{ms(2024, 1, 1)},true", "has a quantity of -1.0"),
        (TRADE_DAY, f"1,5.0,1,1,1,{ms(2024, 1, 1)},perhaps", "cannot be read"),
        (FUNDING_MONTH, f"{ms(2024, 1, 1)},8,inf", "has a funding_rate of inf"),
        (METRICS_DAY, metrics_line(datetime(2024, 1, 1, tzinfo=UTC), "-1"), "has a open_interest of -1.0"),
        (METRICS_DAY, "yesterday,ETHUSDT,1,1,1,1,1,1", "ETHUSDT-metrics-2024-01-01.zip"),
    ],
)
def test_numbers_that_cannot_be_are_refused(file: ArchiveFile, line: str, message: str) -> None:
    with pytest.raises(DataInvalid, match=message):
        parse_archive(zipped(line + "\n", file), file)


GOOD = zipped("\n".join(LINES), DAY)


@QUICK
@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_a_damaged_zip_is_refused_or_reads_the_same(at: int, flip: int) -> None:
    damaged = bytearray(GOOD)
    damaged[at] ^= flip
    with suppress(DataInvalid):  # any other error fails
        parsed = parse_archive(bytes(damaged), DAY)
        assert parsed.frame.equals(parse_archive(GOOD, DAY).frame), "only what is not read may differ: a date, a flag"


@QUICK
@given(st.integers(0, len(GOOD) - 1))
def test_a_cut_zip_is_refused(length: int) -> None:
    with pytest.raises(DataInvalid, match=r"no readable zip|damaged"):
        parse_archive(GOOD[:length], DAY)


def test_only_one_csv_of_the_symbol_is_accepted() -> None:
    name, csv = "ETHUSDT-15m-2024-01-01.csv", "\n".join(LINES)
    for members, message in [
        ({name: csv, "ETHUSDT-15m-2024-01-02.csv": csv}, "found 2 members"),
        ({}, "found 0 members"),
        ({"BTCUSDT-15m-2024-01-01.csv": csv}, "a CSV of ETHUSDT is expected in it; found 'BTCUSDT"),
        ({"ETHUSDT-15m-2024-01-01.txt": csv}, "a CSV of ETHUSDT is expected"),
        ({"../ETHUSDT.csv": csv}, "a CSV of ETHUSDT is expected"),
    ]:
        with pytest.raises(DataInvalid, match=message):
            parse_archive(zipped_members(dict(members)), DAY)
    with pytest.raises(DataInvalid, match="another compression"):
        parse_archive(zipped(csv, DAY, compression=zipfile.ZIP_BZIP2), DAY)
    assert parse_archive(zipped(csv, DAY, compression=zipfile.ZIP_STORED), DAY).frame.height == 96


def test_a_bomb_is_refused_before_it_is_inflated_also_if_it_lies() -> None:
    bomb = bytearray(zipped(b"0" * (130 << 20), DAY))
    with pytest.raises(DataInvalid, match="at most 67,108,864 bytes of CSV are expected; it says 136,314,880"):
        parse_archive(bytes(bomb), DAY)
    directory = bomb.rindex(b"PK\x01\x02")
    struct.pack_into("<I", bomb, directory + 24, 1_000)  # the size it says it has
    with pytest.raises(DataInvalid, match="1,000 bytes of CSV are promised, 1,001 came out"):
        parse_archive(bytes(bomb), DAY)


def test_real_bars_survive_the_archives_writing(market_data: Any) -> None:
    from trader_cli.venue.simulated_market.tape_loading import load_bars_file

    (real,) = load_bars_file(market_data / "klines/spot_12col/BTCUSDT-1h-2023Q1.parquet")
    file = ArchiveFile("spot", "monthly", "klines", "BTCUSDT", "1h", date(2023, 2, 1))
    february = real.bars.filter(pl.col("open_time").dt.month() == 2)
    for way in (Way(), Way(header=False), Way(micro=True)):
        parsed = parse_archive(
            zipped(
                kline_csv(
                    real.bars.filter(
                        pl.col("open_time").is_between(
                            datetime(2023, 1, 31, tzinfo=UTC), datetime(2023, 3, 1, 23, tzinfo=UTC)
                        )
                    ),
                    way,
                ),
                file,
            ),
            file,
        )
        assert_parsed(parsed, Parsed(february, outside=48))


@QUICK
@given(st.data(), st.sampled_from(["klines", "open-interest", "trades", "funding"]))
def test_what_a_file_lacks_is_asked_for_and_nothing_else(data: st.DataObject, name: str) -> None:
    """Any rows may be missing, the first and last too; of trades those between others, for ids do not tell the ends."""
    kind, n, first = KINDS[name], 60, 1_704_067_200_000
    step = kind.grid_ms(Timeframe.parse("1m")) or 60_000
    exchange = SimpleNamespace(server_now_ms=lambda: first + n * step)
    reader = HistoryReader(exchange, None, "ETHUSDT", Timeframe.parse("1m"))  # type: ignore[arg-type]
    lacking = data.draw(st.sets(st.integers(0, n - 1), max_size=20))
    kept = [i for i in range(n) if i not in lacking]
    stamp = next(iter(kind.schema.columns))
    rows = pl.DataFrame({stamp: pl.Series([first + i * step for i in kept], dtype=TIME), "trade_id": kept})
    holes = reader._holes(kind, rows, first, first + n * step - 1)
    asked = {i for i in range(n) for begin, end in holes if begin <= first + i * step <= end}
    inner = {i for i in lacking if kept and kept[0] < i < kept[-1]}
    edges = {i + d for i in inner for d in (-1, 1)} if name == "trades" else set()
    wanted = {"trades": inner | edges, "funding": set()}.get(name, lacking)
    assert asked == wanted
