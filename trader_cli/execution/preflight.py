"""What must be true before a position may be opened. Refusals are values; a wrong key or account is an error."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli import __version__
from trader_cli.core.errors import ConfigurationError, ExchangeRejected, ExchangeUnavailable, RateLimited
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.core.money.assets import Dollars, digits_of, dollar_pair, margin_asset_of
from trader_cli.core.money.averages import readable
from trader_cli.core.money.key_rights import refuse_rights, warning_of
from trader_cli.core.money.orders import MarginSettings
from trader_cli.core.money.plans import Refused
from trader_cli.core.money.sizing import bracket_of
from trader_cli.core.money.trading_rules import RULES_AGE_S, Prices, funded, openable, trading, trustworthy
from trader_cli.execution.circuit_breaker import catch_up
from trader_cli.storage.artifacts import ArtifactStore
from trader_cli.storage.current_models import not_current
from trader_cli.storage.demo_verified import is_verified

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from trader_cli.core.market.quotes import PremiumIndex, Ticker
    from trader_cli.core.money.orders import AccountState, LeverageBracket, SymbolRules
    from trader_cli.core.money.plans import TradePlan
    from trader_cli.core.ports import Exchange
    from trader_cli.execution.symbol_view import View
    from trader_cli.settings.model import CostSettings, TacticianSettings
    from trader_cli.settings.room_options import ExecutionOptions
    from trader_cli.settings.workspace import AccountId
    from trader_cli.storage.ledger import Ledger

MARK_AGE_MS = 60_000
"""How old a mark price may be."""
_SLACK = Decimal("1.01")
"""A little more than a cap, for the price having moved since the plan was sized by it."""
_LONGEST_MS = 40 * 86_400_000  # of validity: no time frame and no setting gives as much


async def check_account(exchange: Exchange, options: ExecutionOptions) -> str | None:
    """Refuse a key that can withdraw or cannot trade, and an account in hedge mode. Raises `ConfigurationError`.

    Returns what a person should know of a key that will do.
    """
    warning = None
    if options.account.mode in {"live", "demo"} and not options.is_demo_trading:
        rights = await exchange.private.key_rights()
        refuse_rights(rights)
        warning = warning_of(rights)
    if await exchange.private.hedge_mode():
        raise ConfigurationError(
            "The account is in hedge mode, which is refused: our stops would protect the wrong side.",
            hint="Switch it to one-way mode.",
        )
    return warning


def check_live(options: ExecutionOptions, plan: TradePlan, *, live: bool) -> Refused | None:
    """What opening in live needs on top: everything explicit."""
    if options.account.mode != "live":
        return None
    if not live:
        return Refused("live_not_given", "Opening in live needs --live on the command.")
    if options.limits.capital_cap is None:
        return Refused("capital_cap_unset", "Live needs tactician.capital_cap: the most that may be at work.")
    if plan.unproven:
        return Refused("unproven_in_live", "A model without a claimed edge does not trade live.")
    if not options.orders.without_demo_verification and not is_verified(options.state_dir, __version__):
        return Refused(
            "demo_not_verified",
            f"Live needs that `verify` tier 2 passed on demo trading with version {__version__}, and no record says so."
            " Set execution.without_demo_verification: true to go without.",
        )
    return None


def check_unchanged(plan: TradePlan, ledger: Ledger) -> Refused | None:
    """Whether the plan is the one that was recorded under its id, if one was."""
    recorded = ledger.decision(plan.plan_id)
    if recorded is None or recorded.body == plan.as_dict():
        return None
    differ = [name for name, value in plan.as_dict().items() if recorded.body.get(name) != value]
    return Refused(
        "plan_changed",
        f"The plan {plan.plan_id} differs from the one tactics recorded: {', '.join(differ)}."
        " Run `trader tactics` and enter its plan.",
    )


def check_plan(ours: AccountId, plan: TradePlan, ledger: Ledger, symbol: str, now_ms: int) -> Refused | None:
    """Whether this plan is one to be entered here and now, as far as ledger and clock know."""
    catch_up(ledger)
    halted = ledger.halted()
    if halted is not None:
        return Refused("halted", f"Trading is halted: {halted}. A person lifts this with `trader reset`.")
    if plan.symbol != symbol:
        return Refused("other_symbol", f"The plan is for {plan.symbol}; asked was {symbol}.")
    if (plan.account, plan.mode) != (ours.fingerprint, ours.mode):
        return Refused(
            "other_account",
            f"The plan was made for account {plan.account} ({plan.mode});"
            f" this is {ours.fingerprint} ({ours.mode}). Run `trader tactics` again.",
        )
    return check_validity(plan, now_ms)


def check_model(options: ExecutionOptions, plan: TradePlan) -> Refused | None:
    """Whether the model behind the plan is still the current one of its series."""
    store, timeframe = ArtifactStore(options.cache_dir), Timeframe.parse(plan.timeframe)
    gone = not_current(store, options.account.mode, plan.symbol, timeframe, plan.lineage)
    return None if gone is None else Refused(gone.code, gone.sentence)


def check_validity(plan: TradePlan, now_ms: int) -> Refused | None:
    """Whether the plan may still be entered."""
    if now_ms >= plan.expires_ms:
        return Refused("plan_expired", f"The plan expired {(now_ms - plan.expires_ms) / 1000:.0f} s ago.")
    return None


async def current_rules(exchange: Exchange, symbol: str) -> SymbolRules | Refused:
    """The symbol's rules, read again if they are older than a few minutes; a refusal where it is not trading."""
    await exchange.refresh_rules(older_than_s=RULES_AGE_S)
    rules = exchange.symbol_rules(symbol)
    return trading(rules) or rules


