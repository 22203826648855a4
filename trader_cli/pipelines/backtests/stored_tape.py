"""The market a backtest plays: the tape of a simulation, or the stored bars of a real one along a seeded path."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trader_cli.core.market.timeframes import Timeframe
from trader_cli.pipelines.market_access import sim_tape
from trader_cli.storage.artifacts import stage_key
from trader_cli.venue.simulated_market.tape import FLOWS, Tape
from trader_cli.venue.simulated_market.tape_loading import make_symbol_tape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trader_cli.core.identity.manifests import Manifest
    from trader_cli.pipelines.stages.training_inputs import TrainingData
    from trader_cli.settings import Workspace
    from trader_cli.storage.artifacts import ArtifactStore
    from trader_cli.venue.simulated_market.tape import SymbolTape

FINEST = Timeframe.parse("1m")


def tape_of(workspace: Workspace, store: ArtifactStore, symbols: Sequence[str], timeframe: Timeframe) -> Tape:
    """Symbols played together. Raises `DataMissing` for one without stored bars."""
    if workspace.mode == "sim":
        return sim_tape(workspace)
    made = {symbol: _symbol_tape(workspace, store, symbol, timeframe) for symbol in symbols}
    return Tape(workspace.source, f"stored bars of {workspace.source}", made)


def played_digests(workspace: Workspace, store: ArtifactStore, series: Sequence[TrainingData]) -> dict[str, str]:
    """What is played beside the bars that are analysed, by the names of a manifest's inputs: minute bars, funding."""
    found: dict[str, str] = {}
    for one in series:
        if workspace.mode != "sim":
            found[f"path {one.symbol}"] = _played(workspace, store, one.symbol, one.timeframe).digest
        funding = store.current(stage_key(workspace.mode, one.symbol, one.timeframe, "funding"))
        if one.funding is not None and funding is not None:
            found[f"funding {one.symbol}"] = funding.digest
    return found


def _symbol_tape(workspace: Workspace, store: ArtifactStore, symbol: str, timeframe: Timeframe) -> SymbolTape:
    return symbol_tape_of(store, _played(workspace, store, symbol, timeframe), workspace.settings.seed)


def _played(workspace: Workspace, store: ArtifactStore, symbol: str, timeframe: Timeframe) -> Manifest:
    """A symbol's stored minute bars where they reach as far as those of `timeframe`, else these."""
    command = f"fetch {symbol} --timeframe {timeframe}"
    bars = store.require(stage_key(workspace.mode, symbol, timeframe, "bars"), command)
    minutes = store.current(stage_key(workspace.mode, symbol, FINEST, "bars"))
    return minutes if minutes is not None and _covers(minutes, bars, timeframe) else bars


def symbol_tape_of(store: ArtifactStore, played: Manifest, seed: int) -> SymbolTape:
    """Stored bars as a tape."""
    frame, timeframe = store.read(played), Timeframe.parse(played.timeframe)
    recorded = {name: frame[name].to_numpy().astype(np.float64) for name in FLOWS if not frame[name].null_count()}
    return make_symbol_tape(played.symbol, timeframe, frame, seed, recorded)


def _covers(minutes: Manifest, bars: Manifest, timeframe: Timeframe) -> bool:
    """Whether minute bars of the same market reach from the first of these to the end of the last, without a gap."""
    if minutes.source != bars.source or minutes.gaps or not minutes.rows or not bars.rows:
        return False
    first, last = (minutes.first_ms or 0), (minutes.last_ms or 0) + FINEST.ms
    return first <= (bars.first_ms or 0) and last >= (bars.last_ms or 0) + timeframe.ms
