"""What a stored backtest was made from, part by part, each of which can be exchanged for another one's, and made again.

Nothing here stores anything or counts a trial.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.analyst.bundled import from_bundle, refuse_other_kind
from trader_cli.analyst.user_rules import rule_origin
from trader_cli.backtest.model_spans import ModelSchedule, ModelSpan
from trader_cli.backtest.stored_analyses import SymbolHistory
from trader_cli.core.errors import DataInvalid, DataMissing, DataStale, UsageError
from trader_cli.core.identity.digests import digest_value
from trader_cli.core.json_values import object_of, whole_of
from trader_cli.core.market.schemas import check_features
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.exchange.account.bracket_memory import KnownBrackets
from trader_cli.pipelines.backtests.backtest_request import FOLDS, FRICTIONS, ON_BARS, BacktestRequest
from trader_cli.pipelines.backtests.backtest_run import signals_of
from trader_cli.pipelines.backtests.model_names import models_of
from trader_cli.pipelines.backtests.prepared_backtest import PreparedBacktest
from trader_cli.pipelines.backtests.stored_tape import FINEST, real_market, symbol_tape_of
from trader_cli.pipelines.backtests.universe import membership
from trader_cli.pipelines.market_access import sim_tape
from trader_cli.pipelines.stages.training_inputs import TrainingData
from trader_cli.settings import workspace_of
from trader_cli.storage.artifacts import stage_key
from trader_cli.storage.bundles import BundleStore
from trader_cli.storage.stored_columns import StoredColumns
from trader_cli.venue.simulated_market.tape import path_seed

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from trader_cli.core.identity.manifests import Manifest
    from trader_cli.core.json_values import JsonObject
    from trader_cli.settings import Settings, Workspace
    from trader_cli.storage.artifacts import ArtifactStore
    from trader_cli.venue.simulated_market.tape import Tape

CAUSES: Mapping[str, tuple[str, ...]] = {
    "latency": ("latency",),
    "impact": ("impact",),
    "compounding": ("compounding",),
    "span": ("span",),
    "bars": ("market", "bars"),
    "feature": ("features",),
    "model": ("models", "folds"),
    "setting": ("settings",),
    "cost": ("costs",),
    "seed": ("seed",),
}
"""What can be another one's, in the order it is told, and the parts of a recipe that it is."""
_PLAYED = ("bars", "fast_bars", "path", "funding", "mark")


@dataclass(frozen=True)
class Recipe:
    """The parts. Digests by the names of the manifest's inputs; settings and costs as they were in force.

    `folds`: the bundle whose folds were traded, which names bars and features itself; with which frictions.
    """

    request: BacktestRequest
    span: tuple[int, int]
    market: JsonObject
    bars: dict[str, str]
    features: dict[str, str]
    models: dict[tuple[str, int], str]
    settings: JsonObject
    costs: JsonObject
    seed: int
    code: str
    folds: str = ""
    latency: bool = False
    impact: bool = False
    compounding: bool = False

    @classmethod
    def of(cls, manifest: Manifest) -> Recipe:
        """That of a stored backtest.

        Raises `DataInvalid` for one of a version that did not write everything down, `UsageError` for a rule's on bare
        bars, which has no decisions to be made again.
        """
        try:
            if object_of(manifest.notes["request"])["model"] == ON_BARS:
                raise UsageError(
                    "What a rule came to on bare bars is not made again: nothing was decided there.",
                    hint="Compare backtests of the whole decision path: without --on-bars.",
                )
            return cls._read(manifest)
        except (KeyError, TypeError) as error:
            raise DataInvalid(
                f"The {manifest.stage} was written by a version of trader that did not say what it was made from.",
                hint="Run `trader backtest` again.",
            ) from error

    @classmethod
    def _read(cls, manifest: Manifest) -> Recipe:
        notes, request = manifest.notes, BacktestRequest.from_dict(object_of(manifest.notes["request"]))
        settings = dict(object_of(notes["settings"]))
        folds = request.model.removeprefix(FOLDS) if request.model.startswith(FOLDS) else ""
        settings.pop("folds", None)

        def inputs(*stages: str) -> dict[str, str]:
            return {name: digest for name, digest in manifest.inputs.items() if name.split(" ")[0] in stages}

        return cls(
            request=request,
            span=(request.since_ms or 0, request.until_ms or 0),
            market=object_of(notes["market"]),
            bars={} if folds else inputs(*_PLAYED),
            features={} if folds else inputs("features", "fast_features"),
            models=models_of(manifest.inputs, request.since_ms or 0),
            costs=object_of(settings.pop("costs")),
            settings=settings,
            seed=whole_of(notes["seed"]),
            code=str(notes["code"]),
            folds=folds,
            **{friction: friction in request.frictions for friction in FRICTIONS},
        )

    def differing(self, other: Recipe) -> list[str]:
        """The causes that are others there, in their order."""
        return [cause for cause, parts in CAUSES.items() if any(getattr(self, p) != getattr(other, p) for p in parts)]

    def taking(self, cause: str, other: Recipe) -> Recipe:
        """With one cause as it is there."""
        return replace(self, **{part: getattr(other, part) for part in CAUSES[cause]})


