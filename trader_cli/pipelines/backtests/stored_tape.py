"""The market a backtest plays: the tape of a simulation, or the stored bars of a real one along a seeded path."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.core.market.schemas import milliseconds
from trader_cli.core.market.timeframes import HOUR_MS, Timeframe
from trader_cli.exchange.market_data.symbol_book import remembered_rules
from trader_cli.pipelines.market_access import sim_tape
from trader_cli.storage.artifacts import stage_key
from trader_cli.storage.state import VenueState
from trader_cli.venue.simulated_market.rule_changes import FILTERS, RuleChange, funding_intervals
from trader_cli.venue.simulated_market.symbol_market import FUNDING_INTERVAL_MS, derived_funding_rate
from trader_cli.venue.simulated_market.tape import FLOWS, Tape
from trader_cli.venue.simulated_market.tape_loading import make_symbol_tape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import polars as pl

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
    return real_market(workspace.source, made, _listed_filters(workspace, made))


def real_market(source: str, symbols: Mapping[str, SymbolTape], filters: Mapping[str, Mapping[str, Decimal]]) -> Tape:
    """Symbols played together, under `filters` from the beginning on, and funding intervals as recorded."""
    changes = [replace(RuleChange(symbol, 0), **found) for symbol, found in filters.items()]  # type: ignore[arg-type]
    changes += [change for tape in symbols.values() for change in funding_intervals(tape.symbol, tape.funding or ())]
    return Tape(source, f"stored bars of {source}", dict(symbols), tuple(changes))


def filters_of(tape: Tape) -> dict[str, dict[str, Decimal]]:
    """The filters of `real_market`."""
    return {
        change.symbol: {name: value for name in FILTERS if (value := getattr(change, name)) is not None}
        for change in tape.changes
        if change.at_ms == 0
    }


def _listed_filters(workspace: Workspace, symbols: Mapping[str, SymbolTape]) -> dict[str, dict[str, Decimal]]:
    """What the exchange was last seen to list of symbols: no finer than their bars are written."""
    path, found = VenueState(workspace.state_dir).symbols(workspace.source), {}
    for symbol, tape in symbols.items():
        rules = remembered_rules(path, symbol)
        if rules is not None:
            tick, step = (Decimal(f"{value:.8f}") for value in (tape.tick, tape.step))
            step = max(rules.step, step)
            filters = (max(rules.tick, tick), step, max(rules.min_quantity, step), rules.min_notional)
            found[symbol] = dict(zip(FILTERS, filters, strict=True))
    return found


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
    funding = store.current(stage_key(workspace.mode, symbol, timeframe, "funding"))
    return symbol_tape_of(store, _played(workspace, store, symbol, timeframe), workspace.settings.seed, funding)


def _played(workspace: Workspace, store: ArtifactStore, symbol: str, timeframe: Timeframe) -> Manifest:
    """A symbol's stored minute bars where they reach as far as those of `timeframe`, else these."""
    command = f"fetch {symbol} --timeframe {timeframe}"
    bars = store.require(stage_key(workspace.mode, symbol, timeframe, "bars"), command)
    minutes = store.current(stage_key(workspace.mode, symbol, FINEST, "bars"))
    return minutes if minutes is not None and _covers(minutes, bars, timeframe) else bars


def symbol_tape_of(store: ArtifactStore, played: Manifest, seed: int, funding: Manifest | None = None) -> SymbolTape:
    """Stored bars as a tape, with the rates that were paid where they are known."""
    frame, timeframe = store.read(played), Timeframe.parse(played.timeframe)
    recorded = {name: frame[name].to_numpy().astype(np.float64) for name in FLOWS if not frame[name].null_count()}
    made = make_symbol_tape(played.symbol, timeframe, frame, seed, recorded)
    return made if funding is None else replace(made, funding=whole_record(made, paid_rates(store.read(funding))))


def whole_record(tape: SymbolTape, paid: Mapping[int, float]) -> dict[int, float]:
    """Rates by stamp over the whole tape: as paid, and derived each eight hours where none is recorded around."""
    first = tape.start_ms // FUNDING_INTERVAL_MS * FUNDING_INTERVAL_MS
    grid = np.arange(first, tape.end_ms + 1, FUNDING_INTERVAL_MS, dtype=np.int64)
    known = np.sort(np.fromiter(paid, dtype=np.int64, count=len(paid)))
    before = np.searchsorted(known, grid - FUNDING_INTERVAL_MS, side="right")
    alone = grid[before == np.searchsorted(known, grid + FUNDING_INTERVAL_MS, side="left")]
    return {**{at: derived_funding_rate(tape.seed, at) for at in alone.tolist()}, **paid}


def paid_rates(funding: pl.DataFrame) -> dict[int, float]:
    """FUNDING as rates by the full hour (UTC ms) at which they were due: they are written down some ms to s later."""
    hours = (milliseconds(funding["time"]) + HOUR_MS // 2) // HOUR_MS * HOUR_MS
    return dict(zip(hours.tolist(), funding["funding_rate"].to_list(), strict=True))


def _covers(minutes: Manifest, bars: Manifest, timeframe: Timeframe) -> bool:
    """Whether minute bars of the same market reach from the first of these to the end of the last, without a gap."""
    if minutes.source != bars.source or minutes.gaps or not minutes.rows or not bars.rows:
        return False
    first, last = (minutes.first_ms or 0), (minutes.last_ms or 0) + FINEST.ms
    return first <= (bars.first_ms or 0) and last >= (bars.last_ms or 0) + timeframe.ms
