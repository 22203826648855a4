"""What a pass came to, from the artifacts, the ledger and the account: the lines at the end of `trader run`."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.identity.feature_notes import FeatureNotes
from trader_cli.core.money.assets import QUOTE, by_asset, margin_asset_of
from trader_cli.core.money.averages import average_price
from trader_cli.core.money.plans import Approved, Refused
from trader_cli.core.types import Abstention, Claim, Signal
from trader_cli.execution.entry_result import EntryResult
from trader_cli.execution.plan_lookup import entry_id
from trader_cli.storage.artifacts import ArtifactStore, stage_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from trader_cli.core.identity.ids import Purpose
    from trader_cli.core.json_values import JsonObject
    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.core.money.assets import Flow
    from trader_cli.core.money.plans import TradePlan
    from trader_cli.execution.executor import Executor
    from trader_cli.pipelines.trading.iterations import Iteration
    from trader_cli.settings import Workspace
    from trader_cli.storage.ledger import Ledger
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

    def as_dict(self, *, account: bool = True) -> JsonObject:
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


@dataclass(frozen=True)
class StopSummary:
    """A stop of a trade: what it is for, its trigger (quote currency), and the exchange's last word on it."""

    purpose: Purpose
    trigger_price: Decimal
    client_id: str
    status: str

    def as_dict(self) -> JsonObject:
        """As JSON shows it."""
        return {**asdict(self), "trigger_price": f"{self.trigger_price:f}"}


@dataclass(frozen=True)
class TradeSummary:
    """A position from its entry to its end. Quantities are of the base asset, prices in quote currency, times UTC ms.

    `open` is what is held now, signed; `fees` were paid in the margin asset, `fees_in` in others, by asset.
    """

    order: str
    exchange_id: str | None
    quantity: Decimal
    entry_price: Decimal | None
    exit_price: Decimal | None
    entered_ms: int | None
    left_ms: int | None
    stops: tuple[StopSummary, ...]
    seconds_uncovered: float
    open: Decimal
    exit_reason: str | None
    fees: Decimal
    fees_in: dict[str, Decimal]

    def as_dict(self) -> JsonObject:
        """As JSON shows it: money, prices and quantities as text."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        written = {name: f"{v:f}" if isinstance(v, Decimal) else v for name, v in fields.items()}
        stops = [stop.as_dict() for stop in self.stops]
        return {**written, "stops": stops, "fees_in": {asset: f"{paid:f}" for asset, paid in self.fees_in.items()}}


@dataclass(frozen=True)
class PassSummary:
    """Everything of a pass: what it rested on, what was decided, the trade there was, and the money.

    `artifacts` are the files of references by stage; `journal` is the digest of what the ledger says was done.
    """

    symbol: str
    timeframe: str
    bars: int
    quality: dict[str, int]
    features: int
    wavelet_features: int
    claim: Claim | None
    signal: Signal | None
    abstention: Abstention | None
    plan: TradePlan | None
    refusal: Refused | Abstention | None
    notes: list[str]
    artifacts: dict[str, str]
    ledger: str
    journal: str
    trade: TradeSummary | None
    profit: Money

    def as_dict(self) -> JsonObject:
        """As JSON shows it; a pass without a trade has no key `trade`."""
        decided = {name: getattr(self, name) for name in ("claim", "signal", "abstention")}
        body = {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in {"trade", "profit"}}
        return {
            **body,
            **{name: None if value is None else asdict(value) for name, value in decided.items()},
            "plan": None if self.plan is None else self.plan.as_dict(),
            "refusal": None if self.refusal is None else asdict(self.refusal),
            **({} if self.trade is None else {"trade": self.trade.as_dict()}),
            "profit": self.profit.as_dict(),
        }


@dataclass(frozen=True)
class RunOnce:
    """A pass of `trader run`, what is still open after it by symbol, and what is proved of the account."""

    done: PassSummary
    still_open: dict[str, str]
    account: str

    def as_dict(self) -> JsonObject:
        """As JSON shows it: the fields of the pass, then the other two."""
        return {**self.done.as_dict(), "still_open": self.still_open, "account": self.account}


@dataclass(frozen=True)
class RunForever:
    """What `trader run --forever` came to. `refusals`: how often each reason was given for not trading."""

    trades: int
    profit: Money
    is_account_known: bool
    still_open: dict[str, str]
    account: str
    refusals: dict[str, int]
    halted: str | None
    ledger: str
    journal: str

    def as_dict(self) -> JsonObject:
        """As JSON shows it."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "is_account_known"}
        return {**fields, "profit": self.profit.as_dict(account=self.is_account_known)}


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
    if plan is None or not fills or not (ledger.holding(plan.symbol).amount or fills[-1].time_ms >= since_ms):
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
        fees=fees.get(margin, _NONE),
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
        paid[fill.commission_asset] = paid.get(fill.commission_asset, _NONE) + fill.commission
    return paid


def _refusal(done: Iteration) -> Refused | Abstention | None:
    refused = done.entered if done.entered is not None and not isinstance(done.entered, EntryResult) else done.outcome
    return None if refused is None or isinstance(refused, Approved) else refused


def _artifacts(workspace: Workspace, store: ArtifactStore, symbol: str, timeframe: Timeframe) -> dict[str, str]:
    found = {stage: store.reference_path(stage_key(workspace.mode, symbol, timeframe, stage)) for stage in _STAGES}
    return {stage: str(path) for stage, path in found.items() if path.exists()}
