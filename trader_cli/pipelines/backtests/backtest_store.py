"""Backtests as artifacts: a manifest that names everything they were made from, and their rows in Parquet.

A backtest is named by what it was asked and what it was made from; made again it has the same name and the same bytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

import polars as pl

from trader_cli import __version__
from trader_cli.analyst.trained_rule import TrainedRule
from trader_cli.backtest.exposure_held import Closes, book_frame
from trader_cli.backtest.figures import FigureBasis, Figures, figures_of
from trader_cli.backtest.records import SHAPES
from trader_cli.core.errors import DataMissing
from trader_cli.core.identity.digests import digest_value
from trader_cli.core.identity.manifests import ArtifactKey, Manifest
from trader_cli.core.json_values import object_of
from trader_cli.core.market.timeframes import DAY_MS
from trader_cli.core.types import Tries
from trader_cli.pipelines.backtests.backtest_request import ON_BARS, BacktestRequest
from trader_cli.pipelines.stages.code_digest import code_digest
from trader_cli.pipelines.stages.deciding_settings import deciding_settings
from trader_cli.pipelines.stages.rule_training import rule_choice
from trader_cli.storage.inventory import BACKTEST
from trader_cli.storage.state import Trial, TrialLedger, counted, rule_trial

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trader_cli.backtest.backtest_account import BacktestAccount
    from trader_cli.core.json_values import JsonObject
    from trader_cli.pipelines.backtests.prepared_backtest import PreparedBacktest
    from trader_cli.settings import Workspace
    from trader_cli.storage.artifacts import ArtifactStore

PARTS = tuple(SHAPES)
_NO_CHOICE = {"backtest", "costs", "balance"}
"""Settings that nobody picks to look better: with others it is the same trial."""


@dataclass(frozen=True)
class StoredBacktest:
    """A backtest as it is stored. `name` is what the commands call it."""

    name: str
    manifest: Manifest

    @cached_property
    def figures(self) -> Figures:
        """What it came to."""
        return Figures.from_dict(object_of(self.manifest.notes["figures"]))

    @cached_property
    def request(self) -> BacktestRequest:
        """What it was asked."""
        return BacktestRequest.from_dict(object_of(self.manifest.notes["request"]))

    @property
    def rule(self) -> str | None:
        """The rule of one's own that decided, with the parameters that were given, in words."""
        given = object_of(object_of(self.manifest.notes["settings"]).get("rule", {}))
        parameters = [f"{name} {value}" for name, value in given.items() if name not in {"name", "source"}]
        return ", ".join([str(given["name"]), *parameters]) if given else None

    @property
    def on_bars(self) -> str | None:
        """How it was filled, in words, where a rule was tried on bare bars."""
        how = object_of(object_of(self.manifest.notes["settings"]).get("on_bars", {}))
        if not how:
            return None
        return (
            "bare bars: filled at the next open, one position at a time, the stop before the target in a bar that holds"
            f" both; {how['share']:g} of the wallet at leverage {how['leverage']:g}; funding: {how['funding']}; no"
            " claim, plan, looks or loss limits"
        )

    @property
    def folds(self) -> JsonObject | None:
        """What the book of a claim came to, in shares of its notional, where the folds of a model were traded."""
        return object_of(object_of(self.manifest.notes["settings"]).get("folds", {})) or None

    def part(self, store: ArtifactStore, name: str) -> pl.DataFrame | None:
        """One of `PARTS`; `None` where it has no rows. Raises `DataInvalid` for a damaged file."""
        chunks = [chunk for chunk in self.manifest.chunks if chunk.part == name]
        return pl.concat([store.read_chunk(chunk) for chunk in chunks]) if chunks else None

    def as_dict(self) -> JsonObject:
        """The JSON shape."""
        return {"backtest": self.name, "digest": self.manifest.digest, **self.manifest.notes}


def save(prepared: PreparedBacktest, store: ArtifactStore, account: BacktestAccount) -> StoredBacktest:
    """Store what a backtest came to, and count it among the trials on these data."""
    closes = {symbol: Closes.of(history.bars, history.timeframe) for symbol, history in prepared.histories.items()}
    frames = account.records.frames()
    frames["book"] = book_frame(frames["equity"], frames["fills"], closes)
    done = Traded(frames, _inputs(prepared), closes, _market(prepared), account.halted, rule=_rule(prepared))
    return save_traded(prepared.workspace, store, prepared.request, done)


