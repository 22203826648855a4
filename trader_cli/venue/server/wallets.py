"""The wallets of an account as the private routes show them, and what is chosen for all of them at once."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.money.assets import QUOTE, dollar_pair, margin_asset_of
from trader_cli.venue.engine.books import ZERO, Account
from trader_cli.venue.engine.margin import available, cents, initial_margin, of_asset, open_order_margin, unrealized
from trader_cli.venue.engine.request_parameters import Parameters, flag, rejected
from trader_cli.venue.simulated_market.brackets import maintenance_margin
from trader_cli.venue.simulated_market.number_format import decimal_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trader_cli.core.json_values import JsonObject
    from trader_cli.venue.engine.engine import Engine
    from trader_cli.venue.simulated_market.market_port import EngineMarket

DONE = {"code": 200, "msg": "success"}


def asset_row(engine: Engine, asset: str, marks: dict[str, Decimal]) -> JsonObject:
    """One asset of the account: its wallet, and the positions that are margined in it."""
    books = engine.account
    held = [p for p in of_asset(books, asset) if p.amount != 0]
    wallet, profit = books.balance(asset), sum((unrealized(p, marks[p.symbol]) for p in held), ZERO)
    initial = sum((initial_margin(books, p, marks[p.symbol]) for p in held), ZERO)
    maintenance = sum((maintenance_margin(p.amount * marks[p.symbol], engine.brackets(p.symbol)) for p in held), ZERO)
    isolated = sum((p.isolated for p in held), ZERO)
    cross = sum((unrealized(p, marks[p.symbol]) for p in held if not books.option(p.symbol).isolated), ZERO)
    waiting, free = open_order_margin(books, asset), available(books, marks, asset)
    return {
        "asset": asset,
        "walletBalance": decimal_text(wallet),
        "unrealizedProfit": decimal_text(profit),
        "marginBalance": decimal_text(wallet + profit),
        "maintMargin": decimal_text(maintenance),
        "initialMargin": decimal_text(initial + waiting),
        "positionInitialMargin": decimal_text(initial),
        "openOrderInitialMargin": decimal_text(waiting),
        "crossWalletBalance": decimal_text(wallet - isolated),
        "crossUnPnl": decimal_text(cross),
        "availableBalance": decimal_text(free),
        "maxWithdrawAmount": decimal_text(free),
        "updateTime": engine.now_ms,
    }


def multi_assets(engine: Engine, _parameters: Parameters) -> JsonObject:
    """GET /fapi/v1/multiAssetsMargin."""
    return {"multiAssetsMargin": engine.account.multi_assets}


def set_multi_assets(engine: Engine, parameters: Parameters) -> JsonObject:
    """POST /fapi/v1/multiAssetsMargin."""
    wanted = flag(parameters, "multiAssetsMargin")
    if wanted == engine.account.multi_assets:
        raise rejected(-4171, "No need to change Multi-Assets mode.")
    if any(engine.account.option(p.symbol).isolated for p in engine.account.positions.values() if p.amount):
        raise rejected(-4168, "Unable to adjust to Multi-Assets mode with symbols under isolated-margin mode.")
    engine.account.multi_assets = wanted
    engine.changed()
    return DONE


def fee_burn(engine: Engine, _parameters: Parameters) -> JsonObject:
    """GET /fapi/v1/feeBurn: whether fees are paid in BNB."""
    return {"feeBurn": engine.account.fees_in_bnb}


def set_fee_burn(engine: Engine, parameters: Parameters) -> JsonObject:
    """POST /fapi/v1/feeBurn."""
    engine.account.fees_in_bnb = flag(parameters, "feeBurn")
    engine.changed()
    return DONE


def fresh_account(
    balance: Decimal, *, hedge_mode: bool, markets: Mapping[str, EngineMarket] | None = None, at_ms: int = 0
) -> Account:
    """An account as opened: USDT, and as many dollars' worth of every other asset that the markets are margined in.

    What is no dollar is counted at its mark price in USDT `at_ms`; without such a market there is none of it.
    """
    others: dict[str, Decimal] = {}
    for asset in {margin_asset_of(symbol) for symbol in markets or ()} - {QUOTE}:
        pair = dollar_pair(asset)
        if pair is None:
            others[asset] = balance
        elif markets is not None and pair in markets:
            others[asset] = cents(balance / Decimal(repr(markets[pair].mark_price(at_ms))))
    return Account(wallet=balance, hedge_mode=hedge_mode, others=dict(sorted(others.items())))
