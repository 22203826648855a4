"""The market a backtest plays: the tape of a simulation, or the stored bars of a real one along a seeded path."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from trader_cli.core.market.bars import PRICES
from trader_cli.core.market.schemas import milliseconds
from trader_cli.core.market.timeframes import DAY_MS, HOUR_MS, Timeframe
from trader_cli.exchange.account.bracket_memory import BRACKETS_FILE, BracketMemory, brackets_in
from trader_cli.exchange.market_data.symbol_book import SymbolBook, remembered_rules
from trader_cli.pipelines.market_access import sim_tape
from trader_cli.storage.artifacts import stage_key
from trader_cli.storage.state import VenueState
from trader_cli.venue.simulated_market.brackets import told_brackets
from trader_cli.venue.simulated_market.derived_series import FUNDING_INTERVAL_MS, derived_funding_rate
from trader_cli.venue.simulated_market.rule_changes import FILTERS, RuleChange, funding_intervals
from trader_cli.venue.simulated_market.tape import FLOWS, Tape
from trader_cli.venue.simulated_market.tape_loading import TAPE_COLUMNS, make_symbol_tape

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from trader_cli.core.identity.manifests import Manifest
    from trader_cli.exchange.account.bracket_memory import KnownBrackets
    from trader_cli.pipelines.stages.training_inputs import TrainingData
    from trader_cli.settings import Workspace
    from trader_cli.storage.artifacts import ArtifactStore
    from trader_cli.venue.simulated_market.tape import SymbolTape

_SHOWN_MS = 2 * DAY_MS
"""What is shown at a moment reaches a day back."""
FINEST = Timeframe.parse("1m")


def tape_of(
    workspace: Workspace,
    store: ArtifactStore,
    symbols: Sequence[str],
    timeframe: Timeframe,
    ended: Collection[str],
    since_ms: int,
    fast: Timeframe | None = None,
) -> Tape:
    """Symbols played together from then on, of which some have `ended`, in bars of `fast` if entries are timed in them.

    Raises `DataMissing` for one without bars.
    """
    if workspace.mode == "sim":
        return sim_tape(workspace)
    begin_ms = since_ms - _SHOWN_MS
    made = {symbol: _symbol_tape(workspace, store, symbol, timeframe, fast).since(begin_ms) for symbol in symbols}
    filters, brackets = _listed_filters(workspace, made), played_brackets(workspace, made)
    return real_market(workspace.source, made, filters, brackets, ended)


def real_market(
    source: str,
    symbols: Mapping[str, SymbolTape],
    filters: Mapping[str, Mapping[str, Decimal]],
    brackets: Mapping[str, KnownBrackets] = MappingProxyType({}),
    ended: Collection[str] = (),
) -> Tape:
    """Symbols played together, under `filters` and `brackets` from the beginning on; funding intervals as recorded.

    Those that have `ended` are settled where their bars end.
    """
    changes = [replace(RuleChange(symbol, 0), **found) for symbol, found in filters.items()]  # type: ignore[arg-type]
    changes += [RuleChange(symbol, 0, brackets=told_brackets(known.rows)) for symbol, known in brackets.items()]
    changes += [RuleChange.delisting(symbol, symbols[symbol].end_ms) for symbol in sorted(ended)]
    changes += [change for tape in symbols.values() for change in funding_intervals(tape.symbol, tape.funding or ())]
    return Tape(source, f"stored bars of {source}", dict(symbols), tuple(changes))


def filters_of(tape: Tape) -> dict[str, dict[str, Decimal]]:
    """The filters of `real_market`."""
    return {
        change.symbol: {name: value for name in FILTERS if (value := getattr(change, name)) is not None}
        for change in tape.changes
        if change.at_ms == 0 and any(getattr(change, name) is not None for name in FILTERS)
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


def played_brackets(workspace: Workspace, symbols: Collection[str]) -> dict[str, KnownBrackets]:
    """Leverage brackets of symbols of a real market, as far as they are known: of the file that is set, else as heard.

    Raises `DataInvalid` for a file that holds none.
    """
    if workspace.mode == "sim":
        return {}
    named = workspace.settings.backtest.brackets
    given = {} if named is None else brackets_in(Path(named).expanduser(), symbols)
    heard = BracketMemory(VenueState(workspace.state_dir).symbols(workspace.source).with_name(BRACKETS_FILE))
    every = {symbol: given.get(symbol) or heard.known(symbol) for symbol in symbols}
    return {symbol: known for symbol, known in every.items() if known is not None}


def no_longer_traded(workspace: Workspace, symbols: Collection[str]) -> set[str]:
    """Those of a real market's symbols that it does not trade any more, as far as is known: as it was last read.

    Without that nobody is said to have ended: bars may end because they were not fetched.
    """
    book = SymbolBook(VenueState(workspace.state_dir).symbols(workspace.source))
    if workspace.mode == "sim" or not book.recall():
        return set()
    return {symbol for symbol in symbols if book.status(symbol) != "TRADING"}


def ended_of(tape: Tape) -> dict[str, int]:
    """When the symbols of `real_market` end that do, UTC ms."""
    return {change.symbol: change.at_ms for change in tape.changes if change.settles}


def played_digests(workspace: Workspace, store: ArtifactStore, series: Sequence[TrainingData]) -> dict[str, str]:
    """What is played beside the bars that are analysed, by the names of a manifest's inputs.

    Minute bars, mark prices, funding.
    """
    found: dict[str, str] = {}
    for one in series:
        if workspace.mode != "sim":
            played = _played(workspace, store, one.symbol, (one.fast or one).timeframe)
            found[f"path {one.symbol}"] = played.digest
            mark = _mark_beside(workspace, store, played)
            found |= {} if mark is None else {f"mark {one.symbol}": mark.digest}
        funding = store.current(stage_key(workspace.mode, one.symbol, one.timeframe, "funding"))
        if one.funding is not None and funding is not None:
            found[f"funding {one.symbol}"] = funding.digest
    return found


def _symbol_tape(
    workspace: Workspace, store: ArtifactStore, symbol: str, timeframe: Timeframe, fast: Timeframe | None
) -> SymbolTape:
    funding = store.current(stage_key(workspace.mode, symbol, timeframe, "funding"))
    played, seed = _played(workspace, store, symbol, fast or timeframe), workspace.settings.seed
    mark = _mark_beside(workspace, store, played)
    return symbol_tape_of(store, played, seed, funding, mark, ("quote_volume",))


def _mark_beside(workspace: Workspace, store: ArtifactStore, played: Manifest) -> Manifest | None:
    """The mark prices that are stored in the time frame of the bars that are played, of the same market."""
    timeframe = Timeframe.parse(played.timeframe)
    found = store.current(stage_key(workspace.mode, played.symbol, timeframe, "mark"))
    return found if found is not None and found.rows and found.source == played.source else None


def _played(workspace: Workspace, store: ArtifactStore, symbol: str, timeframe: Timeframe) -> Manifest:
    """A symbol's stored minute bars where they reach as far as those of `timeframe`, else these."""
    command = f"fetch {symbol} --timeframe {timeframe}"
    bars = store.require(stage_key(workspace.mode, symbol, timeframe, "bars"), command)
    minutes = store.current(stage_key(workspace.mode, symbol, FINEST, "bars"))
    return minutes if minutes is not None and _covers(minutes, bars, timeframe) else bars


