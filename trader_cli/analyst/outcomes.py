"""What is decided of one closed bar, once everything about it is known: a signal, or why there is none. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.analyst.decision import DOWN, UP, acts
from trader_cli.analyst.labels import barrier_distance
from trader_cli.analyst.trained_model import TrainedModel
from trader_cli.analyst.trained_rule import TrainedRule
from trader_cli.core.types import FEATURES_MOVED, FORECASTS_WRONG, Abstention, Signal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from trader_cli.analyst.bundled import Trained
    from trader_cli.analyst.decision import Choice, TradeCosts
    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.core.types import Health
    from trader_cli.settings.analyst_section import AnalystSettings

    Floats = NDArray[np.float64]
    Singles = NDArray[np.float32]

DOUBT_BARS = 3
"""How many of the last bars must be sound. A filler or a bad print is told by the bar after it, a stuck run by its
third bar: fewer would never see one. More would stop trading for hours over a print that the label's volatility, a mean
over `volatility_span` bars, has taken in already."""


@dataclass(frozen=True)
class InputState:
    """What is known of a bar before any model is asked.

    `bar_age_ms` is how old it is when it is analysed, `missing` how many of the model's features it lacks, `doubts`
    kinds of data-quality findings that hold some of the last `DOUBT_BARS`, and how many. `half`: of a pair, which one
    reads these bars. `absent`: why there is no model, where predictions are on.
    """

    symbol: str
    timeframe: Timeframe
    bar_age_ms: int
    doubts: Mapping[str, int]
    model: Trained | None
    missing: int
    half: TrainedModel | None = None
    absent: Abstention | None = None


def veto_on_inputs(given: InputState, options: AnalystSettings, health: Health | None) -> Abstention | None:
    """Reasons to abstain before any model is asked."""
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
        return given.absent or Abstention(
            "ml_predictions_off", "analyst.enable_ml_predictions is off: there is no opinion to act on."
        )
    alone = given.model if isinstance(given.model, TrainedModel) else None
    if options.enable_dual_model_system and alone is not None and alone.act is None:
        return Abstention("meta_model_absent", "The dual model system is on, but the bundle has no act model.")
    wanted = len((given.half or given.model).base_features)
    if given.missing > wanted // 10:
        return Abstention("features_incomplete", f"{given.missing} of {wanted} features are unknown at this bar.")
    if health is not None and health.score < options.min_market_health:
        return Abstention(
            "unhealthy_market",
            f"Market health {health.score:.2f} is below {options.min_market_health:g}; the worst part is"
            f" {health.binding} ({health.components[health.binding]:.2f}).",
        )
    return None


@dataclass(frozen=True)
class Assessed:
    """What the models say of n bars: probabilities (n, 3), those of the side's profit, σ of a bar.

    `p_act` is None where the act model does not decide. `lapsed`: why the claim does not hold at each bar, (n,), `None`
    where it does as far as it ever did.
    """

    model: TrainedModel
    p: Floats
    choice: Choice
    p_act: Floats | None
    sigma: Floats
    lapsed: Sequence[Abstention | None]

    @property
    def barrier(self) -> Floats:
        """Log distance of the barriers, (n,)."""
        return barrier_distance(self.sigma, self.model.barrier_width, self.model.horizon_bars)


def assess(
    model: TrainedModel,
    x: Singles,
    sigma: Floats,
    costs: TradeCosts,
    lapsed: Sequence[Abstention | None],
    options: AnalystSettings,
) -> Assessed:
    """What the models say of features x (n, f), σ of a bar (n,), costs of a trade, and why the claim does not hold.

    Of bars at which its forecasts are not believed the base rates are told.
    """
    p = model.side.predict(x)
    disbelieved = [one is not None and one.code in _DISBELIEVED for one in lapsed]
    p[disbelieved] = model.side.base_rates
    choice = model.side.choose(p, sigma * np.sqrt(model.horizon_bars), costs)
    return Assessed(model, p, choice, model.p_act(x, p, choice, options), sigma, lapsed)


_DISBELIEVED = frozenset({FORECASTS_WRONG, FEATURES_MOVED})


def outcome_of(said: Assessed, close: float, *, allow_unproven: bool) -> Signal | Abstention:
    """The better side of one bar at its close, where it is to be taken."""
    return outcomes_of(said, [close], allow_unproven=allow_unproven)[0]


def outcomes_of(said: Assessed, closes: Sequence[float], *, allow_unproven: bool) -> list[Signal | Abstention]:
    """The better side of each bar at its close, where it is to be taken. What abstains alike is one value."""
    model, choice, p_act = said.model, said.choice, said.p_act
    acting, shown = acts(choice, p_act).tolist(), np.zeros(len(closes)) if p_act is None else p_act
    columns = (
        choice.expected_value.tolist(),
        choice.least.tolist(),
        choice.break_even.tolist(),
        choice.surer.tolist(),
        acting,
        shown.tolist(),
    )
    found: list[Signal | Abstention] = []
    known: dict[Abstention, Abstention] = {}
    for at, (value, least, break_even, surer, is_act, probability, lapsed) in enumerate(
        zip(*columns, said.lapsed, strict=True)
    ):
        told, unclaimed = (value * 1e4, least * 1e4, break_even, probability), no_claim(model, lapsed)
        unproven = allow_unproven and unclaimed is not None
        veto = None if unproven else unclaimed or _veto_on_assessment(*told, surer=surer, acts=is_act)
        found.append(_signal(said, at, closes[at], unproven=unproven) if veto is None else known.setdefault(veto, veto))
    return found


def _signal(said: Assessed, at: int, close: float, *, unproven: bool) -> Signal:
    """The better side of a bar."""
    choice, p_act, distance, horizon = said.choice, said.p_act, float(said.barrier[at]), said.model.horizon_bars
    long = bool(choice.side[at] > 0)
    above, below = close * float(np.exp(distance)), close * float(np.exp(-distance))
    return Signal(
        side="long" if long else "short",
        probability_act=float(said.p[at, UP if long else DOWN] if p_act is None else p_act[at]),
        break_even_probability=float(choice.break_even[at]),
        expected_value_bps=float(choice.expected_value[at]) * 1e4,
        take_profit_price=above if long else below,
        stop_price=below if long else above,
        horizon_bars=horizon,
        unproven=unproven,
        sigma_horizon=float(said.sigma[at]) * math.sqrt(horizon),
        sigma_uncertainty=said.model.sigma_uncertainty,
        mean_win=float(choice.win[at]),
        mean_loss=float(choice.loss[at]),
    )


def no_claim(trained: Trained, lapsed: Abstention | None) -> Abstention | None:
    """Why nothing is claimed at a bar: there never was an edge, or `lapsed`; `None` where one is."""
    if trained.claim.edge:
        return lapsed
    what = f"The rule {trained.name}" if isinstance(trained, TrainedRule) else "The model"
    return Abstention("no_edge", f"{what} claims no edge: {trained.claim.reason}.")


def _veto_on_assessment(
    value_bps: float, least_bps: float, break_even: float, shown: float, *, surer: bool, acts: bool
) -> Abstention | None:
    """Reasons to abstain once the model has spoken; `shown` is what the act model gives the trade."""
    if not value_bps > least_bps:
        least = f"a trade needs more than {least_bps:.1f}"
        return Abstention("no_expected_value", f"The better side is worth {value_bps:.1f} bps after costs; {least}.")
    if not surer:
        return Abstention("base_rate", "The better side is no likelier than by its base rate.")
    if not acts:
        return Abstention("meta_veto", f"The act model gives this trade {shown:.3f}; break-even is {break_even:.3f}.")
    return None
