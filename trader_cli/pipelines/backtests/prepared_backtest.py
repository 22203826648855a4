"""All that a backtest is made from, as values, and trading it: nothing is stored, and no trial is counted."""

from __future__ import annotations

import gc
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.backtest.accounting import check_accounts
from trader_cli.backtest.backtest_account import AccountOptions, BacktestAccount
from trader_cli.backtest.faithful_backtest import FaithfulBacktest
from trader_cli.backtest.fast_backtest import FastBacktest
from trader_cli.backtest.prepared_analyses import PreparedAnalyses, compare_alone, prepare
from trader_cli.backtest.schedule import Schedule
from trader_cli.backtest.stored_analyses import StoredAnalyses
from trader_cli.core.ports import silent
from trader_cli.exchange.latency import USUAL_LATENCY_MS, Latency
from trader_cli.exchange.simulated_exchange import SimulatedExchange
from trader_cli.execution.shutdown import leaving
from trader_cli.settings.room_options import AnalysisOptions, ExecutionOptions, ManagementOptions, PlanningOptions
from trader_cli.venue.simulated_market.symbol_market import SymbolMarket

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trader_cli.backtest.stored_analyses import SymbolHistory
    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.core.ports import Progress
    from trader_cli.pipelines.backtests.backtest_request import BacktestRequest
    from trader_cli.settings import Workspace
    from trader_cli.venue.simulated_market.tape import Tape

    MakeVenue = Callable[[Tape, int, Decimal], SimulatedExchange]


@dataclass(frozen=True)
class PreparedBacktest:
    """`request` is of a known span; `histories` by symbol; `tape` is the market that is played.

    `played` names the artifacts the tape and the funding are of, as the manifest's inputs do.
    """

    workspace: Workspace
    request: BacktestRequest
    histories: Mapping[str, SymbolHistory]
    tape: Tape
    played: Mapping[str, str]

    @property
    def span(self) -> tuple[int, int]:
        """The closes (first, last) that are traded, UTC ms."""
        return self.request.since_ms or 0, self.request.until_ms or 0

    @property
    def entered(self) -> dict[str, int]:
        """From which close on symbols that were listed within the span are traded, UTC ms."""
        return {symbol: history.begins_ms for symbol, history in self.histories.items() if history.begins_ms}


def slower(prepared: PreparedBacktest, factor: int) -> PreparedBacktest:
    """With orders that take so many times as long to arrive; of a real market's where it has none."""
    workspace, assumed = prepared.workspace, prepared.workspace.settings.backtest
    changed = assumed.model_copy(update={"latency_ms": (assumed.latency_ms or USUAL_LATENCY_MS) * factor})
    settings = workspace.settings.model_copy(update={"backtest": changed})
    return replace(prepared, workspace=replace(workspace, settings=settings))


def trade(
    prepared: PreparedBacktest, progress: Progress = silent, make_venue: MakeVenue = SimulatedExchange
) -> BacktestAccount:
    """The account, once the span has been traded."""
    workspace, timeframe, (since, until) = prepared.workspace, prepared.request.timeframe, prepared.span
    balance = Decimal(str(workspace.settings.sim.balance))
    venue = make_venue(prepared.tape, since, balance)
    _assume(venue, workspace)
    account = BacktestAccount(venue, _options(workspace), timeframe)
    options, schedule = AnalysisOptions.of(workspace.settings), _schedule(workspace, timeframe, prepared)
    analyses, symbols = StoredAnalyses(dict(prepared.histories), venue, options), prepared.request.symbols
    with leaving().prompt():
        if prepared.request.speed == "fast" and make_venue is SimulatedExchange:
            ready = _decided(prepared, analyses, options, progress)
            gc.freeze()  # nothing of what was read and decided is garbage before the account is there
            try:
                FastBacktest(account, symbols, ready, schedule, prepared.tape, progress).run(until)
            finally:
                gc.unfreeze()
        else:
            FaithfulBacktest(account, symbols, analyses, schedule, progress).run(until)
    check_accounts(account, balance)
    return account


def _assume(venue: SimulatedExchange, workspace: Workspace) -> None:
    """Latency; and on a real market the account's own fees, since a simulated exchange has its own."""
    settings, is_real = workspace.settings, workspace.mode != "sim"
    assumed, usual_ms = settings.backtest, USUAL_LATENCY_MS if is_real else 0.0
    latency_ms = usual_ms if assumed.latency_ms is None else assumed.latency_ms
    if latency_ms > 0:
        venue.latency = Latency(latency_ms, assumed.latency_spread, settings.seed)
    if is_real:
        taker, maker = (Decimal(str(bps)) / 10_000 for bps in assumed.fees_bps(settings.costs.taker_fee_bps))
        venue.charge(taker, maker)


def _decided(
    prepared: PreparedBacktest, alone: StoredAnalyses, options: AnalysisOptions, progress: Progress
) -> PreparedAnalyses:
    """Every close of every symbol, decided together; what some signals say is compared with what each alone says."""
    found, since = {}, prepared.span[0]
    for number, (symbol, history) in enumerate(sorted(prepared.histories.items())):
        progress(f"deciding the closes of {symbol}", number, len(prepared.histories))
        market = alone.venue.engine.markets[symbol]
        assert isinstance(market, SymbolMarket)
        span = max(since, history.begins_ms), prepared.span[1]
        found[symbol] = one = prepare(history, market, alone.venue.book, span, options)
        beside = SimulatedExchange(prepared.tape, since, Decimal(1))
        compare_alone(one, StoredAnalyses({symbol: history}, beside, options))
        if not history.begins_ms:
            alone.of(symbol, history.decides.floor(since))  # the beginning is not half a second after a close
        history.let_features_go()
    return PreparedAnalyses(found, alone)


def _options(workspace: Workspace) -> AccountOptions:
    settings = workspace.settings
    return AccountOptions(PlanningOptions.of(settings), ExecutionOptions.of(workspace), ManagementOptions.of(settings))


def _schedule(workspace: Workspace, timeframe: Timeframe, prepared: PreparedBacktest) -> Schedule:
    settings, decides = workspace.settings, {history.decides for history in prepared.histories.values()}
    return Schedule(
        next(iter(decides), timeframe),
        look_ms=round(settings.position_monitoring_interval * 1000),
        again_ms=max(1, round(settings.tactician.tactics_interval * 1000)),
        validity_bars=settings.tactician.plan_validity,
        begins=prepared.entered,
        slow=None if decides <= {timeframe} else timeframe,
    )
