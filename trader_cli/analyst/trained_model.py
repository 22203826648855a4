"""A trained model as a value, and as the plain files of a bundle."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.analyst.boosting import Calibrated
from trader_cli.analyst.fitted_families import FittedFamilies
from trader_cli.analyst.trained_basis import TrainedBasis
from trader_cli.analyst.walk_forward import META_COLUMNS
from trader_cli.core.errors import DataInvalid
from trader_cli.core.identity.digests import canonical_json, digest_value
from trader_cli.core.identity.manifests import another_version
from trader_cli.core.json_values import built, texts_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from trader_cli.core.json_values import JsonObject
    from trader_cli.features.bar_arrays import BarSeries

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

BUNDLE_SCHEMA = 4
_THREADS = re.compile(r"^\[num_threads: \d+\]\n", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class TrainedModel(TrainedBasis):
    """Side model, meta-label model (if the dual system is on and could be fitted), families, and what they rest on.

    `features` are those of the features artifact, then those of the `fitted` families.
    """

    side: Calibrated
    meta: Calibrated | None
    fitted: FittedFamilies

    @property
    def base_features(self) -> tuple[str, ...]:
        """The columns of the features artifact, in order."""
        return self.features[: len(self.features) - len(self.fitted.names)]

    def widened(self, bars: BarSeries, x: Floats, rows: Ints) -> Floats:
        """What the models read: base features x (m, k) at `rows` (m,) of the bars, then the fitted columns."""
        return np.hstack([x, self.fitted.columns(bars, x, rows)])

    def files(self) -> dict[str, bytes]:
        """The bundle's files: boosters as text, everything else as JSON."""
        files = {
            "side.txt": _text_of(self.side),
            "calibration.json": canonical_json(self._maps()),
        }
        if self.meta is not None:
            files["meta.txt"] = _text_of(self.meta)
        files["fitted.json"] = canonical_json(self.fitted.as_dict())
        return files

    def _maps(self) -> JsonObject:
        return {"side": self.side.maps, "meta": self.meta.maps if self.meta else None}

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
        maps = json.loads(files["calibration.json"])
        meta = _calibrated(files["meta.txt"], maps["meta"]) if "meta.txt" in files else None
        known = cls.basis_of(description)
        side = _calibrated(files["side.txt"], maps["side"])
        model = built(cls, {**known, "side": side, "meta": meta, "fitted": fitted})
        _refuse_unknown_members(model, texts_of(description["meta_features"]))
        return model


def _training_of(description: Mapping[str, object]) -> str:
    """The command that makes this model."""
    symbol, timeframe = description.get("symbol"), description.get("timeframe")
    return f"trader train {symbol} --timeframe {timeframe}" if symbol and timeframe else "trader train"


def _refuse_unknown_members(model: TrainedModel, meta_features: tuple[str, ...]) -> None:
    """Raises `DataInvalid` where the models read other columns than the fitted families and the features give."""
    wanted = (*model.features, *META_COLUMNS)
    widths = [(model.side, len(model.features)), *([(model.meta, len(wanted))] if model.meta else [])]
    fit = (*model.fitted.inputs, *model.fitted.names) == model.features and meta_features == wanted
    if not fit or any(one.booster.num_feature() != width for one, width in widths):
        raise DataInvalid(
            "The model bundle's models read other columns than its feature list names.",
            hint="Run `trader train` again.",
        )


def _text_of(model: Calibrated) -> bytes:
    """The booster as text, without the number of threads it was made by, which changes nothing in it."""
    return _THREADS.sub("", str(model.booster.model_to_string())).encode()


def _calibrated(text: bytes, maps: list[list[float]]) -> Calibrated:
    import lightgbm

    return Calibrated(lightgbm.Booster(model_str=text.decode()), [(a, b) for a, b in maps])
