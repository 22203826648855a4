"""Feature families that must be fitted: the autoencoder, the regimes and the order of fractional differencing.

They are fitted where a model is, on that model's training rows and nothing later: anew in every fold of the
walk-forward, and once more for the final models, in whose bundle they are frozen. They never reach the features
artifact, which knows no training span (docs/decisions/0007-fitted-families.md).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.analyst.read_features import as_read
from trader_cli.core.errors import UsageError
from trader_cli.core.identity.digests import digest_value
from trader_cli.core.json_values import built, number_of, object_of, texts_of
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.features import regimes as hmm
from trader_cli.features.autoencoder import Autoencoder, autoencoder_columns, fit_autoencoder
from trader_cli.features.fracdiff import COLUMN, ORDERS, fracdiff, fracdiff_weights, smallest_stationary_order
from trader_cli.features.short_gaps import bridge

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from trader_cli.core.json_values import JsonObject
    from trader_cli.features.bar_arrays import BarSeries
    from trader_cli.settings.model import FeatureSettings
    from trader_cli.settings.room_options import TrainingOptions

    Floats = NDArray[np.float64]
    Singles = NDArray[np.float32]
    Ints = NDArray[np.int64]

_MIN_ROWS = 128
"""Below this nothing is fitted: the longest differencing window leaves too little to test."""


@dataclass(frozen=True)
class FittedOptions:
    """Which families are fitted: bottleneck of the autoencoder (0: none), and regimes and fractional differencing."""

    autoencoder_bottleneck: int = 0
    advanced: bool = False

    @classmethod
    def of(cls, options: FeatureSettings) -> FittedOptions:
        """As configured."""
        bottleneck = options.autoencoder_bottleneck if options.enable_autoencoder_features else 0
        return cls(bottleneck, options.enable_advanced_features)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        encoded = autoencoder_columns(self.autoencoder_bottleneck) if self.autoencoder_bottleneck else ()
        return (*encoded, *((*hmm.COLUMNS, COLUMN) if self.advanced else ()))


@dataclass(frozen=True)
class FittedFamilies:
    """Families frozen after fitting. `inputs` are the base columns the encoder reads, in order.

    A family that is on but could not be fitted (too few rows) is `None`, and its columns are NaN.
    """

    options: FittedOptions
    timeframe: Timeframe
    inputs: tuple[str, ...]
    encoder: Autoencoder | None = None
    regimes: hmm.RegimeModel | None = None
    fracdiff_order: float | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return self.options.columns

    @cached_property
    def digest(self) -> str:
        """The name of all that was fitted."""
        return digest_value(self.as_dict())

    def as_dict(self) -> JsonObject:
        """Plain lists and numbers, for the bundle."""
        return {
            "options": asdict(self.options),
            "timeframe": self.timeframe.name,
            "inputs": list(self.inputs),
            "encoder": self.encoder.as_dict() if self.encoder else None,
            "regimes": self.regimes.as_dict() if self.regimes else None,
            "fracdiff_order": self.fracdiff_order,
        }

    @classmethod
    def from_dict(cls, body: Mapping[str, object]) -> FittedFamilies:
        """The inverse of `as_dict`."""
        encoder, model = body["encoder"], body["regimes"]
        return cls(
            built(FittedOptions, object_of(body["options"])),
            Timeframe.parse(str(body["timeframe"])),
            texts_of(body["inputs"]),
            None if encoder is None else Autoencoder.from_dict(object_of(encoder)),
            None if model is None else hmm.RegimeModel.from_dict(object_of(model)),
            None if body["fracdiff_order"] is None else number_of(body["fracdiff_order"]),
        )

    def columns(self, bars: BarSeries, x: Floats | Singles, rows: Ints) -> Floats:
        """Columns (m, len(names)) at ascending `rows` (m,) of the bars, whose base features are x (m, k), as read.

        Row t depends on bars ≤ t and its own features only, and is the same to the bit for any bars that reach back
        `history_bars`. NaN where a family was not fitted or its history is out of reach. Raises `UsageError` for
        features that are not those of `inputs`.
        """
        if x.shape != (len(rows), len(self.inputs)):
            raise UsageError(
                f"The fitted families want {len(self.inputs)} features of {len(rows)} rows, not {x.shape}."
            )
        out = np.full((len(rows), len(self.names)), np.nan)
        if not len(rows):
            return out
        x = as_read(x)
        bottleneck = self.options.autoencoder_bottleneck
        if self.encoder is not None:
            out[:, : bottleneck + 2] = self.encoder.encode(x)
        if self.regimes is not None and self.options.advanced:
            since = int(rows[0])
            out[:, -4:-1] = self.regimes.filtered(bars, self.timeframe, since)[rows - since]
        if self.fracdiff_order is not None:
            out[:, -1] = _differenced(bars, self.timeframe, self.fracdiff_order)[rows]
        return out


def history_bars(timeframe: Timeframe) -> int:
    """The most bars, its own included, on which a row of any fitted family depends."""
    return max(hmm.history_bars(timeframe), *(len(fracdiff_weights(d)) for d in ORDERS))


def fit_families(
    bars: BarSeries,
    x: Floats | Singles,
    inputs: Sequence[str],
    rows: Ints,
    config: TrainingOptions,
    timeframe: Timeframe,
    *,
    shown: bool = True,
) -> FittedFamilies:
    """Fit what the settings switch on, on the features x (m, k) at `rows` (m,) of the bars, ascending.

    Nothing after the last of `rows` is looked at. Regimes are fitted as well where the analysis shows them (`shown`);
    they are columns only where `enable_advanced_features` is on.
    """
    options = FittedOptions.of(config.features)
    seen, x = bars.cut(0, int(rows[-1]) + 1 if len(rows) else 0), as_read(x)
    encoder = order = None
    if options.autoencoder_bottleneck and np.isfinite(x).any(axis=1).sum() >= _MIN_ROWS:
        encoder = fit_autoencoder(x, bottleneck=options.autoencoder_bottleneck, seed=config.seed)
    if options.advanced and len(rows) >= _MIN_ROWS:
        order = smallest_stationary_order(np.log(seen.close[int(rows[0]) :]))
    model = hmm.fit_regimes(seen, timeframe) if shown or options.advanced else None
    return FittedFamilies(options, timeframe, tuple(inputs), encoder, model, order)


def _differenced(bars: BarSeries, timeframe: Timeframe, order: float) -> Floats:
    """Fractionally differenced log close, shape (n,); NaN where the window crosses a gap that is not bridged."""
    joined = bridge(bars, timeframe.ms)
    if joined is not None:
        return joined.own_rows(_differenced(joined.bars, timeframe, order))
    reach = len(fracdiff_weights(order)) - 1
    values = fracdiff(np.log(bars.close), order)
    gapless = bars.open_ms[reach:] - bars.open_ms[: max(len(bars) - reach, 0)] == reach * timeframe.ms
    values[reach:][~gapless] = np.nan
    return values
