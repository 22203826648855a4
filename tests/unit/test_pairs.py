"""Whether × when: permissions out of fold, entries timed inside them, one claim of the pair's book, one bundle."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from support.training.pairs import EACH, FAST, SLOW, Counted, Market, market, options, trained, usual, without_fast_lead

from trader_cli.analyst.bundled import from_bundle, refuse_other_kind
from trader_cli.analyst.decision import Choice, Costs, Payoffs, TradeCosts
from trader_cli.analyst.fast_frame import fast_frame
from trader_cli.analyst.pair_training import TriedPair
from trader_cli.analyst.permission import Permissions, Standing, fast_bars_in
from trader_cli.analyst.permitted_entries import PermittedEntries
from trader_cli.analyst.timing import FastWord, Timing, triggers
from trader_cli.analyst.trained_pair import TrainedPair
from trader_cli.analyst.training import Contest, Fitting
from trader_cli.core.errors import ConfigurationError, DataInvalid, DataStale, TooFewBars, UsageError
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.core.types import Tries
from trader_cli.settings import as_settings

PERMISSIONS = Permissions(
    from_ms=np.array([0, SLOW.ms, 3 * SLOW.ms]),
    side=np.array([1, 0, -1], dtype=np.int8),
    worth=np.array([0.002, np.nan, 0.001]),
    sigma=np.array([0.01, 0.01, 0.02]),
    lasts_ms=SLOW.ms,
    horizon_ms=2 * SLOW.ms,
)


@cache
def held() -> tuple[Contest, Any, Any]:
    """A contest of slow learners, the market, the options."""
    given, config = market(), options()
    return Contest.held(Fitting.of(given.slow, config), given.slow.costs(config.costs), lambda *_: None), given, config


def entries_of(at: int) -> PermittedEntries:
    contest, given, config = held()
    return PermittedEntries.of(contest.tried[at], contest, given.fast, SLOW, config)


def test_a_permission_stands_from_its_close_until_the_next_and_never_longer() -> None:
    closes = np.arange(-FAST.ms, 5 * SLOW.ms, FAST.ms)
    standing = PERMISSIONS.at(closes, 0)
    for close_ms, side, since in zip(closes, standing.side, standing.since, strict=True):
        slow = close_ms // SLOW.ms
        assert side == {0: 1, 3: -1}.get(slow, 0), close_ms
        assert not side or 0 <= close_ms - since < SLOW.ms
    late = Permissions(np.array([0]), np.ones(1, np.int8), np.ones(1), np.ones(1), SLOW.ms, SLOW.ms)
    assert not late.at(np.array([SLOW.ms, 10 * SLOW.ms]), 0).live.any(), "no word since: it has lapsed"


def test_what_a_permission_is_worth_falls_as_its_horizon_goes_by() -> None:
    worth = PERMISSIONS.at(np.arange(0, SLOW.ms, FAST.ms), FAST.ms).worth
    assert (np.diff(worth) < 0).all()
    np.testing.assert_allclose(worth[0], 0.002 * (1 - 1 / 12))


def test_permissions_of_rows_that_were_learned_from_are_refused() -> None:
    contest, _, _ = held()
    one = contest.tried[0]
    learned = replace(one.out, learned_to=np.where(one.out.known, one.learner.data.start, one.out.learned_to))
    closes = contest.fitting.bars.open_ms[one.learner.data.start] + SLOW.ms
    Permissions.out_of_fold(one.learner, one.out, contest.folds, closes, SLOW)
    with pytest.raises(AssertionError, match="learned from"):
        Permissions.out_of_fold(one.learner, learned, contest.folds, closes, SLOW)


def test_a_fast_model_learns_from_permitted_bars_only_and_each_permission_is_out_of_fold() -> None:
    contest, _given, _ = held()
    for at, one in enumerate(contest.tried):
        entries, out, data = entries_of(at), one.out, one.learner.data
        standing = entries.standing(1)
        assert standing.live.all()
        closes = entries.fitting.bars.open_ms[entries.fitting.data.start] + FAST.ms
        told = contest.fitting.bars.open_ms[data.start] + SLOW.ms
        rows = np.searchsorted(told, standing.since)
        assert (told[rows] == standing.since).all()
        assert out.known[rows].all(), "no model has said anything of them"
        assert (out.learned_to[rows] < data.start[rows]).all()
        assert ((closes >= told[rows]) & (closes - told[rows] < SLOW.ms)).all()


def test_each_fast_learner_is_judged_by_what_is_left_behind_its_own_horizon() -> None:
    """As the kept one is served: worth counts from the end of what the fast model tells, whatever else was tried."""
    given, config = market(), options(fast_horizon_bars=[1, 3])
    contest = Contest.held(Fitting.of(given.slow, config), given.slow.costs(config.costs), lambda *_: None)
    entries = PermittedEntries.of(contest.tried[0], contest, given.fast, SLOW, config)
    timers = Contest.held(entries.fitting, Costs(0.0, 0.0), lambda *_: None)
    left = []
    for timer in timers.tried:
        pair = TriedPair.walked(contest.tried[0], timer, entries, timers.folds)
        left.append(float(np.nanmean(pair.standing.worth)))
        ahead_ms = timer.learner.options.longest_horizon * FAST.ms
        closes = entries.fitting.bars.open_ms[entries.data.start] + FAST.ms
        told = entries.permissions.at(closes, ahead_ms)
        np.testing.assert_array_equal(pair.standing.worth, told.worth)
    assert left[0] > left[1], "the longer it tells, the less is left"


def test_a_slow_learner_that_permits_too_little_counts_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial is named by its place: which learners permit enough this time must not move the others."""
    made, calls, told = PermittedEntries.of, [0], list[list[float]]()

    def little(*given: Any) -> PermittedEntries:
        calls[0] += 1
        if calls[0] == 1:
            raise TooFewBars("too little", 1, 1)
        return made(*given)

    class Told(Counted):
        def __call__(self, sharpes: Any, share: float = 1.0) -> Tries:
            told.append(list(sharpes))
            return super().__call__(sharpes, share)

    monkeypatch.setattr(PermittedEntries, "of", little)
    trained(market(), pairs=Told(), fast_horizon_bars=[1, 2])
    assert told[0][:2] == [0.0, 0.0]
    assert len(told[0]) == 4
    assert all(told[0][2:])


