"""`Analyst`: the guide's door to signals. Loads what the stages stored and turns it into an `Analysis`."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trader_cli import __version__
from trader_cli.analyst.analysis import LEVEL_BARS, AnalysisInput, analyse
from trader_cli.analyst.bundled import from_bundle, refuse_other_kind
from trader_cli.analyst.certificate_store import naming, require_certificate, require_certified
from trader_cli.analyst.fast_frame import fast_frame
from trader_cli.analyst.feature_artifacts import build_feature_artifact
from trader_cli.analyst.feature_engineering_orchestrator import FeatureEngineeringOrchestrator
from trader_cli.analyst.feature_inputs import (
    is_current,
    spec_made,
    stored_funding,
    stored_inputs,
    stored_manifests,
    with_health_columns,
)
from trader_cli.analyst.fitted_families import FittedOptions, history_bars
from trader_cli.analyst.funding_cost import FUNDING_ROWS
from trader_cli.analyst.model_terms import refuse_other_terms, refuse_the_future
from trader_cli.analyst.model_watch import doubt_of
from trader_cli.analyst.outcomes import DOUBT_BARS
from trader_cli.analyst.pair_analysis import PairInput, analyse_pair
from trader_cli.analyst.sections import SECTIONS, sections_of
from trader_cli.analyst.stored_watch import stored_watch
from trader_cli.analyst.stored_word import stored_word
from trader_cli.analyst.trained_model import TrainedModel
from trader_cli.analyst.trained_pair import TrainedPair
from trader_cli.analyst.trained_rule import TrainedRule
from trader_cli.core.answers import Answer
from trader_cli.core.errors import DataError, DataInvalid, DataMissing, DataStale, UsageError
from trader_cli.core.identity.digests import digest_value
from trader_cli.core.json_values import object_of
from trader_cli.core.market.quality import doubtful_bars
from trader_cli.core.market.schemas import FEATURE_KEYS
from trader_cli.core.market.snapshot import MarketSnapshot
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.core.model_validity import PAIR_KIND, unwatched
from trader_cli.core.types import Abstention, Analysis
from trader_cli.settings.room_options import AnalysisOptions, RuleOptions, TrainingOptions
from trader_cli.settings.workspace import settings_of
from trader_cli.storage.artifacts import ArtifactStore, command_of, require_source, stage_key
from trader_cli.storage.bundles import BundleStore
from trader_cli.storage.current_models import retired_model

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from trader_cli.analyst.bundled import Trained
    from trader_cli.analyst.rule_decision import RuleWord
    from trader_cli.analyst.rule_process import RuleProcess
    from trader_cli.core.identity.manifests import ArtifactKey, Manifest
    from trader_cli.core.json_values import JsonObject
    from trader_cli.core.ports import Clock
    from trader_cli.settings import Settings, Workspace


@dataclass(frozen=True)
class _Seen:
    """What an analysis sees beside its series: the time, the market, what decides, and what is to be told."""

    now_ms: int
    snapshot: MarketSnapshot | None
    level_bars: int
    sections: frozenset[str]
    model: Trained | None


class Analyst:
    """Analyses symbols from stored artifacts. `config` is a `Settings` or a dict of the guide's keys.

    `store`, `clock` and `source` are built from the configuration if not given; a `source` that is given must be the
    one the artifacts were made from. A rule asked in a `rule_process` abstains where it fails.
    """

    def __init__(
        self,
        config: Workspace | Settings | Mapping[str, object] | None = None,
        *,
        store: ArtifactStore | None = None,
        clock: Clock | None = None,
        source: str | None = None,
        rule_process: RuleProcess | None = None,
    ) -> None:
        self.settings = settings_of(config)
        self.store = store or ArtifactStore(self.settings.cache_dir)
        self.bundles = BundleStore(self.store.root / "models")
        self._clock = clock
        self._source, self._rule_process = source, rule_process
        self._results: deque[Analysis] = deque(maxlen=self.settings.tactician.max_history)
        self._ready = clock is not None
        self.last_was_cached = False

    async def initialize(self) -> bool:
        """Get ready: a clock, if none was given."""
        if self._clock is None:
            from trader_cli.exchange.connection.venue_clock import clock_of

            self._clock = await clock_of(self.settings.binance_exchange)
        self._ready = True
        return True

    async def execute_analysis(self, analysis_input: Mapping[str, object]) -> Answer:
        """Analyse one symbol: `Analysis.as_dict()`, whose `signal` is null where the analyst abstains.

        Keys: symbol, timeframe, limit (bars looked at for levels); analysis_type: full, technical, risk or signal, and
        include_indicators, include_patterns … add or leave out a section (`analyst.sections`). False, with a `sentence`
        that names the command that mends it, where an input is missing, stale or invalid.
        """
        if "symbol" not in analysis_input:
            raise UsageError("An analysis needs a symbol.")
        try:
            analysis = self.analyse(
                str(analysis_input["symbol"]),
                Timeframe.parse(str(analysis_input.get("timeframe", "1h"))),
                limit=int(str(analysis_input.get("limit", LEVEL_BARS))),
                sections=sections_of(analysis_input),
            )
        except DataError as error:
            return Answer({"kind": "error", "code": type(error).__name__, "sentence": str(error)}, given=False)
        return Answer(analysis.as_dict(), given=True)

    def analyse(
        self,
        symbol: str,
        timeframe: Timeframe,
        *,
        limit: int = LEVEL_BARS,
        sections: frozenset[str] = SECTIONS,
    ) -> Analysis:
        """The analysis of the last stored bar, from the store where the same one was made before."""
        if not self._ready or self._clock is None:
            raise UsageError("The analyst is not initialised.", hint="Call `await analyst.initialize()` first.")
        now, level_bars = self._clock.now_ms(), max(limit, LEVEL_BARS)
        bars = self._input(symbol, timeframe, "bars", "fetch")
        features = self._features(symbol, timeframe, bars)
        fast = fast_frame(self.settings.analyst, self.settings.rule.name, timeframe)
        wanted = self.settings.analyst.enable_ml_predictions
        absent = retired_model(self.store, self.settings.mode, symbol, timeframe) if wanted else None
        model = self._model(symbol, timeframe, features) if wanted and absent is None else None
        refuse_the_future(bars, model, timeframe, now)
        shown = self.store.pointed(self._key(symbol, fast or timeframe, "market"))
        digests = {
            "bars": bars.digest,
            "features": features.digest,
            "model": self.store.found(self._key(symbol, timeframe, "model")) or "none" if model else "none",
            "market": shown or "none",
            "costs": self.settings.costs.digest,
        }
        seen = _Seen(now, self._snapshot(shown, bars.source), level_bars, sections, model)
        half = model.slow if isinstance(model, TrainedPair) else None
        given = replace(
            self._given(seen, bars, features, digests, half),
            word=self._word(model, bars, features, timeframe),
            absent=absent,
            drifted=self._drifted(model, bars, features, timeframe),
        )
        beside = None
        if fast is not None and isinstance(model, TrainedPair):
            beside, given = self._timed(seen, given, model, fast)
        analysis = self._remembered(given, beside)
        self._results.append(analysis)
        return analysis

    def _given(
        self, seen: _Seen, bars: Manifest, features: Manifest, digests: dict[str, str], half: TrainedModel | None
    ) -> AnalysisInput:
        """What an analysis sees of one series."""
        symbol, timeframe, snapshot = bars.symbol, Timeframe.parse(bars.timeframe), seen.snapshot
        recent = self._recent(bars, max(seen.level_bars, history_bars(timeframe)))
        return AnalysisInput(
            symbol=symbol,
            timeframe=timeframe,
            bars=with_health_columns(self.store, features, recent),
            features=self._last_row(features, bars),
            model=seen.model,
            snapshot=snapshot,
            bar_age_ms=seen.now_ms - (bars.last_ms or 0) - timeframe.ms,
            book_age_ms=None if snapshot is None else seen.now_ms - snapshot.fetched_ms,
            digests=digests,
            sections=seen.sections,
            level_bars=seen.level_bars,
            doubts=doubtful_bars(recent, timeframe, DOUBT_BARS),
            funding=stored_funding(self.store, self.settings.mode, symbol, timeframe, bars, FUNDING_ROWS),
            half=half,
        )

    def _timed(
        self, seen: _Seen, slow: AnalysisInput, pair: TrainedPair, fast: Timeframe
    ) -> tuple[AnalysisInput, AnalysisInput]:
        """(What is seen of the fast bars, the slow series with the digests of both)."""
        bars = self._input(slow.symbol, fast, "bars", "fetch")
        features = self._features(slow.symbol, fast, bars)
        refuse_the_future(bars, None, fast, seen.now_ms)
        if pair.fast is not None:
            self._refuse_other_settings(pair.fast, features, f"train {slow.symbol} --timeframe {slow.timeframe}")
        digests = {**slow.digests, "fast_bars": bars.digest, "fast_features": features.digest}
        beside = self._given(seen, bars, features, digests, pair.fast)
        if beside.funding is None:
            beside = replace(beside, funding=slow.funding)
        return beside, replace(slow, digests=digests)

    def _refuse_other_settings(self, half: TrainedModel, features: Manifest, command: str) -> None:
        """Raises `DataStale` where the fast half was trained on features of other settings."""
        fitted = FittedOptions.of(self.settings.feature_engineering_orchestrator)
        looks = half.horizon_bars in self.settings.analyst.fast_horizon_bars
        if half.inputs.get("feature_settings") != features.settings or fitted != half.fitted.options or not looks:
            raise DataStale(
                f"The fast model was trained with other horizon or feature settings of {half.timeframe} bars.",
                hint=f"Run `trader {command}` again.",
            )

    def _word(
        self, model: Trained | None, bars: Manifest, features: Manifest, timeframe: Timeframe
    ) -> RuleWord | Abstention | None:
        if not isinstance(model, TrainedRule):
            return None
        options = RuleOptions.of(self.settings)
        return stored_word(self.store, options, model, bars, features, timeframe, self._rule_process)

    def _snapshot(self, digest: str | None, source: str) -> MarketSnapshot | None:
        """The stored snapshot of this market; `None` where there is none, or it is of another."""
        document = self.store.get_document(digest) if digest else None
        if document is None or document.get("source") != source:
            return None
        return MarketSnapshot.from_dict(document)

    def _remembered(self, given: AnalysisInput, fast: AnalysisInput | None = None) -> Analysis:
        """The stored analysis of just this input, or a new one, stored; `fast` times entries, if it is given."""
        key = self._key(given.symbol, given.timeframe, "analysis")
        options = self.settings.analyst
        name = digest_value(
            [
                given.digests,
                len(given.recent),
                sorted(given.sections),
                __version__,
                options.model_dump(mode="json"),
                self.settings.costs.model_dump(mode="json"),
                *(one.bar_age_ms > options.max_bar_age * one.timeframe.ms for one in (given, fast) if one is not None),
                given.book_age_ms is not None and given.book_age_ms <= options.max_book_age * 1000,
                *(one.sentence for one in (given.word, given.absent, given.drifted) if isinstance(one, Abstention)),
            ]
        )
        given = replace(given, digests={**given.digests, "analysis_input": name})
        pointed = self.store.found(key)
        known = self.store.get_document(pointed) if pointed else None
        self.last_was_cached = known is not None and object_of(known.get("digests", {})).get("analysis_input") == name
        if known is not None and self.last_was_cached:
            return Analysis.from_dict(known)
        config = AnalysisOptions.of(self.settings)
        analysis = analyse(given, config) if fast is None else analyse_pair(PairInput(given, fast), config)
        self.store.point(key, self.store.put_document(analysis.as_dict()), market=self._source or "")
        return analysis

    def get_analysis_results(self) -> list[JsonObject]:
        """The signals found since `initialize`, oldest first."""
        return [analysis.as_dict() for analysis in self._results if analysis.signal is not None]

    def get_analysis_status(self) -> JsonObject:
        """Counts of what was analysed, and why the analyst abstained."""
        abstained: dict[str, int] = {}
        for analysis in self._results:
            if isinstance(analysis.outcome, Abstention):
                abstained[analysis.outcome.code] = abstained.get(analysis.outcome.code, 0) + 1
        signals = sum(analysis.signal is not None for analysis in self._results)
        return {
            "initialized": self._ready,
            "analyses": len(self._results),
            "signals": signals,
            "abstentions": abstained,
        }

    def _key(self, symbol: str, timeframe: Timeframe, stage: str) -> ArtifactKey:
        return stage_key(self.settings.mode, symbol, timeframe, stage)

    def _input(self, symbol: str, timeframe: Timeframe, stage: str, command: str) -> Manifest:
        manifest = self.store.require(
            self._key(symbol, timeframe, stage), f"{command} {symbol} --timeframe {timeframe}"
        )
        require_source(manifest, self._source)
        return manifest

    def _features(self, symbol: str, timeframe: Timeframe, bars: Manifest) -> Manifest:
        """The current features, made anew from the stored bars where that is allowed and needed."""
        manifest = self.store.current(self._key(symbol, timeframe, "features"))
        orchestrator = FeatureEngineeringOrchestrator(self.settings)
        made_by = f"features {symbol} --timeframe {timeframe}"
        beside = stored_manifests(self.store, self.settings.mode, symbol, timeframe, bars)
        if manifest is not None and all(is_current(manifest, bars, beside, orchestrator, timeframe)):
            require_certified(self.store, spec_made(manifest, orchestrator, timeframe), manifest, made_by)
            return manifest
        if self.settings.analyst.enable_feature_engineering:
            given = stored_inputs(self.store, self.settings.mode, symbol, timeframe, bars, self.store.read(bars))
            spec = orchestrator.spec(timeframe, given.names)
            certificate = require_certificate(self.store, spec, made_by)
            with self.store.at_work():
                try:
                    built = build_feature_artifact(
                        self.store, bars, given.frame, spec, orchestrator, digests=given.digests
                    )
                finally:
                    orchestrator.close()
                manifest = naming(built.manifest, certificate)
                self.store.publish(self._key(symbol, timeframe, "features"), manifest)
            return manifest
        command = f"Run `trader {made_by}`."
        if manifest is None:
            raise DataMissing(f"There are no features of {symbol} {timeframe}.", hint=command)
        raise DataStale(f"The features of {symbol} {timeframe} are of other inputs or other settings.", hint=command)

    def _drifted(
        self, model: Trained | None, bars: Manifest, features: Manifest, timeframe: Timeframe
    ) -> Abstention | None:
        """Why the model's forecasts are not believed today, or why nothing is opened by it, as it is not watched."""
        if isinstance(model, TrainedPair):
            return unwatched(PAIR_KIND, self.settings.mode)
        if not isinstance(model, TrainedModel):
            return None
        known = stored_watch(self.store, self.settings.mode, model, bars, features, timeframe)
        return doubt_of(model, known, self.settings.analyst)

    def _model(self, symbol: str, timeframe: Timeframe, features: Manifest) -> Trained:
        digest = self.store.pointed(self._key(symbol, timeframe, "model"))
        command = f"`trader train {symbol} --timeframe {timeframe}`"
        if digest is None:
            raise DataMissing(
                f"There is no model of {symbol} {timeframe} in profile {self.settings.mode}.",
                hint=f"Run {command} first.",
            )
        again, options = f"Run {command} again.", self.settings.analyst
        model = from_bundle(*self.bundles.load(digest))
        named = self.settings.rule.name, options.fast_timeframe
        refuse_other_kind(model, *named, f"train {symbol} --timeframe {timeframe}")
        if (model.symbol, model.timeframe) != (symbol, timeframe.name):
            raise DataInvalid(
                f"The model is of {model.symbol} {model.timeframe}, not of {symbol} {timeframe}.", hint=again
            )
        if self._source is not None and model.source != self._source:
            raise DataStale(f"The model was trained on {model.source}; this is {self._source}.", hint=again)
        fitted = FittedOptions.of(self.settings.feature_engineering_orchestrator)
        refuse_other_terms(model, features, options, fitted, TrainingOptions.of(self.settings), command)
        return model

    def _recent(self, bars: Manifest, count: int) -> pl.DataFrame:
        """The last `count` bars."""
        return self.store.read(bars.tail(count)).tail(count)

    def _last_row(self, features: Manifest, bars: Manifest) -> dict[str, float | None]:
        row = self.store.read(features.tail()).tail(1).row(0, named=True)
        if features.last_ms != bars.last_ms:
            raise DataInvalid(
                "The features do not end with the last stored bar.", hint=f"Run `trader {command_of(features)}`."
            )
        return {name: value for name, value in row.items() if name not in FEATURE_KEYS}