@dataclass(frozen=True)
class Traded:
    """What a backtest came to: frames by part, and what they were made from: inputs, closes by symbol, the market.

    `halted`: why, if it did; `settings`: what could be chosen beside those of the workspace; `rule`: the identity of
    the rule that decided. `is_trial`: it counts as a further try on these data. `balance`: what the account began
    with, where that is not the settings'.
    """

    frames: Mapping[str, pl.DataFrame]
    inputs: dict[str, str]
    closes: Mapping[str, Closes]
    market: JsonObject
    halted: str | None = None
    settings: JsonObject = field(default_factory=dict)
    rule: JsonObject | None = None
    is_trial: bool = True
    balance: float | None = None


def save_traded(workspace: Workspace, store: ArtifactStore, request: BacktestRequest, done: Traded) -> StoredBacktest:
    """Store it, and count it among the trials on these data."""
    chosen, frames, inputs = {**deciding_settings(workspace), **done.settings}, done.frames, done.inputs
    settings = digest_value(chosen)
    market, code = done.market, code_digest()
    name = digest_value([code, request.as_dict(), inputs, settings, market, workspace.settings.seed])[:12]
    tried = {name: value for name, value in chosen.items() if name not in _NO_CHOICE}
    if done.rule is not None:
        tried["rule"] = done.rule  # with the parameters that nobody gave
    choice = None if done.rule is None else rule_choice(done.rule, request.timeframe.name)
    trial = partial(_count_trial, workspace, request, digest_value(tried), choice)
    count = trial if done.is_trial else partial(_tried_before, workspace, request)
    basis = _basis(workspace, request, done.closes, count)
    basis = basis if done.balance is None else replace(basis, balance=done.balance)
    figures = figures_of(frames, basis, done.halted)
    with store.at_work():
        chunks = tuple(replace(store.put_rows(part, f), part=part) for part, f in frames.items() if not f.is_empty())
        manifest = Manifest(
            stage=f"{BACKTEST}{name}",
            producer=f"trader {__version__}",
            source=workspace.source,
            symbol=request.symbols[0],
            timeframe=request.timeframe.name,
            settings=settings,
            inputs=inputs,
            chunks=chunks,
            rows=frames["equity"].height,
            first_ms=request.since_ms,
            last_ms=request.until_ms,
            notes={
                "request": request.as_dict(),
                "figures": figures.as_dict(),
                "settings": chosen,
                "market": market,
                "seed": workspace.settings.seed,
                "speed": request.speed,
                "code": code,
            },
        )
        store.publish(_key(workspace, manifest), manifest)
    return StoredBacktest(name, manifest)


def _market(prepared: PreparedBacktest) -> JsonObject:
    """What makes the market that is played, beside its bars: settings of the simulated one; a real one's rules."""
    workspace, settings = prepared.workspace, prepared.workspace.settings
    entered: JsonObject = {"entered": prepared.entered} if prepared.entered else {}
    if workspace.mode == "sim":
        sim = settings.sim.model_dump(mode="json", exclude={"balance", "start"})
        return {"source": workspace.source, "sim": sim, "seed": settings.seed, **entered}
    from trader_cli.pipelines.backtests.stored_tape import ended_of, filters_of, played_brackets

    filters = {s: {name: f"{x:f}" for name, x in each.items()} for s, each in filters_of(prepared.tape).items()}
    known = played_brackets(workspace, prepared.request.symbols)
    brackets = {symbol: one.as_dict() for symbol, one in known.items()}
    told: JsonObject = {"brackets": brackets, "ended": ended_of(prepared.tape), **entered}
    return {"source": workspace.source, "filters": filters, **{name: found for name, found in told.items() if found}}


def _basis(
    workspace: Workspace,
    request: BacktestRequest,
    closes: Mapping[str, Closes],
    count: Callable[[float], Tries],
) -> FigureBasis:
    settings = workspace.settings
    return FigureBasis(settings.sim.balance, request.timeframe.ms, closes, settings.analyst.claim_probability, count)


def _key(workspace: Workspace, manifest: Manifest) -> ArtifactKey:
    return ArtifactKey(workspace.mode, manifest.symbol, manifest.timeframe, manifest.stage)


def _rule(prepared: PreparedBacktest) -> JsonObject | None:
    """The identity of the rule that decided, if one did."""
    models = [span.model for history in prepared.histories.values() for span in history.models.spans]
    return next((model.rule for model in models if isinstance(model, TrainedRule)), None)


_SERIES = ("bars", "features", "fast_bars", "fast_features")


