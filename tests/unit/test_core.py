"""Time frames, anchors, bars, digests, liquidation."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.market.bars import random_bars

from trader_cli.core.errors import DataInvalid, UsageError
from trader_cli.core.identity.anchors import blocks_between, floor_block, next_block
from trader_cli.core.identity.digests import digest_frame, digest_value
from trader_cli.core.market.bars import aggregate_bars, check_bars, find_gaps
from trader_cli.core.market.schemas import BARS
from trader_cli.core.market.timeframes import Timeframe, known_timeframes
from trader_cli.core.money.liquidation import liquidation_price, touch_probability

M15, H1 = Timeframe.parse("15m"), Timeframe.parse("1h")
TIMES = st.integers(min_value=0, max_value=4_102_444_800_000)


def test_an_unknown_time_frame_names_the_nearest_and_all_known() -> None:
    with pytest.raises(UsageError, match=r"'15min'.*Did you mean 15m\?.*1m, 3m.*1d"):
        Timeframe.parse("15min")


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("17m", "15m or 30m"),
        ("60m", "1h"),
        ("24h", "1d"),
        ("0.5h", "30m"),
        ("90m", "1h or 2h"),
        ("10s", "1m"),
        ("1w", "1d"),
        ("15min", "15m"),
    ],
)
def test_an_unknown_time_frame_names_the_nearest_lengths(name: str, near: str) -> None:
    with pytest.raises(UsageError, match=rf"'{name}'.*Did you mean {near}\? Known: 1m"):
        Timeframe.parse(name)


def test_a_month_is_no_minute() -> None:
    with pytest.raises(UsageError, match=r"^Unknown time frame '1M'\. Known: 1m"):
        Timeframe.parse("1M")


@pytest.mark.parametrize("name", known_timeframes())
def test_higher_frames_are_multiples(name: str) -> None:
    base = Timeframe.parse(name)
    assert all(higher.ms > base.ms and higher.ms % base.ms == 0 for higher in base.higher)


@given(TIMES, st.sampled_from(["day", "month"]))
def test_a_block_holds_its_time(time_ms: int, block: Any) -> None:
    start = floor_block(time_ms, block)
    assert start <= time_ms < next_block(start, block)
    assert datetime.fromtimestamp(start / 1000, UTC).strftime("%H:%M:%S") == "00:00:00"


@given(TIMES, st.integers(0, 400 * 86_400_000), st.sampled_from(["day", "month"]))
def test_blocks_tile_their_span(first: int, length: int, block: Any) -> None:
    spans = blocks_between(first, first + length, block)
    assert spans[0][0] <= first
    assert spans[-1][1] > first + length
    assert all(a[1] == b[0] for a, b in zip(spans, spans[1:], strict=False))


SPOILS: dict[str, tuple[dict[str, Any], str]] = {
    "a NaN close": ({"close": math.nan}, "close that is not a positive number"),
    "a negative low": ({"low": -1.0}, "low that is not a positive number"),
    "a zero open": ({"open": 0.0}, "open that is not a positive number"),
    "an infinite high": ({"high": math.inf}, "high that is not a positive number"),
    "a high below the close": ({"high": 1.0, "low": 0.5}, "high below its open or close"),
    "a low above the open": ({"low": 1e9, "high": 2e9}, "low above its open or close"),
    "a negative volume": ({"volume": -5.0}, "negative or non-finite volume"),
}


@pytest.mark.parametrize("spoil", SPOILS)
def test_a_bad_bar_is_named_with_its_row(spoil: str) -> None:
    cells, message = SPOILS[spoil]
    bars = random_bars(50).with_row_index()
    changed = [pl.when(pl.col("index") == 17).then(pl.lit(v)).otherwise(pl.col(k)).alias(k) for k, v in cells.items()]
    with pytest.raises(DataInvalid, match=rf"row 17 has a {message}: 2024-01-01 04:15 UTC") as error:
        check_bars(bars.with_columns(changed).drop("index"), M15)
    assert "open" in str(error.value)


def test_order_alignment_and_schema_are_checked() -> None:
    bars = random_bars(10)
    with pytest.raises(DataInvalid, match="row 1 does not come after the row before it"):
        check_bars(bars.reverse(), M15)
    with pytest.raises(DataInvalid, match="row 4 does not come after"):
        check_bars(pl.concat([bars[:4], bars[3:]]), M15)
    with pytest.raises(DataInvalid, match="off the time frame's grid"):
        check_bars(bars.with_columns(pl.col("open_time").dt.offset_by("1s")), M15)
    with pytest.raises(DataInvalid, match="columns"):
        check_bars(bars.drop("volume"), M15)
    assert check_bars(BARS.empty(), M15).is_empty()


def test_gaps_are_found_and_broken_higher_bars_left_out() -> None:
    bars = random_bars(40)
    holed = pl.concat([bars[:9], bars[12:]])
    (gap,) = find_gaps(holed, M15)
    assert (gap.bars, gap.first_ms, gap.last_ms) == (3, *(int(bars["open_time"].to_physical()[i]) for i in (9, 11)))
    assert "3 bars missing, 2024-01-01 02:15:00 UTC to 2024-01-01 02:45:00 UTC" in str(gap)
    whole, broken = aggregate_bars(bars, M15, H1), aggregate_bars(holed, M15, H1)
    assert whole.height == 10
    assert broken["open_time"].to_list() == whole["open_time"].to_list()[:2] + whole["open_time"].to_list()[3:]


def test_aggregation_keeps_the_meaning_of_a_bar() -> None:
    bars = random_bars(96)
    hours = check_bars(aggregate_bars(bars, M15, H1), H1)
    for i, row in enumerate(hours.iter_rows(named=True)):
        part = bars[4 * i : 4 * i + 4]
        assert row["open"] == part["open"][0]
        assert row["close"] == part["close"][-1]
        assert (row["high"], row["low"]) == (part["high"].max(), part["low"].min())
        assert row["volume"] == pytest.approx(part["volume"].sum())


def test_digests_see_every_change_and_nothing_else() -> None:
    bars = random_bars(30)
    base = digest_frame(bars)
    assert digest_frame(bars.clone()) == base
    assert digest_frame(bars.with_columns(pl.col("close") * (1 + 1e-15))) != base
    assert digest_frame(bars.rename({"volume": "size"})) != base
    assert digest_frame(bars.with_columns(pl.lit(0.0).alias("quote_volume"))) != base
    assert digest_value({"a": 1, "b": [2, 3]}) == digest_value({"b": [2, 3], "a": 1})
    assert digest_value(["ab", "c"]) != digest_value(["a", "bc"])


@pytest.mark.parametrize("amount", [0.0, 0.4, 3.0])
def test_at_the_liquidation_price_margin_is_the_maintenance_margin(amount: float) -> None:
    """`amount` is what the bracket takes off the maintenance margin, per unit."""
    for leverage in (1.5, 3, 10, 40):
        for side, sign in (("long", 1), ("short", -1)):
            entry, rate = 1850.0, 0.005
            level = liquidation_price(entry, leverage, side, rate, amount)  # type: ignore[arg-type]
            assert entry / leverage + sign * (level - entry) == pytest.approx(level * rate - amount)


def test_touch_probability_agrees_with_simulation_and_is_monotone() -> None:
    rng = np.random.default_rng(1)
    steps, sigma = 400, 0.04
    paths = np.cumsum(rng.normal(0, sigma / math.sqrt(steps), (20_000, steps)), axis=1)
    shift = 0.5826 * sigma / math.sqrt(steps)
    hit = float((paths.min(axis=1) <= math.log(0.955) + shift).mean())
    assert touch_probability(100.0, 95.5, sigma) == pytest.approx(hit, abs=3 * math.sqrt(hit / 20_000))
    by_leverage = [
        touch_probability(100, liquidation_price(100, n, "long", 0.005), sigma, 0.6) for n in (2, 5, 10, 20, 50)
    ]
    assert by_leverage == sorted(by_leverage)
    assert touch_probability(100.0, 100.0, sigma) == 1.0
    assert touch_probability(100.0, 0.0, sigma) == 0.0
