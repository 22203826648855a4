"""The stored bars of a series: of this market, and without gaps unless they are allowed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.core.errors import DataInvalid
from trader_cli.core.market.gaps import Gap
from trader_cli.storage.artifacts import require_source, stage_key

if TYPE_CHECKING:
    from trader_cli.core.identity.manifests import Manifest
    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.settings import Workspace
    from trader_cli.storage.artifacts import ArtifactStore


def stored_bars(workspace: Workspace, store: ArtifactStore, symbol: str, timeframe: Timeframe) -> Manifest:
    """The current bars of this market. Raises `DataMissing`, `DataStale`, or `DataInvalid` for gaps not allowed."""
    key = stage_key(workspace.mode, symbol, timeframe, "bars")
    manifest = store.require(key, f"fetch {symbol} --timeframe {timeframe}")
    require_source(manifest, workspace.source)
    refuse_gaps(workspace, manifest)
    return manifest


def refuse_gaps(workspace: Workspace, bars: Manifest) -> None:
    """Raise `DataInvalid` for stored bars with a gap, unless gaps are allowed."""
    if bars.gaps and not workspace.settings.fetch.allow_gaps:
        raise DataInvalid(
            f"The {bars.timeframe} bars of {bars.symbol} have {len(bars.gaps)} gap(s);"
            f" the first: {Gap(*bars.gaps[0])}.",
            hint="What came was stored. Fetch again; or pass --allow-gaps, here and to what reads them (or set"
            " fetch.allow_gaps): behind more than 12 missing bars features stay null for long.",
        )
