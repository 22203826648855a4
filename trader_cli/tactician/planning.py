"""The plan for a signal: size, leverage, stops, target, validity. Pure: everything it needs comes in."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from decimal import ROUND_UP, Decimal
from typing import TYPE_CHECKING

from trader_cli.core.market.timeframes import DAY_MS, Timeframe
from trader_cli.core.money import sizing
from trader_cli.core.money.assets import digits_of
from trader_cli.core.money.averages import readable
from trader_cli.core.money.plans import Approved, Refused, Request, TradePlan
from trader_cli.core.money.trading_rules import openable
from trader_cli.tactician.plan_levels import most_drift, plan_levels

if TYPE_CHECKING:
    from trader_cli.core.money.plans import PlanLevels
    from trader_cli.core.types import Analysis, Signal
    from trader_cli.settings.model import TacticianSettings
    from trader_cli.settings.room_options import PlanningOptions
    from trader_cli.tactician.planning_inputs import AccountInputs, Depth

_YEAR_MS = 365 * DAY_MS
_RISK_LEVELS = {"low": 0.25, "medium": 0.5, "high": 1.0}
_UNPROVEN_SHARE = 0.005
"""Share of equity a model without an edge may move: the flow is to be watched, not money to be made."""
_HEADROOM = Decimal("1.02")
"""What is ordered above the exchange's smallest notional where the smallest order is wanted, against moving prices."""


@dataclass(frozen=True)
class Room:
    """What the account leaves for a signal: a plan, as far as the market's depth allows one.

    `drift` is how far the price may be from the signal's; `caps` are notionals by limit, before the depth is known.
    """

    analysis: Analysis
    signal: Signal
    now: AccountInputs
    options: PlanningOptions
    request: Request
    drift: Decimal
    setting: sizing.SizingInputs
    limits: sizing.SizingLimits
    caps: dict[str, float]


def plan(
    analysis: Analysis,
    signal: Signal,
    now: AccountInputs,
    depth: Depth,
    options: PlanningOptions,
    request: Request,
) -> Approved | Refused:
    """The plan of a signal, or why there is none. The request only ever lowers what the limits allow."""
    room = room_for(analysis, signal, now, options, request)
    return room if isinstance(room, Refused) else planned(room, depth)


def room_for(
    analysis: Analysis, signal: Signal, now: AccountInputs, options: PlanningOptions, request: Request
) -> Room | Refused:
    """The room for a signal, or why there is none however deep the market is."""
    refused = refused_request(request)
    if refused is not None:
        return refused
    timeframe = Timeframe.parse(analysis.timeframe)
    setting, o = _setting(analysis, signal, now, options.barrier_width, timeframe), options.limits
    drift = most_drift(analysis.price, signal.stop_price, o.max_price_drift)
    moved = price_moved(analysis, now, request, drift)
    if moved is not None:
        return moved
    limits = limits_of(o, request)
    if not signal.unproven and sizing.kelly_notional(setting, limits) <= 0:
        return _no_room("kelly")
    caps = sizing.caps(setting, limits, limits.max_leverage, sized_by_edge=not signal.unproven)
    binding = min(caps, key=lambda name: caps[name])
    if caps[binding] <= 0:
        return _no_room(binding)
    return Room(analysis, signal, now, options, request, drift, setting, limits, caps)


def price_moved(analysis: Analysis, now: AccountInputs, request: Request, drift: Decimal) -> Refused | None:
    """Whether the price is too far from the signal's, or from the one that was asked for."""
    reference = request.price if request.price is not None else Decimal(str(analysis.price))
    if abs(now.mark - reference) <= drift and abs(now.mark - Decimal(str(analysis.price))) <= drift:
        return None
    return Refused(
        "price_moved",
        f"Mark price is {now.mark:f}; the {'signal was' if request.price is None else 'given price is'} at"
        f" {reference:f}; at most {readable(drift, now.rules.tick):f} may lie between.",
    )


def planned(room: Room, depth: Depth) -> Approved | Refused:
    """The plan there is room for in a market of this depth."""
    sized = _sized(room, depth, Timeframe.parse(room.analysis.timeframe))
    if isinstance(sized, Refused):
        return sized
    quantity, binding, caps = sized
    mark, leverage = room.now.mark, sizing.needed_leverage(room.setting, room.limits, float(quantity * room.now.mark))
    levels = _levels(room)
    liquidated = sizing.liquidation_level(room.setting, leverage.value, float(quantity * mark))
    if (float(levels.backstop_price) - liquidated) * levels.sign <= 0:
        return Refused(
            "liquidation_before_backstop",
            f"At leverage {leverage.value} liquidation comes at"
            f" {readable(Decimal(str(float(liquidated))), room.now.rules.tick):f}, before the backstop"
            f" {levels.backstop_price:f}.",
        )
    return _opened(room, Size(quantity, leverage, binding, caps), levels)


