"""What the configured rule is asked about: stored bars, and features only if it reads any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trader_cli.analyst.feature_inputs import stored_funding
from trader_cli.analyst.rule_certificates import certified_rule
from trader_cli.core.ports import silent
from trader_cli.features.rule_series import beside_bars, features_read, rule_frame
from trader_cli.pipelines.stages.stored_bars import stored_bars
from trader_cli.settings.room_options import RuleOptions
from trader_cli.storage.artifacts import stage_key

if TYPE_CHECKING:
    import polars as pl

    from trader_cli.core.identity.manifests import Manifest
    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.core.ports import Progress
    from trader_cli.features.rule import NamedRule
    from trader_cli.settings import Workspace
    from trader_cli.storage.artifacts import ArtifactStore

READ = ("open_time", "open", "high", "low", "close")
"""What the quick engine reads of bars."""
_ROWS = 4000


@dataclass(frozen=True)
class RuleInputs:
    """A certified rule, BARS with its features beside them, FUNDING if known, and the digests of what they are."""

    named: NamedRule
    frame: pl.DataFrame
    funding: pl.DataFrame | None
    digests: dict[str, str]


def rule_inputs(
    workspace: Workspace, store: ArtifactStore, symbol: str, timeframe: Timeframe, progress: Progress = silent
) -> RuleInputs:
    """The configured rule, certified now if it was not before, and the whole stored series as it reads it."""
    manifest, options = stored_bars(workspace, store, symbol, timeframe), RuleOptions.of(workspace.settings)
    named = certified_rule(store, options, timeframe, progress, lambda: _tail(workspace, store, manifest, timeframe))
    funding, digests = stored_funding(store, workspace.mode, symbol, timeframe, manifest), {"bars": manifest.digest}
    paid = store.found(stage_key(workspace.mode, symbol, timeframe, "funding"))
    if funding is not None and paid is not None:
        digests["funding"] = paid
    if features_read(named):
        from trader_cli.pipelines.stages.model_stages import training_data

        series = training_data(workspace, store, symbol, timeframe)
        frame, digests["features"] = rule_frame(named, series.bars, series.features), series.features_manifest.digest
    else:
        frame = store.read(manifest, tuple(dict.fromkeys((*READ, *named.rule.inputs))))
    return RuleInputs(named, frame, funding, {f"{stage} {symbol}": digest for stage, digest in digests.items()})


def _tail(workspace: Workspace, store: ArtifactStore, bars: Manifest, timeframe: Timeframe) -> pl.DataFrame:
    """The last stored bars, with the features beside them that were made of these bars, if any were."""
    features = store.current(stage_key(workspace.mode, bars.symbol, timeframe, "features"))
    recent = store.read(bars.tail(_ROWS)).tail(_ROWS)
    if features is None or features.inputs.get("bars") != bars.digest:
        return recent
    return beside_bars(recent, store.read(features.tail(_ROWS)).tail(_ROWS))
