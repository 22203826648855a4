"""One analysis: from bars, one row of features, a model and a market snapshot to a signal or a stated abstention."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.analyst.decision import DOWN, FLAT, UP, Costs, acts, choose_side
from trader_cli.analyst.funding_cost import funding_rates
from trader_cli.analyst.health import market_health
from trader_cli.analyst.labels import trailing_volatility
from trader_cli.analyst.rule_decision import rule_outcome
from trader_cli.analyst.technical_summary import candlestick_patterns, support_and_resistance, technical_summary
from trader_cli.analyst.trained_rule import TrainedRule
from trader_cli.analyst.walk_forward import meta_features
from trader_cli.core.errors import DataInvalid
from trader_cli.core.money.liquidation import liquidation_price, touch_probability
from trader_cli.core.money.sizing import SIGMA_UNCERTAINTY
from trader_cli.core.types import Abstention, Analysis, Health, Probabilities, Side, Signal
from trader_cli.features.regimes import NAMES

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl
    from numpy.typing import NDArray

    from trader_cli.analyst.bundled import Trained
    from trader_cli.analyst.decision import Choice, TradeCosts
    from trader_cli.analyst.rule_decision import RuleWord
    from trader_cli.analyst.trained_model import TrainedModel
    from trader_cli.core.market.snapshot import MarketSnapshot
    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.features.bar_arrays import BarSeries
    from trader_cli.settings.model import CostSettings
    from trader_cli.settings.room_options import AnalysisOptions

    Floats = NDArray[np.float64]

LEVEL_BARS = 720
DOUBT_BARS = 3
"""How many of the last bars must be sound. A filler or a bad print is told by the bar after it, a stuck run by its
third bar: fewer would never see one. More would stop trading for hours over a print that the label's volatility, a mean
over `volatility_span` bars, has taken in already."""
_LEVERAGES = (2, 3, 5, 10, 20, 50)
_TOP_FEATURES = 5


@dataclass(frozen=True)
class AnalysisInput:
    """What an analysis sees: bars up to the decision, the features of the last one, the model, the market snapshot.

    `bar_age_ms` and `book_age_ms` (`None`: no snapshot) are ages at the moment of asking. The bars need not reach
    further back than what is wanted for levels and regimes. `doubts`: kinds of data-quality findings that hold some of
    the last `DOUBT_BARS`, and how many. `funding`: FUNDING, its last payments suffice; `None` where it is not known.
    `word`: what a rule of one's own says, where `model` is one.
    """

    symbol: str
    timeframe: Timeframe
    bars: BarSeries
    features: Mapping[str, float | None]
    model: Trained | None
    snapshot: MarketSnapshot | None
    bar_age_ms: int
    book_age_ms: int | None
    digests: dict[str, str]
    include_indicators: bool = True
    include_patterns: bool = True
    level_bars: int = LEVEL_BARS
    doubts: Mapping[str, int] = field(default_factory=dict)
    funding: pl.DataFrame | None = None
    word: RuleWord | None = None

    @property
    def recent(self) -> BarSeries:
        """The bars looked at for levels and health."""
        return self.bars.cut(max(0, len(self.bars) - self.level_bars), len(self.bars))

    def costs(self, costs: CostSettings, horizon_bars: int) -> TradeCosts:
        """Of a trade opened at the last close: funding at recent rates, the next payment at the one that is told."""
        upcoming = self.snapshot.next_funding if self.snapshot else None
        rates = funding_rates(self.symbol, self.timeframe, self.bars.open_ms[-1:], self.funding, upcoming)
        return Costs.of(costs, self.timeframe, rates).of_trades(np.zeros(1, np.int64), horizon_bars)


def analyse(given: AnalysisInput, config: AnalysisOptions) -> Analysis:
    """The analysis of the last bar. Pure. Raises `DataInvalid` if the model wants features that are not there."""
    options = config.analyst
    close = float(given.bars.close[-1])
    view = Analysis(
        symbol=given.symbol,
        timeframe=given.timeframe.name,
        decision_time_ms=int(given.bars.open_ms[-1]) + given.timeframe.ms,
        price=close,
        outcome=Abstention("undecided", ""),
        claim=given.model.claim if given.model else None,
        health=_health(given, config) if options.enable_market_health_analysis else None,
        regime=_regime(given) if options.enable_regime_classification else None,
        technical=technical_summary(given.features, given.bars) if given.include_indicators else {},
        patterns=candlestick_patterns(given.bars) if given.include_patterns else {},
        levels=support_and_resistance(given.recent),
        digests=given.digests,
    )
    veto = _veto_on_inputs(given, config, view.health)
    if veto is not None:
        return replace(view, outcome=veto, liquidation_probability=_liquidation(given, config, "long"))
    return _decide(given, config, view)


def _veto_on_inputs(given: AnalysisInput, config: AnalysisOptions, health: Health | None) -> Abstention | None:
    """Reasons to abstain before any model is asked."""
    options = config.analyst
    allowed_ms = options.max_bar_age * given.timeframe.ms
    if given.bar_age_ms > allowed_ms:
        return Abstention(
            "bars_stale",
            f"The last closed bar is {given.bar_age_ms / 60_000:.0f} min old; {allowed_ms / 60_000:.0f} are allowed."
            f" Run `trader fetch {given.symbol} --timeframe {given.timeframe}`.",
        )
    if given.doubts:
        found = ", ".join(f"{bars} {kind.replace('_', ' ')}" for kind, bars in sorted(given.doubts.items()))
        return Abstention(
            "data_quality",
            f"Of the last {DOUBT_BARS} bars some are not as they were traded: {found}. They are looked at anew at each"
            f" close; `trader fetch {given.symbol} --timeframe {given.timeframe} --repair` asks for them again.",
        )
    if not options.enable_ml_predictions or given.model is None:
        return Abstention("ml_predictions_off", "analyst.enable_ml_predictions is off: there is no opinion to act on.")
    trained = None if isinstance(given.model, TrainedRule) else given.model
    if options.enable_dual_model_system and trained is not None and trained.meta is None:
        return Abstention("meta_model_absent", "The dual model system is on, but the bundle has no meta-label model.")
    wanted = given.model.base_features
    missing = [name for name in wanted if given.features.get(name) is None]
    if len(missing) > len(wanted) // 10:
        return Abstention("features_incomplete", f"{len(missing)} of {len(wanted)} features are unknown at this bar.")
    if health is not None and health.score < options.min_market_health:
        return Abstention(
            "unhealthy_market",
            f"Market health {health.score:.2f} is below {options.min_market_health:g}; the worst part is"
            f" {health.binding} ({health.components[health.binding]:.2f}).",
        )
    return None


def _decide(given: AnalysisInput, config: AnalysisOptions, view: Analysis) -> Analysis:
    model = given.model
    assert model is not None  # _veto_on_inputs
    if isinstance(model, TrainedRule):
        return _decide_by_rule(given, model, config, view)
    x = _row(given, model)
    p = model.side.predict(x)
    barrier = _barrier(given, model)
    choice = choose_side(p, barrier, given.costs(config.costs, model.horizon_bars))
    p_act = (
        model.meta.predict(meta_features(x, p, choice))[:, 1]
        if config.analyst.enable_dual_model_system and model.meta
        else None
    )
    side: Side = "long" if choice.side[0] > 0 else "short"
    return replace(
        view,
        outcome=_outcome(given, model, choice, p, p_act, barrier, allow_unproven=config.analyst.allow_unproven),
        probabilities=Probabilities(up=float(p[0, UP]), down=float(p[0, DOWN]), flat=float(p[0, FLAT])),
        liquidation_probability=_liquidation(given, config, side),
        explanation=_explanation(model, x, UP if side == "long" else DOWN),
        dual_score=None if p_act is None else float(p[0, UP if side == "long" else DOWN] * p_act[0] ** 2),
    )


def _decide_by_rule(given: AnalysisInput, rule: TrainedRule, config: AnalysisOptions, view: Analysis) -> Analysis:
    word, costs = given.word, given.costs(config.costs, rule.horizon_bars)
    assert word is not None  # whoever gives a rule asks it
    barrier = float(_barrier(given, rule)[0])
    return replace(
        view,
        outcome=rule_outcome(rule, word, view.price, barrier, costs, allow_unproven=config.analyst.allow_unproven),
        liquidation_probability=_liquidation(given, config, "short" if word.side < 0 else "long"),
        held=word.held,
    )


def _row(given: AnalysisInput, model: TrainedModel) -> Floats:
    absent = [name for name in model.base_features if name not in given.features]
    if absent:
        raise DataInvalid(
            f"The model wants the feature {absent[0]!r}, which the features do not have ({len(absent)} are absent).",
            hint="The feature settings have changed since training: run `trader train` again.",
        )
    values = [given.features[name] for name in model.base_features]
    base = np.array([[np.nan if value is None else value for value in values]], dtype=np.float64)
    return model.widened(given.bars, base, np.array([len(given.bars) - 1]))


def _barrier(given: AnalysisInput, model: Trained) -> Floats:
    sigma = trailing_volatility(given.bars.close, model.volatility_span)[-1:]
    return np.asarray(model.barrier_width * sigma * np.sqrt(model.horizon_bars))


def _outcome(
    given: AnalysisInput,
    model: TrainedModel,
    choice: Choice,
    p: Floats,
    p_act: Floats | None,
    barrier: Floats,
    *,
    allow_unproven: bool,
) -> Signal | Abstention:
    value_bps, break_even = float(choice.expected_value[0]) * 1e4, float(choice.break_even[0])
    unproven = allow_unproven and not model.claim.edge
    veto = None if unproven else _veto_on_assessment(model, choice, p_act)
    if veto is not None:
        return veto
    long = bool(choice.side[0] > 0)
    close, distance = float(given.bars.close[-1]), float(barrier[0])
    above, below = close * float(np.exp(distance)), close * float(np.exp(-distance))
    return Signal(
        side="long" if long else "short",
        probability_act=float(p[0, UP if long else DOWN] if p_act is None else p_act[0]),
        break_even_probability=break_even,
        expected_value_bps=value_bps,
        take_profit_price=above if long else below,
        stop_price=below if long else above,
        horizon_bars=model.horizon_bars,
        unproven=unproven,
    )


def _veto_on_assessment(model: TrainedModel, choice: Choice, p_act: Floats | None) -> Abstention | None:
    """Reasons to abstain once the model has spoken."""
    value_bps, break_even = float(choice.expected_value[0]) * 1e4, float(choice.break_even[0])
    if not model.claim.edge:
        return Abstention("no_edge", f"The model claims no edge: {model.claim.reason}.")
    if not value_bps > 0:
        return Abstention("no_expected_value", f"The better side is worth {value_bps:.1f} bps after costs.")
    if not acts(choice, p_act)[0]:
        shown = 0.0 if p_act is None else float(p_act[0])
        return Abstention(
            "meta_veto", f"The meta-label model gives this trade {shown:.3f}; break-even is {break_even:.3f}."
        )
    return None


def _health(given: AnalysisInput, config: AnalysisOptions) -> Health:
    age_s = None if given.book_age_ms is None else given.book_age_ms / 1000
    return market_health(given.recent, given.snapshot, age_s, config.analyst.max_book_age)


def _regime(given: AnalysisInput) -> dict[str, float] | None:
    model = given.model.fitted.regimes if given.model and not isinstance(given.model, TrainedRule) else None
    if model is None:
        return None
    filtered = model.filtered(given.bars, given.timeframe, len(given.bars) - 1)[0]
    return dict(zip(NAMES, map(float, filtered), strict=True)) if np.isfinite(filtered).all() else None


def _liquidation(given: AnalysisInput, config: AnalysisOptions, side: Side) -> dict[str, float] | None:
    """P(mark touches liquidation within the horizon) by leverage, for an isolated position taken now."""
    options = config.analyst
    if not options.enable_liquidation_risk_analysis:
        return None
    sigma = float(trailing_volatility(given.bars.close, options.volatility_span)[-1]) * float(
        np.sqrt(options.horizon_bars)
    )
    close = float(given.bars.close[-1])
    if not np.isfinite(sigma):
        return None
    levels = {n: liquidation_price(close, n, side, options.maintenance_margin_rate) for n in _LEVERAGES}
    return {f"{n}x": touch_probability(close, level, sigma, SIGMA_UNCERTAINTY) for n, level in levels.items()}


def _explanation(model: TrainedModel, x: Floats, kind: int) -> dict[str, float]:
    """The features that moved the side's raw score most (TreeSHAP, log-odds units), largest first."""
    width = len(model.features) + 1
    shares = np.asarray(model.side.booster.predict(x, pred_contrib=True, num_threads=1))
    contributions = shares.reshape(-1, width)[kind, :-1]
    order = np.argsort(-np.abs(contributions))[:_TOP_FEATURES]
    return {model.features[i]: float(contributions[i]) for i in order}
