"""The stages after fetch for a person: one that has nothing to do says at once what it came to before.

A stage depends on the artifacts before it, the settings, the code and the libraries. Where all of these are what they
were, what it made then is what it would make now (`storage.stamps`), and neither frames nor boosters are loaded. Every
file that the stage would read is still compared with its digest: what is missing or damaged is the stage's business.
Families and rules of one's own may read anything, so with them every stage does its work; so do training and analysis
where a fast frame times entries.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import trader_cli
from trader_cli.core.errors import DataInvalid
from trader_cli.core.identity.digests import canonical_json, digest_bytes, digest_value
from trader_cli.core.json_values import built, object_of, whole_of
from trader_cli.core.ports import silent
from trader_cli.core.types import Analysis, Claim
from trader_cli.pipelines.market_access import market_now_ms
from trader_cli.pipelines.stages.stage_results import Analysed, FeaturesBuilt, Trained
from trader_cli.storage.artifacts import ArtifactStore, stage_key
from trader_cli.storage.bundles import BundleStore
from trader_cli.storage.stamps import read_stamp, write_stamp

if TYPE_CHECKING:
    from trader_cli.analyst.rule_process import RuleProcess
    from trader_cli.core.identity.manifests import ArtifactKey, Manifest
    from trader_cli.core.json_values import JsonObject
    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.core.ports import Progress
    from trader_cli.settings import Workspace

_INPUTS = ("bars", "trades", "funding", "mark", "index", "open_interest")
_BEFORE = {
    "features": _INPUTS,
    "model": (*_INPUTS, "features"),
    "analysis": (*_INPUTS, "features", "model", "market"),
}
"""What a stage reads of those before it."""
_ROOMS = ("core", "settings", "features", "analyst", "storage", "pipelines")
_PLACES: dict[str, bool | set[str]] = {"cache_dir": True, "state_dir": True, "sim": {"tape"}}
"""Settings that only say where things lie; a tape is named by what it holds."""
AHEAD_MS = 5000
"""How far clocks may differ, as the analyst has it."""
_LIBRARIES = ("numpy", "polars", "PyWavelets", "TA-Lib", "lightgbm")


def features(workspace: Workspace, symbol: str, timeframe: Timeframe, progress: Progress = silent) -> FeaturesBuilt:
    """`model_stages.features`, at once where they are made."""
    stage = _Stage(workspace, symbol, timeframe, "features")
    requested = stage.requested()
    known = stage.known(requested)
    if known is not None and stage.holds_all("features", *_INPUTS):
        return built(FeaturesBuilt, known)
    from trader_cli.pipelines.stages import model_stages

    done = model_stages.features(workspace, symbol, timeframe, progress)
    stage.remember(requested, asdict(replace(done, found=done.found + done.made, made=0)))
    return done


def train(workspace: Workspace, symbol: str, timeframe: Timeframe, progress: Progress = silent) -> Trained:
    """`model_stages.train`, at once where the same training was done."""
    stage = _Stage(workspace, symbol, timeframe, "model")
    requested = stage.requested()
    known = stage.known(requested)
    if known is not None and stage.has_whole_model():
        return built(Trained, {**known, "claim": built(Claim, object_of(known["claim"]))})
    from trader_cli.pipelines.stages import model_stages

    done = model_stages.train(workspace, symbol, timeframe, progress)
    stage.remember(requested, asdict(replace(done, cached=True)))
    return done


def analyze(
    workspace: Workspace, symbol: str, timeframe: Timeframe, rule_process: RuleProcess | None = None
) -> Analysed:
    """`model_stages.analyze` at the market's own time, at once where the same analysis was made."""
    now_ms, stage = market_now_ms(workspace), _Stage(workspace, symbol, timeframe, "analysis")
    requested = stage.requested(stage.ages(now_ms))
    known = stage.known(requested)
    if known is not None and stage.has_whole_model() and stage.holds_all("bars", "funding", tail="features"):
        body = stage.store.get_document(str(known["artifact"]))
        if body is not None:
            return Analysed(Analysis.from_dict(body), workspace.source, cached=True)
    from trader_cli.pipelines.stages import model_stages

    done = model_stages.analyze(workspace, symbol, timeframe, now_ms, rule_process=rule_process)
    stage.remember(requested, {"artifact": stage.store.found(stage.key("analysis"))}, stage.ages(now_ms))
    return done


