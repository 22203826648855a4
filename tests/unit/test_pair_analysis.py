"""A pair at a fast close: what stands, what triggers, why nothing is done; many closes at once say what each alone says."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import polars as pl
import pytest
from support.training.pairs import EACH, FAST, FREE, SLOW, Market, market, usual

from trader_cli.analyst.analysis import AnalysisInput
from trader_cli.analyst.decisions_by_row import DecidedRows, SeriesRows, SnapshotRows
from trader_cli.analyst.fitted_families import history_bars
from trader_cli.analyst.pair_analysis import PairInput, analyse_pair, decide_pair
from trader_cli.analyst.pair_rows import decide_pair_rows
from trader_cli.analyst.trained_pair import TrainedPair
from trader_cli.core.market.timeframes import DAY_MS, Timeframe
from trader_cli.core.model_validity import NOT_WATCHED, learned_to_ms, unwatched
from trader_cli.core.types import Abstention, Analysis, Permission, Signal
from trader_cli.features.bar_arrays import BarSeries
from trader_cli.settings import as_settings
from trader_cli.settings.room_options import AnalysisOptions

FIRST, CLOSES = 1200 * EACH, 240
"""Fast rows that are looked at: forty slow bars and all fast ones in them."""


def config(**analyst: Any) -> AnalysisOptions:
    off = {"enable_market_health_analysis": False, "fast_timeframe": "5m"}
    return AnalysisOptions.of(as_settings({"costs": FREE, "analyst": {**off, **analyst}}))


@cache
def series() -> tuple[BarSeries, BarSeries]:
    given = market()
    return BarSeries.of(given.slow.bars), BarSeries.of(given.fast.bars)


def one_side(bars: BarSeries, given: Market, row: int, pair: TrainedPair, *, fast: bool) -> AnalysisInput:
    of = given.fast if fast else given.slow
    return AnalysisInput(
        symbol="ETHUSDT",
        timeframe=of.timeframe,
        bars=bars.cut(max(0, row + 1 - history_bars(of.timeframe)), row + 1),
        features={name: of.features[name][row] for name in ("lead", "noise")},
        model=pair,
        snapshot=None,
        bar_age_ms=0,
        book_age_ms=None,
        digests={"model": "pair"},
        half=pair.fast if fast else pair.slow,
    )


def at(row: int, pair: TrainedPair | None = None, slow_row: int | None = None) -> PairInput:
    """Both halves at a fast row, the slow one at its last close by then."""
    of_pair, given = pair or usual(), market()
    slow, fast = series()
    last = (row + 1) // EACH - 1 if slow_row is None else slow_row
    return PairInput(one_side(slow, given, last, of_pair, fast=False), one_side(fast, given, row, of_pair, fast=True))


def rows_of(
    pair: TrainedPair, options: AnalysisOptions, bars: tuple[BarSeries, BarSeries], given: Market
) -> DecidedRows:
    rows = np.arange(FIRST, FIRST + CLOSES)
    nothing = np.full(CLOSES, np.nan)

    def of(which: int) -> SeriesRows:
        source, frame = ((given.slow, SLOW), (given.fast, FAST))[which]
        half = pair.fast if which else pair.slow
        found = rows if which else (rows + 1) // EACH - 1
        x = source.features.select("lead", "noise").to_numpy()
        shown = SnapshotRows(
            bars[1].open_ms[rows] + FAST.ms, nothing, (nothing, nothing), (nothing, nothing), nothing, found * 0
        )
        return SeriesRows(
            "ETHUSDT",
            frame,
            bars[which],
            found,
            pair,
            lambda wanted: (x[wanted], np.isnan(x[wanted]).sum(axis=1)),
            {},
            None,
            shown,
            720,
            half=half,
        )

    return decide_pair_rows(of(0), of(1), options)


def proven() -> TrainedPair:
    return usual()


def unproven() -> TrainedPair:
    return replace(usual(), claim=replace(usual().claim, edge=False))


def wary(pair: TrainedPair) -> TrainedPair:
    """Of a slow model whose sides lose more than they gain: where it tells little it permits neither."""
    side = pair.slow.side
    losing = {name: 1.05 * getattr(side.payoffs, name) for name in ("long_loss", "short_loss")}
    return replace(pair, slow=replace(pair.slow, side=replace(side, payoffs=replace(side.payoffs, **losing))))


def codes(pair: TrainedPair, options: AnalysisOptions) -> set[str]:
    outcomes = rows_of(pair, options, series(), market()).outcomes
    return {one.code if isinstance(one, Abstention) else "signal" for one in outcomes}


@pytest.mark.parametrize("allow", [False, True])
def test_closes_decided_together_say_what_each_alone_says(allow: bool) -> None:
    options, pair = config(allow_unproven=allow), wary(unproven() if allow else proven())
    together = rows_of(pair, options, series(), market())
    assert together.permissions is not None
    signals = 0
    for number, row in enumerate(range(FIRST, FIRST + CLOSES)):
        if number % 3 and not isinstance(together.outcomes[number], Signal):
            continue
        alone = decide_pair(at(row, pair), options)
        assert alone.outcome == together.outcomes[number]
        assert alone.permission == together.permissions[number]
        told = alone.probabilities
        assert (told is None) == bool(np.isnan(together.probabilities[number, 0]))
        assert told is None or (told.up, told.down) == tuple(together.probabilities[number, :2])
        signals += isinstance(alone.outcome, Signal)
    assert signals > 5
    assert codes(wary(proven()), config()) == {"signal", "no_permission", "no_trigger"}
    assert codes(proven(), config()) == {"signal", "no_trigger"}


def test_a_claim_that_is_too_old_is_like_one_that_never_was() -> None:
    """With `allow_unproven` the better side counts, and says so; without it nothing opens."""
    half, learned_ms = proven().slow, int(series()[1].open_ms[FIRST]) - 46 * DAY_MS
    old, never = (replace(one, slow=replace(half, last_ms=learned_ms)) for one in (proven(), unproven()))
    allowed, alike = (rows_of(one, config(allow_unproven=True), series(), market()) for one in (old, never))
    signals = [one for one in allowed.outcomes if isinstance(one, Signal)]
    assert len(signals) > 5
    assert all(one.unproven for one in signals)
    assert allowed.outcomes == alike.outcomes
    assert "signal" not in codes(old, config())


def test_a_signal_is_of_the_permitted_side_and_ends_with_its_permission() -> None:
    together = rows_of(proven(), config(), series(), market())
    assert together.permissions is not None
    closes = series()[1].open_ms[FIRST : FIRST + CLOSES] + FAST.ms
    for close_ms, outcome, permission in zip(closes.tolist(), together.outcomes, together.permissions, strict=True):
        if isinstance(outcome, Signal):
            assert permission is not None
            assert outcome.side == permission.side
            assert permission.from_ms <= close_ms < permission.until_ms == permission.from_ms + SLOW.ms
            assert outcome.until_ms is not None
            assert close_ms < outcome.until_ms <= min(permission.until_ms, close_ms + FAST.ms)
            assert outcome.valid_until_ms(close_ms, 1000.0, SLOW.ms) == outcome.until_ms
            assert outcome.horizon_bars == proven().horizon_bars
            assert outcome.expected_value_bps > 0
            assert outcome.probability_act > outcome.break_even_probability


def test_an_opinion_of_what_is_held_is_told_at_slow_closes_only() -> None:
    told = rows_of(proven(), config(), series(), market()).probabilities[:, 0]
    closes = series()[1].open_ms[FIRST : FIRST + CLOSES] + FAST.ms
    assert (np.isfinite(told) == (closes % SLOW.ms == 0)).all()


def test_no_other_future_changes_what_is_decided_before_it() -> None:
    given, (slow, fast) = market(), series()
    cut = FIRST + CLOSES // 2
    dice = np.random.default_rng(9)

    def redrawn(bars: BarSeries, row: int) -> BarSeries:
        factor = np.ones(len(bars))
        factor[row + 1 :] = np.exp(np.cumsum(dice.normal(size=len(bars) - row - 1) * 0.01))
        return replace(bars, **{name: getattr(bars, name) * factor for name in ("open", "high", "low", "close")})

    whole = rows_of(proven(), config(), (slow, fast), given)
    other = rows_of(proven(), config(), (redrawn(slow, (cut + 1) // EACH - 1), redrawn(fast, cut)), given)
    assert whole.permissions is not None
    assert other.permissions is not None
    known = cut - FIRST + 1
    assert whole.outcomes[:known] == other.outcomes[:known]
    assert whole.permissions[:known] == other.permissions[:known]
    assert whole.outcomes[known:] != other.outcomes[known:]


def test_a_fast_model_that_tells_nothing_never_enters() -> None:
    pair = wary(proven())
    assert pair.fast is not None
    booster = replace(pair.fast.side.booster, slope=0.0)
    silent = replace(pair, fast=replace(pair.fast, side=replace(pair.fast.side, booster=booster)))
    assert codes(silent, config()) == {"no_permission", "no_trigger"}


def test_a_slow_model_that_tells_nothing_permits_nothing() -> None:
    pair = proven()
    booster = replace(pair.slow.side.booster, slope=0.0)
    silent = replace(pair, slow=replace(pair.slow, side=replace(pair.slow.side, booster=booster)))
    assert codes(silent, config()) == {"no_permission"}


def test_a_weaker_word_of_the_slow_model_never_permits_a_larger_position() -> None:
    pair = proven()
    budgets = []
    for share in (0.25, 0.5, 1.0):
        booster = replace(pair.slow.side.booster, slope=pair.slow.side.booster.slope * share)
        weaker = replace(pair, slow=replace(pair.slow, side=replace(pair.slow.side, booster=booster)))
        found = rows_of(weaker, config(), series(), market()).permissions
        assert found is not None
        budgets.append([0.0 if one is None else one.budget for one in found])
    assert (np.diff(np.array(budgets), axis=0) >= 0).all()
    assert max(budgets[-1]) > max(budgets[0])


def permitted_row() -> int:
    """A slow close at which something is permitted."""
    found = rows_of(proven(), config(), series(), market()).permissions
    assert found is not None
    starts = range(EACH - 1 - FIRST % EACH, CLOSES, EACH)
    return FIRST + next(n for n in starts if found[n] is not None)


def outcome(given: PairInput, **analyst: Any) -> Analysis:
    return decide_pair(given, config(**analyst))


def test_a_permission_lapses_where_the_slow_model_is_not_heard_again() -> None:
    row = permitted_row()
    for late in range(3 * EACH):
        said = outcome(at(row + late, slow_row=(row + 1) // EACH - 1))
        if late < EACH:
            assert said.permission is not None
        else:
            assert said.permission is None
            assert isinstance(said.outcome, Abstention)
            assert said.outcome.code == "permission_lapsed"


def test_each_reason_to_abstain_has_its_code() -> None:
    row, pair = permitted_row(), proven()

    def code(given: PairInput, **analyst: Any) -> str:
        said = outcome(given, **analyst).outcome
        return said.code if isinstance(said, Abstention) else "signal"

    absent = replace(pair, fast=None, timing=None)
    assert code(at(row, absent)) == "fast_model_absent"
    assert code(at(row, unproven())) == "no_edge"
    given = at(row)
    assert code(replace(given, fast=replace(given.fast, bar_age_ms=3 * FAST.ms))) == "bars_stale"
    assert code(replace(given, slow=replace(given.slow, bar_age_ms=3 * SLOW.ms))) == "bars_stale"
    assert code(replace(given, fast=replace(given.fast, doubts={"bad_print": 1}))) == "data_quality"
    unknown = {"lead": None, "noise": 0.0}
    assert code(replace(given, fast=replace(given.fast, features=unknown))) == "features_incomplete"
    assert code(replace(given, slow=replace(given.slow, features=unknown))) == "features_incomplete"
    assert code(given, enable_ml_predictions=False) == "ml_predictions_off"
    assert code(given, enable_market_health_analysis=True) == "unhealthy_market"


def test_an_analysis_shows_its_permission_and_comes_back_from_json() -> None:
    row = permitted_row()
    shown = analyse_pair(at(row), config())
    assert isinstance(shown.permission, Permission)
    assert shown.timeframe == SLOW.name
    assert shown.decision_time_ms == int(series()[1].open_ms[row]) + FAST.ms
    assert shown.dual_score is not None
    assert Analysis.from_dict(shown.as_dict()) == shown
    assert "permission" not in Analysis.from_dict({**shown.as_dict(), "permission": None}).as_dict()
    assert shown.outcome == outcome(at(row)).outcome


def test_what_is_known_of_a_signal_is_of_its_fast_close() -> None:
    together = rows_of(proven(), config(), series(), market())
    prices = series()[1].close[FIRST : FIRST + CLOSES]
    for price, one in zip(prices, together.outcomes, strict=True):
        if isinstance(one, Signal):
            long = one.side == "long"
            assert (one.take_profit_price > price > one.stop_price) == long
            middle = np.sqrt(one.take_profit_price * one.stop_price)
            assert middle == pytest.approx(price)


def test_the_slow_opinion_is_told_whatever_the_fast_half_says() -> None:
    pair, row = proven(), FIRST + EACH - 1
    row -= (row + 1) % EACH
    given = at(row)
    told = decide_pair(given, config()).probabilities
    assert told is not None
    doubtful = replace(given, fast=replace(given.fast, doubts={"bad_print": 1}))
    unknown = replace(given, fast=replace(given.fast, features={"lead": None, "noise": None}))
    stale = replace(given, fast=replace(given.fast, bar_age_ms=11 * 60_000))
    absent = replace(pair, fast=None, timing=None)
    for silent in (doubtful, unknown, stale, at(row, absent)):
        said = decide_pair(silent, config())
        assert isinstance(said.outcome, Abstention)
        assert (said.permission, said.probabilities) == (None, told)
    old = replace(given, slow=replace(given.slow, bar_age_ms=3 * SLOW.ms))
    assert decide_pair(old, config()).probabilities is None


def test_together_as_alone_the_slow_opinion_is_told_without_fast_features_or_a_fast_half() -> None:
    given = market()
    blank = given.fast.features.with_columns(lead=pl.lit(None, pl.Float64), noise=pl.lit(None, pl.Float64))
    whole = rows_of(proven(), config(), series(), given)
    mute = rows_of(proven(), config(), series(), replace(given, fast=replace(given.fast, features=blank)))
    assert {one.code for one in mute.outcomes if isinstance(one, Abstention)} == {"features_incomplete"}
    assert mute.spoken.all()
    assert np.array_equal(mute.probabilities, whole.probabilities, equal_nan=True)
    alone = rows_of(replace(proven(), fast=None, timing=None), config(), series(), given)
    assert alone.spoken.all()
    assert np.array_equal(alone.probabilities, whole.probabilities, equal_nan=True)


def test_a_pair_that_is_not_watched_opens_nothing_and_what_is_held_is_cared_for() -> None:
    assert unwatched("pair", "live") is NOT_WATCHED
    assert {unwatched(kind, "live") for kind in ("model", "rule")} == {None}
    assert {unwatched("pair", profile) for profile in ("sim", "paper", "demo")} == {None}
    rows = range(FIRST, FIRST + CLOSES)
    row = next(n for n in rows if isinstance(decide_pair(at(n), config()).outcome, Signal))
    row -= (row + 1) % EACH
    for late in range(EACH):
        given = at(row + late)
        watched = decide_pair(given, config())
        said = decide_pair(replace(given, slow=replace(given.slow, drifted=NOT_WATCHED)), config())
        assert isinstance(said.outcome, Abstention)
        assert (said.probabilities, said.permission) == (watched.probabilities, watched.permission)
        if isinstance(watched.outcome, Signal):
            assert said.outcome.code == "pair_not_watched"


def test_a_pair_that_is_too_old_opens_nothing_together_or_alone() -> None:
    young, learned_ms = proven(), int(series()[1].open_ms[FIRST]) - 46 * DAY_MS
    assert "signal" in codes(young, config())
    for name in ("slow", "fast"):
        half = getattr(young, name)
        old = replace(young, **{name: replace(half, last_ms=learned_ms)})
        assert old.last_ms == young.last_ms, "what either has seen is another question"
        assert old.learned_to_ms == learned_ms + Timeframe.parse(half.timeframe).ms
        assert learned_to_ms(old.description("")) == old.learned_to_ms
        assert "model_expired" in codes(old, config())
        assert "signal" not in codes(old, config())
        outcome = decide_pair(at(FIRST + EACH, old), config()).outcome
        assert isinstance(outcome, Abstention)
        assert outcome.code == "model_expired"
