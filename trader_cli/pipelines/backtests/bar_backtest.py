"""A rule on bare bars, for research: filled at the next open, one position at a time, by the quick engine.

None of the decision path is in it: no claim, no plan, no size by edge, no looks, no loss limits. The result says so,
and counts as a trial like any other.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.backtest.bar_engine import backtest_bars
from trader_cli.backtest.bar_frames import frames_of
from trader_cli.backtest.bar_values import Bars, BarTerms
from trader_cli.backtest.exposure_held import Closes
from trader_cli.core.errors import DataMissing, UsageError
from trader_cli.core.market.gaps import utc_text
from trader_cli.core.market.schemas import milliseconds
from trader_cli.core.market.timeframes import MINUTE_MS
from trader_cli.core.ports import silent
from trader_cli.features.rule import BarSignals
from trader_cli.features.rule_series import rule_bars, rule_signals
from trader_cli.pipelines.backtests.backtest_store import Traded, save_traded
from trader_cli.pipelines.backtests.rule_inputs import rule_inputs
from trader_cli.pipelines.backtests.span_hints import nothing_stored
from trader_cli.storage.artifacts import ArtifactStore

if TYPE_CHECKING:
    import polars as pl

    from trader_cli.core.json_values import JsonObject
    from trader_cli.core.ports import Progress
    from trader_cli.pipelines.backtests.backtest_request import BacktestRequest
    from trader_cli.pipelines.backtests.backtest_store import StoredBacktest
    from trader_cli.settings import Settings, Workspace


@dataclass(frozen=True)
class Stake:
    """What backs each position: a share of the wallet, times leverage."""

    share: float = 1.0
    leverage: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1 or not 1 <= self.leverage <= 125:
            raise UsageError(
                f"A stake is a share of the wallet up to 1, at a leverage from 1 to 125; found {self.share:g} at"
                f" {self.leverage:g}."
            )


def run_bar_backtest(
    workspace: Workspace, request: BacktestRequest, stake: Stake, progress: Progress = silent
) -> StoredBacktest:
    """Trade the span, store what came of it. Raises `DataMissing` or `UsageError` for one that cannot be traded."""
    if len(request.symbols) != 1:
        raise UsageError("On bare bars a rule trades one symbol.", hint="Leave out --on-bars for a shared account.")
    store, [symbol], timeframe = ArtifactStore(workspace.cache_dir), request.symbols, request.timeframe
    given = rule_inputs(workspace, store, symbol, timeframe, progress)
    said = rule_signals(given.named, rule_bars(given.frame, given.named.rule.inputs), timeframe)
    rows = _span(given.frame, request)
    bars = _bars(given.frame[rows], given.funding)
    terms = bar_terms(workspace.settings, stake)
    done = backtest_bars(bars, _said_in(said, rows), terms)
    known = replace(request, since_ms=int(bars.open_ms[0]), until_ms=int(bars.open_ms[-1]) + timeframe.ms)
    closes = {symbol: Closes(bars.open_ms + (timeframe.ms - 1), bars.close)}
    funding = "as stored" if given.funding is not None else "none is stored, so none is paid"
    how: JsonObject = {"on_bars": {**asdict(stake), "funding": funding}}
    frames = frames_of(done, bars, terms, symbol, timeframe.ms)
    return save_traded(
        workspace,
        store,
        known,
        Traded(frames, given.digests, closes, {"source": workspace.source}, settings=how, rule=given.named.identity()),
    )


def bar_terms(settings: Settings, stake: Stake) -> BarTerms:
    """Costs and margin as configured. No fee of a maker is known: a target pays the taker's, too."""
    fee = settings.costs.taker_fee_bps * 1e-4
    return BarTerms(
        wallet=settings.sim.balance,
        share=stake.share,
        leverage=stake.leverage,
        taker_fee=fee,
        maker_fee=fee,
        slippage=settings.costs.slippage_bps * 1e-4,
        maintenance=settings.analyst.maintenance_margin_rate,
    )


def _span(frame: pl.DataFrame, request: BacktestRequest) -> slice:
    """The rows whose bars open and close within the span that is asked; the later half where no beginning is."""
    opened, bar_ms = milliseconds(frame["open_time"]), request.timeframe.ms
    since, until = request.since_ms, request.until_ms
    if since is not None and until is not None and since >= until:
        raise UsageError(f"--since {utc_text(since)} is not before --until {utc_text(until)}.")
    stop = len(opened) if until is None else int(np.searchsorted(opened + (bar_ms - 1), until, side="right"))
    first = stop // 2 if since is None else int(np.searchsorted(opened, since))
    if stop - first < 2:
        stored = (int(opened[0]) + bar_ms, int(opened[-1]) + bar_ms)
        raise DataMissing(
            f"No bars of {request.symbols[0]} {request.timeframe} are stored in that span: they go from"
            f" {utc_text(stored[0])} to {utc_text(stored[1])}.",
            hint=nothing_stored(request.symbols, request.timeframe, stored, (since, until)),
        )
    return slice(first, stop)


def _said_in(said: BarSignals, rows: slice) -> BarSignals:
    """What was said within the span: a side that stood when it began is no change to it, and opens nothing."""
    side = said.side[rows].copy()
    if rows.start and side[0] == said.side[rows.start - 1]:
        changed = np.flatnonzero(side != side[0])
        side[: int(changed[0]) if len(changed) else None] = 0
    return BarSignals(side, said.stop[rows], said.target[rows])


def _bars(frame: pl.DataFrame, funding: pl.DataFrame | None) -> Bars:
    """With each payment at the first open that is not before its stamp (to the minute)."""
    opened, rates = milliseconds(frame["open_time"]), np.zeros(frame.height)
    if funding is not None:
        stamps = milliseconds(funding["time"]) // MINUTE_MS * MINUTE_MS
        at = np.searchsorted(opened, stamps)
        inside = (at < len(opened)) & (stamps >= opened[0])
        np.add.at(rates, at[inside], funding["funding_rate"].to_numpy()[inside])
    prices = [frame[name].to_numpy() for name in ("open", "high", "low", "close")]
    return Bars(opened, prices[0], prices[1], prices[2], prices[3], rates)
