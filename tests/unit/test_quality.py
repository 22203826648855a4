"""The data-quality report: what is planted is found, exactly; what is good is left alone; real data as its README has it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.market.bars import random_bars

from trader_cli.core.errors import DataInvalid, TraderError
from trader_cli.core.market.bars import PRICES, find_gaps, with_close_time
from trader_cli.core.market.quality import LISTED, QualityReport, quality_report
from trader_cli.core.market.schemas import BARS
from trader_cli.core.market.timeframes import Timeframe, known_timeframes
from trader_cli.venue.simulated_market.tape_loading import load_bars_file

M15 = Timeframe.parse("15m")
ROWS = 400
SEEDS = st.integers(0, 2**31)
STARTS = st.integers(1, ROWS - 60)
QUIET = settings(deadline=None, max_examples=20)


def ticked(bars: pl.DataFrame, price_decimals: int = 2, volume_decimals: int = 3) -> pl.DataFrame:
    """The bars on a tick grid, still valid."""
    return bars.with_columns(pl.col(PRICES).round(price_decimals), pl.col("volume").round(volume_decimals))


def planted(bars: pl.DataFrame, first: int, cells: dict[str, list[float]]) -> pl.DataFrame:
    """The bars with cells replaced from row `first` on."""
    columns = {name: bars[name].to_numpy().copy() for name in cells}
    for name, values in cells.items():
        columns[name][first : first + len(values)] = values
    return bars.with_columns(pl.Series(name, values, dtype=BARS.columns[name]) for name, values in columns.items())


def straight(bars: pl.DataFrame, first: int, n: int, decimals: dict[str, int] | None = None) -> pl.DataFrame:
    """The bars with n rows from `first` on replaced by straight lines between the rows around them."""
    cells = {}
    for name in (*PRICES, "volume"):
        line = np.linspace(bars[name][first - 1], bars[name][first + n], n + 2)[1:-1]
        cells[name] = (line if decimals is None else np.round(line, decimals[name])).tolist()
    return planted(bars, first, cells)


def found(report: QualityReport, kind: str, bars: pl.DataFrame) -> list[tuple[int, int]]:
    """(first row, bars) of each finding of a kind."""
    rows = {ms: row for row, ms in enumerate(bars["open_time"].to_physical().to_list())}
    return [(rows[f.first_ms], f.bars) for f in report.findings if f.kind == kind]


@QUIET
@given(SEEDS, st.sampled_from(known_timeframes()), st.booleans())
def test_random_bars_have_nothing_to_report(seed: int, timeframe: str, on_ticks: bool) -> None:
    bars = random_bars(ROWS, timeframe, seed)
    report = quality_report(ticked(bars) if on_ticks else bars, Timeframe.parse(timeframe))
    assert (dict(report.counts), report.findings, report.worst) == ({}, (), None)


@QUIET
@given(SEEDS, STARTS, st.integers(1, 40), st.booleans())
def test_straight_lines_are_found_exactly(seed: int, first: int, n: int, on_ticks: bool) -> None:
    bars = random_bars(ROWS, seed=seed)
    spoiled = straight(ticked(bars) if on_ticks else bars, first, n)
    report = quality_report(spoiled, M15)
    assert found(report, "interpolated", spoiled) == [(first, n)]
    assert report.worst == "error"
    assert report.bars_of("off_tick") == 0, "one defect is counted once"


@QUIET
@given(SEEDS, STARTS, st.integers(3, 40))
def test_straight_lines_that_were_rounded_are_found(seed: int, first: int, n: int) -> None:
    spoiled = straight(ticked(random_bars(ROWS, seed=seed)), first, n, dict.fromkeys(PRICES, 2) | {"volume": 3})
    level = abs(spoiled["volume"][first - 1] - spoiled["volume"][first + n]) <= 0.005 * (n + 1)
    assert found(quality_report(spoiled, M15), "interpolated", spoiled) == ([] if level else [(first, n)])


@QUIET
@given(SEEDS, STARTS, st.integers(1, 40))
@example(seed=0, first=100, n=2)
@example(seed=0, first=100, n=3)
def test_stuck_bars_are_found_from_three_on_and_every_bar_without_a_trade_is_counted(
    seed: int, first: int, n: int
) -> None:
    bars = random_bars(ROWS, seed=seed)
    price = bars["close"][first - 1]
    report = quality_report(planted(bars, first, {name: [price] * n for name in PRICES} | {"volume": [0.0] * n}), M15)
    assert found(report, "zero_volume", bars) == [(first, n)]
    assert found(report, "stuck", bars) == ([(first, n)] if n >= 3 else [])
    assert report.bars_of("interpolated") == 0


def test_neither_a_gap_nor_another_price_prolongs_a_stuck_run() -> None:
    bars = random_bars(50)
    a, b = bars["close"][9], bars["close"][9] * 1.001
    spoiled = planted(bars, 10, {name: [a] * 2 + [b] * 5 for name in PRICES} | {"volume": [0.0] * 7})
    assert found(quality_report(spoiled, M15), "stuck", spoiled) == [(12, 5)], "two at the other price are too few"
    cut = pl.concat([spoiled[:14], spoiled[15:]])
    report = quality_report(cut, M15)
    assert found(report, "stuck", cut) == [], "two before the gap and two after it"
    assert found(report, "zero_volume", cut) == [(10, 4), (14, 2)]


@QUIET
@given(SEEDS, st.lists(st.integers(1, ROWS - 2), min_size=1, max_size=100, unique=True))
def test_gaps_are_those_of_the_rule_and_add_up(seed: int, dropped: list[int]) -> None:
    bars = random_bars(ROWS, seed=seed).with_row_index().filter(~pl.col("index").is_in(dropped)).drop("index")
    report = quality_report(bars, M15)
    assert report.gaps == find_gaps(bars, M15)
    assert report.missing_bars == len(dropped) == report.bars_of("gap")
    assert report.missing_share == len(dropped) / ROWS
    assert set(report.counts) == {"gap"}


@QUIET
@given(SEEDS, STARTS, st.sampled_from([1.5, 0.6, 20.0, 0.01]))
def test_a_price_taken_back_at_once_is_a_bad_print_and_one_that_stays_a_jump(
    seed: int, row: int, factor: float
) -> None:
    bars = random_bars(ROWS, seed=seed)
    close = bars["close"][row] * factor
    cells = {"close": [close], "high": [max(bars["high"][row], close)], "low": [min(bars["low"][row], close)]}
    report = quality_report(planted(bars, row, cells), M15)
    assert found(report, "bad_print", bars) == [(row, 1)]
    assert set(report.counts) == {"bad_print"}, "the way back is part of it"
    moved = bars.with_columns(
        pl.when(pl.int_range(pl.len()) >= row).then(pl.col(name) * factor).otherwise(name).alias(name)
        for name in PRICES
    )
    report = quality_report(moved, M15)
    kind = "jump" if 1 / 3 < factor < 3 else "other_instrument"
    assert dict(report.counts) == {kind: (1, 1)}, "between two bars: a factor above three is another instrument"
    assert found(report, kind, bars) == [(row, 1)]


def test_the_bar_that_takes_a_print_back_is_none_itself() -> None:
    bars = random_bars(ROWS)
    low, high = bars["close"][100], bars["close"][100] * 1.5
    whipped = {
        "close": [high, low, high, low],
        "high": [high * 1.001] * 4,
        "low": [min(bars["low"][99:106]) * 0.99] * 4,
    }
    spoiled = planted(bars, 101, {**whipped, "open": [low, high, low, high]})
    assert found(quality_report(spoiled, M15), "bad_print", spoiled)[0] == (101, 1)


def test_bars_of_one_volume_are_no_filler_however_straight_their_prices() -> None:
    steady = straight(random_bars(ROWS), 100, 20).with_columns(volume=pl.lit(5.0))
    assert quality_report(steady, M15).bars_of("interpolated") == 0


def test_a_crash_that_is_traded_through_is_a_jump_however_deep() -> None:
    bars = random_bars(ROWS)
    traded = bars.with_columns(
        pl.when(pl.int_range(pl.len()) > 200).then(pl.col(name) / 50).otherwise(name).alias(name) for name in PRICES
    )
    traded = planted(traded, 200, {"close": [bars["close"][200] / 50], "low": [bars["close"][200] / 50]})
    assert set(quality_report(traded, M15).counts) == {"jump"}


def test_a_move_over_a_gap_is_measured_against_its_length() -> None:
    bars = random_bars(2_000, sigma=0.01)
    kept = pl.concat([bars[:300], bars[1_900:]])
    assert set(quality_report(kept, M15).counts) == {"gap"}


@QUIET
@given(SEEDS, STARTS, st.sampled_from(PRICES))
def test_a_price_off_the_tick_is_found_and_a_new_tick_is_not_one(seed: int, row: int, name: str) -> None:
    bars = ticked(random_bars(ROWS, seed=seed, sigma=0.01))
    inside = (bars["high"][row] + bars["low"][row]) / 2 if name in {"open", "close"} else bars[name][row]
    value = round(inside, 2) + (-0.0013 if name == "low" else 0.0013)
    spoiled = planted(bars, row, {name: [value]})
    assert found(quality_report(spoiled, M15), "off_tick", spoiled) == [(row, 1)]
    at = max(row, 12)  # a tick that held for fewer bars is not told from a stray price
    changed = pl.concat([ticked(random_bars(ROWS, seed=seed), 4)[:at], ticked(random_bars(ROWS, seed=seed), 2)[at:]])
    assert quality_report(changed, M15).bars_of("off_tick") == 0


@pytest.mark.parametrize("fine", [range(0, 4_000, 20), range(1_000, 1_020)], ids=["now and then", "for 20 bars"])
def test_neither_scattered_digits_nor_a_tick_of_a_few_hours_are_off_the_tick(fine: range) -> None:
    """A price that mostly stands on round numbers, and a tick that was finer for a while."""
    bars = random_bars(4_000)
    coarse, finer = ticked(bars, 2), ticked(bars, 4)
    chosen = pl.int_range(pl.len()).is_in(list(fine))
    mixed = coarse.with_columns(pl.when(chosen).then(finer[name]).otherwise(name).alias(name) for name in PRICES)
    assert quality_report(mixed, M15).bars_of("off_tick") == 0


def with_volumes(bars: pl.DataFrame) -> pl.DataFrame:
    middle = (pl.col("high") + pl.col("low")) / 2
    return bars.with_columns(
        quote_volume=pl.col("volume") * middle,
        trades=pl.lit(7, dtype=pl.Int64),
        taker_buy_base=pl.col("volume") / 3,
        taker_buy_quote=pl.col("volume") * middle / 3,
    )


@pytest.mark.parametrize(
    "cells",
    [
        {"quote_volume": lambda row: row["volume"] * row["high"] * 1.0001},
        {"quote_volume": lambda row: row["volume"] * row["low"] * 0.9999},
        {"taker_buy_base": lambda row: row["volume"] * 1.01},
        {"taker_buy_quote": lambda row: row["quote_volume"] * 1.01},
        {"trades": lambda _: 0},
    ],
)
@given(seed=SEEDS, row=STARTS)
@QUIET
def test_volumes_that_contradict_each_other_are_found(cells: dict[str, Any], seed: int, row: int) -> None:
    bars = with_volumes(random_bars(ROWS, seed=seed))
    assert dict(quality_report(bars, M15).counts) == {}
    values = {name: [make(bars.row(row, named=True))] for name, make in cells.items()}
    spoiled = planted(bars, row, values)
    report = quality_report(spoiled, M15)
    assert found(report, "volumes_disagree", spoiled) == [(row, 1)]
    assert set(report.counts) == {"volumes_disagree"}


def test_the_report_is_small_exact_and_json() -> None:
    bars = random_bars(5_000).with_columns(
        volume=pl.when(pl.int_range(pl.len()) % 3 == 0).then(0.0).otherwise("volume")
    )[: 5_000 - 1]
    cut = bars.with_row_index().filter(pl.col("index") % 7 != 0).drop("index")
    report = quality_report(cut, M15)
    assert report.bars_of("zero_volume") == (cut["volume"] == 0).sum()
    assert report.counts["gap"][0] == len(find_gaps(cut, M15)) > 10 * LISTED
    assert all(sum(f.kind == kind for f in report.findings) == LISTED for kind in ("gap", "zero_volume"))
    written = json.dumps(report.as_dict(), allow_nan=False)
    assert len(written) < 20_000
    assert json.loads(written)["counts"]["zero_volume"]["bars"] == report.bars_of("zero_volume")
    assert [f.first_ms for f in report.findings] == sorted(f.first_ms for f in report.findings)


@pytest.mark.parametrize("rows", range(5))
def test_a_few_bars_are_reported_too(rows: int) -> None:
    report = quality_report(random_bars(9)[:rows], M15)
    assert (report.rows, dict(report.counts), report.missing_share) == (rows, {}, 0.0)
    assert (report.first_ms is None) == (rows == 0)
    json.dumps(report.as_dict(), allow_nan=False)


def test_what_is_no_valid_frame_is_refused() -> None:
    with pytest.raises(DataInvalid, match="row 1 does not come after"):
        quality_report(random_bars(9).reverse(), M15)


# Real data -----------------------------------------------------------------------------------------------------------

REFUSED = {"BTC-PERP-1m-2022-01.parquet": "cannot tell the symbol"}


def kline_files(market_data: Path) -> list[Path]:
    return sorted((market_data / "klines").rglob("*.parquet"))


def test_every_file_of_bars_loads_or_is_refused_with_its_reason(market_data: Path) -> None:
    refused = {}
    for file in kline_files(market_data):
        try:
            loaded = load_bars_file(file)
        except TraderError as error:
            refused[file.name] = error.sentence
            continue
        assert sum(found.bars.height for found in loaded) == pl.scan_parquet(file).select(pl.len()).collect().item()
        for bars in loaded:
            report = quality_report(bars.bars, bars.timeframe)
            unexpected = {"interpolated", "stuck", "volumes_disagree"} & set(report.counts)
            assert not unexpected, (file.name, bars.symbol, report.findings)
            assert ("other_instrument" in report.counts) == (bars.symbol == "LUNAUSDT"), file.name
    assert refused.keys() == REFUSED.keys()
    assert all(REFUSED[name] in sentence for name, sentence in refused.items())


def test_gaps_and_bars_without_a_trade_are_those_the_readme_counts(market_data: Path) -> None:
    """Rows of the README's tables: file, rows, `26 (162 bars)`, `zero-volume bars 4`, `largest close-to-close move`."""
    seen = 0
    for line in (market_data / "README.md").read_text().splitlines():
        told = re.match(
            r"\| `(klines/\S+)` \| \d+ \| (\d+) \|.*\| (\d+) \((\d+) bars\) \|.*zero-volume bars (\d+)", line
        )
        if told is None or Path(told[1]).name in REFUSED:
            continue
        (bars,) = load_bars_file(market_data / told[1])
        report = quality_report(bars.bars, bars.timeframe)
        rows, gaps, missing, still = map(int, told.groups()[1:])
        assert (report.rows, len(report.gaps), report.missing_bars) == (rows, gaps, missing), told[1]
        assert report.bars_of("zero_volume") == still, told[1]
        seen += 1
    assert seen >= 50


