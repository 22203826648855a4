"""One analysis: from bars, one row of features, a model and a market snapshot to a signal or a stated abstention."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.analyst.decision import DOWN, FLAT, UP, Costs
from trader_cli.analyst.funding_cost import funding_rates
from trader_cli.analyst.health import market_health
from trader_cli.analyst.labels import barrier_distance, trailing_volatility
from trader_cli.analyst.model_age import expired
from trader_cli.analyst.outcomes import Assessed, InputState, assess, outcome_of, veto_on_inputs
from trader_cli.analyst.price_levels import support_and_resistance
from trader_cli.analyst.return_interval import LEVEL
from trader_cli.analyst.rule_decision import rule_outcome
from trader_cli.analyst.sections import SECTIONS
from trader_cli.analyst.technical_summary import candlestick_patterns, technical_summary
from trader_cli.analyst.trained_model import TrainedModel
from trader_cli.analyst.trained_pair import TrainedPair
from trader_cli.analyst.trained_rule import TrainedRule
from trader_cli.core.errors import DataInvalid
from trader_cli.core.money.liquidation import liquidation_price, touch_probability
from trader_cli.core.money.sizing import SIGMA_UNCERTAINTY
from trader_cli.core.types import Abstention, Analysis, Health, Probabilities, Side
from trader_cli.features.regimes import NAMES

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    import polars as pl
    from numpy.typing import NDArray

    from trader_cli.analyst.bundled import Trained
    from trader_cli.analyst.decision import TradeCosts
    from trader_cli.analyst.rule_decision import RuleWord
    from trader_cli.core.market.snapshot import MarketSnapshot
    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.features.bar_arrays import BarSeries
    from trader_cli.settings.model import CostSettings
    from trader_cli.settings.room_options import AnalysisOptions

    Floats = NDArray[np.float64]
    Singles = NDArray[np.float32]

LEVEL_BARS = 720
_LEVERAGES = (2, 3, 5, 10, 20, 50)
_TOP_FEATURES = 5


@dataclass(frozen=True)
class AnalysisInput:
    """What an analysis sees: bars up to the decision, the features of the last one, the model, the market snapshot.

    `bar_age_ms` and `book_age_ms` (`None`: no snapshot) are ages at the moment of asking. The bars need not reach
    further back than what is wanted for levels and regimes. `sections`: what it is to have beside its decision.
    `doubts`: kinds of data-quality findings that hold some of the last `DOUBT_BARS`, and how many. `funding`: FUNDING,
    its last payments suffice; `None` where it is not known. `word`: what a rule of one's own says, where `model` is
    one, or why it says nothing. `half`: where `model` is a pair, the one that reads these bars. `absent`: why there is
    no model; `drifted`: why its forecasts are not believed (`model_watch`).
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
    sections: frozenset[str] = SECTIONS
    level_bars: int = LEVEL_BARS
    doubts: Mapping[str, int] = field(default_factory=dict)
    funding: pl.DataFrame | None = None
    word: RuleWord | Abstention | None = None
    half: TrainedModel | None = None
    absent: Abstention | None = None
    drifted: Abstention | None = None

    @property
    def close_ms(self) -> int:
        """When the bar closed that is decided, UTC ms."""
        return int(self.bars.open_ms[-1]) + self.timeframe.ms

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
    health = health_now(given, config) if options.enable_market_health_analysis else None
    view = with_sections(view_of(given), given, config, health)
    veto = veto_on_inputs(state_of(given), options, health)
    if veto is not None:
        return replace(view, outcome=veto, liquidation_probability=liquidation_by_leverage(given, config, "long"))
    if isinstance(given.model, TrainedRule):
        said = _by_rule(given, given.model, config, view)
        side: Side = "short" if said.held == "short" else "long"
        return replace(said, liquidation_probability=liquidation_by_leverage(given, config, side))
    return _decide(given, config, view)


