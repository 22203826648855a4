"""What a pass came to, from the artifacts, the ledger and the account: the lines at the end of `trader run`."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.identity.feature_notes import FeatureNotes
from trader_cli.core.money.assets import by_asset, margin_asset_of
from trader_cli.core.money.averages import average_price
from trader_cli.core.money.plans import Approved, Refused
from trader_cli.core.types import Abstention
from trader_cli.execution.entry_result import EntryResult
from trader_cli.execution.plan_lookup import entry_id
from trader_cli.pipelines.trading.run_values import NONE, Money, PassSummary, StopSummary, TradeSummary
from trader_cli.storage.artifacts import ArtifactStore, stage_key

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.core.money.assets import Flow
    from trader_cli.core.money.plans import TradePlan
    from trader_cli.execution.executor import Executor
    from trader_cli.pipelines.trading.iterations import Iteration
    from trader_cli.settings import Workspace
    from trader_cli.storage.ledger import Ledger
    from trader_cli.storage.ledger_rows import Booked

_STAGES = ("bars", "features", "model", "market", "analysis", "plan")


def booked_since(before: Iterable[Flow], now: Iterable[Flow], since_ms: int) -> dict[str, Decimal]:
    """What the ledger's lines that are new `now` did to each asset's wallet from `since_ms` on.

    A line that is new and of earlier was in the wallet already: it was booked late, and belongs to no later window.
    """
    fresh = Counter(now) - Counter(before)
    return by_asset(flow for flow in fresh.elements() if flow.time_ms >= since_ms)


def summary(
    workspace: Workspace, executor: Executor, done: Iteration, timeframe: Timeframe, money: Money, since_ms: int = 0
) -> PassSummary:
    """Everything of a pass that began at `since_ms`. A trade that had ended before is none of it."""
    store = ArtifactStore(workspace.cache_dir)
    bars = store.current(stage_key(workspace.mode, done.symbol, timeframe, "bars"))
    features = store.current(stage_key(workspace.mode, done.symbol, timeframe, "features"))
    made = FeatureNotes.of(features) if features else None
    analysis, ledger = done.analysis, executor.ledger
    return PassSummary(
        symbol=done.symbol,
        timeframe=done.timeframe,
        bars=bars.rows if bars else 0,
        quality=bars.quality if bars else {},
        features=made.columns if made else 0,
        wavelet_features=made.wavelet_columns if made else 0,
        claim=analysis.claim if analysis else None,
        signal=analysis.signal if analysis else None,
        abstention=analysis.outcome if analysis and isinstance(analysis.outcome, Abstention) else None,
        plan=done.outcome.plan if isinstance(done.outcome, Approved) else None,
        refusal=_refusal(done),
        notes=done.notes,
        artifacts=_artifacts(workspace, store, done.symbol, timeframe),
        ledger=str(ledger.path),
        journal=ledger.journal_digest(),
        trade=_trade_since(executor, done, since_ms),
        profit=money,
    )


def _trade_since(executor: Executor, done: Iteration, since_ms: int) -> TradeSummary | None:
    """The trade of the pass, if there was one and it had not ended before."""
    ledger = executor.ledger
    plan = done.outcome.plan if isinstance(done.outcome, Approved) else executor.plan_of(done.symbol)
    fills = [] if plan is None else ledger.fills(decision_id=plan.plan_id)
    if plan is None or not fills or not (ledger.holding(plan.symbol).amount or fills[-1].time_ms > since_ms):
        return None
    return trade_of(executor, plan)


def trade_of(executor: Executor, plan: TradePlan) -> TradeSummary:
    """A position from its entry to its end, from the ledger."""
    ledger = executor.ledger
    fills = ledger.fills(decision_id=plan.plan_id)
    entries, exits = [f for f in fills if f.purpose == "entry"], [f for f in fills if f.purpose != "entry"]
    margin, fees = margin_asset_of(plan.symbol), fees_of(fills)
    note = ledger.latest_note(entry_id(ledger, plan), "done")
    return TradeSummary(
        order=entry_id(ledger, plan),
        exchange_id=note.exchange_id if note else None,
        quantity=sum((f.quantity for f in entries), Decimal(0)),
        entry_price=average_price((f.price, f.quantity) for f in entries),
        exit_price=average_price((f.price, f.quantity) for f in exits),
        entered_ms=entries[0].time_ms if entries else None,
        left_ms=exits[-1].time_ms if exits else None,
        stops=_stops(ledger, plan),
        seconds_uncovered=executor.coverage.missing_ms(plan) / 1000,
        open=ledger.holding(plan.symbol).amount,
        exit_reason=executor.exit_reason(plan.symbol) if exits else None,
        fees=fees.get(margin, NONE),
        fees_in={asset: paid for asset, paid in fees.items() if asset != margin},
    )


def _stops(ledger: Ledger, plan: TradePlan) -> tuple[StopSummary, ...]:
    """The stops of a trade that have rested at the exchange."""
    return tuple(
        StopSummary(i.purpose, i.trigger_price, i.client_id, last.note)
        for i in ledger.intents_of(plan.plan_id)
        if i.trigger_price is not None and ledger.first_note(i.client_id, "open")
        if (last := ledger.last_note(i.client_id)) is not None
    )


def fees_of(fills: Iterable[Booked]) -> dict[str, Decimal]:
    """Fees by the asset they were paid in; a rebate is negative."""
    paid: dict[str, Decimal] = {}
    for fill in fills:
        paid[fill.commission_asset] = paid.get(fill.commission_asset, NONE) + fill.commission
    return paid


def _refusal(done: Iteration) -> Refused | Abstention | None:
    refused = done.entered if done.entered is not None and not isinstance(done.entered, EntryResult) else done.outcome
    return None if refused is None or isinstance(refused, Approved) else refused


def _artifacts(workspace: Workspace, store: ArtifactStore, symbol: str, timeframe: Timeframe) -> dict[str, str]:
    found = {stage: store.reference_path(stage_key(workspace.mode, symbol, timeframe, stage)) for stage in _STAGES}
    return {stage: str(path) for stage, path in found.items() if path.exists()}