def symbol_tape_of(
    store: ArtifactStore,
    played: Manifest,
    seed: int,
    funding: Manifest | None = None,
    mark: Manifest | None = None,
    recorded_flows: tuple[str, ...] = FLOWS,
) -> SymbolTape:
    """Stored bars as a tape, with the rates that were paid and the mark prices where they are known.

    Trading asks for no more of `recorded_flows` than the turnover; of what is left out the path would tell.
    """
    frame = store.read(played, (*TAPE_COLUMNS, *recorded_flows))
    timeframe = Timeframe.parse(played.timeframe)
    known = [name for name in recorded_flows if not frame[name].null_count()]
    recorded = {name: frame[name].cast(pl.Float64).to_numpy() for name in known}
    shown = {} if mark is None else mark_prices(frame, store.read(mark))
    made = make_symbol_tape(played.symbol, timeframe, frame, seed, recorded, shown)
    return made if funding is None else replace(made, funding=whole_record(made, paid_rates(store.read(funding))))


def mark_prices(bars: pl.DataFrame, mark: pl.DataFrame) -> dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """The mark price in each of BARS by MARK rows: those of the last price where none was recorded, or no price.

    Arrays of shape (n,) by PRICES; none at all where no bar has one of its own.
    """
    sound = mark.filter(pl.all_horizontal(pl.col(name).is_finite() & (pl.col(name) > 0) for name in PRICES))
    own = bars.select("open_time", *PRICES)
    beside = own.join(sound.select("open_time", *PRICES), on="open_time", how="left", suffix="_mark")
    if beside["open_mark"].null_count() == beside.height:
        return {}
    each = {name: beside[f"{name}_mark"].fill_null(beside[name]).to_numpy() for name in PRICES}
    highest, lowest = np.maximum(each["open"], each["close"]), np.minimum(each["open"], each["close"])
    return {**each, "high": np.maximum(each["high"], highest), "low": np.minimum(each["low"], lowest)}


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
