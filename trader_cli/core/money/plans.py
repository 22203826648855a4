"""What tactics come to: an approved plan or a refusal with its reason. The executor accepts nothing but `Approved`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING

from trader_cli.core.identity import ids
from trader_cli.core.json_values import built

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trader_cli.core.json_values import JsonObject
    from trader_cli.core.types import Side

MANUAL = "manual"
"""The lineage of a plan that a person made by hand."""


_MAY_LACK = frozenset({"dollar_price", "probability"})
"""Keys that are written only where they are known."""


@dataclass(frozen=True)
class PlanLevels:
    """Where a position that is opened at `price` is left, and how far the price may be from there; see `TradePlan`."""

    side: Side
    price: Decimal
    stop_price: Decimal
    backstop_price: Decimal
    take_profit_price: Decimal
    max_drift: Decimal

    @property
    def sign(self) -> int:
        """+1 long, −1 short."""
        return 1 if self.side == "long" else -1


@dataclass(frozen=True)
class TradePlan:
    """One entry and how it is protected. Money, prices and quantities are `Decimal`; times UTC milliseconds.

    `price` is the mark price it was made at; the entry is refused once the market is further away than `max_drift`.
    `backstop_price` is where the whole position closes at the latest, `stop_price` lies inside it. `caps` says, in
    quote currency, how large each limit would have allowed the position to be; `binding` names the smallest.
    `dollar_price` is what one of a margin asset that is no dollar was worth, by the mark price of its `dollar_pair`.
    `probability` is what the model gave it to end in profit; None where nobody said.
    """

    account: str
    mode: str
    symbol: str
    timeframe: str
    side: Side
    lineage: str
    decision_ms: int
    created_ms: int
    expires_ms: int
    exit_by_ms: int
    price: Decimal
    quantity: Decimal
    leverage: int
    stop_price: Decimal
    backstop_price: Decimal
    take_profit_price: Decimal
    max_drift: Decimal
    risk_quote: Decimal
    expected_value_bps: float
    liquidation_probability: float
    binding: str
    caps: dict[str, float] = field(default_factory=dict)
    unproven: bool = False
    tranche: int = 0
    digests: dict[str, str] = field(default_factory=dict)
    dollar_price: Decimal | None = None
    probability: float | None = None

    @cached_property
    def plan_id(self) -> str:
        """The digest of the decision: account, symbol, model lineage, decision time, side and tranche."""
        return ids.plan_id(self.account, self.symbol, self.lineage, self.decision_ms, self.side, self.tranche)

    @property
    def sign(self) -> int:
        """+1 long, −1 short."""
        return 1 if self.side == "long" else -1

    def client_id(self, purpose: ids.Purpose, generation: int = 0) -> str:
        """The client id of one of its orders."""
        return ids.client_id(self.plan_id, purpose, generation)

    def as_dict(self) -> JsonObject:
        """The JSON shape: decimals as text, and the plan's id."""
        body = {name: f"{v:f}" if isinstance(v, Decimal) else v for name, v in asdict(self).items()}
        known = {name: v for name, v in body.items() if v is not None or name not in _MAY_LACK}
        return {"plan_id": self.plan_id, **known}

    @classmethod
    def from_dict(cls, body: Mapping[str, object]) -> TradePlan:
        """The inverse of `as_dict`. Raises `KeyError` or `ArithmeticError` for what is no plan."""
        given = {
            f.name: _decimal(body[f.name]) if f.type == "Decimal" else body[f.name]
            for f in fields(cls)
            if f.name not in _MAY_LACK
        }
        price = body.get("dollar_price")
        lacking = {"dollar_price": None if price is None else _decimal(price), "probability": body.get("probability")}
        return built(cls, {**given, **lacking})


def _decimal(field: object) -> Decimal:
    """A number as a plan holds it. Raises `ArithmeticError` or `TypeError` for what is none."""
    if not isinstance(field, str | int | float):
        raise TypeError(f"a number was expected, found {field!r}")
    return Decimal(field)


@dataclass(frozen=True)
class Approved:
    """A plan that passed every limit."""

    plan: TradePlan


@dataclass(frozen=True)
class Refused:
    """A stated reason for not trading: a stable code and a sentence."""

    code: str
    sentence: str


Decision = Approved | Refused


@dataclass(frozen=True)
class Request:
    """What a person asks of the tactics: upper bounds, never orders to exceed a limit. `None` asks nothing."""

    quantity: Decimal | None = None
    leverage: int | None = None
    risk_level: str | None = None
    price: Decimal | None = None