def test_luna_is_two_coins_under_one_ticker(market_data: Path) -> None:
    (luna,) = load_bars_file(market_data / "klines/spot_more/LUNAUSDT-1h.parquet")
    report = quality_report(luna.bars, luna.timeframe)
    (other,) = [finding for finding in report.findings if finding.kind == "other_instrument"]
    assert "2022-05-31 06:00:00 UTC" in other.sentence
    assert "+17,111,500.0%" in other.sentence
    assert max(report.gaps, key=lambda gap: gap.bars).last_ms + luna.timeframe.ms == other.first_ms


def test_the_exchange_outage_of_february_2018_is_listed(market_data: Path) -> None:
    (btc,) = load_bars_file(market_data / "klines/spot/BTCUSDT-1h.parquet")
    report = quality_report(btc.bars, btc.timeframe)
    longest = max((f for f in report.findings if f.kind == "gap"), key=lambda f: f.bars)
    assert "2018-02-0" in longest.sentence


@pytest.mark.parametrize("symbol", ["BTCUSDT", "XRPUSDT", "DOGEUSDT"])
def test_straight_fillers_put_back_into_real_outages_are_found_and_nothing_else(market_data: Path, symbol: str) -> None:
    (real,) = load_bars_file(market_data / f"klines/spot/{symbol}-1h.parquet")
    values = (*PRICES, "volume")
    times = real.bars["open_time"].to_physical().to_numpy()
    whole = np.arange(times[0], times[-1] + 1, real.timeframe.ms)
    filled = real.bars.select("open_time", *values).join(
        pl.DataFrame({"open_time": pl.Series(whole).cast(BARS.columns["open_time"])}), on="open_time", how="right"
    )
    lines = (pl.Series(name, np.interp(whole, times, real.bars[name])) for name in values)
    filled = with_close_time(filled.with_columns(lines), real.timeframe)
    report = quality_report(filled, real.timeframe)
    gaps = [(gap.first_ms, gap.bars) for gap in find_gaps(real.bars, real.timeframe)]
    assert report.bars_of("interpolated") == sum(bars for _, bars in gaps)
    listed = {(f.first_ms, f.bars) for f in report.findings if f.kind == "interpolated"}
    assert len(listed) == min(LISTED, len(gaps))
    assert listed <= set(gaps)
    assert (report.missing_bars, report.bars_of("off_tick")) == (0, 0)