def fixed(
    analysis: Analysis, signal: Signal, now: AccountInputs, options: PlanningOptions, quantity: Decimal
) -> Approved | Refused:
    """The plan of a signal at a fixed quantity and leverage 1, whatever an account's limits are: for research."""
    timeframe = Timeframe.parse(analysis.timeframe)
    drift = most_drift(analysis.price, signal.stop_price, options.limits.max_price_drift)
    moved = price_moved(analysis, now, Request(), drift)
    if moved is not None:
        return moved
    setting = _setting(analysis, signal, now, options.barrier_width, timeframe)
    room = Room(analysis, signal, now, options, Request(), drift, setting, limits_of(options.limits, Request()), {})
    return _opened(room, Size(quantity, sizing.Leverage(1, 0.0), "fixed", {}), _levels(room))


def _levels(room: Room) -> PlanLevels:
    signal, now = room.signal, room.now
    barriers = signal.stop_price, signal.take_profit_price
    return plan_levels(signal.side, now.mark, barriers, now.rules, room.options.limits.backstop_distance, room.drift)


@dataclass(frozen=True)
class Size:
    """How large a position is opened, what bound it, and every limit's notional."""

    quantity: Decimal
    leverage: sizing.Leverage
    binding: str
    caps: dict[str, float]


def _opened(room: Room, size: Size, levels: PlanLevels) -> Approved | Refused:
    """The plan of a size and its levels, if it can be opened under the rules of now."""
    analysis, signal, now, o = room.analysis, room.signal, room.now, room.options.limits
    quantity, leverage, timeframe = size.quantity, size.leverage, Timeframe.parse(analysis.timeframe)
    distance = abs(now.mark - levels.stop_price)
    decided = analysis.decision_time_ms
    made = TradePlan(
        account=now.account,
        mode=room.options.mode,
        symbol=analysis.symbol,
        timeframe=analysis.timeframe,
        side=signal.side,
        lineage=analysis.digests.get("model", "none"),
        decision_ms=decided,
        created_ms=now.now_ms,
        expires_ms=signal.valid_until_ms(decided, o.plan_validity, timeframe.ms),
        exit_by_ms=decided + signal.horizon_bars * timeframe.ms,
        price=now.mark,
        quantity=quantity,
        leverage=leverage.value,
        stop_price=levels.stop_price,
        backstop_price=levels.backstop_price,
        take_profit_price=levels.take_profit_price,
        max_drift=room.drift,
        risk_quote=round(quantity * (distance + now.mark * Decimal(str(room.setting.cost))), 8),
        expected_value_bps=signal.expected_value_bps,
        liquidation_probability=leverage.probability,
        binding=size.binding,
        caps=size.caps,
        unproven=signal.unproven,
        digests=dict(analysis.digests),
        dollar_price=now.dollar_price,
        probability=signal.probability_act,
    )
    return openable(now.rules, now.brackets, made, now.now_ms) or Approved(made)


def too_late(made: TradePlan, request: Request) -> Refused | None:
    """Why a request that asks for less cannot be had any more: the plan of this decision was made without it."""
    smaller = request.quantity is not None and request.quantity < made.quantity
    lower = request.leverage is not None and request.leverage < made.leverage
    if not smaller and not lower and request.risk_level in {None, "high"}:
        return None
    return Refused(
        "plan_exists",
        f"A plan for this bar was made before: {made.side} {made.quantity:f} at leverage {made.leverage}. Requests come"
        " too late for it; they count at the next bar.",
    )


def refused_request(request: Request) -> Refused | None:
    """Why a request makes no sense, if it makes none."""
    if request.risk_level is not None and request.risk_level not in _RISK_LEVELS:
        return Refused("bad_request", f"risk_level is one of {', '.join(_RISK_LEVELS)}; found {request.risk_level!r}.")
    for name, value in (("position_size", request.quantity), ("leverage", request.leverage), ("price", request.price)):
        if value is not None and not value > 0:
            return Refused("bad_request", f"{name} must be above 0; found {value}.")
    return None


def limits_of(o: TacticianSettings, request: Request) -> sizing.SizingLimits:
    """The settings' limits, lowered by what was asked for."""
    scale = _RISK_LEVELS.get(request.risk_level or "high", 1.0)
    most = o.max_leverage if o.enable_leverage_optimization else 1
    limits = sizing.SizingLimits(
        o.kelly_fraction * scale,
        o.confidence,
        o.risk_per_trade * scale,
        o.target_volatility,
        o.max_exposure,
        o.max_same_side,
        o.max_book_share,
        o.max_volume_share,
        min(most, request.leverage or most),
        o.max_liquidation_probability,
        o.margin_share,
        o.capital_cap,
    )
    if o.enable_risk_management:
        return limits
    return replace(
        limits, target_volatility=math.inf, max_exposure=math.inf, max_same_side=math.inf, max_liquidation_probability=1
    )