def test_an_entry_is_the_slow_trade_from_its_own_close() -> None:
    entries = entries_of(0)
    bars, data = entries.fitting.bars, entries.data
    assert (data.end - data.start <= entries.horizon).all()
    assert entries.horizon == EACH
    for row in range(0, len(data), 97):
        start, end = data.start[row], data.end[row]
        if end - start == entries.horizon:
            kept = bars.close[end] / bars.close[start] - 1
            barriers = abs(np.expm1(1.6 * data.sigma[row]))
            assert data.gain_long[row] == pytest.approx(kept) or abs(data.gain_long[row]) >= 0.9 * barriers


def test_what_comes_later_changes_no_decision_before() -> None:
    """Folds of a longer series differ, so what stands and what was known of a bar is compared, cut by cut."""
    contest, given, _ = held()
    one, closes = contest.tried[0], contest.fitting.bars.open_ms[contest.tried[0].learner.data.start] + SLOW.ms
    whole = Permissions.out_of_fold(one.learner, one.out, contest.folds, closes, SLOW)
    for cut in (501, 777, 1203):
        known = closes < closes[cut]
        before = Permissions(closes[known], whole.side[known], whole.worth[known], whole.sigma[known], SLOW.ms, SLOW.ms)
        bars = given.fast.bars["open_time"].to_physical().to_numpy() + FAST.ms
        seen = bars[bars < closes[cut]]
        both = [told.at(seen, FAST.ms) for told in (replace(whole, horizon_ms=SLOW.ms), before)]
        for name in ("side", "worth", "sigma", "since"):
            assert getattr(both[0], name).tobytes() == getattr(both[1], name).tobytes()


def test_when_to_enter_is_learned_only_of_entries_that_had_ended_before() -> None:
    contest, _, _ = held()
    entries = entries_of(0)
    timers = Contest.held(entries.fitting, Costs(0.0, 0.0), lambda *_: None)
    data, embargo = entries.data, entries.fitting.config.analyst.embargo

    def entered(outcome: np.ndarray) -> np.ndarray:
        told = replace(entries, data=replace(data, outcome=outcome))
        return TriedPair.walked(contest.tried[0], timers.tried[0], told, timers.folds).entered

    usual, judged = entered(data.outcome), [fold.test for fold in timers.folds if fold.judged]
    assert usual.any()
    for test in judged:
        late = data.end + embargo >= data.start[test.start]
        assert (entered(np.where(late, -data.outcome, data.outcome))[test] == usual[test]).all()
    before = data.start < data.start[judged[-1].start] - embargo - entries.horizon
    assert (entered(np.where(before, -data.outcome, data.outcome))[judged[-1]] != usual[judged[-1]]).any()