# Odd files -----------------------------------------------------------------------------------------------------------


def written(folder: Path, name: str, bars: pl.DataFrame) -> Path:
    bars.write_parquet(folder / name)
    return folder / name


def test_a_single_bar_takes_its_time_frame_from_the_name(tmp_path: Path) -> None:
    bar = random_bars(1)
    (loaded,) = load_bars_file(written(tmp_path, "ETHUSDT-15m-2024.parquet", bar))
    assert (loaded.symbol, loaded.timeframe) == ("ETHUSDT", M15)
    assert loaded.bars.equals(bar)
    with pytest.raises(DataInvalid, match="a single bar, which does not tell its time frame"):
        load_bars_file(written(tmp_path, "ETHUSDT-2024.parquet", bar))


ODD = {
    "row 1 has no symbol": random_bars(3).with_columns(symbol=pl.Series(["ETHUSDT", None, "ETHUSDT"])),
    "not all columns are numbers": random_bars(3).with_columns(open=pl.lit("much")),
    "row 2 does not come after": pl.concat([random_bars(2), random_bars(2)[1:]]),
    "0 ms apart, which is no time frame": pl.concat([random_bars(1), random_bars(1)]),
    "4500000 ms apart, which is no time frame": random_bars(9)[::5],
    "holds no bars": random_bars(3)[:0],
    "no column 'volume'": random_bars(3).drop("volume"),
    "open_time must be a UTC timestamp": random_bars(3).with_columns(pl.col("open_time").to_physical()),
}


@pytest.mark.parametrize("reason", ODD)
def test_an_odd_file_is_refused_with_the_reason(tmp_path: Path, reason: str) -> None:
    with pytest.raises(DataInvalid, match=reason):
        load_bars_file(written(tmp_path, "ETHUSDT-15m.parquet", ODD[reason]))
