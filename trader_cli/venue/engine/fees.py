"""What a fill costs at the simulated exchange, and in which asset it is paid."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.money.assets import dollar_pair, margin_asset_of
from trader_cli.venue.engine.margin import MAKER_FEE, cents

if TYPE_CHECKING:
    from trader_cli.venue.engine.engine_state import EngineState

BNB = "BNB"
_IN_BNB = Decimal("0.9")


def rate_of(engine: EngineState, *, maker: bool) -> Decimal:
    """The account's rate; a negative one is a rebate."""
    own, usual = (engine.account.maker_fee, MAKER_FEE) if maker else (engine.account.taker_fee, engine.fills.taker_fee)
    return usual if own is None else own


def fee_of(engine: EngineState, symbol: str, notional: Decimal, *, maker: bool) -> tuple[Decimal, str]:
    """(fee, asset): in BNB a tenth less, where the account pays so and holds enough; else in the margin asset.

    Where BNB has no price in the margin asset, fees are paid in that; rebates always are.
    """
    fee, margin = cents(notional * rate_of(engine, maker=maker)), margin_asset_of(symbol)
    price = _bnb_in(engine, margin) if engine.account.fees_in_bnb and fee > 0 else None
    if price is not None:
        in_bnb = cents(fee * _IN_BNB / price)
        if in_bnb <= engine.account.balance(BNB):
            return in_bnb, BNB
    return fee, engine.account.pays_in(symbol)


def _bnb_in(engine: EngineState, margin: str) -> Decimal | None:
    """The price of BNB in a margin asset: of their contract, else of what both are worth in dollars."""
    if f"{BNB}{margin}" in engine.markets:
        return engine.mark(f"{BNB}{margin}")
    worth, unit = (dollars_of(engine, asset) for asset in (BNB, margin))
    return None if worth is None or unit is None else worth / unit


def dollars_of(engine: EngineState, asset: str) -> Decimal | None:
    """What one of an asset is worth in dollars by its mark price; None without a market of it."""
    pair = dollar_pair(asset)
    if pair is None:
        return Decimal(1)
    return engine.mark(pair) if pair in engine.markets else None