def _setting(
    analysis: Analysis, signal: Signal, now: AccountInputs, barrier_width: float, timeframe: Timeframe
) -> sizing.SizingInputs:
    """Distances from the signal's barriers, as they are from the mark price now."""
    mark, up = float(now.mark), signal.side == "long"
    stop, target = abs(mark - signal.stop_price) / mark, abs(signal.take_profit_price - mark) / mark
    planned_stop = abs(analysis.price - signal.stop_price) / analysis.price
    planned_target = abs(signal.take_profit_price - analysis.price) / analysis.price
    win, loss = signal.mean_win or planned_target, signal.mean_loss or planned_stop
    cost = signal.break_even_probability * (win + loss) - loss
    by_target = abs(math.log(signal.take_profit_price / analysis.price)) / barrier_width
    sigma = by_target if signal.sigma_horizon is None else signal.sigma_horizon
    uncertainty = sizing.SIGMA_UNCERTAINTY if signal.sigma_uncertainty is None else signal.sigma_uncertainty
    years = signal.horizon_bars * timeframe.ms / _YEAR_MS
    held = now.long_notional if up else now.short_notional
    return sizing.SizingInputs(
        side=signal.side,
        price=mark,
        stop_distance=stop,
        target_distance=target,
        cost=cost,
        probability=signal.probability_act,
        trades=analysis.claim.trades if analysis.claim else 0,
        sigma_horizon=sigma,
        sigma_year=sigma / math.sqrt(years),
        equity=float(now.equity),
        available=float(now.available),
        others=float(now.long_notional + now.short_notional),
        same_side=float(held),
        max_market_notional=float(now.rules.max_market_quantity) * mark,
        brackets=now.brackets,
        elsewhere=float(now.elsewhere),
        dollar_price=float(now.dollar_price or 1),
        sigma_uncertainty=uncertainty,
        mean_win=target * win / planned_target,
        mean_loss=stop * loss / planned_stop,
    )


def _sized(room: Room, depth: Depth, timeframe: Timeframe) -> tuple[Decimal, str, dict[str, float]] | Refused:
    """Quantity, the cap that bound it, and every cap."""
    signal, now, request = room.signal, room.now, room.request
    rests, trades = depth.asks if signal.side == "long" else depth.bids, depth.day_volume * timeframe.ms / DAY_MS
    setting = replace(room.setting, book_notional=rests, bar_notional=trades)
    caps = sizing.with_depth(room.caps, setting, room.limits)
    smallest = _smallest(now)
    if signal.unproven:
        caps["unproven"] = max(setting.equity * _UNPROVEN_SHARE, float(smallest * now.mark))
    if signal.budget is not None:
        caps["permission"] = setting.equity * signal.budget
    if not room.options.limits.enable_position_sizing:
        caps["sizing_off"] = float(smallest * now.mark)
    if request.quantity is not None:
        caps["request"] = float(request.quantity * now.mark)
    binding = min(caps, key=lambda name: caps[name])
    quantity = now.rules.quantity_down(Decimal(repr(caps[binding])) / now.mark)
    if binding in {"unproven", "sizing_off"}:
        quantity = max(quantity, smallest)
    if caps[binding] <= 0:
        return _no_room(binding)
    notional = quantity * now.mark
    if quantity < now.rules.min_quantity or notional < now.rules.min_notional:
        return Refused(
            "below_minimum",
            f"{binding} allows {digits_of(Decimal(repr(caps[binding])), now.rules.margin_asset)}; the exchange takes no"
            f" order below {now.rules.min_notional:f}"
            f" or {now.rules.min_quantity:f} {now.rules.symbol}.",
        )
    return quantity, binding, caps


_WHY = {
    "kelly": "The lower bound of the win rate is not above break-even: no calibrated edge after costs, so no size.",
    "liquidation_probability": "No leverage keeps the probability of touching liquidation low enough.",
    "exposure": "The account's positions take up all exposure that is allowed.",
    "correlation": "The account's positions take up all that may be held on this side.",
    "capital_cap": "The capital cap is taken up.",
    "permission": "The slow model's word permits no size.",
}


def _no_room(limit: str) -> Refused:
    return Refused(f"no_room_{limit}", _WHY.get(limit, f"The limit {limit} leaves no room."))


def _smallest(now: AccountInputs) -> Decimal:
    """The smallest quantity the exchange takes, with a little headroom."""
    steps = (now.rules.min_notional * _HEADROOM / now.mark / now.rules.step).to_integral_value(rounding=ROUND_UP)
    return max(now.rules.min_quantity, steps * now.rules.step)
