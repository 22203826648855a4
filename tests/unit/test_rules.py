"""Rules: typed parameters, the same word however many bars are told at once, and no look ahead that goes unseen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.market.bars import random_bars
from support.training.peeking_columns import PEEKING, WARMUPS, Markov, pivot
from support.training.rules_of_columns import M15, Floats, certificate_of, rule_of

from trader_cli.core.errors import ConfigurationError, DataInvalid, VerificationFailed
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.features.bar_arrays import BarSeries
from trader_cli.features.certificates import require_causal
from trader_cli.features.rule import BarSignals, NamedRule, Rule, RuleBars, fitting_parameters, parameter, rule_name
from trader_cli.features.rule_series import rule_bars, rule_signals, rule_start
from trader_cli.features.rules.channel_breakout import ChannelBreakout
from trader_cli.features.rules.sma_cross import SmaCross

THRESHOLDS = {
    "higher frame joined on open time": 1.0,
    "centred 11-bar mean": 1.0,
    "pivot stamped at its bar": 0.5,
    "HMM smoothed": 0.5,
    "HMM Viterbi": 0.5,
    "whole rank": 0.5,
    "back-fill": 1.0,
}


@pytest.mark.parametrize("name", PEEKING)
def test_every_known_way_to_look_ahead_is_refused_by_name(name: str) -> None:
    found = certificate_of(rule_of(PEEKING[name], THRESHOLDS.get(name, 0.0), WARMUPS.get(name, 60)))
    with pytest.raises(VerificationFailed, match=r"The rule mine .*may not be used: side \("):
        require_causal("mine", found)


HONEST = {
    "confirmed pivot": rule_of(lambda bars: pivot(bars, 3), 0.5),
    "filtered HMM": rule_of(lambda bars: Markov().filtered(bars)[:, 1], 0.5),
    "never anything": rule_of(lambda bars: np.full(len(bars), np.nan)),
    "always long": rule_of(lambda bars: np.ones(len(bars)), finite=True, warmup=0),
    "sma cross": NamedRule("sma_cross", "of the package", SmaCross()),
    "sma cross, short means": NamedRule("sma_cross", "of the package", SmaCross(fast=1, slow=2, target=0.01)),
    "channel breakout": NamedRule("channel_breakout", "of the package", ChannelBreakout()),
}


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_rule_is_not_refused(name: str) -> None:
    assert certificate_of(HONEST[name]).failures == ()


@settings(max_examples=25)
@given(
    weights=st.lists(st.floats(-2, 2), min_size=1, max_size=6),
    name=st.sampled_from(["open", "high", "low", "close", "volume"]),
    power=st.sampled_from([1, 3]),
)
def test_no_rule_of_past_bars_alone_is_refused(weights: list[float], name: str, power: int) -> None:
    """The sign of any weighted sum of past changes, whatever the weights."""

    def column(bars: BarSeries) -> Floats:
        changes = np.diff(bars[name], prepend=bars[name][:1]) ** power
        total = np.zeros(len(bars))
        for back, weight in enumerate(weights):
            total[back:] += weight * changes[: len(changes) - back]
        return total

    named = rule_of(column, 0.0, len(weights), finite=True)
    assert certificate_of(named, cuts=16, probes=50).failures == ()


def sides(named: NamedRule, bars: RuleBars, since: int | None = None) -> np.ndarray:
    return rule_signals(named, bars, M15, since).side


@pytest.mark.parametrize("rule", [SmaCross(), SmaCross(5, 11, short=False), ChannelBreakout(), ChannelBreakout(7, 3)])
def test_the_word_of_the_last_bar_alone_is_that_of_the_whole(rule: Rule) -> None:
    named, bars = NamedRule("x", "y", rule), random_bars(1500)
    seen = rule_bars(bars, rule.inputs)
    whole = rule_signals(named, seen, M15)
    for row in range(len(seen) - 200, len(seen), 7):
        at = int(seen.open_ms[row])
        first = int(np.searchsorted(seen.open_ms, rule_start(named, M15, at)))
        alone = rule_signals(named, seen.cut(first, row + 1), M15, at)
        assert (alone.side[-1], alone.stop[-1], alone.target[-1]) == (
            whole.side[row],
            whole.stop[row],
            whole.target[row],
        )


def test_a_rule_that_is_not_finite_says_the_same_from_its_anchor() -> None:
    def column(bars: BarSeries) -> Floats:
        state, out = 0.0, []
        for close, opened in zip(bars.close, bars.open, strict=True):
            state = 0.9 * state + close - opened
            out.append(state)
        return np.array(out)

    named, bars = rule_of(column, 0.0, 10), random_bars(1500)
    seen = rule_bars(bars, named.rule.inputs)
    whole = sides(named, seen)
    for row in (800, 863, 864, 1100, 1499):
        at = int(seen.open_ms[row])
        first = int(np.searchsorted(seen.open_ms, rule_start(named, M15, at)))
        assert sides(named, seen.cut(first, row + 1), at)[-1] == whole[row]
    assert set(whole.tolist()) == {-1, 0, 1}


def test_behind_a_gap_nothing_is_said_until_enough_is_known() -> None:
    bars = random_bars(600)
    holed = bars.filter(~bars["open_time"].is_in(bars["open_time"][300:305].implode()))
    said = sides(NamedRule("x", "y", SmaCross()), rule_bars(holed, ("close",)))
    assert not said[300:349].any()
    assert said[349:].any()


def test_sma_cross_is_what_its_name_says() -> None:
    bars = random_bars(400, sigma=0.001)
    close = np.round(bars["close"].to_numpy() / 50) * 50  # coarse: ties
    seen = RuleBars(rule_bars(bars, ("close",)).open_ms, {"close": close})
    said, both = (
        sides(NamedRule("x", "y", SmaCross(3, 7, short=False)), seen),
        sides(NamedRule("x", "y", SmaCross(3, 7)), seen),
    )
    for row in range(400):
        wanted = 0
        if row >= 6:
            fast, slow = 7 * int(close[row - 2 : row + 1].sum()), 3 * int(close[row - 6 : row + 1].sum())
            wanted = int(fast > slow) - int(fast < slow)
        assert both[row] == wanted
        assert said[row] == max(wanted, 0)
    assert 0 in both[7:], "a tie is nothing"


def test_a_channel_breakout_is_what_its_name_says() -> None:
    bars, rule = random_bars(400), ChannelBreakout(channel=9, hold=5)
    high, low, close = (bars[name].to_numpy() for name in ("high", "low", "close"))
    said, held, age = sides(NamedRule("x", "y", rule), rule_bars(bars, rule.inputs)), 0, 0
    for row in range(9, 400):
        age += 1
        up, down = close[row] > high[row - 9 : row].max(), close[row] < low[row - 9 : row].min()
        if up or down:
            held, age = int(up) - int(down), 0
        if row >= rule.warmup:
            assert said[row] == (held if age < 5 else 0)
    assert set(said.tolist()) == {-1, 0, 1}


@dataclass(frozen=True)
class Silent(Rule):
    """One that never says anything."""

    @property
    def warmup(self) -> int:
        return 1

    def signals(self, bars: RuleBars) -> BarSignals:
        return BarSignals.of(np.zeros(len(bars)), np.full(len(bars), np.nan))


@dataclass(frozen=True)
class Typed(Silent):
    whole: int = parameter(20, least=2, most=50, unit="bars")
    share: float = parameter(0.5, least=0.1, most=1.0, unit="of it")
    on: bool = parameter(True, least=False, most=True, unit="whether")


@pytest.mark.parametrize(
    ("given_", "sentence"),
    [
        ({"whole": 1}, "whole of the rule typed is a whole number from 2 to 50 .bars.; found 1"),
        ({"whole": 51}, "found 51"),
        ({"whole": 20.0}, "a whole number from 2 to 50"),
        ({"whole": True}, "found True"),
        ({"share": float("nan")}, "a number from 0.1 to 1.0"),
        ({"share": "0.5"}, "found '0.5'"),
        ({"on": 1}, "true or false"),
        ({"hole": 3}, "no parameter 'hole'. The nearest is 'whole'"),
    ],
)
def test_a_parameter_that_does_not_fit_is_refused(given_: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        fitting_parameters(Typed, given_)


def test_parameters_are_of_their_types() -> None:
    assert Typed(**fitting_parameters(Typed, {"share": 1, "whole": 2})) == Typed(2, 1.0, True)
    assert isinstance(fitting_parameters(Typed, {"share": 1})["share"], float)
    assert (rule_name(SmaCross), rule_name(Typed)) == ("sma_cross", "typed")


def test_a_parameter_without_a_range_is_refused() -> None:
    @dataclass(frozen=True)
    class Loose(Rule):
        bars: int = 20

    with pytest.raises(ConfigurationError, match="The parameter bars of the rule loose has no range"):
        fitting_parameters(Loose, {})


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (np.ones, "gives ndarray; BarSignals are wanted"),
        (lambda n: BarSignals.of(np.ones(n - 1), 0.02), r"The side of the rule x is of shape \(99,\)"),
        (lambda n: BarSignals(np.ones(n), np.ones(n - 1), np.ones(n)), "The stop of the rule x"),
        (lambda n: BarSignals.of(np.full(n, 2), 0.02), "sides of the rule x are −1, 0 or .1; found 2 at bar 0"),
        (lambda n: BarSignals.of(np.full(n, 0.5), 0.02), "found 0.5"),
        (lambda n: BarSignals.of(np.full(n, "long"), 0.02), "numbers"),
        (lambda n: BarSignals.of(np.ones(n), 0.0), "stop of the rule x is a fraction between 0 and 1; found 0.0"),
        (lambda n: BarSignals.of(np.ones(n), np.nan), "found nan"),
        (lambda n: BarSignals.of(np.ones(n), 2.0), "found 2.0"),
        (lambda n: BarSignals.of(np.ones(n), 0.02, -0.1), "target of the rule x"),
    ],
)
def test_signals_that_are_none_are_refused(made: object, sentence: str) -> None:
    with pytest.raises(DataInvalid, match=sentence):
        NamedRule("x", "y", Silent()).checked(made(100), 100)  # type: ignore[operator]


def test_where_nothing_is_held_no_distance_is_needed() -> None:
    side = np.array([0, np.nan, 1.0])
    said = NamedRule("x", "y", Silent()).checked(BarSignals.of(side, np.where(side == 1, 0.1, np.nan)), 3)
    assert said.side.tolist() == [0, 0, 1]


def test_inputs_are_declared_and_not_written_to() -> None:
    bars = rule_bars(random_bars(10), ("close",))
    with pytest.raises(KeyError, match="'high' is not among the rule's inputs: close"):
        bars["high"]
    with pytest.raises(ValueError, match="read-only"):
        bars["close"][0] = 1.0
    with pytest.raises(ValueError, match="read-only"):
        bars.cut(0, 5)["close"][0] = 1.0


def test_a_rule_says_the_same_in_every_time_frame_of_the_same_bars() -> None:
    minutes = random_bars(300, "1m")
    seen, named = rule_bars(minutes, ("close",)), NamedRule("x", "y", SmaCross())
    as_minutes = rule_signals(named, seen, Timeframe.parse("1m")).side
    quarters = RuleBars(seen.open_ms[0] + (seen.open_ms - seen.open_ms[0]) * 15, seen.values)
    assert np.array_equal(as_minutes, rule_signals(named, quarters, M15).side)


def test_a_parameter_is_not_called_as_what_stands_beside_it_and_its_default_is_in_its_range() -> None:
    @dataclass(frozen=True)
    class Named(Rule):
        source: int = parameter(2, least=1, most=9, unit="bars")

    @dataclass(frozen=True)
    class Beyond(Rule):
        bars: int = parameter(1000, least=2, most=500, unit="bars")

    with pytest.raises(ConfigurationError, match="is called source"):
        fitting_parameters(Named, {})
    with pytest.raises(ConfigurationError, match="from 2 to 500"):
        fitting_parameters(Beyond, {})