def _inputs(prepared: PreparedBacktest) -> dict[str, str]:
    """Everything it was made from, by name: what of it is an artifact is kept as long as the backtest."""
    found = dict(prepared.played)
    for symbol, history in sorted(prepared.histories.items()):
        found |= {f"{stage} {symbol}": history.digests[stage] for stage in _SERIES if stage in history.digests}
        found |= {f"model {symbol} {span.from_ms}": span.digest for span in history.models.spans}
    return found


def _count_trial(
    workspace: Workspace, request: BacktestRequest, settings: str, rule: str | None, sharpe: float
) -> Tries:
    """Every trial on these data, this one among them, with Sharpe ratios per bar: one trial, whatever its span.

    It is recorded for each of its symbols, and counted are those that share one of them. `rule`: see `rule_choice`.
    """
    universe = sorted(request.symbols) if request.top is None else ("the largest", request.top)
    what = digest_value([*universe, request.timeframe.name, request.model, request.refit_ms, settings])
    ledger, per_day = TrialLedger(workspace.state_dir), math.sqrt(DAY_MS / request.timeframe.ms)
    span = (request.since_ms or 0, request.until_ms or 0)
    means = "bars" if request.model == ON_BARS else "backtest"
    name = f"{means}-{what}" if rule is None else rule_trial(means, what, rule)
    for symbol in request.symbols:
        ledger.record(Trial.of_span(f"{name}:{symbol}", workspace.lineage, symbol, span, sharpe * per_day))
    found = _counted_on(ledger, workspace, request)
    return Tries(found.number, tuple(each / per_day for each in found.sharpes))


def _tried_before(workspace: Workspace, request: BacktestRequest, _sharpe: float) -> Tries:
    """Every trial on these data, with Sharpe ratios per bar; this is none."""
    found = _counted_on(TrialLedger(workspace.state_dir), workspace, request)
    per_day = math.sqrt(DAY_MS / request.timeframe.ms)
    return Tries(max(1.0, found.number), tuple(each / per_day for each in found.sharpes))


def tries_now(workspace: Workspace, request: BacktestRequest) -> float:
    """How many tries on the data of a backtest count by now: those that came after it are no part of its figures."""
    return _counted_on(TrialLedger(workspace.state_dir), workspace, request).number


def _counted_on(ledger: TrialLedger, workspace: Workspace, request: BacktestRequest) -> Tries:
    """Every trial that counts on these symbols and this span, with Sharpe ratios per day."""
    span = (request.since_ms or 0, request.until_ms or 0)
    return counted(looked for symbol in request.symbols for looked in ledger.looked(workspace.lineage, symbol, *span))


def stored(workspace: Workspace, store: ArtifactStore) -> list[StoredBacktest]:
    """Every backtest of this profile that can be read, by name."""
    found = []
    for key in store.references():
        if key.profile == workspace.mode and key.stage.startswith(BACKTEST):
            manifest = store.current(key)
            if manifest is not None:
                found.append(StoredBacktest(key.stage.removeprefix(BACKTEST), manifest))
    return sorted(found, key=lambda one: one.name)


def find(workspace: Workspace, store: ArtifactStore, name: str) -> StoredBacktest:
    """The backtest of this name, or of the only name that begins so. Raises `DataMissing`."""
    fitting = [one for one in stored(workspace, store) if one.name.startswith(name)]
    exact = [one for one in fitting if one.name == name]
    if len(exact or fitting) != 1:
        found = "Several begin so" if fitting else "There is none"
        raise DataMissing(
            f"{found}: backtest {name!r} in profile {workspace.mode}.", hint="See `trader backtest list`."
        )
    return (exact or fitting)[0]


def newest(workspace: Workspace, store: ArtifactStore) -> StoredBacktest:
    """The backtest of this profile that was stored last. Raises `DataMissing` where there is none."""
    found = stored(workspace, store)
    if not found:
        raise DataMissing(
            f"There is no backtest in profile {workspace.mode}.",
            hint="Run `trader backtest SYMBOL --timeframe 15m` first.",
        )
    return max(found, key=lambda one: _written(workspace, store, one))


def made_ms(workspace: Workspace, store: ArtifactStore, done: StoredBacktest) -> int:
    """When it was stored last, UTC ms."""
    return _written(workspace, store, done) // 1_000_000


def _written(workspace: Workspace, store: ArtifactStore, done: StoredBacktest) -> int:
    return store.reference_path(_key(workspace, done.manifest)).stat().st_mtime_ns