async def _multi_assets(exchange: Exchange) -> bool:
    """Whether the account says that it is in multi-assets mode.

    Not every host tells. None takes an isolated margin in that mode, and it is set and read back before an entry.
    """
    try:
        return await exchange.private.multi_assets()
    except RateLimited:
        raise
    except (ExchangeUnavailable, ExchangeRejected):
        return False


async def balance_for(exchange: Exchange, symbol: str, options: ExecutionOptions) -> AccountState | Refused:
    """The balances of the asset a contract is margined in, or why this account carries no position there.

    One that is no dollar is refused where its price in dollars is not known.
    """
    asset = exchange.symbol_rules(symbol).margin_asset
    account, multi_assets, dollars = await asyncio.gather(
        exchange.private.account(), _multi_assets(exchange), dollars_of(exchange, {asset}, options)
    )
    refused = funded(symbol, asset, account, multi_assets=multi_assets)
    if isinstance(dollars, Refused) and (refused is None or refused.code == "no_balance"):
        return dollars
    return refused or account.of(asset)


async def dollars_of(exchange: Exchange, assets: Iterable[str], options: ExecutionOptions) -> Dollars | Refused:
    """What assets are worth in dollars, by prices that are fresh and agree; a refusal, `no_dollar_price`, without."""
    wanted = {asset: pair for asset in sorted(set(assets)) if (pair := dollar_pair(asset)) is not None}
    unlisted = [asset for asset, pair in wanted.items() if not exchange.is_listed(pair)]
    if unlisted:
        return _unpriced(unlisted[0], f"The exchange lists no {wanted[unlisted[0]]}.")
    found = await asyncio.gather(*(current_prices(exchange, pair, options) for pair in wanted.values()))
    for asset, prices in zip(wanted, found, strict=True):
        if isinstance(prices, Refused):
            return _unpriced(asset, prices.sentence)
    return Dollars({asset: p.mark for asset, p in zip(wanted, found, strict=True) if isinstance(p, Prices)})


def _unpriced(asset: str, why: str) -> Refused:
    return Refused(
        "no_dollar_price",
        f"{why} By its price is told what {asset} is worth in dollars: no position is opened where {asset} is at work.",
    )


async def elsewhere(
    exchange: Exchange, asset: str, notionals: Mapping[str, Decimal], options: ExecutionOptions
) -> tuple[Decimal, Dollars] | Refused:
    """Dollars of what is held in other margin assets than this one, 0 where no cap counts them; the prices needed.

    `notionals` are by symbol, each in its own margin asset.
    """
    counted = notionals if options.limits.capital_cap is not None else {}
    dollars = await dollars_of(exchange, {asset, *map(margin_asset_of, counted)}, options)
    return dollars if isinstance(dollars, Refused) else (dollars.elsewhere(asset, counted), dollars)


def check_openable(plan: TradePlan, exchange: Exchange, *, resting: int | None = None) -> Refused | None:
    """Whether a plan still fits the exchange's rules: it trades, outlives the position, and takes its stops."""
    return openable(exchange.symbol_rules(plan.symbol), (), plan, exchange.server_now_ms(), resting=resting)


async def current_prices(exchange: Exchange, symbol: str, options: ExecutionOptions) -> Prices | Refused:
    """Mark, index and last price, asked side by side; a refusal where one is stale or they lie too far apart."""
    premium, ticker = await asyncio.gather(exchange.premium_index(symbol), exchange.ticker(symbol))
    return prices_of(symbol, premium, ticker, exchange.server_now_ms(), options)


def prices_of(
    symbol: str, premium: PremiumIndex, ticker: Ticker, now_ms: int, options: ExecutionOptions
) -> Prices | Refused:
    """What the exchange showed of a symbol's prices, or why nothing is opened on them."""
    mark, index, last = (Decimal(str(x)) for x in (premium.mark_price, premium.index_price, ticker.last_price))
    return fit_prices(symbol, Prices(mark, index, last, now_ms - premium.time_ms, now_ms - ticker.time_ms), options)


def fit_prices(symbol: str, prices: Prices, options: ExecutionOptions) -> Prices | Refused:
    """Prices of a symbol, or why nothing is opened on them."""
    return trustworthy(symbol, prices, options.orders.max_price_spread, MARK_AGE_MS) or prices