def prepare(recipe: Recipe, workspace: Workspace, store: ArtifactStore) -> PreparedBacktest:
    """All of it as values. Raises `DataError` where a part of it is gone, or cannot be traded with the others."""
    if recipe.folds:
        raise UsageError(
            "The trades behind a claim are not drawn again: they are made by --folds.",
            hint="Name a backtest of the whole decision path: without --folds.",
        )
    own = workspace_for(recipe, workspace)
    request = replace(recipe.request, since_ms=recipe.span[0], until_ms=recipe.span[1])
    histories = {symbol: _history(recipe, own, store, symbol) for symbol in request.symbols}
    entered = {symbol: whole_of(at_ms) for symbol, at_ms in object_of(recipe.market.get("entered", {})).items()}
    bars = {symbol: history.bars for symbol, history in histories.items()}
    member = membership(bars, request, recipe.span, entered)
    histories = {
        symbol: replace(history, member=member[symbol], begins_ms=entered.get(symbol, 0))
        for symbol, history in histories.items()
    }
    return PreparedBacktest(own, request, histories, _tape(recipe, own, store), recipe.bars)


def workspace_for(recipe: Recipe, workspace: Workspace) -> Workspace:
    """With the settings that the backtest was made by."""
    return workspace_of(_settings(recipe, workspace.settings))


def _settings(recipe: Recipe, now: Settings) -> Settings:
    """Those in force now with what the backtest was made by in their place."""
    given: dict[str, object] = {**recipe.settings, "costs": recipe.costs, "rule": _rule(recipe, now)}
    sim = {**now.sim.model_dump(mode="json"), **object_of(recipe.market.get("sim", {}))}
    sim["balance"] = given.pop("balance")
    given |= {"sim": sim, "seed": recipe.seed}
    fresh = {name: _as_it_is_typed(now, name, value) for name, value in given.items() if hasattr(now, name)}
    return now.model_copy(update=fresh)


def _rule(recipe: Recipe, now: Settings) -> JsonObject:
    """The section of the rule that decided, if one did. Raises `DataStale` where its source is another one now."""
    told = dict(object_of(recipe.settings.get("rule", {})))
    name, source = told.pop("name", None), told.pop("source", None)
    if name is not None and rule_origin(str(name)).digest != source:
        raise DataStale(f"The rule {name} has another source now.", hint="Run `trader backtest` with it again.")
    return {"name": name, "parameters": told, "time_limit": now.rule.time_limit}


def _as_it_is_typed(now: Settings, name: str, value: object) -> object:
    section = getattr(now, name)
    validate = getattr(type(section), "model_validate", None)
    return value if validate is None else validate(value)


def _tape(recipe: Recipe, workspace: Workspace, store: ArtifactStore) -> Tape:
    """The market that is played, its paths by the seed of the recipe."""
    if "sim" in recipe.market:
        seed = whole_of(recipe.market["seed"])
        played = workspace_of(workspace.settings.model_copy(update={"seed": seed}))
        if played.source != recipe.market["source"]:
            raise DataMissing(
                f"The market {recipe.market['source']} is not there any more.", hint="Its tape was moved or changed."
            )
        tape = sim_tape(played)
    else:
        played_bars = {symbol: _path(recipe, workspace.mode, store, symbol) for symbol in recipe.request.symbols}
        seed = recipe.seed
        made = {
            symbol: symbol_tape_of(
                store,
                found,
                seed,
                _funding(recipe, workspace.mode, store, symbol),
                _mark(recipe, workspace.mode, store, found),
            )
            for symbol, found in played_bars.items()
        }
        tape = real_market(str(recipe.market["source"]), made, _filters(recipe), _brackets(recipe), _ended(recipe))
    if seed == recipe.seed:
        return tape
    return replace(
        tape, symbols={name: replace(one, seed=path_seed(name, recipe.seed)) for name, one in tape.symbols.items()}
    )


def _filters(recipe: Recipe) -> dict[str, dict[str, Decimal]]:
    found = object_of(recipe.market.get("filters", {}))
    return {symbol: {name: Decimal(str(x)) for name, x in object_of(each).items()} for symbol, each in found.items()}


