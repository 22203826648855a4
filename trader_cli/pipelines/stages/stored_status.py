"""What is there, from references and manifests alone: quick, and reads no data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from trader_cli.core.errors import DataError
from trader_cli.core.identity.feature_notes import FeatureNotes
from trader_cli.core.json_values import object_of, objects_of, whole_of
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.core.model_validity import learned_to_ms, unwatched, valid_until_ms
from trader_cli.core.types import Analysis, Signal
from trader_cli.pipelines.market_access import market_now_ms
from trader_cli.storage.artifacts import ArtifactStore, stage_key
from trader_cli.storage.bundles import BundleStore
from trader_cli.storage.inventory import MODEL, RETIRED_MODEL, WATCH

if TYPE_CHECKING:
    from collections.abc import Callable

    from trader_cli.core.identity.manifests import ArtifactKey, Manifest
    from trader_cli.core.json_values import JsonObject
    from trader_cli.exchange.account.account_snapshot import AccountSnapshotReader
    from trader_cli.settings import Workspace


Read = TypeVar("Read")


@dataclass(frozen=True)
class SeriesStatus:
    """One series: its bars and their age, whether features and model are of these, the last outcome, what is wrong.

    `quality`: bars by kind of data-quality finding, as counted when they were fetched.
    """

    symbol: str
    timeframe: str
    source: str
    bars: int
    last_close_ms: int
    age_ms: int | None
    features: str
    model: str
    outcome: str
    problems: tuple[str, ...]
    quality: dict[str, int] = field(default_factory=dict)
    trained: TrainedStatus | None = None


@dataclass(frozen=True)
class TrainedStatus:
    """The current model of a series: on what it was trained, when it was written, until when it may open.

    Times are UTC ms: closes, but for `written_ms`, by this machine's clock. `too_old`: None where the market's time is
    not known. `watched`: what the watches knew of it when it was last asked (`analyst.model_watch.Watched`).
    `opens_nothing`: why nothing is opened by it in this profile, whatever its age.
    """

    digest: str
    learned_from_ms: int
    learned_to_ms: int
    written_ms: int
    valid_until_ms: int
    too_old: bool | None
    watched: JsonObject | None = None
    opens_nothing: str | None = None


@dataclass(frozen=True)
class Status:
    """Every series of a profile, the market the settings name, and its time if it is known."""

    profile: str
    source: str
    now_ms: int | None
    series: tuple[SeriesStatus, ...]


def status(workspace: Workspace, asking: AccountSnapshotReader | None = None) -> Status:
    """The status of the settings' profile. A venue whose clock is followed tells its time through `asking`."""
    store, now = ArtifactStore(workspace.cache_dir), _now_ms(workspace, asking)
    source = workspace.source
    keys = [key for key in store.references() if key.profile == workspace.mode and key.stage == "bars"]
    days = workspace.settings.analyst.max_model_age
    return Status(workspace.mode, source, now, tuple(_series(store, key, source, now, days) for key in keys))


def _now_ms(workspace: Workspace, asking: AccountSnapshotReader | None) -> int | None:
    """The market's time, `None` if it is not known; a venue that does not answer keeps nobody waiting."""
    if asking is not None and workspace.settings.binance_exchange.clock == "venue":
        return asking.venue_now_ms()
    try:
        return market_now_ms(workspace)
    except DataError:
        return None


def quality_findings(workspace: Workspace, symbol: str, timeframe: Timeframe) -> list[JsonObject]:
    """What the stored data-quality report lists of a series: kind, severity, sentence and times (UTC ms) of each."""
    store = ArtifactStore(workspace.cache_dir)
    digest = store.found(stage_key(workspace.mode, symbol, timeframe, "quality"))
    body = store.get_document(digest) if digest is not None else None
    return [] if body is None else objects_of(body["findings"])


