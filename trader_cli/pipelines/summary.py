"""What a pass came to, from the artifacts, the ledger and the account: the lines at the end of `trader run`."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from trader_cli.core.plans import Approved
from trader_cli.core.types import Abstention
from trader_cli.execution.behind import entry_id
from trader_cli.execution.entered import Entered
from trader_cli.storage.artifacts import ArtifactStore, stage_key

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trader_cli.core.plans import TradePlan
    from trader_cli.core.timeframes import Timeframe
    from trader_cli.execution.executor import Executor
    from trader_cli.pipelines.passes import Pass
    from trader_cli.settings import Settings

_STAGES = ("bars", "features", "model", "market", "analysis", "plan")


@dataclass(frozen=True)
class Money:
    """What a pass did to the wallet, as the ledger folds it and as the account shows it."""

    ledger: Decimal
    account: Decimal

    @property
    def difference(self) -> Decimal:
        """Their difference, relative to the larger of the two; 0 if both are 0."""
        size = max(abs(self.ledger), abs(self.account))
        return abs(self.ledger - self.account) / size if size else Decimal(0)


def booked_since(before: Iterable[tuple[int, Decimal]], now: Iterable[tuple[int, Decimal]], since_ms: int) -> Decimal:
    """What the ledger's lines (time, amount) that are new `now` did to the wallet from `since_ms` on.

    A line that is new and of earlier was in the wallet already: it was booked late, and belongs to no later window.
    """
    fresh = Counter(now) - Counter(before)
    return sum((amount * count for (at, amount), count in fresh.items() if at >= since_ms), Decimal(0))


def summary(settings: Settings, executor: Executor, done: Pass, timeframe: Timeframe, money: Money) -> dict[str, Any]:
    """Everything of a pass as one mapping."""
    store = ArtifactStore(settings.cache_dir)
    bars = store.current(stage_key(settings, done.symbol, timeframe, "bars"))
    features = store.current(stage_key(settings, done.symbol, timeframe, "features"))
    plan = done.outcome.plan if isinstance(done.outcome, Approved) else executor.plan_of(done.symbol)
    analysis = done.analysis
    body: dict[str, Any] = {
        "symbol": done.symbol,
        "timeframe": done.timeframe,
        "bars": bars.rows if bars else 0,
        "quality": dict(bars.notes.get("quality", {})) if bars else {},
        "features": features.notes["columns"] if features else 0,
        "wavelet_features": features.notes["wavelet_columns"] if features else 0,
        "claim": asdict(analysis.claim) if analysis and analysis.claim else None,
        "signal": asdict(analysis.signal) if analysis and analysis.signal else None,
        "abstention": asdict(analysis.outcome) if analysis and isinstance(analysis.outcome, Abstention) else None,
        "plan": plan.as_dict() if plan and isinstance(done.outcome, Approved) else None,
        "refusal": _refusal(done),
        "notes": done.notes,
        "artifacts": _artifacts(settings, store, done.symbol, timeframe),
        "ledger": str(executor.ledger.path),
        "journal": executor.ledger.journal_digest(),
    }
    if plan is not None and executor.ledger.fills(decision_id=plan.plan_id):
        body["trade"] = trade_of(executor, plan)
    body["profit"] = {
        "ledger": f"{money.ledger:f}", "account": f"{money.account:f}", "relative_difference": float(money.difference)
    }  # fmt: skip
    return body


def trade_of(executor: Executor, plan: TradePlan) -> dict[str, Any]:
    """A position from its entry to its end, from the ledger."""
    ledger = executor.ledger
    fills = ledger.fills(decision_id=plan.plan_id)
    entries, exits = [f for f in fills if f.purpose == "entry"], [f for f in fills if f.purpose != "entry"]
    note = ledger.latest_note(entry_id(ledger, plan), "done")
    stops = [
        {"purpose": i.purpose, "trigger_price": f"{i.trigger_price:f}", "client_id": i.client_id,
         "status": (ledger.last_note(i.client_id) or note).note}  # type: ignore[union-attr]
        for i in ledger.intents_of(plan.plan_id)
        if i.trigger_price is not None and ledger.first_note(i.client_id, "open")
    ]  # fmt: skip
    return {
        "order": entry_id(ledger, plan),
        "exchange_id": note.exchange_id if note else None,
        "quantity": f"{sum((f.quantity for f in entries), Decimal(0)):f}",
        "entry_price": _average(entries),
        "exit_price": _average(exits),
        "entered_ms": entries[0].time_ms if entries else None,
        "left_ms": exits[-1].time_ms if exits else None,
        "stops": stops,
        "seconds_uncovered": executor.coverage.missing_ms(plan) / 1000,
        "open": f"{ledger.holding(plan.symbol).amount:f}",
        "exit_reason": executor.exit_reason(plan.symbol) if exits else None,
        "fees": f"{sum((f.commission for f in fills), Decimal(0)):f}",
    }


def _average(fills: list[Any]) -> str | None:
    quantity = sum((f.quantity for f in fills), Decimal(0))
    return f"{sum((f.quantity * f.price for f in fills), Decimal(0)) / quantity:f}" if quantity else None


def _refusal(done: Pass) -> dict[str, str] | None:
    refused = done.entered if done.entered is not None and not isinstance(done.entered, Entered) else done.outcome
    if refused is None or isinstance(refused, Approved):
        return None
    return {"code": refused.code, "sentence": refused.sentence}


def _artifacts(settings: Settings, store: ArtifactStore, symbol: str, timeframe: Timeframe) -> dict[str, str]:
    found = {stage: store.reference_path(stage_key(settings, symbol, timeframe, stage)) for stage in _STAGES}
    return {stage: str(path) for stage, path in found.items() if path.exists()}