def _ended(recipe: Recipe) -> set[str]:
    return set(object_of(recipe.market.get("ended", {})))


def _brackets(recipe: Recipe) -> dict[str, KnownBrackets]:
    found = object_of(recipe.market.get("brackets", {}))
    return {symbol: KnownBrackets.from_dict(object_of(each)) for symbol, each in found.items()}


def _funding(recipe: Recipe, profile: str, store: ArtifactStore, symbol: str) -> Manifest | None:
    digest = recipe.bars.get(f"funding {symbol}")
    key = stage_key(profile, symbol, recipe.request.timeframe, "funding")
    return None if digest is None else store.manifest(digest, key)


def _mark(recipe: Recipe, profile: str, store: ArtifactStore, played: Manifest) -> Manifest | None:
    digest = recipe.bars.get(f"mark {played.symbol}")
    key = stage_key(profile, played.symbol, Timeframe.parse(played.timeframe), "mark")
    return None if digest is None else store.manifest(digest, key)


def _path(recipe: Recipe, profile: str, store: ArtifactStore, symbol: str) -> Manifest:
    """The bars that are played: minutes where these were stored, else those that are analysed."""
    digest, bars = recipe.bars[f"path {symbol}"], recipe.bars[f"bars {symbol}"]
    if digest == recipe.bars.get(f"fast_bars {symbol}"):
        timeframe = _fast_frame(recipe) or FINEST
    else:
        timeframe = recipe.request.timeframe if digest == bars else FINEST
    return store.manifest(digest, stage_key(profile, symbol, timeframe, "bars"))


def _fast_frame(recipe: Recipe) -> Timeframe | None:
    """In which bars entries are timed, if they are."""
    name = str(object_of(recipe.settings.get("analyst", {})).get("fast_timeframe", ""))
    return Timeframe.parse(name) if name else None


def _history(recipe: Recipe, workspace: Workspace, store: ArtifactStore, symbol: str) -> SymbolHistory:
    timeframe, fast = recipe.request.timeframe, _fast_frame(recipe)

    def named(digests: Mapping[str, str], stage: str, frame: Timeframe = timeframe, of: str = "") -> Manifest:
        return store.manifest(digests[f"{of}{stage} {symbol}"], stage_key(workspace.mode, symbol, frame, stage))

    def rows(of_bars: Manifest, of_features: Manifest) -> tuple[pl.DataFrame, pl.DataFrame]:
        bars = store.read(of_bars)
        return bars, row_for_row(bars, check_features(store.read(of_features)))

    of_bars, of_features = named(recipe.bars, "bars"), named(recipe.features, "features")
    bars, features = rows(of_bars, of_features)
    of_funding = _funding(recipe, workspace.mode, store, symbol)
    funding = None if of_funding is None else store.read(of_funding)
    digests = {"bars": of_bars.digest, "features": of_features.digest, "costs": digest_value(recipe.costs)}
    models = _models(recipe, store, symbol)
    series = TrainingData(symbol, timeframe, of_bars, of_features, bars, StoredColumns.of(features), funding)
    signals = signals_of(workspace, store, series, models)
    history = SymbolHistory(symbol, timeframe, bars, features, funding, models, digests, signals)
    if fast is None:
        return history
    timed = named(recipe.bars, "bars", fast, "fast_"), named(recipe.features, "features", fast, "fast_")
    of_fast = {"fast_bars": timed[0].digest, "fast_features": timed[1].digest}
    return history.timed_by(fast, *rows(*timed), funding, of_fast)


def row_for_row(bars: pl.DataFrame, features: pl.DataFrame) -> pl.DataFrame:
    """FEATURES with one row for each bar: null where none were made of it."""
    if bars["open_time"].equals(features["open_time"]):
        return features
    return bars.select("open_time").join(features, on="open_time", how="left", maintain_order="left")


def _models(recipe: Recipe, store: ArtifactStore, symbol: str) -> ModelSchedule:
    bundles, spans = BundleStore(store.root / "models"), []
    for (of, from_ms), digest in recipe.models.items():
        if of == symbol:
            model = from_bundle(*bundles.load(digest))
            rule, analyst = (object_of(recipe.settings.get(section, {})) for section in ("rule", "analyst"))
            name, fast = rule.get("name"), str(analyst.get("fast_timeframe", ""))
            refuse_other_kind(model, None if name is None else str(name), fast, f"train {symbol}")
            spans.append(ModelSpan(model, max(from_ms, recipe.span[0]), digest))
    return ModelSchedule(tuple(sorted(spans, key=lambda span: span.from_ms)))
