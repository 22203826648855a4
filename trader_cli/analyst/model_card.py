"""What is to be known of a model before one trusts it: a card, from its bundle alone."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from trader_cli.analyst.bundled import KINDS
from trader_cli.core.identity.manifests import another_version
from trader_cli.core.json_values import items_of, number_of, object_of, texts_of, whole_of
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.core.model_validity import learned_to_ms, valid_until_ms

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trader_cli.core.json_values import JsonObject


@dataclass(frozen=True)
class ModelCard:
    """`bundle` is its digest, `kind` a model or a rule. Learned from and to are closes, UTC ms, as is `valid_until_ms`.

    `metrics` are out of sample: Brier score and log loss beside base rates known beforehand, slope, calibration error
    and its floor, AUC. `reliability`: groups of forecasts of up as [mean probability, share that rose, rows]. `act` is
    what was found of the act model. `outdated`: why this version of the program does not open by it.
    """

    bundle: str
    kind: str
    schema: int
    symbol: str
    timeframe: str
    source: str
    learned_from_ms: int
    learned_to_ms: int
    valid_until_ms: int
    data: JsonObject
    features: tuple[str, ...]
    labels: JsonObject
    made_with: JsonObject
    seed: int
    metrics: JsonObject
    reliability: list[object]
    claim: JsonObject
    act: JsonObject | None
    rule: JsonObject | None
    producer: str
    outdated: str | None

    @property
    def edge(self) -> bool:
        """Whether an edge was claimed."""
        return bool(self.claim["edge"])

    def as_dict(self) -> JsonObject:
        """The JSON shape: the fields."""
        return asdict(self)


def outdated(description: Mapping[str, object]) -> str | None:
    """Who made a bundle whose schema is another than this version's, in words; `None` where it is the same."""
    kind, schema = str(description.get("kind", "model")), description.get("schema")
    wanted = KINDS.get(kind)
    return None if wanted == schema else another_version(schema, wanted or 0)


def model_card(
    digest: str, description: Mapping[str, object], files: Mapping[str, bytes], max_model_age_days: float
) -> ModelCard:
    """Of a bundle's `bundle.json` and those of its files that are read; without them what they say is left out.

    Raises `KeyError` or `TypeError` for a description of so early a version that it does not say enough.
    """
    frame = Timeframe.parse(str(description["timeframe"]))
    learned_to = learned_to_ms(description)
    act = object_of(json.loads(files["calibration.json"])).get("act") if "calibration.json" in files else None
    made_with = object_of(description.get("made_with", {}))
    return ModelCard(
        bundle=digest,
        kind=str(description.get("kind", "model")),
        schema=whole_of(description["schema"]),
        symbol=str(description["symbol"]),
        timeframe=frame.name,
        source=str(description["source"]),
        learned_from_ms=whole_of(description["first_ms"]) + frame.ms,
        learned_to_ms=learned_to,
        valid_until_ms=valid_until_ms(learned_to, max_model_age_days),
        data=object_of(description.get("inputs", {})),
        features=texts_of(description["features"]),
        labels={name: description.get(name) for name in ("horizon_bars", "barrier_width", "volatility_span")},
        made_with=made_with,
        seed=int(number_of(description.get("seed", 0))),
        metrics=object_of(description.get("metrics", {})),
        reliability=items_of(description.get("reliability", [])),
        claim=object_of(description["claim"]),
        act=None if not isinstance(act, dict) else object_of(act.get("verdict", {})),
        rule=None if "rule" not in description else object_of(description["rule"]),
        producer=str(description.get("producer", "")),
        outdated=outdated(description),
    )
