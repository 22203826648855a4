"""What a pass came to, from the artifacts, the ledger and the account: the lines at the end of `trader run`."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from trader_cli.core.money.assets import QUOTE, by_asset, margin_asset_of
from trader_cli.core.money.averages import average_price
from trader_cli.core.money.plans import Approved
from trader_cli.core.types import Abstention
from trader_cli.execution.entry_result import Entered
from trader_cli.execution.plan_lookup import entry_id
from trader_cli.storage.artifacts import ArtifactStore, stage_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.core.money.assets import Flow
    from trader_cli.core.money.plans import TradePlan
    from trader_cli.execution.executor import Executor
    from trader_cli.pipelines.trading.iterations import Pass
    from trader_cli.settings import Settings
    from trader_cli.storage.ledger_rows import Booked

_NONE = Decimal(0)
_STAGES = ("bars", "features", "model", "market", "analysis", "plan")


@dataclass(frozen=True)
class Money:
    """What a pass did to the wallet of an asset, as the ledger folds it and as the account shows it.

    `others` are the same of further assets.
    """

    ledger: Decimal
    account: Decimal
    asset: str = QUOTE
    others: tuple[Money, ...] = ()

    @classmethod
    def between(
        cls,
        booked: tuple[Mapping[str, Decimal], Mapping[str, Decimal]],
        shown: tuple[Mapping[str, Decimal], Mapping[str, Decimal]],
        main: str = QUOTE,
    ) -> Money:
        """From what ledger and account had of each asset before and after; `main` comes first, others if they moved."""
        ledger, account = _moved(*booked), _moved(*shown)
        names = [main, *sorted({a for moves in (ledger, account) for a, amount in moves.items() if amount} - {main})]
        each = [cls(ledger.get(name, _NONE), account.get(name, _NONE), name) for name in names]
        if len(each) > 1 and each[0].ledger == each[0].account == 0:
            del each[0]
        return replace(each[0], others=tuple(each[1:]))

    @property
    def difference(self) -> Decimal:
        """Their difference, relative to the larger of the two; 0 if both are 0. The largest of all assets."""
        size = max(abs(self.ledger), abs(self.account))
        own = abs(self.ledger - self.account) / size if size else Decimal(0)
        return max([own, *(other.difference for other in self.others)])

    def as_dict(self, *, account: bool = True) -> dict[str, Any]:
        """As JSON shows it; without `account` the account was not told."""
        return {
            "asset": self.asset,
            "ledger": f"{self.ledger:f}",
            "account": f"{self.account:f}" if account else None,
            "relative_difference": float(self.difference) if account else None,
            "others": [other.as_dict(account=account) for other in self.others],
        }


def _moved(before: Mapping[str, Decimal], after: Mapping[str, Decimal]) -> dict[str, Decimal]:
    return {name: after.get(name, _NONE) - before.get(name, _NONE) for name in {*before, *after}}


def booked_since(before: Iterable[Flow], now: Iterable[Flow], since_ms: int) -> dict[str, Decimal]:
    """What the ledger's lines that are new `now` did to each asset's wallet from `since_ms` on.

    A line that is new and of earlier was in the wallet already: it was booked late, and belongs to no later window.
    """
    fresh = Counter(now) - Counter(before)
    return by_asset(flow for flow in fresh.elements() if flow.time_ms >= since_ms)


def summary(
    settings: Settings, executor: Executor, done: Pass, timeframe: Timeframe, money: Money, since_ms: int = 0
) -> dict[str, Any]:
    """Everything of a pass that began at `since_ms` as one mapping. A trade that had ended before is none of it."""
    store = ArtifactStore(settings.cache_dir)
    bars = store.current(stage_key(settings.mode, done.symbol, timeframe, "bars"))
    features = store.current(stage_key(settings.mode, done.symbol, timeframe, "features"))
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
    fills = [] if plan is None else executor.ledger.fills(decision_id=plan.plan_id)
    if plan is not None and fills and (executor.ledger.holding(plan.symbol).amount or fills[-1].time_ms >= since_ms):
        body["trade"] = trade_of(executor, plan)
    body["profit"] = money.as_dict()
    return body


def trade_of(executor: Executor, plan: TradePlan) -> dict[str, Any]:
    """A position from its entry to its end, from the ledger."""
    ledger = executor.ledger
    fills = ledger.fills(decision_id=plan.plan_id)
    entries, exits = [f for f in fills if f.purpose == "entry"], [f for f in fills if f.purpose != "entry"]
    margin, fees = margin_asset_of(plan.symbol), fees_of(fills)
    note = ledger.latest_note(entry_id(ledger, plan), "done")
    stops = [
        {
            "purpose": i.purpose,
            "trigger_price": f"{i.trigger_price:f}",
            "client_id": i.client_id,
            "status": last.note,
        }
        for i in ledger.intents_of(plan.plan_id)
        if i.trigger_price is not None and ledger.first_note(i.client_id, "open")
        if (last := ledger.last_note(i.client_id)) is not None
    ]
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
        "fees": f"{fees.get(margin, _NONE):f}",
        "fees_in": {asset: f"{paid:f}" for asset, paid in fees.items() if asset != margin},
    }


def fees_of(fills: Iterable[Booked]) -> dict[str, Decimal]:
    """Fees by the asset they were paid in; a rebate is negative."""
    paid: dict[str, Decimal] = {}
    for fill in fills:
        paid[fill.commission_asset] = paid.get(fill.commission_asset, _NONE) + fill.commission
    return paid


def _average(fills: list[Any]) -> str | None:
    average = average_price((f.price, f.quantity) for f in fills)
    return None if average is None else f"{average:f}"


def _refusal(done: Pass) -> dict[str, str] | None:
    refused = done.entered if done.entered is not None and not isinstance(done.entered, Entered) else done.outcome
    if refused is None or isinstance(refused, Approved):
        return None
    return {"code": refused.code, "sentence": refused.sentence}


def _artifacts(settings: Settings, store: ArtifactStore, symbol: str, timeframe: Timeframe) -> dict[str, str]:
    found = {stage: store.reference_path(stage_key(settings.mode, symbol, timeframe, stage)) for stage in _STAGES}
    return {stage: str(path) for stage, path in found.items() if path.exists()}
