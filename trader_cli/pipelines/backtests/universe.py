"""Which symbols a backtest trades, where they are not all named: the largest by volume, as known at each refit."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.core.errors import DataMissing, UsageError
from trader_cli.core.market.schemas import milliseconds
from trader_cli.core.market.timeframes import DAY_MS
from trader_cli.pipelines.backtests.declared_listing import listing_of
from trader_cli.pipelines.stages.symbol_lines import symbol_lines
from trader_cli.storage.artifacts import ArtifactStore, stage_key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import polars as pl

    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.pipelines.backtests.backtest_request import BacktestRequest
    from trader_cli.pipelines.backtests.declared_listing import Listed
    from trader_cli.pipelines.stages.symbol_lines import SymbolLine
    from trader_cli.settings import Workspace

Member = tuple[tuple[int, int], ...] | None
VOLUME_DAYS = 30
"""How far back volumes are summed up."""
_TOLD = 5
"""How many further symbols a sentence names."""


@dataclass(frozen=True)
class Universe:
    """Members from each cut on, UTC ms, ascending. Who is none opens nothing; what is held is kept until it ends."""

    cuts: tuple[int, ...]
    members: tuple[frozenset[str], ...]

    def spans(self, symbol: str, until_ms: int) -> tuple[tuple[int, int], ...]:
        """The closes [first, last) in which a symbol is a member."""
        ends = (*self.cuts[1:], until_ms + 1)
        among = zip(self.cuts, ends, self.members, strict=True)
        return tuple((begin, end) for begin, end, members in among if symbol in members)


def membership(
    bars: Mapping[str, pl.DataFrame],
    request: BacktestRequest,
    span: tuple[int, int],
    entered: Mapping[str, int] = MappingProxyType({}),
) -> dict[str, Member]:
    """By symbol the closes [first, last) at which it is traded: none for one that never is, None for always.

    `entered`: the refit from which on symbols that were listed within the span may be.
    """
    cuts = range(*span, request.refit_ms)
    if request.top is not None:
        universe = largest(bars, request.timeframe, cuts, request.top, entered)
        return {symbol: universe.spans(symbol, span[1]) for symbol in bars}
    found: dict[str, Member] = dict.fromkeys(bars)
    for symbol, begins in entered.items():
        last = int(milliseconds(bars[symbol]["open_time"])[-1])
        there = tuple(cut for cut in cuts if begins <= cut < last)
        everyone = Universe(there, tuple(frozenset([symbol]) for _ in there))
        found[symbol] = everyone.spans(symbol, span[1])
    return found


def largest(
    bars: Mapping[str, pl.DataFrame],
    timeframe: Timeframe,
    cuts: Sequence[int],
    count: int,
    entered: Mapping[str, int] = MappingProxyType({}),
) -> Universe:
    """The `count` symbols with the largest quote volume of the bars that had closed by each cut; ties by name.

    None that has ended by then, or is not `entered` yet.

    BARS by symbol; a bar without a quote volume counts with its close times its volume.
    """
    closes = {symbol: milliseconds(frame["open_time"]) + timeframe.ms for symbol, frame in bars.items()}
    volumes = {symbol: _quote_volumes(frame) for symbol, frame in bars.items()}
    chosen = []
    for cut in cuts:
        sums = {symbol: _sum_between(closes[symbol], volumes[symbol], cut) for symbol in bars}
        there = [symbol for symbol in bars if entered.get(symbol, cut) <= cut]
        going_on = [symbol for symbol in there if sums[symbol] > 0 and int(closes[symbol][-1]) > cut]
        ranked = sorted(going_on, key=lambda symbol: (-sums[symbol], symbol))
        chosen.append(frozenset(ranked[:count]))
    if not any(chosen):
        raise DataMissing(f"Nothing was traded in the {VOLUME_DAYS} days before the span, as far as is stored.")
    return Universe(tuple(cuts), tuple(chosen))


def _quote_volumes(frame: pl.DataFrame) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    known = frame["quote_volume"].to_numpy().astype(np.float64)
    return np.where(np.isnan(known), frame["close"].to_numpy() * frame["volume"].to_numpy(), known)


def _sum_between(
    closes: np.ndarray[tuple[int], np.dtype[np.int64]], volume: np.ndarray[tuple[int], np.dtype[np.float64]], cut: int
) -> float:
    first, stop = np.searchsorted(closes, (cut - VOLUME_DAYS * DAY_MS, cut), side="right").tolist()
    return float(volume[first:stop].sum())


def symbols_in(file: Path) -> tuple[list[str], tuple[Listed, ...]]:
    """(The symbols a file lists, when each was tradable, if it says so): one a line, `#` begins a comment.

    Raises `UsageError` for a file that lists none, and with its line for one that names none.
    """
    lines = symbol_lines(file)
    if not lines:
        raise UsageError(f"{file} lists no symbol.", hint="Write one symbol a line.")
    return list(_places(lines)), listing_of(lines)


def refuse_unstored(workspace: Workspace, file: Path, timeframe: Timeframe) -> None:
    """Raises `DataMissing` where bars of symbols that the file lists are not stored, with their lines."""
    store, mode = ArtifactStore(workspace.cache_dir), workspace.mode
    places = _places(symbol_lines(file))
    lacking = [name for name in places if store.found(stage_key(mode, name, timeframe, "bars")) is None]
    if not lacking:
        return
    others = [f"{name} (line {places[name].number})" for name in lacking[1 : _TOLD + 1]]
    others += [f"{len(lacking) - _TOLD - 1} more"] if len(lacking) > _TOLD + 1 else []
    nor = f", nor of {', '.join(others)}" if others else ""
    told, options = shlex.quote(str(file)), f"--timeframe {timeframe}"
    raise DataMissing(
        f"{places[lacking[0]].place}: no {timeframe} bars of {lacking[0]} are stored in profile {mode}{nor}.",
        hint=f"Run `trader fetch --symbols-file {told} {options}` and `trader features --all {options}`.",
    )


def _places(lines: Sequence[SymbolLine]) -> dict[str, SymbolLine]:
    """Symbols in order, each with its first line."""
    found: dict[str, SymbolLine] = {}
    for line in lines:
        found.setdefault(line.symbol(line.words[0]), line)
    return found
