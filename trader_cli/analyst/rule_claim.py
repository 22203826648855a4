"""The claim of a rule of one's own, by the claim rule of models: a per-bar book of its trades, costs and tries counted.

A rule learns nothing, so all of the history is out of its sample, but for what the person has chosen it by: the count
of trials is for that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.analyst.book import traded_book
from trader_cli.analyst.claim import make_claim
from trader_cli.analyst.claim_basis import PRODUCER, made_with
from trader_cli.analyst.labels import barrier_distance, trailing_volatility
from trader_cli.analyst.return_interval import coverage, measured_interval
from trader_cli.analyst.rule_trades import rule_trades
from trader_cli.analyst.sigma_uncertainty import measured_uncertainty
from trader_cli.analyst.statistics import sharpe
from trader_cli.analyst.trained_rule import TrainedRule
from trader_cli.analyst.training import MIN_ROWS
from trader_cli.core.errors import TooFewBars
from trader_cli.core.market.quality import unfit_bars
from trader_cli.features.bar_arrays import BarSeries
from trader_cli.features.rule_series import features_read

if TYPE_CHECKING:
    from trader_cli.analyst.book import Book
    from trader_cli.analyst.claim import CountTries
    from trader_cli.analyst.rule_trades import RuleTrades
    from trader_cli.analyst.training import TrainingInput
    from trader_cli.features.rule import BarSignals, NamedRule
    from trader_cli.settings.room_options import TrainingOptions


def judge_rule(
    given: TrainingInput,
    named: NamedRule,
    said: BarSignals,
    config: TrainingOptions,
    count_tries: CountTries,
) -> TrainedRule:
    """Judge what a rule said of the bars, row for row. Raises `DataMissing` where there are too few."""
    bars, options, first = BarSeries.of(given.bars), config.analyst, named.rule.warmup
    if len(bars) - first < MIN_ROWS:
        raise TooFewBars(
            f"Too few bars to judge the rule {named.name}: {max(len(bars) - first, 0)} behind its warm-up; {MIN_ROWS}"
            " are needed.",
            MIN_ROWS + first - len(bars),
            len(bars),
            of_rule=True,
        )
    sigma = trailing_volatility(bars.close, options.volatility_span)
    barrier, horizon = barrier_distance(sigma, options.barrier_width, options.longest_horizon), options.longest_horizon
    unfit = unfit_bars(given.bars, given.timeframe).to_numpy()
    trades = rule_trades(bars, said, barrier, horizon, given.timeframe.ms, unfit)
    books = [_book(bars, trades, first, given, config, factor) for factor in (1.0, 2.0)]
    tries = count_tries([sharpe(books[0].gains)], 1.0)
    claim = make_claim(books[0], books[1], tries, options.claim_probability)
    looked_ahead = bars, horizon, options.volatility_span, given.timeframe.ms
    return TrainedRule(
        key=given.key,
        source=given.source,
        symbol=given.symbol,
        timeframe=given.timeframe.name,
        rule=named.identity(),
        features=features_read(named),
        win_share=float(trades.win_shares.mean()) if len(trades) else 0.0,
        claim=claim,
        horizon_bars=horizon,
        barrier_width=options.barrier_width,
        volatility_span=options.volatility_span,
        first_ms=int(bars.open_ms[first]),
        last_ms=int(bars.open_ms[-1]),
        inputs=given.inputs,
        metrics={**_metrics(len(bars) - first, trades), **coverage(*looked_ahead)},
        seed=config.seed,
        made_with=made_with(config),
        producer=PRODUCER,
        sigma_uncertainty=measured_uncertainty(*looked_ahead),
        interval=measured_interval(*looked_ahead),
    )


def _book(
    bars: BarSeries, trades: RuleTrades, first: int, given: TrainingInput, config: TrainingOptions, factor: float
) -> Book:
    """The book of the trades: every bar behind the warm-up is judged, one position is held at a time."""
    return traded_book(trades, bars.close, (first + 1, len(bars) - 1), given.costs(config.costs, factor))


def _metrics(rows: int, trades: RuleTrades) -> dict[str, float]:
    """Rows judged, trades, and of these the share that gained and the mean gain before costs."""
    found = {"rows": float(rows), "effective_rows": float(len(trades)), "left_out_rows": 0.0}
    if len(trades):
        found |= {"gained_share": float((trades.gain > 0).mean()), "mean_gain_bps": float(trades.gain.mean() * 1e4)}
    return found
