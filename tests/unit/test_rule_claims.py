"""From what a rule says to its trades, its claim and its signals: by the numbers of one trade, and by the claim rule."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from support.market.bars import random_bars

from trader_cli.analyst.bundled import from_bundle, refuse_other_kind
from trader_cli.analyst.decision import TradeCosts
from trader_cli.analyst.rule_claim import judge_rule
from trader_cli.analyst.rule_decision import RuleWord, held_by, rule_outcome
from trader_cli.analyst.rule_trades import rule_trades
from trader_cli.analyst.trained_rule import TrainedRule
from trader_cli.analyst.training import TrainingInput
from trader_cli.core.errors import DataInvalid, DataMissing, DataStale
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.core.types import Abstention, Analysis, Signal, Tries
from trader_cli.features.bar_arrays import BarSeries
from trader_cli.features.rule import BarSignals, NamedRule
from trader_cli.features.rules.sma_cross import SmaCross
from trader_cli.settings import as_settings
from trader_cli.settings.room_options import TrainingOptions
from trader_cli.tactician.assessments import assessment_of

M15 = Timeframe.parse("15m")
NAMED = NamedRule("sma_cross", "of the package", SmaCross(fast=2, slow=5))
OPTIONS = TrainingOptions.of(as_settings({}))


def said_of(side: np.ndarray, stop: float = 0.01, target: float = np.inf) -> BarSignals:
    n = len(side)
    return BarSignals(side.astype(np.int8), np.full(n, stop), np.full(n, target))


def judged(bars: pl.DataFrame, said: BarSignals, trials: list[float] | None = None) -> TrainedRule:
    given = TrainingInput("key", "tape", "ETHUSDT", M15, bars, bars, {"bars": "b", "features": "f"})
    return judge_rule(given, NAMED, said, OPTIONS, lambda own, _: Tries.alone([*own, *(trials or [])]))


def jumping(bars: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """Bars that open away from the close before, beyond many a stop."""
    opened = bars["open"].to_numpy() * np.exp(rng.normal(0, 0.004, bars.height))
    extremes = [np.maximum(bars["high"].to_numpy(), opened), np.minimum(bars["low"].to_numpy(), opened)]
    return bars.with_columns(open=opened, high=extremes[0], low=extremes[1])


def plain_trades(bars: BarSeries, said: BarSignals, barrier: np.ndarray, horizon: int) -> list[tuple[float, ...]]:
    """One bar after the other."""
    found: list[tuple[float, ...]] = []
    held: tuple[int, int, float, float, float] | None = None
    for row in range(len(bars)):
        side = int(said.side[row])
        if held is not None:
            start, way, price, stop, target = held
            worst, best = (bars.low[row], bars.high[row]) if way > 0 else (bars.high[row], bars.low[row])
            moved = {at: way * (value / price - 1) for at, value in (("worst", worst), ("best", best))}
            gain = None
            if moved["worst"] <= -stop:
                gain = min(-stop, way * (bars.open[row] / price - 1))
            elif moved["best"] >= target:
                gain = target
            elif side != way or row - start == horizon:
                gain = way * (bars.close[row] / price - 1)
            if gain is not None:
                found.append((start, row, way, stop, target, gain))
                held = None
        before = int(said.side[row - 1]) if row else 0
        if side and side != before and barrier[row] > 0 and held is None:
            own = float(said.target[row])
            usual = np.expm1(barrier[row]) if side > 0 else -np.expm1(-barrier[row])
            held = (row, side, float(bars.close[row]), float(said.stop[row]), own if np.isfinite(own) else float(usual))
    return found


@pytest.mark.parametrize("target", [np.inf, 0.004])
@pytest.mark.parametrize("seed", range(12))
def test_its_trades_are_those_of_a_plain_loop(seed: int, target: float) -> None:
    rng = np.random.default_rng(seed)
    bars = BarSeries.of(jumping(random_bars(600, seed=seed), rng))
    side = np.repeat(rng.integers(-1, 2, 600), rng.integers(1, 9))[:600]
    said = said_of(side, stop=0.003, target=target)
    barrier = np.where(np.arange(600) < 30, np.nan, 0.006)
    made = rule_trades(bars, said, barrier, 12, M15.ms, np.zeros(600, bool))
    loop = plain_trades(bars, said, barrier, 12)
    assert list(zip(made.start.tolist(), made.end.tolist(), made.side.tolist(), strict=True)) == [t[:3] for t in loop]
    assert made.gain == pytest.approx([t[5] for t in loop])
    assert made.target == pytest.approx([t[4] for t in loop])
    assert ((made.win_shares >= 0) & (made.win_shares <= 1)).all()


def test_a_trade_over_a_gap_or_on_an_unfit_bar_is_none() -> None:
    frame = random_bars(200)
    side, barrier = np.repeat([0, 1, 0, -1], 50), np.full(200, 0.01)
    whole = rule_trades(BarSeries.of(frame), said_of(side), barrier, 24, M15.ms, np.zeros(200, bool))
    assert whole.start.tolist() == [50, 150]
    unfit = np.zeros(200, bool)
    unfit[150] = True
    assert rule_trades(BarSeries.of(frame), said_of(side), barrier, 24, M15.ms, unfit).start.tolist() == [50]
    late = frame.with_columns(
        pl.when(pl.int_range(200) > 50)
        .then(pl.col("open_time") + pl.duration(hours=1))
        .otherwise("open_time")
        .alias("open_time")
    )
    assert rule_trades(BarSeries.of(late), said_of(side), barrier, 24, M15.ms, np.zeros(200, bool)).start.tolist() == [
        150
    ]


def foreseen(bars: pl.DataFrame, skill: float, seed: int = 0) -> BarSignals:
    """Sides that last for eight bars and are right more often than not."""
    close, rng = bars["close"].to_numpy(), np.random.default_rng(seed)
    blocks = len(close) // 8
    ahead = np.sign(close[np.minimum(np.arange(1, blocks + 1) * 8, len(close) - 1)] - close[np.arange(blocks) * 8])
    right = np.where(rng.random(blocks) < skill, ahead, -ahead)
    side = np.zeros(len(close))
    side[: blocks * 8] = np.repeat(right, 8)
    return said_of(side, stop=0.03)


def test_skill_is_claimed_and_luck_is_not() -> None:
    bars = random_bars(6000)
    skilled, none = judged(bars, foreseen(bars, 0.75)), judged(bars, foreseen(bars, 0.5))
    assert skilled.claim.edge
    assert not none.claim.edge
    assert skilled.win_share > none.win_share
    assert skilled.claim.doubled_cost_sharpe_per_bar < skilled.claim.sharpe_per_bar


def test_every_trial_counts_against_it() -> None:
    bars = random_bars(6000)
    said = foreseen(bars, 0.60)
    alone = judged(bars, said).claim
    tried = judged(bars, said, np.random.default_rng(1).normal(0, 0.02, 500).tolist()).claim
    assert (alone.trials, tried.trials) == (1, 501)
    assert tried.deflated_sharpe_probability < alone.deflated_sharpe_probability


def test_a_rule_that_says_nothing_or_has_too_few_bars_claims_nothing() -> None:
    bars = random_bars(700)
    idle = judged(bars, said_of(np.zeros(700)))
    assert (idle.claim.edge, idle.claim.trades, idle.win_share) == (False, 0, 0.0)
    with pytest.raises(DataMissing, match="Too few bars to judge the rule sma_cross: 396 behind its warm-up"):
        judged(bars[:400], said_of(np.zeros(400)))


def test_its_bundle_is_its_description_and_comes_back() -> None:
    bars = random_bars(2000)
    made = replace(judged(bars, foreseen(bars, 0.7)), producer="trader 1")
    description = made.description("trader 1")
    assert from_bundle(made.files(), description) == made
    assert made.files() == {}
    with pytest.raises(DataInvalid, match="made by"):
        from_bundle({}, {**description, "schema": 0})
    assert made.differs_from(NAMED) is None
    others = [
        (NamedRule("sma_cross", "changed", NAMED.rule), "source"),
        (NamedRule("sma_cross", "of the package", SmaCross(3, 5)), "parameters"),
        (NamedRule("other", "of the package", NAMED.rule), "names the rule other|name the rule other"),
    ]
    for named, word in others:
        assert any(part in str(made.differs_from(named)) for part in word.split("|"))
    refuse_other_kind(made, "sma_cross", "", "train")
    with pytest.raises(DataStale, match="the settings name no rule"):
        refuse_other_kind(made, None, "", "train ETHUSDT")


def a_rule(*, edge: bool = True, win_share: float = 0.7) -> TrainedRule:
    bars = random_bars(2000)
    made = judged(bars, foreseen(bars, 0.7))
    return replace(made, win_share=win_share, claim=replace(made.claim, edge=edge, reason="as it is"))


FREE = TradeCosts(0.0, 0.0)


@pytest.mark.parametrize(
    ("word", "rule", "barrier", "code"),
    [
        (RuleWord(0, 1, 0.01, np.inf), {}, 0.02, "no_word"),
        (RuleWord(1, 1, 0.01, np.inf), {}, 0.02, "word_stands"),
        (RuleWord(1, 0, 0.01, np.inf), {}, np.nan, "volatility_unknown"),
        (RuleWord(1, 0, 0.01, np.inf), {"edge": False}, 0.02, "no_edge"),
        (RuleWord(1, 0, 0.01, np.inf), {"win_share": 0.2}, 0.02, "no_expected_value"),
    ],
)
def test_why_a_word_is_no_signal(word: RuleWord, rule: dict[str, float], barrier: float, code: str) -> None:
    said = rule_outcome(a_rule(**rule), word, 100.0, barrier, FREE, allow_unproven=False)  # type: ignore[arg-type]
    assert isinstance(said, Abstention)
    assert said.code == code


def test_a_signal_is_where_its_levels_are_and_is_worth_what_its_trades_were() -> None:
    rule, costs = a_rule(win_share=0.5), TradeCosts(0.001, 0.002)
    long = rule_outcome(rule, RuleWord(1, 0, 0.01, 0.03), 100.0, 0.02, costs, allow_unproven=False)
    assert isinstance(long, Signal)
    assert (long.stop_price, long.take_profit_price, long.side) == (99.0, 103.0, "long")
    assert long.expected_value_bps == pytest.approx(1e4 * (0.5 * 0.03 - 0.5 * 0.01 - 0.001))
    assert long.break_even_probability == pytest.approx((0.01 + 0.001) / 0.04)
    assert long.sigma_horizon == pytest.approx(0.02 / rule.barrier_width)
    short = rule_outcome(rule, RuleWord(-1, 1, 0.01, np.inf), 100.0, 0.02, costs, allow_unproven=False)
    assert isinstance(short, Signal)
    assert (short.stop_price, short.side) == (101.0, "short")
    assert short.take_profit_price == pytest.approx(100 * np.exp(-0.02))


def test_without_an_edge_there_is_a_signal_only_where_it_is_asked_for_and_it_says_so() -> None:
    word = RuleWord(1, 0, 0.01, np.inf)
    said = rule_outcome(a_rule(edge=False), word, 100.0, 0.02, FREE, allow_unproven=True)
    assert isinstance(said, Signal)
    assert said.unproven
    proven = rule_outcome(a_rule(), word, 100.0, 0.02, FREE, allow_unproven=True)
    assert isinstance(proven, Signal)
    assert not proven.unproven


def test_what_it_would_not_hold_any_more_is_certain_loss() -> None:
    class Plan:
        side = "long"

    said = Analysis("ETHUSDT", "15m", 900_000, 100.0, Abstention("no_word", ""))
    losses = {held: assessment_of(Plan(), replace(said, held=held)) for held in ("long", "short", "nothing")}  # type: ignore[arg-type]
    assert {held: loss.loss_probability for held, loss in losses.items() if loss} == {
        "long": 0.0,
        "short": 1.0,
        "nothing": 1.0,
    }
    assert assessment_of(Plan(), said) is None  # type: ignore[arg-type]
    back = Analysis.from_dict(replace(said, held="short").as_dict())
    assert back.held == "short"
    assert "held" not in said.as_dict()


def test_losses_tell_what_is_held() -> None:
    assert [held_by(*losses) for losses in ((1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (np.nan, np.nan))] == [
        "long",
        "short",
        "nothing",
        None,
    ]