STANDING = Standing(np.array([1, 1, -1, 0, 1], np.int8), np.full(5, 0.001), np.full(5, 0.01), np.zeros(5, np.int64))
TIMING = Timing(0.5, 0.0, 4.0, Payoffs(0.8, 0.8, 0.8, 0.8))
FREE = TradeCosts(0.0, 0.0)


def word(side: int, move: float = 0.002, *, surer: bool = True) -> FastWord:
    return FastWord(np.full(5, side, np.int8), np.full(5, surer), np.full(5, move))


def chosen(told: FastWord, costs: TradeCosts = FREE) -> Choice:
    return TIMING.choose(STANDING, told.score(STANDING), costs)


def test_an_entry_needs_a_permission_of_its_side_and_a_fast_model_that_tells_it() -> None:
    assert triggers(word(1), STANDING, chosen(word(1))).tolist() == [True, True, False, False, True]
    assert triggers(word(-1), STANDING, chosen(word(-1))).tolist() == [False, False, True, False, False]
    faint = word(-1, 0.0005)
    assert triggers(faint, STANDING, chosen(faint)).tolist() == [False, False, True, False, False], (
        "against it, if faintly"
    )
    assert not triggers(word(1, surer=False), STANDING, chosen(word(1))).any(), "no better than base rates"
    assert not triggers(word(1, 0.0), STANDING, chosen(word(1, 0.0))).any()


def test_costs_are_paid_once_and_a_weaker_word_is_never_worth_more() -> None:
    worth = [chosen(word(1, move)).expected_value[0] for move in (0.001, 0.002, 0.004)]
    assert worth[0] < worth[1] < worth[2]
    dear = chosen(word(1), TradeCosts(0.001, 0.001)).expected_value[0]
    assert dear == pytest.approx(chosen(word(1)).expected_value[0] - 0.001)
    assert not triggers(word(1), STANDING, chosen(word(1), TradeCosts(1.0, 1.0))).any()


def test_a_pair_without_an_out_of_sample_slope_tells_base_rates() -> None:
    flat = replace(TIMING, slope=0.0)
    choice = flat.choose(STANDING, word(1).score(STANDING), FREE)
    assert not triggers(word(1), STANDING, choice).any()


def test_a_pair_claims_what_a_fast_lead_betters_and_each_combination_is_a_trial() -> None:
    slow, pairs = Counted(), Counted()
    made = trained(market(), slow, pairs)
    assert made.claim.edge, made.claim.reason
    assert slow.calls == [3], "two slow learners and the act model behind the best"
    assert pairs.calls == [2], "each slow learner with the fast one"
    both = Counted()
    assert trained(market(), pairs=both, fast_horizon_bars=[1, 2]).claim.trades > 0
    assert both.calls == [4]


def test_without_a_fast_lead_nothing_is_timed_and_nothing_is_claimed() -> None:
    made = trained(without_fast_lead(market()))
    assert not made.claim.edge
    assert not made.slow.claim.edge, "the slow lead alone is eaten up by costs"
    assert made.metrics["permissions_lapsed"] > made.metrics["permissions"] / 2


def test_where_too_little_is_permitted_there_is_no_fast_model_and_no_edge() -> None:
    given = market()
    short = replace(given.fast, bars=given.fast.bars[:700], features=given.fast.features[:700])
    silent = trained(Market(given.slow, short))
    assert (silent.fast, silent.timing, silent.claim.edge) == (None, None, False)
    assert "permits too little" in silent.claim.reason
    again = from_bundle(silent.files(), silent.description("test"))
    assert isinstance(again, TrainedPair)
    assert again.fast is None


@pytest.mark.slow
def test_the_same_training_twice_is_the_same_bundle() -> None:
    again = trained(market())
    assert (again.files(), again.description("x")) == (usual().files(), usual().description("x"))


# --- the bundle ---


def bundled(**changes: Any) -> tuple[dict[str, bytes], dict[str, Any]]:
    pair = usual()
    return pair.files(), {**pair.description("test"), **changes}


