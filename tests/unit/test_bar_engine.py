"""The quick engine on bare bars: what a plain loop over every bar says, to the bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.backtest.bar_tapes import MINUTE_MS, odd_bars, odd_signals, odd_terms
from support.backtest.plain_bar_loop import COLUMNS, plain

from trader_cli.backtest.bar_engine import backtest_bars, trade_bars
from trader_cli.backtest.bar_values import Bars, BarTerms, Reason
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.features.rule import BarSignals, NamedRule, Rule, RuleBars
from trader_cli.features.rule_series import rule_signals
from trader_cli.features.rules.channel_breakout import ChannelBreakout
from trader_cli.features.rules.sma_cross import SmaCross

M1 = Timeframe.parse("1m")
FREE = BarTerms(taker_fee=0.0, maker_fee=0.0, share=0.5, step=1e-9)


def drawn(seed: int) -> tuple[Bars, BarSignals, BarTerms]:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 400))
    return odd_bars(rng, count), odd_signals(rng, count), odd_terms(rng)


def few(*rows: tuple[float, float, float, float], rate: float = 0.0) -> Bars:
    """Bars of (open, high, low, close); funding falls due at the open of the third."""
    opened, high, low, close = (np.array(column) for column in zip(*rows, strict=True))
    rates = np.zeros(len(rows))
    rates[2:3] = rate
    return Bars(np.arange(len(rows)) * MINUTE_MS, opened, high, low, close, rates)


def said(*sides: int, stop: float = np.inf, target: float = np.inf) -> BarSignals:
    return BarSignals(np.array(sides, dtype=np.int8), np.full(len(sides), stop), np.full(len(sides), target))


def test_it_equals_a_loop_over_every_bar() -> None:
    ended = np.zeros(len(Reason), dtype=int)
    for seed in range(400):
        given = drawn(seed)
        quick, slow = backtest_bars(*given), plain(*given)
        for name in COLUMNS:
            assert np.array_equal(getattr(quick.trades, name), getattr(slow.trades, name)), (seed, name)
        assert np.array_equal(quick.equity, slow.equity), seed
        ended += np.bincount(quick.trades.reason, minlength=len(Reason))
    assert (ended > 20).all(), "every way to end was met"


def test_its_money_adds_up() -> None:
    for seed in range(200):
        bars, signals, terms = drawn(seed)
        done = backtest_bars(bars, signals, terms)
        t = done.trades
        whole = terms.wallet + (t.realised - t.fees - t.funding).sum()
        open_ = t.reason == Reason.STILL_OPEN
        unrealised = (t.quantity * t.sign * (bars.close[-1] - t.entry_price))[open_].sum()
        assert done.equity[-1] == pytest.approx(whole + unrealised, rel=1e-8)


def test_what_comes_later_changes_nothing_that_was() -> None:
    for seed in range(200):
        bars, signals, terms = drawn(seed)
        cut = max(2, len(bars) // 2)
        before = Bars(*(getattr(bars, name)[:cut] for name in Bars.__dataclass_fields__))
        early = BarSignals(signals.side[:cut], signals.stop[:cut], signals.target[:cut])
        whole, part = trade_bars(bars, signals, terms), trade_bars(before, early, terms)
        ended = part.exit < cut
        for name in COLUMNS:
            assert np.array_equal(getattr(part, name)[ended], getattr(whole, name)[: ended.sum()]), (seed, name)


def test_a_mirrored_market_gives_mirrored_gains() -> None:
    """Prices reflected at 1000, sides turned: each unit gains the same where nothing is paid."""
    for seed in range(100):
        bars, signals, _ = drawn(seed)
        still = replace(bars, funding_rate=np.zeros(len(bars)))
        levels = replace(
            still, high=2000 - bars.low, low=2000 - bars.high, open=2000 - bars.open, close=2000 - bars.close
        )
        plain_sides = BarSignals(signals.side, np.full(len(bars), np.inf), np.full(len(bars), np.inf))
        turned = replace(plain_sides, side=-signals.side)
        one, other = trade_bars(still, plain_sides, FREE), trade_bars(levels, turned, FREE)
        assert np.array_equal(one.entry, other.entry)
        assert np.array_equal(one.sign, -other.sign)
        assert one.realised / one.quantity == pytest.approx(other.realised / other.quantity, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    ("bars", "signals", "reason", "price"),
    [
        (few((100, 100, 100, 100), (100, 103, 97, 101)), said(1, 1, stop=0.02, target=0.02), Reason.STOP, 98.0),
        (few((100, 100, 100, 100), (100, 100, 100, 100), (95, 96, 94, 95)), said(1, 1, 1, stop=0.02), Reason.STOP, 95.0),
        (few((100, 100, 100, 100), (100, 100, 100, 100), (105, 106, 90, 95)), said(1, 1, 1, stop=0.02, target=0.02), Reason.TARGET, 105.0),
        (few((100, 100, 100, 100), (100, 101, 99, 100), (99, 99, 99, 99)), said(1, 0, 0), Reason.SIGNAL, 99.0),
        (few((100, 100, 100, 100), (100, 103, 97, 101)), said(-1, -1, stop=0.02, target=0.02), Reason.STOP, 102.0),
    ],
    ids=["a bar with both ends at the stop", "a gap fills at the open", "a gap beyond the target is the target's", "what was said is done at the next open", "a short mirrors it"],
)  # fmt: skip
def test_within_a_bar_nothing_is_resolved_in_our_favour(
    bars: Bars, signals: BarSignals, reason: Reason, price: float
) -> None:
    trades = trade_bars(bars, signals, FREE)
    assert (trades.reason[0], trades.exit_price[0]) == (reason, pytest.approx(price))


def test_funding_moves_the_level_of_liquidation() -> None:
    """Twenty times: 4.5 % below, it stands; with 1 % paid meanwhile it does not."""
    rows = ((100, 100, 100, 100), (100, 100, 100, 100), (100, 100, 95.6, 96), (96, 96, 96, 96))
    terms = replace(FREE, leverage=20, share=0.1, maintenance=0.005)
    alive, lost = (trade_bars(few(*rows, rate=rate), said(1, 1, 1, 1), terms) for rate in (0.0, 0.01))
    assert alive.reason.tolist() == [Reason.STILL_OPEN]
    assert lost.reason.tolist() == [Reason.LIQUIDATION]
    assert lost.realised[0] - lost.funding[0] == pytest.approx(-lost.quantity[0] * 5.0)


def test_what_was_stopped_stays_out_until_the_side_turns() -> None:
    rows = [(100, 100, 100, 100), (100, 100, 90, 100), *[(100, 100, 100, 100)] * 4]
    assert len(trade_bars(few(*rows), said(1, 1, 1, 1, 1, 1, stop=0.05), FREE)) == 1
    assert len(trade_bars(few(*rows), said(1, 1, 0, 1, 1, 1, stop=0.05), FREE)) == 2


FINE, NULL_TAPES = 120, 200
WAYS = {
    "signal": (np.inf, np.inf),
    "stop": (0.004, np.inf),
    "target": (np.inf, 0.004),
    "stop and target": (0.006, 0.004),
}


def null_tape(rng: np.random.Generator, count: int) -> Bars:
    """A price that goes nowhere on average, in so many fine steps a bar that levels are met nearly where they lie."""
    steps = 1 + rng.standard_normal((count, FINE)) * (0.002 / FINE**0.5)
    path = 100 * np.cumprod(steps).reshape(count, FINE)
    opened = np.concatenate([[100.0], path[:-1, -1]])
    high, low = np.maximum(path.max(axis=1), opened), np.minimum(path.min(axis=1), opened)
    return Bars(np.arange(count) * MINUTE_MS, opened, high, low, path[:, -1], np.zeros(count))


@pytest.mark.parametrize("rule", [SmaCross(2, 6), ChannelBreakout(4, 6)], ids=["sma cross", "channel breakout"])
@pytest.mark.parametrize("way", WAYS)
def test_on_tapes_without_drift_nothing_is_given_away(way: str, rule: Rule) -> None:
    """Mean gain of a unit staked, before costs: none by signal, stop or target; less where a bar holds both ends."""
    stop, target = WAYS[way]
    named, means, ended = NamedRule("x", "y", rule), [], set()
    for seed in range(NULL_TAPES):
        bars = null_tape(np.random.default_rng(seed), 400)
        values = {name: getattr(bars, name) for name in rule.inputs}
        side = rule_signals(named, RuleBars(bars.open_ms, values), M1).side
        trades = trade_bars(bars, BarSignals(side, np.full(400, stop), np.full(400, target)), FREE)
        means.append(float((trades.sign * (trades.exit_price / trades.entry_price - 1)).mean()))
        ended |= {Reason(reason).name for reason in trades.reason.tolist()}
    error = float(np.std(means, ddof=1)) / NULL_TAPES**0.5
    assert np.mean(means) < 3 * error
    assert np.mean(means) > -3 * error - (1e-4 if way != "signal" else 0), "what bars do not tell is against us, little"
    assert set(way.upper().split(" AND ")) <= ended