def with_sections(view: Analysis, given: AnalysisInput, config: AnalysisOptions, health: Health | None) -> Analysis:
    """With what is only read, as far as it is wanted."""
    sections = given.sections
    shows_regime = config.analyst.enable_regime_classification and "regime" in sections
    regime, held = _regime(given) if shows_regime else (None, None)
    return replace(
        view,
        health=health if "health" in sections else None,
        regime=regime,
        regime_held=held,
        technical=technical_summary(given.features, given.bars) if "indicators" in sections else {},
        patterns=candlestick_patterns(given.bars) if "patterns" in sections else {},
        levels=support_and_resistance(given.recent) if "levels" in sections else {},
        return_interval=_interval(given) if "interval" in sections else None,
    )


def decide(given: AnalysisInput, config: AnalysisOptions) -> Analysis:
    """As `analyse`, without what is only read: outcome, probabilities, claim, and what they were made from."""
    options, view = config.analyst, view_of(given)
    health = health_now(given, config) if options.enable_market_health_analysis else None
    veto = veto_on_inputs(state_of(given), options, health)
    if veto is not None:
        return replace(view, outcome=veto)
    if isinstance(given.model, TrainedRule):
        return _by_rule(given, given.model, config, view)
    said, _ = _assessed(given, config)
    return decided(view, said, allow_unproven=options.allow_unproven)


def decided(view: Analysis, said: Assessed, *, allow_unproven: bool) -> Analysis:
    """An analysis with what models say of its bar, and what follows from that."""
    p = said.p
    return replace(
        view,
        outcome=outcome_of(said, view.price, allow_unproven=allow_unproven),
        probabilities=Probabilities(up=float(p[0, UP]), down=float(p[0, DOWN]), flat=float(p[0, FLAT])),
    )


def view_of(given: AnalysisInput) -> Analysis:
    """What stands before anything is decided."""
    return Analysis(
        symbol=given.symbol,
        timeframe=given.timeframe.name,
        decision_time_ms=given.close_ms,
        price=float(given.bars.close[-1]),
        outcome=Abstention("undecided", ""),
        claim=given.model.claim if given.model else None,
        digests=given.digests,
    )


def state_of(given: AnalysisInput) -> InputState:
    """What is known before a model is asked."""
    reads = given.half or given.model
    missing = sum(given.features.get(name) is None for name in (reads.base_features if reads else ()))
    return InputState(
        given.symbol, given.timeframe, given.bar_age_ms, given.doubts, given.model, missing, given.half, given.absent
    )


def _decide(given: AnalysisInput, config: AnalysisOptions, view: Analysis) -> Analysis:
    said, x = _assessed(given, config)
    side: Side = "long" if said.choice.side[0] > 0 else "short"
    kind, act, of_dual = UP if side == "long" else DOWN, said.model.act, config.analyst.enable_dual_model_system
    p_act = act.predict(x, said.p, said.choice.side) if act is not None and of_dual else None
    return replace(
        decided(view, said, allow_unproven=config.analyst.allow_unproven),
        liquidation_probability=liquidation_by_leverage(given, config, side),
        explanation=explained(said.model, x, kind) if "explanation" in given.sections else {},
        dual_score=None if p_act is None else float(said.p[0, kind] * p_act[0] ** 2),
    )


def _by_rule(given: AnalysisInput, rule: TrainedRule, config: AnalysisOptions, view: Analysis) -> Analysis:
    """The analysis with what a rule of one's own says of its bar, and what follows from that."""
    sigma = trailing_volatility(given.bars.close, rule.volatility_span)[-1:]
    word, barrier = given.word, float(barrier_distance(sigma, rule.barrier_width, rule.horizon_bars)[0])
    assert word is not None  # whoever gives a rule asks it
    if isinstance(word, Abstention):
        return replace(view, outcome=word)
    costs, unproven = given.costs(config.costs, rule.horizon_bars), config.analyst.allow_unproven
    lapsed = expired(rule, [given.close_ms], config.analyst)[0]
    outcome = rule_outcome(rule, word, view.price, barrier, costs, lapsed, allow_unproven=unproven)
    return replace(view, outcome=outcome, held=word.held)


def _assessed(given: AnalysisInput, config: AnalysisOptions) -> tuple[Assessed, Singles]:
    """What the models say, and the row (1, f) they read."""
    model = given.model
    assert isinstance(model, TrainedModel)  # veto_on_inputs
    x = row_of(given, model)
    sigma = trailing_volatility(given.bars.close, model.volatility_span)[-1:]
    lapsed = [given.drifted or expired(model, [given.close_ms], config.analyst)[0]]
    return assess(model, x, sigma, given.costs(config.costs, model.horizon_bars), lapsed, config.analyst), x


