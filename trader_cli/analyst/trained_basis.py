"""What every bundle says, whatever was trained or judged: on which series, which span, and what it claims."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING

from trader_cli.analyst.return_interval import ReturnInterval
from trader_cli.core.json_values import built, object_of, texts_of
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.core.money.sizing import SIGMA_UNCERTAINTY
from trader_cli.core.types import Claim

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trader_cli.core.json_values import JsonObject


@dataclass(frozen=True, kw_only=True)
class TrainedBasis:
    """`features` are the columns that are read, in order; `horizon_bars`, `barrier_width`, `volatility_span` those of
    the labels, which an analysis must repeat. `key` is the digest of everything it depended on; `made_with` what the
    claim rests on (`analyst.claim_basis`); `sigma_uncertainty` and `interval` are measured on the bars
    (`analyst.sigma_uncertainty`, `analyst.return_interval`); `reliability` is `forecast_quality.reliability`.
    """

    key: str
    source: str
    symbol: str
    timeframe: str
    features: tuple[str, ...]
    claim: Claim
    horizon_bars: int
    barrier_width: float
    volatility_span: int
    first_ms: int
    last_ms: int
    inputs: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    seed: int = 0
    made_with: JsonObject = field(default_factory=dict)
    producer: str = ""
    sigma_uncertainty: float = SIGMA_UNCERTAINTY
    interval: ReturnInterval | None = None
    reliability: list[list[float]] = field(default_factory=list)

    @property
    def learned_to_ms(self) -> int:
        """The close of the last bar that was learned from, UTC ms."""
        return self.last_ms + Timeframe.parse(self.timeframe).ms

    @property
    def seen_to_ms(self) -> int:
        """Until when bars were seen in training, UTC ms: nothing that closed by then may be traded by it."""
        return self.learned_to_ms

    def basis(self, producer: str) -> JsonObject:
        """This part of what `bundle.json` says."""
        told = {one.name: getattr(self, one.name) for one in fields(TrainedBasis)}
        interval = None if self.interval is None else asdict(self.interval)
        parts = {"features": list(self.features), "claim": asdict(self.claim), "interval": interval}
        return {**told, "producer": producer, **parts}

    @staticmethod
    def basis_of(description: Mapping[str, object]) -> JsonObject:
        """The fields, of a bundle's description."""
        known = {one.name: description[one.name] for one in fields(TrainedBasis) if one.name in description}
        claim, features = built(Claim, object_of(description["claim"])), texts_of(description["features"])
        told = known.get("interval")
        interval = None if told is None else built(ReturnInterval, object_of(told))
        return {**known, "claim": claim, "features": features, "interval": interval}
