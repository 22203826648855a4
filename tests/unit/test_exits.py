"""What is done with a position: price first, then opinion; a stop only tightens; long and short are mirrors."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trader_cli.core.money.exits import STAY, Action, Assessment, ExitRules, OpenPosition, assess, trailing_stop

EXAMPLES = settings(max_examples=60, deadline=None)
RULES = ExitRules(1.0, 0.25, 0.8, 0.6, 4 * 900_000, 900_000)
NOW = 10_000_000
MIDDLE = Decimal(1000)
prices = st.integers(800_00, 1200_00).map(lambda cents: Decimal(cents) / 100)
losses = st.floats(0, 1)
rules = st.builds(
    ExitRules,
    st.floats(0.1, 4),
    st.floats(0.05, 2),
    st.floats(0.5, 1),
    st.floats(0.1, 0.7),
    st.integers(1, 10**7),
    st.integers(0, 10**6),
)


def held(side: str = "long", **changes: object) -> OpenPosition:
    sign = 1 if side == "long" else -1
    made = OpenPosition(
        side=side,
        quantity=Decimal(1),
        entry_price=MIDDLE,
        first_stop=MIDDLE - 20 * sign,
        stop_price=MIDDLE - 20 * sign,
        take_profit_price=MIDDLE + 40 * sign,
        best_price=MIDDLE,
        exit_by_ms=NOW + 10**9,
        opened_ms=0,
        last_act_ms=0,
        scaled_down=False,
    )  # type: ignore[arg-type]
    return replace(made, **changes)  # type: ignore[arg-type]


def mirrored(position: OpenPosition) -> OpenPosition:
    """The same position of the other side, every price mirrored at the middle."""
    names = ("entry_price", "first_stop", "stop_price", "take_profit_price", "best_price")
    flipped = {name: 2 * MIDDLE - getattr(position, name) for name in names}
    return replace(position, side="short" if position.side == "long" else "long", **flipped)


positions = st.builds(
    lambda side, entry, first, stop, best, dwell, scaled: held(
        side,
        entry_price=entry,
        first_stop=first,
        stop_price=stop,
        best_price=best,
        last_act_ms=NOW - dwell,
        scaled_down=scaled,
    ),
    st.sampled_from(["long", "short"]),
    prices,
    prices,
    prices,
    prices,
    st.integers(0, 2 * 10**6),
    st.booleans(),
)


@EXAMPLES
@given(positions, prices, losses, rules, st.integers(0, 10**7))
def test_a_stop_only_ever_tightens(
    position: OpenPosition, mark: Decimal, loss: float, rule: ExitRules, age: int
) -> None:
    trailed = trailing_stop(position, rule)
    assert (trailed - position.stop_price) * position.sign >= 0
    action = assess(position, mark, Assessment(loss, NOW - age), rule, NOW)
    if action.kind == "tighten":
        assert action.price is not None
        assert (action.price - position.stop_price) * position.sign > 0
        assert (mark - action.price) * position.sign > 0, "never where it would trigger at once"


@EXAMPLES
@given(positions, prices, losses, losses, rules)
def test_price_rules_do_not_look_at_the_opinion(
    position: OpenPosition, mark: Decimal, one: float, other: float, rule: ExitRules
) -> None:
    actions = [assess(position, mark, o, rule, NOW) for o in (Assessment(one, NOW), Assessment(other, NOW), None)]
    by_price = {"stop_passed", "target_passed", "time"}
    if any(action.reason in by_price for action in actions):
        assert actions[0] == actions[1] == actions[2]
    if (mark - position.stop_price) * position.sign <= 0:
        assert actions[0] == Action("close", "stop_passed")


HOLDING = {"stay": 2, "tighten": 2, "scale_down": 1, "take_profit": 0, "close": 0}


@EXAMPLES
@given(positions, prices, losses, losses, rules)
def test_a_higher_probability_of_loss_never_holds_longer(
    position: OpenPosition, mark: Decimal, one: float, other: float, rule: ExitRules
) -> None:
    rule = replace(rule, medium_risk=min(rule.medium_risk, rule.high_risk))
    worse, better = max(one, other), min(one, other)
    kept = [HOLDING[assess(position, mark, Assessment(loss, NOW), rule, NOW).kind] for loss in (better, worse)]
    assert kept[1] <= kept[0]


@EXAMPLES
@given(positions, prices, losses, rules, st.integers(0, 10**7))
def test_long_and_short_are_mirrors(
    position: OpenPosition, mark: Decimal, loss: float, rule: ExitRules, age: int
) -> None:
    one = assess(position, mark, Assessment(loss, NOW - age), rule, NOW)
    other = assess(mirrored(position), 2 * MIDDLE - mark, Assessment(loss, NOW - age), rule, NOW)
    assert (one.kind, one.reason, one.share) == (other.kind, other.reason, other.share)
    assert other.price == (None if one.price is None else 2 * MIDDLE - one.price)


@EXAMPLES
@given(losses, st.integers(0, 10**8), st.integers(1, 10**7))
def test_without_news_an_opinion_decays_to_one_half(loss: float, age: int, half_life: int) -> None:
    assessment = Assessment(loss, 0)
    now, later = assessment.decayed(age, half_life), assessment.decayed(age + half_life, half_life)
    assert abs(later - 0.5) == pytest.approx(abs(now - 0.5) / 2)
    assert (now - 0.5) * (loss - 0.5) >= 0
    assert assessment.decayed(0, half_life) == pytest.approx(loss)
    assert assessment.decayed(-5, half_life) == pytest.approx(loss), "an opinion from ahead of our clock is as of now"


def test_opinions_wait_for_the_dwell_and_scale_down_once() -> None:
    fresh = held(last_act_ms=NOW - RULES.dwell_ms + 1)
    rested = replace(fresh, last_act_ms=NOW - RULES.dwell_ms)
    assert assess(fresh, MIDDLE, Assessment(0.9, NOW), RULES, NOW) == STAY
    assert assess(rested, MIDDLE, Assessment(0.9, NOW), RULES, NOW) == Action("close", "high_risk")
    halved = assess(rested, MIDDLE, Assessment(0.7, NOW), RULES, NOW)
    assert (halved.kind, halved.share) == ("scale_down", Decimal("0.5"))
    assert assess(replace(rested, scaled_down=True), MIDDLE, Assessment(0.7, NOW), RULES, NOW) == STAY
    assert assess(rested, MIDDLE, Assessment(0.6, NOW), RULES, NOW).kind == "scale_down", "the threshold counts"
    assert assess(rested, MIDDLE, None, RULES, NOW) == STAY


def test_an_opinion_that_has_decayed_below_the_threshold_does_nothing() -> None:
    assert assess(held(), MIDDLE, Assessment(0.9, NOW - RULES.half_life_ms), RULES, NOW).kind == "scale_down"
    assert assess(held(), MIDDLE, Assessment(0.9, NOW - 3 * RULES.half_life_ms), RULES, NOW) == STAY


def test_time_and_target_close() -> None:
    assert assess(held(exit_by_ms=NOW), MIDDLE, None, RULES, NOW) == Action("close", "time")
    assert assess(held(), MIDDLE + 40, None, RULES, NOW) == Action("take_profit", "target_passed")
    assert assess(held(), MIDDLE - 20, None, RULES, NOW) == Action("close", "stop_passed")


@EXAMPLES
@given(positions, prices, losses, rules, st.integers(-(10**7), 10**7))
def test_before_a_delisting_it_is_left_whatever_else_holds(
    position: OpenPosition, mark: Decimal, loss: float, rule: ExitRules, late: int
) -> None:
    ending = replace(position, leave_by_ms=NOW - late)
    action = assess(ending, mark, Assessment(loss, NOW), rule, NOW)
    if late >= 0:
        assert action.kind == "close"
        assert action.reason in {"delisting", "stop_passed"}
    else:
        assert action == assess(position, mark, Assessment(loss, NOW), rule, NOW), "until then nothing is different"


def test_the_trail_follows_in_whole_rungs() -> None:
    """R is 20, a rung a quarter of it, the trail one R behind the best price."""
    levels = [trailing_stop(held(best_price=MIDDLE + gain), RULES) for gain in (0, 4, 5, 9, 10, 20)]
    assert levels == [980, 980, 985, 985, 990, 1000]
    assert trailing_stop(held(first_stop=MIDDLE), RULES) == held().stop_price, "no distance, no trail"


@EXAMPLES
@given(st.lists(prices, min_size=1, max_size=30), rules)
def test_along_any_path_the_stop_is_monotone(path: list[Decimal], rule: ExitRules) -> None:
    position, stops = held(take_profit_price=Decimal(10**6)), []
    for mark in path:
        position = replace(position, best_price=max(position.best_price, mark))
        action = assess(position, mark, None, rule, NOW)
        if action.kind == "close":
            break
        if action.kind == "tighten" and action.price is not None:
            position = replace(position, stop_price=action.price)
        stops.append(position.stop_price)
    assert stops == sorted(stops)


@pytest.mark.parametrize("side", ["long", "short"])
def test_a_stop_tighter_than_the_trail_stays_where_it_is(side: str) -> None:
    sign = 1 if side == "long" else -1
    tight = held(side, stop_price=MIDDLE - 5 * sign, best_price=MIDDLE + 10 * sign)
    assert trailing_stop(tight, RULES) == tight.stop_price, "the trail would be 10 behind the middle"
    assert assess(tight, MIDDLE + 10 * sign, None, RULES, NOW) == STAY
    further = replace(tight, best_price=MIDDLE + 20 * sign)
    assert assess(further, MIDDLE + 18 * sign, None, RULES, NOW).price == MIDDLE