def check_foreign(view: View, open_orders: int) -> Refused | None:
    """Whether the symbol holds anything, ours or not."""
    if view.foreign != 0 or view.foreign_orders or open_orders:
        what = f"a position of {view.foreign:f}" if view.foreign else f"{view.foreign_orders + open_orders} order(s)"
        return Refused(
            "foreign_position",
            f"{view.symbol} holds {what} that is not ours; it is left alone and no position is opened.",
        )
    if view.unknown_orders:
        return Refused("order_unknown", f"{view.symbol}: it is not known yet what became of an order of ours.")
    if not view.is_flat:
        return Refused("position_open", f"{view.symbol} holds our position of {view.expected:f} already.")
    return None


@dataclass(frozen=True)
class Room:
    """What an entry needs of the market and the account, as seen now. `others` is held in the margin asset, as all
    money here; `elsewhere` dollars in others."""

    mark: Decimal
    available: Decimal
    equity: Decimal
    others: Decimal
    elsewhere: Decimal
    asset: str
    dollars: Dollars


def check_room(plan: TradePlan, rules: SymbolRules, room: Room, costs: CostSettings) -> Refused | None:
    """Whether price is still where the plan was made, and the balance carries it and the taker fee of these costs."""
    moved, tick = abs(room.mark - plan.price), rules.tick
    if moved > plan.max_drift:
        return Refused(
            "price_moved",
            f"Mark price {room.mark:f} is {moved:f} from the plan's {plan.price:f}; at most"
            f" {readable(plan.max_drift, tick):f} is allowed. Run `trader tactics` again.",
        )
    if (room.mark - plan.stop_price) * plan.sign <= 0 or (plan.take_profit_price - room.mark) * plan.sign <= 0:
        return Refused("price_moved", f"Mark price {room.mark:f} is beyond the plan's stop or target.")
    notional, asset = plan.quantity * room.mark, room.asset
    if plan.quantity < rules.min_quantity or notional < rules.min_notional:
        return Refused(
            "below_minimum",
            f"{plan.quantity:f} {plan.symbol} is worth {digits_of(notional, asset)}; the exchange"
            f" takes no less than {rules.min_quantity:f} and {rules.min_notional:f}.",
        )
    needed = notional / plan.leverage + notional * Decimal(str(costs.taker_fee_bps)) / 10_000
    if needed > room.available:
        return Refused(
            "insufficient_margin",
            f"The entry needs {digits_of(needed, asset)} of margin; {digits_of(room.available, asset)} is available.",
        )
    return None


def check_caps(plan: TradePlan, limits: TacticianSettings, room: Room) -> Refused | None:
    """Whether all positions together stay within what may be at work; other plans may have been entered since."""
    total = plan.quantity * room.mark + room.others
    whole = total * room.dollars.of(room.asset) + room.elsewhere
    if limits.capital_cap is not None and whole > Decimal(str(limits.capital_cap)) * _SLACK:
        return Refused(
            "capital_cap",
            f"With it {whole:.2f} would be at work{room.dollars.said}; tactician.capital_cap allows less.",
        )
    if limits.enable_risk_management and total > room.equity * Decimal(str(limits.max_exposure)) * _SLACK:
        held, equity = digits_of(total, room.asset), digits_of(room.equity, room.asset)
        return Refused("exposure", f"With it {held} would be held; equity is {equity}.")
    return None


def check_shape(plan: TradePlan, rules: SymbolRules) -> Refused | None:
    """Whether a plan makes sense at all: finite levels on their ticks, each on its side, limits of time and price."""
    levels = (plan.price, plan.quantity, plan.stop_price, plan.backstop_price, plan.take_profit_price, plan.max_drift)
    if plan.side not in {"long", "short"} or not all(level.is_finite() and level > 0 for level in levels):
        return Refused("plan_senseless", "The plan has a side, a price or a quantity that cannot be.")
    stop, sign = (plan.price - plan.stop_price) * plan.sign, plan.sign
    ordered = 0 < stop < (plan.price - plan.backstop_price) * sign and (plan.take_profit_price - plan.price) * sign > 0
    ticks = all(level == rules.price_down(level) for level in levels[2:5])
    lots = plan.quantity == rules.quantity_down(plan.quantity)
    timely = plan.expires_ms - plan.decision_ms <= _LONGEST_MS and isinstance(plan.leverage, int) and plan.leverage >= 1
    if not (ordered and ticks and lots and timely):
        return Refused(
            "plan_senseless", "The plan's stop, backstop, target, lots, leverage or validity do not fit together."
        )
    return None


async def set_leverage(plan: TradePlan, exchange: Exchange) -> Refused | None:
    """Isolated margin and the plan's leverage, set and read back."""
    bracket = bracket_of(await exchange.private.brackets(plan.symbol), float(plan.quantity * plan.price))
    refused = check_leverage(plan, bracket)
    if refused is None:
        await exchange.private.set_margin_settings(plan.symbol, MarginSettings(plan.leverage, isolated=True))
    return refused


def check_leverage(plan: TradePlan, bracket: LeverageBracket) -> Refused | None:
    """Whether the bracket of its size allows the plan's leverage."""
    if plan.leverage > bracket.max_leverage:
        return Refused(
            "leverage_above_bracket",
            f"Leverage {plan.leverage} is above the bracket's {bracket.max_leverage} at this size.",
        )
    return None
