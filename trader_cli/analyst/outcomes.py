"""What is decided of one closed bar, once everything about it is known: a signal, or why there is none. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.analyst.decision import DOWN, UP, acts
from trader_cli.analyst.labels import barrier_distance
from trader_cli.analyst.trained_model import TrainedModel
from trader_cli.core.types import Abstention, Signal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from trader_cli.analyst.bundled import Trained
    from trader_cli.analyst.decision import Choice
    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.core.types import Health
    from trader_cli.settings.analyst_section import AnalystSettings

    Floats = NDArray[np.float64]

DOUBT_BARS = 3
"""How many of the last bars must be sound. A filler or a bad print is told by the bar after it, a stuck run by its
third bar: fewer would never see one. More would stop trading for hours over a print that the label's volatility, a mean
over `volatility_span` bars, has taken in already."""


@dataclass(frozen=True)
class InputState:
    """What is known of a bar before any model is asked.

    `bar_age_ms` is how old it is when it is analysed, `missing` how many of the model's features it lacks, `doubts`
    kinds of data-quality findings that hold some of the last `DOUBT_BARS`, and how many. `half`: of a pair, which one
    reads these bars.
    """

    symbol: str
    timeframe: Timeframe
    bar_age_ms: int
    doubts: Mapping[str, int]
    model: Trained | None
    missing: int
    half: TrainedModel | None = None


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
        return Abstention("ml_predictions_off", "analyst.enable_ml_predictions is off: there is no opinion to act on.")
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

    `p_act` is None where the act model does not decide.
    """

    model: TrainedModel
    p: Floats
    choice: Choice
    p_act: Floats | None
    sigma: Floats

    @property
    def barrier(self) -> Floats:
        """Log distance of the barriers, (n,)."""
        return barrier_distance(self.sigma, self.model.barrier_width, self.model.horizon_bars)


def outcome_of(said: Assessed, close: float, *, allow_unproven: bool) -> Signal | Abstention:
    """The better side of one bar at its close, where it is to be taken."""
    return outcomes_of(said, [close], allow_unproven=allow_unproven)[0]


def outcomes_of(said: Assessed, closes: Sequence[float], *, allow_unproven: bool) -> list[Signal | Abstention]:
    """The better side of each bar at its close, where it is to be taken. What abstains alike is one value."""
    model, choice, p_act = said.model, said.choice, said.p_act
    unproven = allow_unproven and not model.claim.edge
    acting, shown = acts(choice, p_act).tolist(), np.zeros(len(closes)) if p_act is None else p_act
    columns = (
        choice.expected_value.tolist(),
        choice.break_even.tolist(),
        choice.surer.tolist(),
        acting,
        shown.tolist(),
    )
    found: list[Signal | Abstention] = []
    known: dict[Abstention, Abstention] = {}
    for at, (value, break_even, surer, is_act, probability) in enumerate(zip(*columns, strict=True)):
        told = value * 1e4, break_even, probability
        veto = None if unproven else _veto_on_assessment(model, *told, surer=surer, acts=is_act)
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


def _veto_on_assessment(
    model: TrainedModel, value_bps: float, break_even: float, shown: float, *, surer: bool, acts: bool
) -> Abstention | None:
    """Reasons to abstain once the model has spoken; `shown` is what the act model gives the trade."""
    if not model.claim.edge:
        return Abstention("no_edge", f"The model claims no edge: {model.claim.reason}.")
    if not value_bps > 0:
        return Abstention("no_expected_value", f"The better side is worth {value_bps:.1f} bps after costs.")
    if not surer:
        return Abstention("base_rate", "The better side is no likelier than by its base rate.")
    if not acts:
        return Abstention("meta_veto", f"The act model gives this trade {shown:.3f}; break-even is {break_even:.3f}.")
    return None
