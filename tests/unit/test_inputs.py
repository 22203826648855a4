"""Inputs beside the bars: known at the close and not before, stale when too old, the same in whatever order they come."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from support.market.bars import START_MS, random_bars

from trader_cli.analyst.feature_engineering_orchestrator import FeatureEngineeringOrchestrator
from trader_cli.core.errors import DataInvalid
from trader_cli.core.market.bars import with_close_time
from trader_cli.core.market.schemas import FUNDING, MARK, OPEN_INTEREST, TIME, TRADES
from trader_cli.core.market.timeframes import DAY_MS, HOUR_MS, MINUTE_MS, Timeframe
from trader_cli.features.inputs import ALL_INPUTS, INPUT_NAMES, align_inputs, futures_inputs, known_inputs
from trader_cli.features.sr_levels import as_levels

H1 = Timeframe.parse("1h")
BARS = random_bars(60, "1h")


def frame_of(schema: Any, **columns: Any) -> pl.DataFrame:
    return pl.DataFrame(columns).select(pl.col(n).cast(t) for n, t in schema.columns.items())


def funding(times: list[int], rates: list[float] | None = None) -> pl.DataFrame:
    return frame_of(
        FUNDING, time=times, funding_rate=rates or [float(i) for i in range(len(times))], mark_price=[None] * len(times)
    )


def klines(opened: list[int], interval: int, closes: list[float] | None = None) -> pl.DataFrame:
    close = closes or [float(i) for i in range(len(opened))]
    return frame_of(
        MARK,
        open_time=opened,
        close_time=[t + interval - 1 for t in opened],
        open=close,
        high=close,
        low=close,
        close=close,
    )


def interest(times: list[int]) -> pl.DataFrame:
    return frame_of(OPEN_INTEREST, time=times, open_interest=[float(i + 1) for i in range(len(times))])


def column(name: str, bars: pl.DataFrame = BARS, **given: pl.DataFrame) -> list[float | None]:
    return align_inputs(bars, H1, **given)[name].to_list()


def test_a_payment_just_past_the_hour_is_not_known_to_the_bar_that_closes_on_the_hour() -> None:
    for late, first in ((0, 7), (20, 8)):
        rates = column("funding_rate", funding=funding([START_MS + 8 * HOUR_MS + late], [0.5]))
        assert rates.index(0.5) == first
        assert rates[:first] == [None] * first


def test_the_age_of_a_payment_is_counted_from_its_own_stamp_at_the_close() -> None:
    paid = funding([START_MS + 8 * HOUR_MS + 20, START_MS + 16 * HOUR_MS + 5])
    assert column("funding_age_ms", funding=paid)[8:10] == [HOUR_MS - 20, 2 * HOUR_MS - 20]
    assert column("funding_interval_ms", funding=paid)[16] == 8 * HOUR_MS - 15
    assert column("funding_interval_ms", funding=paid)[8] is None


@pytest.mark.parametrize(("interval", "lasts"), [(4, 8), (8, 16), (1, 2), (20, 24)])
def test_funding_is_stale_after_two_of_its_own_intervals_and_a_day_at_most(interval: int, lasts: int) -> None:
    rates = column("funding_rate", funding=funding([START_MS, START_MS + interval * HOUR_MS]))
    assert rates[interval - 1 : interval + lasts] == [1.0] * (lasts + 1)
    assert set(rates[interval + lasts :]) == {None}


def test_means_of_payments_are_of_the_last_ones_and_unknown_before_there_are_so_many() -> None:
    times = [START_MS + i * 2 * HOUR_MS for i in range(25)]
    rates = np.random.default_rng(0).normal(size=25)
    aligned = align_inputs(BARS, H1, funding=funding(times, rates.tolist()))
    for n in (3, 21):
        means = aligned[f"funding_mean_{n}"].to_list()
        first = 2 * (n - 1) - 1
        assert means[first - 1] is None
        assert means[first] == pytest.approx(rates[:n].mean())
        assert means[first + 2] == pytest.approx(rates[1 : n + 1].mean())


@pytest.mark.parametrize("kind", ["mark", "index"])
def test_a_kline_that_closes_later_is_not_used_and_an_old_one_neither(kind: str) -> None:
    opened = [START_MS + i * HOUR_MS for i in (0, 1, 2, 5)]
    assert column(f"{kind}_close", **{kind: klines(opened, HOUR_MS)})[:7] == [0, 1, 2, None, None, 3, None]
    early = [START_MS - 1 + i * HOUR_MS for i in range(3)]
    assert column(f"{kind}_close", **{kind: klines([t + 2 for t in early], HOUR_MS)})[:3] == [None, 0, 1]
    minutes = [START_MS + i * MINUTE_MS for i in range(121)]
    assert column(f"{kind}_close", **{kind: klines(minutes, MINUTE_MS)})[:4] == [59, 119, 120, None]


def test_a_kline_of_a_longer_frame_lasts_its_own_interval() -> None:
    assert column("mark_close", mark=klines([START_MS], 4 * HOUR_MS, [7.0]))[2:8] == [None, 7, 7, 7, 7, None]


def test_the_index_price_is_of_the_same_moment_as_the_mark_price() -> None:
    mark, index = klines([START_MS], 4 * HOUR_MS), klines([START_MS + i * HOUR_MS for i in range(6)], HOUR_MS)
    assert column("index_close", index=index)[:6] == [0, 1, 2, 3, 4, 5]
    assert column("index_close", mark=mark, index=index)[:6] == [None, None, None, 3, None, None]


def test_open_interest_is_known_five_minutes_after_its_stamp() -> None:
    for stamp, first in ((55, 0), (56, 1), (60, 1)):
        assert column("open_interest", open_interest=interest([START_MS + stamp * MINUTE_MS])).index(1.0) == first
    hourly = interest([START_MS, START_MS + HOUR_MS])
    assert column("open_interest", open_interest=hourly)[:5] == [1, 2, 2, None, None]


TRADE_TIMES = np.sort(np.random.default_rng(5).integers(0, 10 * HOUR_MS, 4000)) + START_MS + 2 * HOUR_MS


def trades_and_bars() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Trades of ten of the sixty hours, and bars whose volumes are theirs."""
    rng = np.random.default_rng(6)
    trades = frame_of(
        TRADES,
        time=TRADE_TIMES,
        trade_id=np.arange(4000),
        price=2000 * np.exp(np.cumsum(rng.normal(0, 1e-4, 4000))),
        quantity=rng.lognormal(0, 1, 4000),
        buyer_is_maker=rng.random(4000) < 0.4,
    )
    hours = (pl.col("time").to_physical() // HOUR_MS * HOUR_MS).cast(TIME).alias("open_time")
    sums = trades.group_by(hours).agg(pl.col("quantity").sum().alias("own"))
    bars = BARS.join(sums, on="open_time", how="left", maintain_order="left")
    return trades, with_close_time(bars.with_columns(pl.coalesce("own", "volume").alias("volume")).drop("own"), H1)


TRADES_OF, BARS_OF = trades_and_bars()


def test_flows_are_those_of_a_plain_loop_over_each_bars_trades() -> None:
    aligned = align_inputs(BARS_OF, H1, trades=TRADES_OF)
    for i in (2, 7, 11):
        start = START_MS + i * HOUR_MS
        rows = [
            r for r in TRADES_OF.with_columns(pl.col("time").to_physical()).rows() if start <= r[0] < start + HOUR_MS
        ]
        quantities = sorted((r[3] for r in rows), reverse=True)
        large = sum(quantities[: -(-len(rows) // 20)])
        wanted = {
            "flow_buy": sum(r[3] for r in rows if not r[4]),
            "flow_sell": sum(r[3] for r in rows if r[4]),
            "flow_trades": len(rows),
            "flow_vwap": sum(r[2] * r[3] for r in rows) / sum(quantities),
            "flow_large": large / sum(quantities),
            "flow_same": sum(a[4] == b[4] for a, b in pairwise(rows)) / (len(rows) - 1),
        }
        assert {name: aligned[name][i] for name in wanted} == pytest.approx(wanted, rel=1e-12)


def test_a_trade_on_the_stroke_is_the_first_of_its_bar_and_one_a_millisecond_before_the_last_of_the_one_before() -> (
    None
):
    bars = BARS.head(4)
    times = [START_MS + i * HOUR_MS - late for i in range(5) for late in (1, 0)][1:-1]
    halves = [volume / 2 for volume in bars["volume"].to_list() for _ in range(2)]
    trades = frame_of(
        TRADES, time=times, trade_id=range(8), price=[100.0] * 8, quantity=halves, buyer_is_maker=[False, True] * 4
    )
    for name, wanted in (("flow_trades", [2.0] * 4), ("flow_buy", halves[::2]), ("flow_sell", halves[1::2])):
        assert column(name, bars, trades=trades) == wanted


def test_a_bar_that_trades_cover_in_part_has_no_flow() -> None:
    cut = TRADES_OF.filter(pl.col("time").to_physical() >= START_MS + 2 * HOUR_MS + 30 * MINUTE_MS)
    holed = cut.filter(~pl.col("time").to_physical().is_between(START_MS + 5 * HOUR_MS, START_MS + 5 * HOUR_MS + 9e5))
    known = align_inputs(BARS_OF, H1, trades=holed).select(INPUT_NAMES["trades"]).to_numpy()
    assert np.flatnonzero(np.isfinite(known).all(axis=1)).tolist() == [3, 4, *range(6, 12)]
    assert np.isnan(known[[0, 1, 2, 5, 12]]).all()


def test_the_order_and_the_repetition_of_rows_do_not_matter() -> None:
    given = {
        "trades": TRADES_OF,
        "funding": funding([START_MS + i * 8 * HOUR_MS + i for i in range(7)]),
        "mark": klines([START_MS + i * HOUR_MS for i in range(50)], HOUR_MS),
        "index": klines([START_MS + i * HOUR_MS for i in range(50)], HOUR_MS),
        "open_interest": interest([START_MS + i * HOUR_MS for i in range(50)]),
    }
    shuffled = {
        kind: pl.concat([f, f[: f.height // 2]]).sample(fraction=1.0, shuffle=True, seed=1) for kind, f in given.items()
    }
    assert align_inputs(BARS_OF, H1, **shuffled).equals(align_inputs(BARS_OF, H1, **given))


def test_frames_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataInvalid, match="A funding frame has the columns"):
        align_inputs(BARS, H1, funding=TRADES_OF)
    with pytest.raises(DataInvalid, match="A futures frame has the column time and any of"):
        futures_inputs(TRADES_OF, H1)


def test_what_is_known_is_told_by_name() -> None:
    assert known_inputs(BARS) == {"open", "high", "low", "close", "volume"}
    aligned = align_inputs(BARS, H1, funding=funding([START_MS, START_MS + 8 * HOUR_MS]))
    assert known_inputs(aligned) == known_inputs(BARS) | {"funding_rate", "funding_age_ms", "funding_interval_ms"}
    empty = align_inputs(
        BARS,
        H1,
        trades=TRADES_OF.clear(),
        funding=funding([]),
        mark=klines([], HOUR_MS),
        index=klines([], HOUR_MS),
        open_interest=interest([]),
    )
    assert known_inputs(empty) == known_inputs(BARS)
    assert set(empty.columns) - set(BARS.columns) == ALL_INPUTS - set(INPUT_NAMES["bars"]) - set(INPUT_NAMES["levels"])


# --- given levels ---


def levels(*rows: tuple[int, float, float]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=["known_time", "price", "strength"], orient="row")


def test_the_nearest_level_is_the_one_a_plain_search_finds() -> None:
    rng = np.random.default_rng(8)
    given = levels(
        *(
            (START_MS + int(t), float(p), float(s))
            for t, p, s in zip(
                rng.integers(-HOUR_MS, 50 * HOUR_MS, 40),
                np.round(rng.uniform(1950, 2050, 40)),
                rng.uniform(0, 9, 40),
                strict=True,
            )
        )
    )
    aligned = align_inputs(BARS, H1, levels=given)
    told = given.sort("known_time", maintain_order=True).rows()
    for row in aligned.with_columns(pl.col("open_time").to_physical()).iter_rows(named=True):
        known = {price: strength for when, price, strength in told if when <= row["open_time"] + HOUR_MS}
        below = max((p for p in known if p <= row["close"]), default=None)
        above = min((p for p in known if p > row["close"]), default=None)
        assert (row["level_support"], row["level_resistance"]) == (below, above)
        assert (row["level_support_strength"], row["level_resistance_strength"]) == (known.get(below), known.get(above))


def test_a_level_counts_from_the_moment_it_became_known() -> None:
    given = levels((START_MS + 5 * HOUR_MS, 1.0, 2.0), (START_MS + 7 * HOUR_MS + 1, 1.5, 3.0))
    assert column("level_support", levels=given)[3:9] == [None, 1, 1, 1, 1.5, 1.5]


def test_levels_without_the_time_they_became_known_are_refused() -> None:
    with pytest.raises(DataInvalid, match="need known_time, when each became known: without it they could look ahead"):
        as_levels({"support": 1900.0, "resistance": 2100.0})
    with pytest.raises(DataInvalid, match="could look ahead"):
        align_inputs(BARS, H1, levels=levels((0, 1.0, 1.0)).drop("known_time"))
    with pytest.raises(DataInvalid, match="a price above 0"):
        as_levels(levels((START_MS, -1.0, 1.0)))
    with pytest.raises(DataInvalid, match="no time zone"):
        as_levels({"support": 1.0, "resistance": None, "known_time": datetime(2024, 1, 1)})  # noqa: DTZ001
    with pytest.raises(DataInvalid, match="a frame or a mapping; found list"):
        as_levels([1.0])
    both = as_levels({"support": 1.0, "resistance": 2, "known_time": datetime(2024, 1, 1, tzinfo=UTC)})
    assert both is not None
    assert both["price"].to_list() == [1.0, 2.0]
    assert as_levels({"support": None, "resistance": None, "known_time": START_MS}) is None


# --- the guide's four arguments ---


def made(tmp_path: Path, *given: Any, **keys: Any) -> pl.DataFrame:
    cache = {"cache_enabled": False, "cache_dir": str(tmp_path)}
    one = FeatureEngineeringOrchestrator({"feature_engineering_orchestrator": {"wavelet_cache": cache, **keys}})
    return asyncio.run(one.generate_all_features(*given))


def wide_futures() -> pl.DataFrame:
    times = [START_MS + i * HOUR_MS for i in range(400)]
    rates = [1e-4 * np.sin(i) if i % 8 == 0 else None for i in range(400)]
    prices = [2000.0 + i for i in range(400)]
    return pl.DataFrame(
        {
            "time": times,
            "funding_rate": rates,
            "mark_price": prices,
            "index_price": [p * 1.0001 for p in prices],
            "open_interest": [1e5 + i for i in range(400)],
        }
    )


def test_each_of_the_guides_arguments_brings_its_columns(tmp_path: Path) -> None:
    bars = random_bars(400, "1h")
    volume = BARS_OF.select("open_time", pl.col("volume").alias("own"))
    bars = bars.join(volume, on="open_time", how="left", maintain_order="left")
    bars = bars.with_columns(pl.coalesce("own", "volume").alias("volume")).drop("own")
    plain = set(made(tmp_path, bars).columns)
    cases = {
        "orderflow": (TRADES_OF, None, None),
        "derivatives": (None, wide_futures(), None),
        "sr": (None, None, {"support": 1.0, "resistance": 1e9, "known_time": START_MS}),
    }
    for prefix, given in cases.items():
        more = set(made(tmp_path, bars, *given).columns) - plain
        assert more
        assert {name.split("_")[0] for name in more} == {prefix}
        assert not set(made(tmp_path, bars, *given, enable_advanced_features=False).columns) & more
    takers = bars.with_columns(
        (pl.col("volume") * 0.6).alias("taker_buy_base"),
        pl.lit(9).alias("trades"),
        (pl.col("volume") * 3).alias("quote_volume"),
    )
    assert {n.split("_")[0] for n in set(made(tmp_path, takers).columns) - plain} == {"orderflow"}
    narrow = wide_futures().select("time", "funding_rate").drop_nulls()
    only = set(made(tmp_path, bars, None, narrow, None).columns) - plain
    assert {name.split("_")[1] for name in only} == {"funding"}


def test_wide_futures_are_known_at_their_own_time(tmp_path: Path) -> None:
    kinds = futures_inputs(wide_futures(), H1)
    aligned = align_inputs(random_bars(400, "1h"), H1, **kinds)
    assert aligned["mark_close"].to_list()[:3] == [2001.0, 2002.0, 2003.0]
    assert aligned["open_interest"].to_list()[:3] == [1e5, 1e5 + 1, 1e5 + 2]
    assert aligned["funding_rate"][7] == pytest.approx(1e-4 * np.sin(8))
    assert set(kinds) == {"mark", "index", "funding", "open_interest"}


# --- real data ---


def test_real_funding_is_late_and_never_seen_early(market_data: Path) -> None:
    raw = pl.read_parquet(market_data / "funding" / "ETHUSDT.parquet")
    paid = frame_of(FUNDING, time=raw["funding_time"], funding_rate=raw["funding_rate"], mark_price=[None] * raw.height)
    times = paid["time"].to_physical()
    assert 0 < (times % HOUR_MS).max() < 1000
    bars = random_bars(24 * 60, "1h", start_ms=int(times[0] // DAY_MS * DAY_MS))
    aligned = align_inputs(bars, H1, funding=paid).with_columns(pl.col("open_time").to_physical())
    seen = 0
    for opened, rate, age in aligned.select("open_time", "funding_rate", "funding_age_ms").iter_rows():
        last = int(times.search_sorted(opened + HOUR_MS, side="right")) - 1
        if rate is not None:
            assert (rate, age) == (paid["funding_rate"][last], opened + HOUR_MS - times[last])
            seen += 1
        else:
            assert last < 0 or opened + HOUR_MS - times[last] > 15 * HOUR_MS
    assert seen > 500


def test_real_mark_prices_stand_beside_bars_of_their_frame(market_data: Path) -> None:
    eight = Timeframe.parse("8h")
    raw = pl.read_parquet(market_data / "mark" / "ETHUSDT-8h.parquet")
    mark = with_close_time(raw.with_columns(pl.lit(0.0).alias("volume")), eight).select(*MARK.columns)
    bars = random_bars(300, "8h", start_ms=int(mark["open_time"].to_physical()[0]))
    aligned = align_inputs(bars, eight, mark=mark)
    wanted = bars.join(mark.select("open_time", pl.col("close").alias("wanted")), on="open_time", how="left")
    assert aligned["mark_close"].to_list() == wanted["wanted"].to_list()
    assert aligned["mark_close"].null_count() < 200


@pytest.mark.parametrize("name", ["BTCUSDT-um-20230405", "ETHUSDT-um-20240719", "BTCUSDT-um-20200222"])
def test_real_trades_give_flows_where_they_cover_a_minute(market_data: Path, name: str) -> None:
    minute = Timeframe.parse("1m")
    raw = pl.read_parquet(market_data / "trades" / f"{name}.parquet")
    trades = frame_of(
        TRADES,
        time=raw["trade_time"],
        trade_id=raw["trade_id"],
        price=raw["price"],
        quantity=raw["qty"],
        buyer_is_maker=raw["is_buyer_maker"],
    ).sort("time", "trade_id")
    opened = (pl.col("time").to_physical() // MINUTE_MS * MINUTE_MS).cast(TIME).alias("open_time")
    prices = {"open": pl.first, "high": pl.max, "low": pl.min, "close": pl.last}
    bars = with_close_time(
        trades.group_by(opened, maintain_order=True).agg(
            *(f("price").alias(n) for n, f in prices.items()), pl.col("quantity").sum().alias("volume")
        ),
        minute,
    )
    first = trades.filter(pl.col("time").to_physical() // MINUTE_MS == bars["open_time"].to_physical()[0] // MINUTE_MS)
    aligned = align_inputs(bars, minute, trades=trades[first.height - 1 :])
    assert aligned["flow_buy"][0] is None
    rest = aligned[1:]
    np.testing.assert_allclose(rest["flow_buy"] + rest["flow_sell"], rest["volume"], rtol=1e-9)
    assert rest["flow_vwap"].is_between(rest["low"], rest["high"]).all()
    assert rest["flow_large"].is_between(0.05, 1).all()