def test_a_bundle_brings_the_same_pair_back() -> None:
    again = from_bundle(*bundled())
    assert isinstance(again, TrainedPair)
    x = np.random.default_rng(3).normal(size=(20, len(usual().slow.features)))
    assert again.slow.side.predict(x).tobytes() == usual().slow.side.predict(x).tobytes()
    assert (again.claim, again.timing, again.halves) == (usual().claim, usual().timing, usual().halves)
    assert again.claim != again.slow.claim


HALF_FILES = ("bundle.json", "calibration.json", "fitted.json", "side.txt")


@pytest.mark.parametrize("file", [f"{half}_{name}" for half in ("slow", "fast") for name in HALF_FILES])
def test_a_half_with_one_byte_changed_is_refused(file: str) -> None:
    files, description = bundled()
    changed = bytearray(files[file])
    changed[len(changed) // 2] ^= 1
    with pytest.raises(DataInvalid, match=f"The {file.partition('_')[0]} half of the pair is not the one"):
        from_bundle({**files, file: bytes(changed)}, description)


def test_halves_of_other_symbols_or_frames_are_no_pair() -> None:
    pair = usual()
    assert pair.fast is not None
    for changes, sentence in (
        ({"fast": replace(pair.fast, symbol="BTCUSDT")}, "fast half is of BTCUSDT 5m"),
        ({"slow": replace(pair.slow, symbol="BTCUSDT")}, "slow half of BTCUSDT 30m"),
        ({"fast": replace(pair.fast, timeframe="3m")}, "times in 5m; its fast half is of ETHUSDT 3m"),
    ):
        other = replace(pair, **changes)
        again = TrainedPair.of(other.slow, other.fast, pair.timing, "5m", pair.claim, {})
        told = {**pair.basis("test"), **again.description("test"), "symbol": "ETHUSDT", "timeframe": "30m"}
        with pytest.raises(DataInvalid, match=sentence):
            from_bundle(other.files(), told)
    with pytest.raises(DataInvalid, match="made by"):
        from_bundle(*bundled(schema=9))
    halves = {"slow": pair.halves["slow"]}
    with pytest.raises(DataInvalid, match="without the other"):
        from_bundle(*bundled(halves=halves))


def test_what_a_half_claims_is_not_what_the_pair_claims() -> None:
    files, description = bundled()
    told = json.loads(json.dumps(description["claim"]))
    again = from_bundle(files, {**description, "claim": {**told, "edge": False}})
    assert not again.claim.edge, "the pair's own claim stands, whatever its halves say"


# --- frames ---


def frame_of(config: dict[str, Any], slow: Timeframe) -> Timeframe | None:
    settings = as_settings(config)
    return fast_frame(settings.analyst, settings.rule.name, slow)


@pytest.mark.parametrize(
    ("slow", "fast", "sentence"),
    [("5m", "15m", "not finer"), ("5m", "5m", "not finer"), ("5m", "3m", "do not hold whole bars")],
)
def test_a_fast_frame_that_does_not_fit_is_refused(slow: str, fast: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        fast_bars_in(Timeframe.parse(slow), Timeframe.parse(fast))
    with pytest.raises(UsageError, match=sentence):
        frame_of({"analyst": {"fast_timeframe": fast}}, Timeframe.parse(slow))


def test_fast_frames_are_named_by_the_settings_or_there_are_none() -> None:
    assert frame_of({}, SLOW) is None
    assert frame_of({"analyst": {"fast_timeframe": "5m"}}, SLOW) == FAST
    with pytest.raises(ConfigurationError, match="fast_timeframe is one of"):
        as_settings({"analyst": {"fast_timeframe": "7m"}})
    with pytest.raises(ConfigurationError, match="dual model system"):
        as_settings({"analyst": {"fast_timeframe": "5m", "enable_dual_model_system": False}})
    with pytest.raises(ConfigurationError, match="decides at its own bars"):
        frame_of({"analyst": {"fast_timeframe": "5m"}, "rule": {"name": "sma_cross"}}, SLOW)


def test_a_bundle_that_times_otherwise_than_the_settings_say_is_refused() -> None:
    refuse_other_kind(usual(), None, "5m", "train")
    for stored, named in ((usual(), ""), (usual(), "1m"), (usual().slow, "5m")):
        with pytest.raises(DataStale, match="times entries in"):
            refuse_other_kind(stored, None, named, "train")
