"""The other families, with every input there is: causal, the same bits in batch and stream, equal to plain references."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st
from support.market.bars import START_MS, random_bars

from trader_cli.core.market.bars import with_close_time
from trader_cli.core.market.schemas import FUNDING, MARK, OPEN_INTEREST, TIME, TRADES
from trader_cli.core.market.timeframes import HOUR_MS, MINUTE_MS, Timeframe
from trader_cli.features.bar_arrays import PRICE_INPUTS, BarSeries
from trader_cli.features.build import build_features, history_start
from trader_cli.features.families import candles, levels
from trader_cli.features.families.technical import WARMUP
from trader_cli.features.family import FamilyOptions
from trader_cli.features.feature_spec import FeatureSpec
from trader_cli.features.inputs import ALL_INPUTS, INPUT_NAMES, align_inputs, known_inputs
from trader_cli.features.registry import ADVANCED, make_spec

M15 = Timeframe.parse("15m")
N = 900
END_MS = START_MS + N * M15.ms


def frame_of(schema: Any, **columns: Any) -> pl.DataFrame:
    return pl.DataFrame(columns).select(pl.col(n).cast(t) for n, t in schema.columns.items())


def klines_of(rng: np.random.Generator) -> pl.DataFrame:
    opened = np.arange(START_MS, END_MS, 5 * MINUTE_MS)
    close = 2000 * np.exp(np.cumsum(rng.normal(0, 0.002, len(opened))))
    return frame_of(
        MARK, open_time=opened, close_time=opened + 5 * MINUTE_MS - 1, open=close, high=close, low=close, close=close
    )


def market(seed: int) -> dict[str, pl.DataFrame]:
    """Everything that can be known of a made-up market, the bars with all their columns among it."""
    rng = np.random.default_rng(seed)
    bars = random_bars(N, seed=seed)
    count = 14 * N
    trades = frame_of(
        TRADES,
        time=np.sort(rng.integers(START_MS, END_MS, count)),
        trade_id=np.arange(count),
        price=2000 * np.exp(np.cumsum(rng.normal(0, 1e-3, count))),
        quantity=rng.lognormal(0, 1, count),
        buyer_is_maker=rng.random(count) < 0.5,
    )
    opened = (pl.col("time").to_physical() // M15.ms * M15.ms).cast(TIME).alias("open_time")
    traded = trades.group_by(opened).agg(pl.col("quantity").sum().alias("own"))
    bars = bars.join(traded, on="open_time", how="left", maintain_order="left")
    volume = pl.col("own").fill_null(0.0)
    bars = bars.with_columns(
        volume.alias("volume"),
        (volume * 2000).alias("quote_volume"),
        pl.Series("trades", rng.integers(1, 99, N)),
        (volume * pl.Series(rng.uniform(0, 1, N))).alias("taker_buy_base"),
        (volume * 999).alias("taker_buy_quote"),
    ).drop("own")
    paid = np.arange(START_MS - 25 * 8 * HOUR_MS, END_MS, 8 * HOUR_MS)
    counted = np.arange(START_MS - HOUR_MS, END_MS, 5 * MINUTE_MS)
    given = pl.DataFrame(
        {
            "known_time": rng.integers(START_MS, END_MS, 60),
            "price": rng.uniform(1500, 2500, 60),
            "strength": rng.random(60),
        }
    )
    return {
        "bars": with_close_time(bars, M15),
        "trades": trades,
        "funding": frame_of(
            FUNDING,
            time=paid + rng.integers(0, 20, len(paid)),
            funding_rate=rng.normal(0, 1e-4, len(paid)),
            mark_price=[None] * len(paid),
        ),
        "mark": klines_of(rng),
        "index": klines_of(rng),
        "open_interest": frame_of(OPEN_INTEREST, time=counted, open_interest=rng.lognormal(9, 0.1, len(counted))),
        "levels": given,
    }


def aligned(everything: dict[str, pl.DataFrame]) -> pl.DataFrame:
    return align_inputs(everything["bars"], M15, **{k: f for k, f in everything.items() if k != "bars"})


HERE, ELSEWHERE = market(1), market(2)
SPEC = make_spec(FamilyOptions(M15, inputs=ALL_INPUTS, higher=()))
FRAME = aligned(HERE)
FEATURES = build_features(FRAME, SPEC)


def values(frame: pl.DataFrame) -> np.ndarray:
    return frame.drop("open_time", "decision_time").to_numpy()


def test_every_input_is_known_and_every_column_has_values() -> None:
    assert known_inputs(FRAME) == ALL_INPUTS
    assert SPEC.left_out == ()
    known = np.isfinite(values(FEATURES)).mean(axis=0)
    named = dict(zip(FEATURES.columns[2:], known, strict=True))
    assert {name: share for name, share in named.items() if share < 0.3} == {}


# --- no column sees the future, of any input ---

_KEY = {"mark": "close_time", "index": "close_time", "levels": "known_time"}


def known_by(kind: str, frame: pl.DataFrame, when_ms: int) -> pl.Series:
    """Which rows of an input are known at a time; open interest five minutes after its stamp."""
    time = frame[_KEY.get(kind, "time")].to_physical()
    return time + {"open_interest": 5 * MINUTE_MS, "mark": 1, "index": 1}.get(kind, 0) <= when_ms


def crashed(kind: str, frame: pl.DataFrame) -> pl.DataFrame:
    """The same rows with wild values."""
    wild = {
        "trades": ("price", "quantity"),
        "funding": ("funding_rate",),
        "open_interest": ("open_interest",),
        "levels": ("price", "strength"),
    }.get(kind, ("open", "high", "low", "close"))
    return frame.with_columns(pl.col(name) * 7.3 for name in wild)


def bars_after(bars: pl.DataFrame, how: str, cut: int) -> pl.DataFrame:
    if how == "cut":
        return bars[:cut]
    tail = (
        ELSEWHERE["bars"][cut:]
        if how == "redraw"
        else bars[cut:].with_columns(
            (pl.col(n) * 0.3 for n in ("open", "high", "low", "close")), taker_buy_base=pl.col("volume") * 0.01
        )
    )
    return pl.concat([bars[:cut], tail])


def another_future(how: str, cut: int) -> dict[str, pl.DataFrame]:
    """The market as it was known when bar `cut` opened, and another after it."""
    when = int(HERE["bars"]["open_time"].to_physical()[cut])
    changed = {"bars": bars_after(HERE["bars"], how, cut)}
    for kind, frame in HERE.items():
        if kind != "bars":
            known = known_by(kind, frame, when - (kind == "trades"))
            head, tail = frame.filter(known), frame.filter(~known)
            other = ELSEWHERE[kind]
            tail = {
                "cut": tail.clear(),
                "crash": crashed(kind, tail),
                "redraw": other.filter(~known_by(kind, other, when - (kind == "trades"))),
            }[how]
            changed[kind] = pl.concat([head, tail])
    return changed


@pytest.mark.parametrize("how", ["cut", "redraw", "crash"])
@pytest.mark.parametrize("cut", [5, 97, 301, 555, 640, 703, 768, 895])
def test_no_column_sees_the_future_of_any_input(how: str, cut: int) -> None:
    changed = build_features(aligned(another_future(how, cut)), SPEC)
    moved = [
        name
        for name in FEATURES.columns
        if changed[name][:cut].to_numpy().tobytes() != FEATURES[name][:cut].to_numpy().tobytes()
    ]
    assert moved == []


def test_an_input_joined_too_early_would_be_caught() -> None:
    """Open interest without its delay, and a pivot at its own bar: both move when the future is another."""
    cut = 640
    changed = another_future("crash", cut)
    early = [interest["open_interest"] for interest in (HERE, changed)]
    early = [
        frame.with_columns((pl.col("time").to_physical() - 5 * MINUTE_MS).cast(TIME).alias("time")) for frame in early
    ]
    seen = [
        align_inputs(m["bars"], M15, open_interest=f)["open_interest"][:cut]
        for m, f in zip((HERE, changed), early, strict=True)
    ]
    assert not seen[0].equals(seen[1])
    pivots = [levels.pivots(m["bars"]["high"].to_numpy()) for m in (HERE, changed)]
    assert any(
        pivots[0][pivots[0] < c].tolist() != levels.pivots(HERE["bars"]["high"].to_numpy()[:c]).tolist()
        for c in range(600, 640)
    )


def test_one_bar_at_a_time_equals_the_batch_to_the_bit() -> None:
    batch = values(FEATURES)
    for i in [3, 96, 400, *range(620, 680, 3), 850, 899]:
        close = int(FRAME["open_time"].to_physical()[i]) + M15.ms
        seen = {"bars": HERE["bars"][: i + 1]}
        seen |= {k: f.filter(known_by(k, f, close - (k == "trades"))) for k, f in HERE.items() if k != "bars"}
        row = build_features(aligned(seen), SPEC, since_ms=close - M15.ms)
        assert values(row).tobytes() == batch[i].tobytes(), i


def test_a_restart_with_just_the_needed_history_equals_the_batch_to_the_bit() -> None:
    for i in (800, 899):
        at = int(FRAME["open_time"].to_physical()[i])
        enough = FRAME.filter(pl.col("open_time").to_physical().is_between(history_start(SPEC, at), at))
        assert values(build_features(enough, SPEC, since_ms=at)).tobytes() == values(FEATURES)[i].tobytes()


def test_scale_of_price_and_of_volume_does_not_matter() -> None:
    prices = (
        "open",
        "high",
        "low",
        "close",
        "flow_vwap",
        "mark_close",
        "index_close",
        "level_support",
        "level_resistance",
    )
    amounts = ("volume", "taker_buy_base", "flow_buy", "flow_sell", "open_interest")
    scaled = FRAME.with_columns(
        *(pl.col(n) * 1024.0 for n in prices), *(pl.col(n) * 8.0 for n in amounts), pl.col("quote_volume") * 8192.0
    )
    other, usual = values(build_features(scaled, SPEC)), values(FEATURES)
    assert np.array_equal(np.isnan(other), np.isnan(usual))
    assert np.nanmax(np.abs(other - usual) / (1 + np.abs(usual))) < 1e-8


@pytest.mark.parametrize("name", ADVANCED)
def test_a_switch_of_the_registry_is_a_family_of_its_own_file(name: str) -> None:
    families = list(ADVANCED[name](FamilyOptions(M15, inputs=ALL_INPUTS, higher=(Timeframe.parse("1h"),))))
    assert families
    for family in families:
        assert set(family.inputs) <= ALL_INPUTS


def test_families_whose_inputs_are_not_known_are_left_out_and_named() -> None:
    spec = make_spec(FamilyOptions(M15))
    assert set(spec.left_out) == {
        "orderflow_bars",
        "orderflow_size",
        "orderflow_trades",
        "derivatives_funding",
        "derivatives_basis",
        "derivatives_open_interest",
        "sr_support",
        "sr_resistance",
    }
    assert "levels" in {family.name for family in spec.families}


# --- references ---


def windowed(compute: Callable[[slice], float], n: int, window: int) -> np.ndarray:
    return np.array([compute(slice(t - window + 1, t + 1)) if t >= window - 1 else np.nan for t in range(n)])


def column(name: str) -> np.ndarray:
    return FEATURES[name].to_numpy()


def agree(name: str, wanted: np.ndarray, rows: slice = slice(300, None)) -> None:
    np.testing.assert_allclose(column(name)[rows], wanted[rows], rtol=1e-9, atol=1e-12)


def test_order_flow_is_what_its_formulas_say() -> None:
    v, b, q, k, c = (FRAME[n].to_numpy() for n in ("volume", "taker_buy_base", "quote_volume", "trades", "close"))
    r = np.diff(np.log(c), prepend=np.nan)
    i = (2 * b - v) / v
    agree("orderflow_imbalance_24", windowed(lambda w: (2 * b[w] - v[w]).sum() / v[w].sum(), N, 24))
    agree("orderflow_impact_96", windowed(lambda w: (r[w] * i[w]).sum() / (i[w] ** 2).sum(), N, 96))
    agree("orderflow_vwap_gap_24", windowed(lambda w: np.log(c[w][-1] * v[w].sum() / q[w].sum()), N, 24))
    agree("orderflow_size_gap_24", windowed(lambda w: np.log(v[w][-1] / k[w][-1] * k[w].sum() / v[w].sum()), N, 24))
    long = windowed(lambda w: np.abs(r[w]).sum() / q[w].sum(), N, 240)
    agree("orderflow_illiquidity_24_240", np.log(windowed(lambda w: np.abs(r[w]).sum() / q[w].sum(), N, 24) / long))
    large = FRAME["flow_large"].to_numpy()
    agree("orderflow_large_gap_24", windowed(lambda w: large[w][-1] - large[w].mean(), N, 24))


def test_derivatives_are_what_their_formulas_say() -> None:
    mark, index, oi, c = (FRAME[n].to_numpy() for n in ("mark_close", "index_close", "open_interest", "close"))
    basis = mark / index - 1
    agree("derivatives_basis_z_96", windowed(lambda w: (basis[w][-1] - basis[w].mean()) / basis[w].std(), N, 96))
    day = windowed(lambda w: np.log(oi[w][-1] / oi[w][0]), N, 25)
    agree("derivatives_oi_change_24", day)
    agree("derivatives_oi_divergence_24", day - windowed(lambda w: np.log(c[w][-1] / c[w][0]), N, 25))
    both = column("derivatives_oi_agreement_24")
    assert np.nanmax(np.abs(both)) <= 1
    assert np.nanmin(column("derivatives_funding_phase")) >= 0
    assert np.nanmax(column("derivatives_funding_phase")) <= 1.001


def test_a_basis_that_stands_still_has_no_score() -> None:
    still = FRAME.with_columns((pl.col("index_close") * 1.001).alias("mark_close"))
    z = build_features(still, SPEC)["derivatives_basis_z_96"]
    assert z.null_count() == z.len()


def plain_levels(high: np.ndarray, low: np.ndarray, close: np.ndarray, t: int) -> dict[str, float]:
    """The columns of one row by their definition, one step after the other."""
    k = levels.CONFIRM
    turns = []
    for p in range(k, t - k + 1):
        around = [*range(p - k, p), *range(p + 1, p + k + 1)]
        for kind, x in ((0, high), (1, -low)):
            if all(x[p] > x[j] if j < p else x[p] >= x[j] for j in around):
                turns.append((p, kind, high[p] if kind == 0 else low[p]))
    true = [max(high[i], close[i - 1]) - min(low[i], close[i - 1]) for i in range(t - 13, t + 1)]
    average = sum(true) / 14
    last = turns[-1][0] + k if turns else -(10**9)
    stand = [] if t - last > levels.LASTS else [x for x in turns[-levels.PIVOTS :] if last - x[0] <= levels.OLDEST]
    below = max((p for _, _, p in stand if p <= close[t]), default=None)
    above = min((p for _, _, p in stand if p > close[t]), default=None)

    def strength(level: float | None) -> float:
        near = [x for x in stand if level is not None and abs(x[2] - level) <= 0.5 * average]
        return sum(2 ** (-(t - p) / levels.HALF_LIFE) for p, _, _ in near)

    down = 10.0 if below is None else min((close[t] - below) / average, 10.0)
    up = 10.0 if above is None else min((above - close[t]) / average, 10.0)
    highs, lows = ([x for x in turns if x[1] == kind] for kind in (0, 1))
    return {
        "levels_support_gap": down,
        "levels_resistance_gap": up,
        "levels_support_strength": strength(below),
        "levels_resistance_strength": strength(above),
        "levels_position": down / (down + up),
        "levels_bars_since_high": float(t - highs[-1][0]),
        "levels_bars_since_low": float(t - lows[-1][0]),
        "levels_last_high_gap": float(np.clip((close[t] - highs[-1][2]) / average, -10, 10)),
        "levels_last_low_gap": float(np.clip((close[t] - lows[-1][2]) / average, -10, 10)),
    }


@given(st.integers(0, 10_000), st.sampled_from([0.0, 1.0, 5.0]))
@settings(max_examples=15, deadline=None)
def test_levels_are_those_of_a_plain_search(seed: int, tick: float) -> None:
    """With a tick, prices tie: plateaus, and closes on a level."""
    bars = random_bars(260, seed=seed)
    if tick:
        bars = bars.with_columns((pl.col(n) / tick).round() * tick for n in ("open", "high", "low", "close"))
    series = BarSeries.of(bars)
    found = levels.compute(series)
    for t in range(60, 260, 13):
        wanted = plain_levels(series.high, series.low, series.close, t)
        assert {name: found[name][t] for name in wanted} == pytest.approx(wanted, rel=1e-9, abs=1e-9), t


def test_levels_fall_silent_where_nothing_has_turned_for_long() -> None:
    """Forty turns, then one straight line: its levels stand for a hundred bars and no longer."""
    wave = 2000 + 40 * np.sin(np.arange(240) / 3)
    close = np.concatenate([wave, wave[-1] + np.arange(1, 300)])
    step = np.concatenate([[close[0]], close[:-1]])
    bars = BarSeries(
        np.arange(len(close)) * M15.ms, step, np.maximum(step, close), np.minimum(step, close), close, close
    )
    found = levels.compute(bars)
    stands = found["levels_support_strength"] > 0
    last = int(np.flatnonzero(stands).max())
    assert 240 + 80 < last < 240 + 110
    assert (found["levels_support_gap"][last + 1 :] == 10).all()
    assert (found["levels_bars_since_low"][-1]) > 250


def test_levels_know_no_pivot_that_a_row_alone_could_not_know() -> None:
    """Waves, then nothing moves: as the last pivots get old, a row made alone must forget them when the batch does."""
    n = 1300
    close = 100.0 + np.concatenate([np.tile([0.0, 1, 2, 3, 2, 1], 100), np.full(n - 600, 1.0)])
    still = pl.DataFrame(
        {"open_time": pl.Series(np.arange(n) * M15.ms).cast(TIME), **dict.fromkeys(PRICE_INPUTS, close)}
    )
    spec = FeatureSpec(M15, levels.families(FamilyOptions(M15)))
    whole = build_features(still, spec)
    for i in range(1090, 1110):
        assert build_features(still[: i + 1], spec, since_ms=i * M15.ms).equals(whole[i : i + 1]), i


def test_a_pivot_counts_three_bars_after_it_and_not_before() -> None:
    close = np.full(600, 100.0) + np.arange(600) % 2 * 0.01
    high, low = close + 1, close - 1
    high[550] = 103.0
    bars = BarSeries(np.arange(600) * M15.ms, close, high, low, close, close)
    since = levels.compute(bars)["levels_bars_since_high"]
    assert since[552] != 2
    assert since[553:556].tolist() == [3, 4, 5]


def test_patterns_and_indicators_equal_ta_lib_from_the_same_anchor() -> None:
    """The last whole day, evaluated by TA-Lib from the start of that day less the warm-up."""
    day = int(FRAME["open_time"].to_physical()[-1]) // 86_400_000 * 86_400_000
    opened = FRAME["open_time"].to_physical().to_numpy()
    rows = opened >= day
    for warmup, names in ((candles.WARMUP, tuple(candles.patterns())), (WARMUP, ())):
        part = BarSeries.of(FRAME.filter(pl.col("open_time").to_physical() >= day - warmup * M15.ms))
        o, h, l, c, v = part.open, part.high, part.low, part.close, part.volume  # noqa: E741
        wanted = (
            {n: getattr(talib, f)(o, h, l, c) for n, f in candles.patterns().items()}
            if names
            else {
                "rsi_7": talib.RSI(c, 7),
                "adx_14": talib.ADX(h, l, c, 14),
                "cci_20": talib.CCI(h, l, c, 20),
                "mfi_14": talib.MFI(h, l, c, v, 14),
                "willr_14": talib.WILLR(h, l, c, 14),
                "trix_15": talib.TRIX(c, 15),
                "macd_hist_12_26_9": talib.MACD(c, 12, 26, 9)[2] / c,
                "natr_28": talib.NATR(h, l, c, 28),
                "kama_30_gap": c / talib.KAMA(c, 30) - 1,
                "ultosc_7_14_28": talib.ULTOSC(h, l, c, 7, 14, 28),
                "aroonosc_25": talib.AROONOSC(h, l, 25),
                "cmo_14": talib.CMO(c, 14),
                "roc_24": talib.ROCP(c, 24),
                "stoch_k_14": talib.STOCH(h, l, c, fastk_period=14, slowk_period=3, slowd_period=3)[0],
                "plus_di_14": talib.PLUS_DI(h, l, c, 14),
                "adosc_3_10": talib.ADOSC(h, l, c, v, 3, 10) / talib.SMA(v, 20),
            }
        )
        for name, reference in wanted.items():
            np.testing.assert_allclose(column(name)[rows], reference[warmup:], rtol=1e-9, atol=1e-12, err_msg=name)
    assert len(candles.patterns()) == 61
    assert sum(column(name)[rows].any() for name in candles.patterns()) > 10


@pytest.mark.parametrize("hours", [1, 2, 4, 8])
def test_the_same_rate_an_hour_is_the_same_in_eight_hours_at_any_interval(hours: int) -> None:
    n = 5
    close = np.full(n, 100.0)
    extra = {name: np.zeros(n) for name in INPUT_NAMES["funding"]}
    extra |= {"funding_rate": np.full(n, 1e-5 * hours), "funding_interval_ms": np.full(n, hours * 3.6e6)}
    bars = BarSeries(START_MS + np.arange(n) * M15.ms, close, close, close, close, close, extra)
    family = next(f for f in SPEC.families if "derivatives_funding_rate_8h" in f.columns)
    assert family.evaluate(bars)["derivatives_funding_rate_8h"] == pytest.approx(8e-5)
