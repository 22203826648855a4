"""What a fill costs at the simulated exchange, and in which asset it is paid."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.assets import margin_asset_of
from trader_cli.venue.margin import MAKER_FEE, cents

if TYPE_CHECKING:
    from trader_cli.venue.engine import Engine

BNB = "BNB"
_IN_BNB = Decimal("0.9")


def rate_of(engine: Engine, *, maker: bool) -> Decimal:
    """The account's rate; a negative one is a rebate."""
    own, usual = (engine.account.maker_fee, MAKER_FEE) if maker else (engine.account.taker_fee, engine.fills.taker_fee)
    return usual if own is None else own


def fee_of(engine: Engine, symbol: str, notional: Decimal, *, maker: bool) -> tuple[Decimal, str]:
    """(fee, asset): in BNB a tenth less, where the account pays so and holds enough; else in the margin asset.

    Without a BNBUSDT market BNB has no price, and fees are paid in the margin asset; rebates always are.
    """
    fee, margin = cents(notional * rate_of(engine, maker=maker)), margin_asset_of(symbol)
    pair = f"{BNB}{margin}"
    if engine.account.fees_in_bnb and fee > 0 and pair in engine.markets:
        in_bnb = cents(fee * _IN_BNB / engine.mark(pair))
        if in_bnb <= engine.account.balance(BNB):
            return in_bnb, BNB
    return fee, margin
