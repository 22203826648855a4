"""What a plan is made from: the account and the price, and how much the market takes, as values."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.money.assets import margin_asset_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trader_cli.core.money.orders import AccountState, LeverageBracket, PositionState, SymbolRules


@dataclass(frozen=True, kw_only=True)
class AccountInputs:
    """Account and price as the exchange shows them at the moment of planning. Money in the margin asset.

    `long_notional` and `short_notional` are of all positions in this margin asset; `elsewhere` is what those in others
    are worth in dollars, `dollar_price` what one of this asset is, None for a dollar.
    """

    now_ms: int
    account: str
    equity: Decimal
    available: Decimal
    long_notional: Decimal
    short_notional: Decimal
    mark: Decimal
    rules: SymbolRules
    brackets: Sequence[LeverageBracket]
    elsewhere: Decimal = Decimal(0)
    dollar_price: Decimal | None = None


@dataclass(frozen=True)
class Depth:
    """How much the market takes: notionals of the visible book's asks and bids, the last 24 hours' quote volume."""

    asks: float
    bids: float
    day_volume: float


@dataclass(frozen=True)
class PlanningView:
    """What was shown at `now_ms` of a symbol and the account. `account` is the balance of the contract's margin asset.

    `positions` are all there are; `elsewhere` and `dollar_price` as in `AccountInputs`.
    """

    now_ms: int
    rules: SymbolRules
    positions: Sequence[PositionState]
    account: AccountState
    mark: Decimal
    brackets: Sequence[LeverageBracket]
    elsewhere: Decimal = Decimal(0)
    dollar_price: Decimal | None = None

    def inputs(self, fingerprint: str) -> AccountInputs:
        """What a plan is made from, for the account of this fingerprint."""
        alike = [p for p in self.positions if margin_asset_of(p.symbol) == self.account.asset]
        return AccountInputs(
            now_ms=self.now_ms,
            account=fingerprint,
            equity=self.account.equity,
            available=self.account.available,
            long_notional=sum((p.amount * p.mark_price for p in alike if p.amount > 0), Decimal(0)),
            short_notional=sum((-p.amount * p.mark_price for p in alike if p.amount < 0), Decimal(0)),
            mark=self.mark,
            rules=self.rules,
            brackets=self.brackets,
            elsewhere=self.elsewhere,
            dollar_price=self.dollar_price,
        )
