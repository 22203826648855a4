"""What the analyst says of the last bars of the study."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.analyst.analysis import AnalysisInput, analyse
from trader_cli.analyst.health import HEALTH_COLUMNS
from trader_cli.analyst.trained_model import TrainedModel
from trader_cli.core.market.schemas import FEATURE_KEYS
from trader_cli.core.market.snapshot import MarketSnapshot
from trader_cli.core.types import Abstention
from trader_cli.features.bar_arrays import PRICE_INPUTS, BarSeries
from trader_cli.pipelines.verification.checks import (
    Unexpected,
)
from trader_cli.pipelines.verification.lab import SYMBOL, TIMEFRAME
from trader_cli.settings.room_options import AnalysisOptions
from trader_cli.storage.artifacts import stage_key
from trader_cli.storage.bundles import BundleStore

if TYPE_CHECKING:
    from trader_cli.core.json_values import JsonObject
    from trader_cli.core.types import Analysis, Signal
    from trader_cli.pipelines.verification.lab import Lab, Study


LAST_ROWS = 200


def bundle_of(study: Study) -> tuple[dict[str, bytes], JsonObject]:
    return BundleStore(study.store.root / "models").load(study.trained.digest)


def study_model(lab: Lab) -> TrainedModel:
    return lab.once("model", lambda: TrainedModel.from_bundle(*bundle_of(lab.study)))


def input_at(lab: Lab, row: int, model: TrainedModel) -> AnalysisInput:
    """What the analyst saw `row` bars from the end of the study, with another model if need be."""
    study, store = lab.study, lab.study.store
    digest = store.pointed(stage_key(study.settings.mode, SYMBOL, TIMEFRAME, "market"))
    features = study.features.row(-row, named=True)
    beside = [name for name in HEALTH_COLUMNS.values() if name in study.features.columns]
    bars = BarSeries.of(study.bars.with_columns(study.features[name] for name in beside), (*PRICE_INPUTS, *beside))
    return AnalysisInput(
        symbol=SYMBOL,
        timeframe=TIMEFRAME,
        bars=bars.cut(len(bars) - row - 720, len(bars) - row + 1),
        features={name: value for name, value in features.items() if name not in FEATURE_KEYS},
        model=model,
        snapshot=MarketSnapshot.from_dict(store.require_document(digest)) if digest else None,
        bar_age_ms=0,
        book_age_ms=0,
        digests={},
    )


def recent_analyses(lab: Lab) -> list[Analysis]:
    """What the analyst says of each of the last bars, with the study's model."""
    model, options = study_model(lab), AnalysisOptions.of(lab.study.settings)
    return lab.once("recent", lambda: [analyse(input_at(lab, back, model), options) for back in range(1, 41)])


def first_signal(lab: Lab) -> Signal:
    signal = lab.study.analysis.signal
    if signal is None:
        outcome = lab.study.analysis.outcome
        raise Unexpected(f"no signal on a market with a planted lead: {outcome}")
    return signal


def code_of(outcome: Signal | Abstention) -> str:
    return outcome.code if isinstance(outcome, Abstention) else f"a signal to go {outcome.side}"