def _series(store: ArtifactStore, key: ArtifactKey, source: str, now: int | None, days: float) -> SeriesStatus:
    problems: list[str] = []
    bars = _attempt(lambda: store.current(key), problems)
    interval = Timeframe.parse(key.timeframe).ms
    last_close = (bars.last_ms or 0) + interval if bars else 0
    is_of_here = bars is not None and bars.source == source
    if bars is not None and bars.source != source:
        problems.append(f"from {bars.source}, while the settings name {source}")
    if bars is not None and bars.gaps:
        problems.append(f"{len(bars.gaps)} gap(s), {sum(gap[2] for gap in bars.gaps)} bars missing")
    return SeriesStatus(
        symbol=key.symbol,
        timeframe=key.timeframe,
        source=bars.source if bars else "",
        bars=bars.rows if bars else 0,
        last_close_ms=last_close,
        age_ms=now - last_close if is_of_here and now is not None and now >= last_close else None,
        features=_attempt(lambda: _features(store, key, bars), problems) or "damaged",
        model=_attempt(lambda: _model(store, key, bars), problems) or "damaged",
        outcome=_attempt(lambda: _outcome(store, key), problems) or "damaged",
        problems=tuple(problems),
        quality=bars.quality if bars else {},
        trained=_attempt(lambda: _trained(store, key, now, days), problems),
    )


def _attempt(read: Callable[[], Read], problems: list[str]) -> Read | None:
    """What `read` gives; a damaged artifact becomes a problem that is shown, not a failure of the whole."""
    try:
        return read()
    except DataError as error:
        problems.append(str(error))
        return None


def _sibling(key: ArtifactKey, stage: str) -> ArtifactKey:
    from dataclasses import replace

    return replace(key, stage=stage)


def _features(store: ArtifactStore, key: ArtifactKey, bars: Manifest | None) -> str:
    made = store.current(_sibling(key, "features"))
    if made is None:
        return "none"
    fresh = bars is not None and made.inputs.get("bars") == bars.digest
    return f"{FeatureNotes.of(made).columns} columns" + ("" if fresh else ", of older bars")


def _trained(store: ArtifactStore, key: ArtifactKey, now: int | None, days: float) -> TrainedStatus | None:
    digest, bundles = store.pointed(_sibling(key, MODEL)), BundleStore(store.root / "models")
    if digest is None:
        return None
    description, bar_ms = bundles.description(digest), Timeframe.parse(key.timeframe).ms
    first, last = whole_of(description["first_ms"]) + bar_ms, learned_to_ms(description)
    until = valid_until_ms(last, days)
    pointed = store.found(_sibling(key, WATCH))
    told = (store.get_document(pointed) if pointed else None) or {}
    watched = object_of(told["watched"]) if told.get("model") == description["key"] else None
    too_old = None if now is None else now > until
    why = unwatched(str(description.get("kind")), key.profile)
    written_ms = bundles.written_ms(digest)
    return TrainedStatus(digest, first, last, written_ms, until, too_old, watched, why.sentence if why else None)


def _model(store: ArtifactStore, key: ArtifactKey, bars: Manifest | None) -> str:
    digest, retired = (store.pointed(_sibling(key, stage)) for stage in (MODEL, RETIRED_MODEL))
    if digest is None:
        return "none" if retired is None else "retired"
    description = BundleStore(store.root / "models").description(digest)
    claim = "edge" if object_of(description["claim"])["edge"] else "no edge"
    fresh = bars is not None and object_of(description["inputs"])["bars"] == bars.digest
    return claim + ("" if fresh else ", of older bars")


def _outcome(store: ArtifactStore, key: ArtifactKey) -> str:
    digest = store.pointed(_sibling(key, "analysis"))
    body = store.get_document(digest) if digest else None
    if body is None:
        return "none"
    outcome = Analysis.from_dict(body).outcome
    return outcome.side if isinstance(outcome, Signal) else f"abstains ({outcome.code})"