@dataclass(frozen=True)
class _Stage:
    """One stage of one series."""

    workspace: Workspace
    symbol: str
    timeframe: Timeframe
    name: str
    manifests: dict[str, Manifest | None] = field(default_factory=dict)

    @property
    def store(self) -> ArtifactStore:
        """The artifacts; every look is a fresh one."""
        return ArtifactStore(self.workspace.cache_dir)

    def key(self, stage: str) -> ArtifactKey:
        """The reference to a stage's artifact."""
        return stage_key(self.workspace.mode, self.symbol, self.timeframe, stage)

    def requested(self, *moment: object) -> str | None:
        """The digest of all it depends on; `None` where that cannot be told."""
        settings = self.workspace.settings
        own = settings.feature_engineering_orchestrator.user_families or settings.rule.name is not None
        if own or (settings.analyst.fast_timeframe and self.name != "features"):
            return None
        before = [self.store.found(self.key(stage)) for stage in _BEFORE[self.name]]
        if before[0] is None:
            return None
        chosen = self.workspace.settings.model_dump(mode="json", exclude=_PLACES)
        series = [self.name, self.symbol, self.timeframe.name, self.workspace.source]
        return digest_value([_code(), _versions(), chosen, series, before, moment])

    def known(self, requested: str | None) -> JsonObject | None:
        """What it came to when it depended on just this, if that is still the current artifact, and certified."""
        found = None if requested is None else read_stamp(self.store.root, self.key(self.name), requested)
        current = self.store.found(self.key(self.name))
        if found is None or current is None or current not in {found.get("digest"), found.get("artifact")}:
            return None
        return found if self._is_certified() else None

    def remember(self, requested: str | None, found: JsonObject, *moment: object) -> None:
        """Keep what it came to, if nothing it depends on has changed meanwhile."""
        if requested is not None and requested == self.requested(*moment):
            write_stamp(self.store.root, self.key(self.name), requested, found)

    def ages(self, now_ms: int) -> list[bool | None]:
        """What of an analysis depends on the time: are bars or model of the future, are bars old, is the book fresh."""
        options, bars = self.workspace.settings.analyst, self._manifest("bars")
        digest = self.store.found(self.key("market"))
        book = None if digest is None else self.store.get_document(digest)
        if bars is None or bars.last_ms is None:
            return []
        age_ms = now_ms - bars.last_ms - self.timeframe.ms
        book_ms = None if book is None or book.get("source") != bars.source else now_ms - int(str(book["fetched_ms"]))
        fresh = book_ms is not None and book_ms <= options.max_book_age * 1000
        ahead = age_ms < -AHEAD_MS or self._trained_ms() > now_ms + AHEAD_MS
        return [ahead, age_ms > options.max_bar_age * self.timeframe.ms, fresh]

    def holds_all(self, *stages: str, tail: str | None = None) -> bool:
        """Whether every file of these artifacts is what was written, of those that there are; of `tail` the last ones.

        What is used is made young, as where it is read.
        """
        there = [stage for stage in (*stages, *([tail] if tail else [])) if self.store.found(self.key(stage))]
        manifests = [self._manifest(stage) for stage in there]
        whole = [m.tail() if stage == tail else m for stage, m in zip(there, manifests, strict=True) if m is not None]
        store = self.store
        return len(whole) == len(there) and all(store.holds(chunk) for manifest in whole for chunk in manifest.chunks)

    def has_whole_model(self) -> bool:
        """Whether every file of the current model is what was written."""
        try:
            self._bundles.load(str(self.store.found(self.key("model"))))
        except DataInvalid:
            return False
        return all(self._manifest(stage) is not None for stage in ("bars", "features"))

    @property
    def _bundles(self) -> BundleStore:
        return BundleStore(self.store.root / "models")

    def _trained_ms(self) -> int:
        """The last bar the current model knows, UTC ms; 0 where that cannot be told."""
        try:
            return whole_of(self._bundles.description(str(self.store.found(self.key("model"))))["last_ms"])
        except (DataInvalid, KeyError, TypeError):
            return 0

    def _manifest(self, stage: str) -> Manifest | None:
        """The current manifest of a stage, each read once; `None` where it is missing or damaged."""
        digest = self.store.found(self.key(stage))
        if digest is not None and digest not in self.manifests:
            try:
                self.manifests[digest] = self.store.current(self.key(stage))
            except DataInvalid:
                return None
        return None if digest is None else self.manifests[digest]

    def _is_certified(self) -> bool:
        """Whether the certificate that the features name is there as it was."""
        made = self._manifest("features")
        named = None if made is None else made.notes.get("certificate")
        folder = self.store.root / "certificates"
        return named is not None and any(self._certificate(path.stem) == named for path in folder.glob("*.json"))

    def _certificate(self, key: str) -> str | None:
        body = self.store.certificate(key)
        return None if body is None else digest_bytes(canonical_json(body))


@lru_cache(maxsize=1)
def _versions() -> list[str]:
    return [sys.version, *map(version, _LIBRARIES)]


@lru_cache(maxsize=1)
def _code() -> str:
    """The digest of the code of all stages."""
    root = Path(trader_cli.__path__[0])
    files = sorted(path for room in _ROOMS for path in (root / room).rglob("*.py"))
    return digest_bytes(*(path.read_bytes() for path in files))
