"""What a run came to, as values and as JSON: money, trades, a pass, a run for weeks."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.money.assets import QUOTE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trader_cli.core.identity.ids import Purpose
    from trader_cli.core.json_values import JsonObject
    from trader_cli.core.money.plans import Refused, TradePlan
    from trader_cli.core.types import Abstention, Claim, Signal


NONE = Decimal(0)


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
        each = [cls(ledger.get(name, NONE), account.get(name, NONE), name) for name in names]
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
    return {name: after.get(name, NONE) - before.get(name, NONE) for name in {*before, *after}}


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
        decided = {name: getattr(self, name) for name in ("claim", "abstention")}
        body = {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in {"trade", "profit"}}
        return {
            **body,
            **{name: None if value is None else asdict(value) for name, value in decided.items()},
            "signal": None if self.signal is None else self.signal.as_dict(),
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
