"""The frozen values that stages hand to one another. No behaviour beyond what follows from the fields."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Literal

from trader_cli.core.json_values import built, object_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from trader_cli.core.json_values import JsonObject

Side = Literal["long", "short"]


@dataclass(frozen=True)
class Probabilities:
    """Calibrated probabilities of the three triple-barrier outcomes; they sum to one."""

    up: float
    down: float
    flat: float


@dataclass(frozen=True)
class Tries:
    """How many configurations were tried on some data, later looks counted, and their Sharpe ratios, per bar or day."""

    number: float
    sharpes: tuple[float, ...]

    @classmethod
    def alone(cls, sharpes: Sequence[float], share: float = 1.0) -> Tries:
        """Of one training on data that nothing was tried on before; `share`: how much each counts."""
        return cls(max(1.0, len(sharpes) * share), tuple(sharpes))


@dataclass(frozen=True)
class Claim:
    """What a model may say about itself: whether it has an edge after costs, and the statistics behind the answer.

    Sharpe ratios are per bar of the out-of-sample book; `trials` counts every configuration ever tried on these data,
    and later looks at it. `fading`: z of the last third's Sharpe ratio less that before it. `smallest_sharpe_found`:
    what would have been found here with 90 % power. `overfitting_probability` (PBO) among this training's learners and
    the spread of the trials' ratios are reported and decide nothing.
    """

    edge: bool
    reason: str
    deflated_sharpe_probability: float
    excess_sharpe_probability: float
    sharpe_per_bar: float
    doubled_cost_sharpe_per_bar: float
    trials: float
    bars: int
    trades: int
    overfitting_probability: float
    fading: float = 0.0
    smallest_sharpe_found: float = 0.0
    spread_of_trials: float = 0.0


@dataclass(frozen=True)
class Signal:
    """A side worth taking now. Returns and costs are fractions of notional in basis points.

    `unproven` marks the better side of a model without an edge, asked for to watch the flow. `sigma_horizon`: standard
    deviation of the log return over the horizon; `None`: the target's log distance over the label's width.
    `sigma_uncertainty`: that of its logarithm; `None`: not measured. `mean_win` and `mean_loss`: what the side gains
    and loses on average, fractions of notional; `None`: at target and stop. `until_ms`: when what permits it ends, UTC
    ms, and `budget` the notional that it permits, over equity; `None`: nothing permits it but itself.
    """

    side: Side
    probability_act: float
    break_even_probability: float
    expected_value_bps: float
    take_profit_price: float
    stop_price: float
    horizon_bars: int
    unproven: bool = False
    sigma_horizon: float | None = None
    sigma_uncertainty: float | None = None
    mean_win: float | None = None
    mean_loss: float | None = None
    until_ms: int | None = None
    budget: float | None = None

    def valid_until_ms(self, decided_ms: int, most_bars: float, bar_ms: int) -> int:
        """Until when it may be acted on: so many bars at most, a quarter of its horizon, what it is permitted."""
        until_ms = decided_ms + round(min(most_bars, self.horizon_bars / 4) * bar_ms)
        return until_ms if self.until_ms is None else min(until_ms, self.until_ms)

    def as_dict(self) -> JsonObject:
        """The JSON shape: the fields, without what is not told."""
        told: JsonObject = asdict(self)
        return {name: value for name, value in told.items() if value is not None}


RULE_FAILED = "rule_failed"
"""The code of an abstention of a rule of one's own that raised, crashed, or did not answer in time."""


MODEL_EXPIRED, FORECASTS_WRONG, FEATURES_MOVED = "model_expired", "forecasts_wrong", "features_moved"
CLAIM_LAPSED = frozenset({MODEL_EXPIRED, FORECASTS_WRONG, FEATURES_MOVED})
"""Codes of abstentions of a model whose claim does not hold any more: too old, found wrong, in another market."""


@dataclass(frozen=True)
class Abstention:
    """A stated reason for doing nothing: a stable code and a sentence."""

    code: str
    sentence: str


@dataclass(frozen=True)
class Permission:
    """What a slow model permits, from its close until `until_ms`, UTC ms: a side and a budget, the notional over equity
    that its word alone, before costs, would take by Kelly. `probability` is the side's."""

    side: Side
    probability: float
    budget: float
    from_ms: int
    until_ms: int


@dataclass(frozen=True)
class Health:
    """Market health: each component in [0, 1] (1 = healthy), their combination, and the worst one."""

    score: float
    components: dict[str, float]
    binding: str


@dataclass(frozen=True)
class Analysis:
    """One look at one symbol at one closed bar. `outcome` is what was decided; everything else is why.

    Sections switched off in the configuration are `None` or empty. `digests` name what it was made from. `held`: what a
    rule of one's own would hold now, where one decides. `regime_held`: the regime entered last, by hysteresis.
    `return_interval`: simple returns `low` and `high` between which price is at the horizon with this `probability`.
    `permission`: what a slow model permits now, where a fast one times entries; the decision is of a fast bar then.
    """

    symbol: str
    timeframe: str
    decision_time_ms: int
    price: float
    outcome: Signal | Abstention
    probabilities: Probabilities | None = None
    claim: Claim | None = None
    health: Health | None = None
    regime: dict[str, float] | None = None
    liquidation_probability: dict[str, float] | None = None
    technical: dict[str, float | str] = field(default_factory=dict)
    patterns: dict[str, int] = field(default_factory=dict)
    levels: dict[str, float | None] = field(default_factory=dict)
    explanation: dict[str, float] = field(default_factory=dict)
    dual_score: float | None = None
    digests: dict[str, str] = field(default_factory=dict)
    held: Literal["long", "short", "nothing"] | None = None
    regime_held: str | None = None
    return_interval: dict[str, float] | None = None
    permission: Permission | None = None

    @property
    def signal(self) -> Signal | None:
        """The signal, or `None` if this analysis abstains."""
        return self.outcome if isinstance(self.outcome, Signal) else None

    def as_dict(self) -> JsonObject:
        """The JSON shape: as the fields, with `outcome` split into `signal` and `abstention`, one of them null."""
        body: JsonObject = asdict(self)
        outcome = object_of(body.pop("outcome"))
        if self.held is None:  # said by rules only
            del body["held"]
        if self.permission is None:  # given by slow models only
            del body["permission"]
        body["signal"] = None if self.signal is None else self.signal.as_dict()
        body["abstention"] = None if self.signal else outcome
        return body

    @classmethod
    def from_dict(cls, body: Mapping[str, object]) -> Analysis:
        """The inverse of `as_dict`."""
        given = dict(body)
        signal, abstention = given.pop("signal"), given.pop("abstention")
        kind, outcome = (Abstention, abstention) if signal is None else (Signal, signal)
        given["outcome"] = built(kind, object_of(outcome))
        parts = {"probabilities": Probabilities, "claim": Claim, "health": Health, "permission": Permission}
        for name, part in parts.items():
            given[name] = None if given.get(name) is None else built(part, object_of(given[name]))
        return built(cls, given)
