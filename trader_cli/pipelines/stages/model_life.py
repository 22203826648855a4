"""The life of models: which there are, which one is current, who makes another so, and how one leaves the store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trader_cli.analyst.model_card import model_card
from trader_cli.core.errors import DataError, DataInvalid, DataMissing, DataStale
from trader_cli.pipelines.stages.model_training import make_current
from trader_cli.storage.artifacts import ArtifactStore, stage_key
from trader_cli.storage.bundle_files import is_outside, take_in, write_out
from trader_cli.storage.bundles import BUNDLE_INDEX, BundleStore
from trader_cli.storage.inventory import FORMER_MODEL, MODEL, MODEL_UNTIL, RETIRED_MODEL

if TYPE_CHECKING:
    from trader_cli.analyst.model_card import ModelCard
    from trader_cli.core.identity.manifests import ArtifactKey
    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.settings import Workspace

_STATES = {MODEL: "current", FORMER_MODEL: "former", RETIRED_MODEL: "retired"}
LOOSE = "loose"
"""The state of a bundle that no reference of the profile names: `cache gc` frees it unless something else does."""


@dataclass(frozen=True)
class ListedModel:
    """A bundle, what it is to its series in this profile, and when it was written; `card` None: `problem` says why."""

    digest: str
    state: str
    card: ModelCard | None
    written_ms: int
    problem: str | None = None


def bundles_of(workspace: Workspace) -> BundleStore:
    """The bundles of a workspace."""
    return BundleStore(ArtifactStore(workspace.cache_dir).root / "models")


def listed(workspace: Workspace) -> list[ListedModel]:
    """Every bundle there is, by series and then by what it learned last; those that cannot be read come last."""
    store, bundles = ArtifactStore(workspace.cache_dir), bundles_of(workspace)
    states = _states(store, workspace.mode)
    found = [_listed(workspace, bundles, digest, states.get(digest, LOOSE)) for digest in bundles.digests()]
    return sorted(found, key=_order)


def _order(one: ListedModel) -> tuple[bool, str, str, int]:
    card = one.card
    return (True, "", "", 0) if card is None else (False, card.symbol, card.timeframe, -card.learned_to_ms)


def _states(store: ArtifactStore, profile: str) -> dict[str, str]:
    """Digest → what it is, of the bundles that this profile's references name; to be current outdoes all else."""
    found: dict[str, str] = {}
    keys = [key for key in store.references() if key.profile == profile]
    for stage, state in reversed(_STATES.items()):
        found |= {str(store.found(key)): state for key in keys if key.stage == stage}
    for key in keys:
        if key.stage.startswith(MODEL_UNTIL) and key.stage not in _STATES:
            found.setdefault(str(store.found(key)), "of a backtest")
    return found


def _listed(workspace: Workspace, bundles: BundleStore, digest: str, state: str) -> ListedModel:
    try:
        description = bundles.description(digest)
        card = model_card(digest, description, {}, workspace.settings.analyst.max_model_age)
    except (DataError, KeyError, TypeError, ValueError) as error:
        return ListedModel(digest, state, None, bundles.written_ms(digest), str(error) or type(error).__name__)
    return ListedModel(digest, state, card, bundles.written_ms(digest))


def find_model(workspace: Workspace, name: str) -> str:
    """The digest of a bundle: by its digest, by how that begins, or of a folder or archive, which is stored.

    Raises `DataMissing`, `DataInvalid` or `UsageError`.
    """
    bundles = bundles_of(workspace)
    if is_outside(name):
        if not Path(name).exists():
            raise DataMissing(f"There is no model at {name}.", hint="See `trader models list`.")
        return take_in(bundles, Path(name))
    return bundles.found(name)


def current_model(workspace: Workspace, symbol: str, timeframe: Timeframe) -> str:
    """The digest of the current model of a series. Raises `DataMissing`."""
    digest = ArtifactStore(workspace.cache_dir).pointed(stage_key(workspace.mode, symbol, timeframe, MODEL))
    if digest is None:
        raise DataMissing(
            f"There is no current model of {symbol} {timeframe} in profile {workspace.mode}.",
            hint=f"Run `trader train {symbol} --timeframe {timeframe}`, or name one of `trader models list`.",
        )
    return digest


def card_of(workspace: Workspace, digest: str) -> ModelCard:
    """Of a stored bundle, every byte checked. Raises `DataInvalid`."""
    files, description = bundles_of(workspace).load(digest)
    try:
        return model_card(digest, description, files, workspace.settings.analyst.max_model_age)
    except (KeyError, TypeError, ValueError) as error:
        raise DataInvalid(f"The model bundle {digest} does not say enough of itself: {error}.", hint=_TRAIN) from error


def promote(workspace: Workspace, digest: str, symbol: str, timeframe: Timeframe) -> str | None:
    """Make a bundle the current one of its series; returns the digest of the one that was.

    Raises `DataInvalid` for a bundle of another series or of another version, `DataStale` for one of another market or
    of a rule where the settings name none.
    """
    from trader_cli.analyst.bundled import from_bundle, refuse_other_kind

    store, series = ArtifactStore(workspace.cache_dir), f"{symbol} --timeframe {timeframe}"
    trained = from_bundle(*bundles_of(workspace).load(digest))
    if (trained.symbol, trained.timeframe) != (symbol, timeframe.name):
        raise DataInvalid(
            f"The model {digest[:12]} is of {trained.symbol} {trained.timeframe}, not of {symbol} {timeframe}.",
            hint="Name the series it is of.",
        )
    settings = workspace.settings
    refuse_other_kind(trained, settings.rule.name, settings.analyst.fast_timeframe, f"train {series}")
    if trained.source != workspace.source:
        raise DataStale(
            f"The model {digest[:12]} was trained on {trained.source}; the settings name {workspace.source}.",
            hint=f"Run `trader train {series}`.",
        )
    key = stage_key(workspace.mode, symbol, timeframe, MODEL)
    former = store.found(key)
    with store.at_work():
        make_current(store, key, digest, trained.source)
    return former


def retire(workspace: Workspace, symbol: str, timeframe: Timeframe) -> str:
    """Take the current model of a series away; returns its digest. It stays known as the retired one.

    From then on analyses abstain, and what is open is cared for with its stops. Raises `DataMissing`.
    """
    store = ArtifactStore(workspace.cache_dir)
    digest = current_model(workspace, symbol, timeframe)
    store.point(_key(workspace, symbol, timeframe, RETIRED_MODEL), digest)
    store.unpoint(_key(workspace, symbol, timeframe, MODEL))
    return digest


def export(workspace: Workspace, digest: str, target: Path | None) -> Path:
    """Write a bundle and its card as a folder, or as an archive where `target` ends in .zip; returns where."""
    bundles, card = bundles_of(workspace), card_of(workspace, digest)
    files, _ = bundles.load(digest)
    place = target or Path(f"model-{card.symbol}-{card.timeframe}-{digest[:12]}")
    write_out({**files, BUNDLE_INDEX: bundles.index(digest)}, card.as_dict(), place)
    return place


def _key(workspace: Workspace, symbol: str, timeframe: Timeframe, stage: str) -> ArtifactKey:
    return stage_key(workspace.mode, symbol, timeframe, stage)


_TRAIN = "Run `trader train` again."
