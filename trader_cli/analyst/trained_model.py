"""A trained model as a value, and as the plain files of a bundle."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from trader_cli.analyst.act_model import META_COLUMNS, ActModel, ActVerdict
from trader_cli.analyst.booster_text import calibrated_of, numbers_of, text_of
from trader_cli.analyst.decision import Payoffs
from trader_cli.analyst.feature_bins import FeatureBins
from trader_cli.analyst.fitted_families import FittedFamilies
from trader_cli.analyst.read_features import as_read, beside
from trader_cli.analyst.side_model import SideModel
from trader_cli.analyst.trained_basis import TrainedBasis
from trader_cli.core.errors import DataInvalid
from trader_cli.core.identity.digests import canonical_json, digest_value
from trader_cli.core.identity.manifests import another_version
from trader_cli.core.json_values import built, texts_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from trader_cli.analyst.decision import Choice
    from trader_cli.core.json_values import JsonObject
    from trader_cli.features.bar_arrays import BarSeries
    from trader_cli.settings.analyst_section import AnalystSettings

    Floats = NDArray[np.float64]
    Singles = NDArray[np.float32]
    Ints = NDArray[np.int64]

BUNDLE_SCHEMA = 9
FOLDS_FILE = "folds.json"


@dataclass(frozen=True, kw_only=True)
class TrainedModel(TrainedBasis):
    """Side model, act model (if the dual system is on and could be fitted), families, and what they rest on.

    `features` are those of the features artifact, then those of the `fitted` families; `bins` are of those among them
    that the side model splits on. `folds`: the models behind the claim, as their file (`fold_models`); empty: none
    are kept.
    """

    side: SideModel
    act: ActModel | None
    fitted: FittedFamilies
    bins: FeatureBins
    folds: bytes = field(default=b"", repr=False)

    @property
    def base_features(self) -> tuple[str, ...]:
        """The columns of the features artifact, in order."""
        return self.features[: len(self.features) - len(self.fitted.names)]

    def widened(self, bars: BarSeries, x: Floats, rows: Ints) -> Singles:
        """What the models read: base features x (m, k) at `rows` (m,) of the bars, then the fitted columns."""
        return beside(as_read(x), self.fitted.columns(bars, x, rows))

    def p_act(self, x: Singles, p: Floats, choice: Choice, options: AnalystSettings) -> Floats | None:
        """What the act model gives choices (n,) of features (n, f) and probabilities (n, 3), where it decides."""
        decides = options.enable_dual_model_system and self.act is not None and self.act.decides
        return self.act.predict(x, p, choice.side) if self.act is not None and decides else None

    def files(self) -> dict[str, bytes]:
        """The bundle's files: boosters as text, everything else as JSON."""
        files = {
            "side.txt": text_of(self.side.booster),
            "calibration.json": canonical_json(self._numbers()),
            "fitted.json": canonical_json(self.fitted.as_dict()),
            "bins.json": canonical_json(self.bins.as_dict()),
        }
        files |= {FOLDS_FILE: self.folds} if self.folds else {}
        return files if self.act is None else {**files, "act.txt": text_of(self.act.booster)}

    def _numbers(self) -> JsonObject:
        """What is calibrated, and what was found of the act model."""
        side = {**numbers_of(self.side.booster), "flat": self.side.flat, "least": self.side.least}
        side["payoffs"] = asdict(self.side.payoffs)
        if self.act is None:
            return {"side": side, "act": None}
        return {"side": side, "act": {**numbers_of(self.act.booster), "verdict": self.act.verdict.as_dict()}}

    def description(self, producer: str) -> JsonObject:
        """What `bundle.json` says besides the files' digests."""
        return {
            **self.basis(producer),
            "schema": BUNDLE_SCHEMA,
            "features_digest": digest_value(list(self.features)),
            "meta_features": [*self.features, *META_COLUMNS],
            "fitted_digest": self.fitted.digest,
        }

    @classmethod
    def from_bundle(cls, files: Mapping[str, bytes], description: Mapping[str, object]) -> TrainedModel:
        """The inverse. Raises `DataInvalid` for a bundle of another schema or whose parts do not fit together."""
        if description.get("schema") != BUNDLE_SCHEMA:
            raise DataInvalid(
                f"The model bundle was made by {another_version(description.get('schema'), BUNDLE_SCHEMA)}.",
                hint=f"Run `{_training_of(description)}` again.",
            )
        if digest_value(description["features"]) != description["features_digest"]:
            raise DataInvalid(
                "The model bundle's feature list does not match its digest.", hint="Run `trader train` again."
            )
        fitted = FittedFamilies.from_dict(json.loads(files["fitted.json"]))
        if fitted.digest != description["fitted_digest"]:
            raise DataInvalid(
                "The model bundle's fitted features (autoencoder, regimes, differencing) do not match its digest.",
                hint="Run `trader train` again.",
            )
        numbers, known = json.loads(files["calibration.json"]), cls.basis_of(description)
        told, payoffs = numbers["side"], built(Payoffs, numbers["side"]["payoffs"])
        side = SideModel(calibrated_of(files["side.txt"], told), float(told["flat"]), payoffs, float(told["least"]))
        act = None
        if numbers["act"] is not None:
            verdict = built(ActVerdict, numbers["act"]["verdict"])
            act = ActModel(calibrated_of(files["act.txt"], numbers["act"]), verdict)
        bins, folds = FeatureBins.from_dict(json.loads(files["bins.json"])), files.get(FOLDS_FILE, b"")
        model = built(cls, {**known, "side": side, "act": act, "fitted": fitted, "bins": bins, "folds": folds})
        _refuse_unknown_members(model, texts_of(description["meta_features"]))
        return model


def _training_of(description: Mapping[str, object]) -> str:
    """The command that makes this model."""
    symbol, timeframe = description.get("symbol"), description.get("timeframe")
    return f"trader train {symbol} --timeframe {timeframe}" if symbol and timeframe else "trader train"


def _refuse_unknown_members(model: TrainedModel, meta_features: tuple[str, ...]) -> None:
    """Raises `DataInvalid` where the models read other columns than the fitted families and the features give."""
    wanted = (*model.features, *META_COLUMNS)
    boosters = [(model.side.booster, len(model.features)), *([(model.act.booster, len(wanted))] if model.act else [])]
    fit = (*model.fitted.inputs, *model.fitted.names) == model.features and meta_features == wanted
    fit = fit and set(model.bins.names) <= set(model.features)
    if not fit or any(one.booster.num_feature() != width for one, width in boosters):
        raise DataInvalid(
            "The model bundle's models read other columns than its feature list names.",
            hint="Run `trader train` again.",
        )
