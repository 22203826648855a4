"""`FeatureEngineeringOrchestrator`: the guide's door to the feature families, and their block cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from trader_cli.analyst.configured_families import configured_spec, own_families
from trader_cli.core.errors import DataInvalid, DataMissing
from trader_cli.core.identity.digests import digest_bytes, digest_value
from trader_cli.core.market.bars import check_bars, with_close_time
from trader_cli.core.market.schemas import TIME
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.features.bar_arrays import PRICE_INPUTS, BarSeries
from trader_cli.features.build import build_features
from trader_cli.features.inputs import align_inputs, futures_inputs, known_inputs
from trader_cli.features.sr_levels import as_levels
from trader_cli.settings.workspace import settings_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from trader_cli.analyst.fitted_families import FittedFamilies
    from trader_cli.features.bar_arrays import Floats
    from trader_cli.features.family import Family, MakeFamilies
    from trader_cli.features.feature_spec import FeatureSpec
    from trader_cli.settings import Settings, Workspace
    from trader_cli.storage.block_cache import BlockCache


class FeatureEngineeringOrchestrator:
    """Builds features as configured. `config` is a `Settings` or a dict of the guide's keys.

    `fitted`: the fitted families of a model (`TrainedModel.fitted`: autoencoder, regimes, differencing), whose
    columns `generate_all_features` then appends. Without a model there are none: fitted on what they describe, they
    would tell the past what the future looked like.
    """

    def __init__(
        self, config: Workspace | Settings | Mapping[str, object] | None = None, *, fitted: FittedFamilies | None = None
    ) -> None:
        self.settings = settings_of(config)
        self._fitted = fitted
        self._options = self.settings.feature_engineering_orchestrator
        self._cache: BlockCache | None = None
        self._own: tuple[MakeFamilies, ...] | None = None
        self.evaluated_blocks = 0
        self.cached_blocks = 0

    def spec(self, timeframe: Timeframe, inputs: Iterable[str] = PRICE_INPUTS) -> FeatureSpec:
        """The families the settings switch on, for a base time frame and the inputs that are known.

        Raises `ConfigurationError` for bad parameters and for families of the user that cannot be loaded.
        """
        if self._own is None:
            self._own = own_families(self._options)
        return configured_spec(self._options, timeframe, inputs, self._own)

    async def generate_all_features(
        self,
        klines_df: pl.DataFrame,
        agg_trades_df: pl.DataFrame | None = None,
        futures_df: pl.DataFrame | None = None,
        sr_levels: object = None,
    ) -> pl.DataFrame:
        """FEATURES of klines and of whatever else is given; families whose inputs are not given are left out.

        `klines_df`: BARS, or at least open_time (UTC ms), open, high, low, close, volume, one row per closed bar; where
        quote_volume, trades, taker_buy_base and taker_buy_quote are there, order flow is made of them.
        `agg_trades_df`: TRADES: time, trade_id, price, quantity, buyer_is_maker. Bars they do not cover stay null.
        `futures_df`: FUNDING, or time, funding_rate (null but at payments), mark_price, index_price, open_interest, of
        which any may be absent or null.
        `sr_levels`: known_time (UTC ms), price, strength: levels that were known from that time on; or a dict of
        support, resistance and known_time.
        The last three may be `None`. What is known when: `features.inputs.align_inputs`. Raises `DataInvalid` for bars
        that break their rules, for frames of other columns, and for levels without the time they became known.
        """
        timeframe = infer_timeframe(klines_df)
        frame = with_close_time(klines_df.with_columns(pl.col("open_time").cast(TIME)), timeframe)
        bars = check_bars(frame, timeframe, origin="klines_df")
        futures = {} if futures_df is None else futures_inputs(futures_df, timeframe)
        aligned = align_inputs(bars, timeframe, trades=agg_trades_df, levels=as_levels(sr_levels), **futures)
        self._certify_own(timeframe, aligned)
        features = self.build(aligned, timeframe)
        return features if self._fitted is None else self._with_fitted(features, bars, self._fitted)

    def _certify_own(self, timeframe: Timeframe, aligned: pl.DataFrame) -> None:
        """A family of one's own is certified before its first use. Raises `VerificationFailed`."""
        if not self._options.user_families:
            return
        from trader_cli.analyst.certificate_store import ensure_certificate
        from trader_cli.storage.artifacts import ArtifactStore

        names = known_inputs(aligned)
        twin = FeatureEngineeringOrchestrator(self.settings).spec(timeframe, names)
        store, spec = ArtifactStore(self.settings.cache_dir), self.spec(timeframe, names)
        ensure_certificate(store, spec, twin, bars=aligned, options=self._options).require()

    @staticmethod
    def _with_fitted(features: pl.DataFrame, bars: pl.DataFrame, fitted: FittedFamilies) -> pl.DataFrame:
        absent = [name for name in fitted.inputs if name not in features.columns]
        if absent:
            raise DataInvalid(f"The fitted families want the feature {absent[0]!r}, which these inputs do not give.")
        x = features.select(fitted.inputs).to_numpy().astype(np.float64)
        columns = fitted.columns(BarSeries.of(bars), x, np.arange(bars.height))
        made = [pl.Series(name, columns[:, i], nan_to_null=True) for i, name in enumerate(fitted.names)]
        return features.hstack(made)

    def build(self, bars: pl.DataFrame, timeframe: Timeframe, since_ms: int | None = None) -> pl.DataFrame:
        """FEATURES of checked BARS, alone or aligned with other inputs, for rows opening at or after `since_ms`.

        Which families there are follows from the inputs that have a value in any row. Wavelet blocks come from the
        cache.
        """
        spec = self.spec(timeframe, known_inputs(bars))
        return build_features(bars, spec, since_ms=since_ms, evaluate=self.evaluate)

    def evaluate(self, family: Family, bars: BarSeries) -> Mapping[str, Floats]:
        """A family's columns on bars; those of wavelets are found in the block cache where they were made before."""
        if not family.name.startswith("wavelet") or family.source or not self._options.wavelet_cache.cache_enabled:
            return family.evaluate(bars)
        cache = self._opened()
        digest = digest_value(
            [
                family.name,
                family.version,
                family.source,
                sorted(family.parameters.items()),
                digest_bytes(bars.content(family.inputs)),
            ]
        )
        known = cache.get(digest)
        if (
            known is not None
            and set(known) == set(family.columns)
            and all(len(values) == len(bars) for values in known.values())
        ):
            self.cached_blocks += 1
            return known
        self.evaluated_blocks += 1
        fresh = family.evaluate(bars)
        cache.put(digest, dict(fresh))
        return fresh

    def _opened(self) -> BlockCache:
        if self._cache is None:
            from trader_cli.storage.block_cache import BlockCache

            self._cache = BlockCache(self.settings.wavelet_folder)
        return self._cache

    def close(self) -> None:
        """Close the block cache."""
        if self._cache is not None:
            self._cache.close()
            self._cache = None


def infer_timeframe(klines: pl.DataFrame) -> Timeframe:
    """The time frame of klines, by their smallest spacing. Raises `DataMissing` or `DataInvalid`."""
    if "open_time" not in klines.columns:
        raise DataInvalid(f"Klines need a column open_time; found {klines.columns}.")
    if klines.height < 2:
        raise DataMissing(f"At least 2 klines are needed to make features; found {klines.height}.")
    step = klines["open_time"].cast(TIME).to_physical().diff().drop_nulls().min()
    timeframe = Timeframe.of_ms(step) if isinstance(step, int) else None
    if timeframe is None:
        raise DataInvalid(f"Klines are {step!r} ms apart, which is no time frame the exchange offers.")
    return timeframe