def row_of(given: AnalysisInput, model: TrainedModel) -> Singles:
    """The row (1, f) that a model reads of the last bar."""
    refuse_absent(model, given.features)
    values = [given.features[name] for name in model.base_features]
    base = np.array([[np.nan if value is None else value for value in values]], dtype=np.float64)
    return model.widened(given.bars, base, np.array([len(given.bars) - 1]))


def refuse_absent(model: Trained, names: Container[str]) -> None:
    """Raises `DataInvalid` where the model reads a feature that is not among these."""
    absent = [name for name in model.base_features if name not in names]
    if absent:
        raise DataInvalid(
            f"The model wants the feature {absent[0]!r}, which the features do not have ({len(absent)} are absent).",
            hint="The feature settings have changed since training: run `trader train` again.",
        )


def health_now(given: AnalysisInput, config: AnalysisOptions) -> Health:
    """Market health of the last bar and of the snapshot."""
    age_s = None if given.book_age_ms is None else given.book_age_ms / 1000
    return market_health(given.recent, given.timeframe.ms, given.snapshot, age_s, config.analyst.max_book_age)


def _regime(given: AnalysisInput) -> tuple[dict[str, float] | None, str | None]:
    """Probabilities of the regimes, and the one that holds."""
    told = given.model.slow if isinstance(given.model, TrainedPair) else given.model
    model = told.fitted.regimes if isinstance(told, TrainedModel) else None
    if model is None:
        return None, None
    filtered, held = (told[0] for told in model.followed(given.bars, given.timeframe, len(given.bars) - 1))
    if held < 0:
        return None, None
    return dict(zip(NAMES, map(float, filtered), strict=True)), NAMES[held]


def liquidation_by_leverage(given: AnalysisInput, config: AnalysisOptions, side: Side) -> dict[str, float] | None:
    """P(mark touches liquidation within the horizon) by leverage, for an isolated position taken now.

    In the symbol's lowest bracket, where an account was told of it, and of the leverages that it allows.
    """
    options, model, shown = config.analyst, given.model, given.snapshot
    if not options.enable_liquidation_risk_analysis or "liquidation" not in given.sections:
        return None
    horizon = model.horizon_bars if model else options.longest_horizon
    sigma = float(trailing_volatility(given.bars.close, options.volatility_span)[-1]) * math.sqrt(horizon)
    close = float(given.bars.close[-1])
    if not np.isfinite(sigma):
        return None
    uncertainty = model.sigma_uncertainty if model else SIGMA_UNCERTAINTY
    rate = shown.maintenance_rate if shown and shown.maintenance_rate else options.maintenance_margin_rate
    most = shown.max_leverage if shown and shown.max_leverage else _LEVERAGES[-1]
    levels = {n: liquidation_price(close, n, side, rate) for n in _LEVERAGES if n <= most}
    return {f"{n}x": touch_probability(close, level, sigma, uncertainty) for n, level in levels.items()}


def _interval(given: AnalysisInput) -> dict[str, float] | None:
    """Where price is at the model's horizon, nine times in ten."""
    model = given.model
    if model is None or model.interval is None:
        return None
    sigma = trailing_volatility(given.bars.close, model.volatility_span)[-1:] * math.sqrt(model.horizon_bars)
    reach = float(model.interval.reach(sigma)[0])
    if not math.isfinite(reach):
        return None
    return {"low": math.expm1(-reach), "high": math.expm1(reach), "probability": LEVEL}


def explained(model: TrainedModel, x: Singles, kind: int) -> dict[str, float]:
    """The features that moved the side's raw score most (TreeSHAP, log-odds units), largest first."""
    shares = np.asarray(model.side.booster.booster.predict(x, pred_contrib=True, num_threads=1))
    contributions = shares.reshape(-1)[:-1] * (1 if kind == UP else -1)
    order = np.argsort(-np.abs(contributions))[:_TOP_FEATURES]
    return {model.features[i]: float(contributions[i]) for i in order}
