"""Tactician, worked examples: size, plan, loss limits, rounding, exits and funding by numbers one can check by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from decimal import Decimal
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Literal

from trader_cli.core.market.timeframes import DAY_MS
from trader_cli.core.money.liquidation import liquidation_price, touch_probability
from trader_cli.core.money.orders import LeverageBracket, SymbolRules
from trader_cli.core.money.plans import Approved, Request, TradePlan
from trader_cli.core.money.sizing import SizingInputs, SizingLimits, caps, needed_leverage
from trader_cli.core.types import Analysis, Claim, Signal
from trader_cli.pipelines.verification.checks import LINES, Check, Finding, Unexpected, equal, near
from trader_cli.pipelines.verification.lab import SYMBOL, TIMEFRAME
from trader_cli.pipelines.verification.worked_exits import (
    exits_by_hand,
    funding_by_its_sign,
    loss_limits_by_asset,
    loss_limits_by_hand,
)
from trader_cli.settings.load import shipped_settings
from trader_cli.settings.room_options import PlanningOptions
from trader_cli.tactician.planning import plan
from trader_cli.tactician.planning_inputs import AccountInputs, Depth

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trader_cli.core.types import Side
    from trader_cli.pipelines.verification.lab import Lab

_SIDES: tuple[Side, ...] = ("long", "short")
_BRACKETS = (LeverageBracket(Decimal(1_000_000), 20, Decimal("0.005"), Decimal(0)),)
_RULES = SymbolRules(SYMBOL, Decimal("0.01"), Decimal("0.001"), Decimal("0.001"), Decimal(10_000), Decimal(5))
_SETTING = SizingInputs(
    side="long",
    price=2000.0,
    stop_distance=0.01,
    target_distance=0.03,
    cost=0.002,
    probability=0.6,
    trades=500,
    sigma_horizon=0.01,
    sigma_year=0.5,
    equity=10_000.0,
    available=8_000.0,
    others=1_000.0,
    same_side=500.0,
    book_notional=500_000.0,
    bar_notional=10_000_000.0,
    max_market_notional=1e9,
    brackets=_BRACKETS,
)
_LIMITS = SizingLimits(0.25, 0.8, 0.01, 0.4, 2.0, 1.5, 0.1, 0.01, 5, 0.001, 0.5, 30_000.0)


def _wilson(p: float, trades: int, confidence: float) -> float:
    """Wilson's lower bound, as it is usually written."""
    z2 = NormalDist().inv_cdf(confidence) ** 2
    centre = p + z2 / (2 * trades)
    spread = math.sqrt(z2 * (p * (1 - p) / trades + z2 / (4 * trades**2)))
    return (centre - spread) / (1 + z2 / trades)


def sizes_by_hand(lab: Lab) -> Iterator[Finding]:  # noqa: ARG001
    """Stop 1 % away, target 3 %, costs 0.2 %, equity 10,000: every limit's notional."""
    p = _wilson(0.6, 500, 0.8)
    wanted = {
        "kelly": (p / 0.012 - (1 - p) / 0.028) * 0.25 * 10_000,
        "volatility_target": 8_000.0,
        "risk_per_trade": 100 / 0.012,
        "exposure": 19_000.0,
        "correlation": 14_500.0,
        "liquidity": 50_000.0,
        "bracket": 1_000_000.0,
        "liquidation_probability": 20_000.0,
        "capital_cap": 29_000.0,
    }
    for side in _SIDES:
        found = caps(replace(_SETTING, side=side), _LIMITS, 5, sized_by_edge=True)
        yield equal(f"{side}: limits", sorted(wanted), sorted(found))
        for name, value in wanted.items():
            yield near(f"{side}: notional by {name}", value, found.get(name, math.nan), 1e-6)
    thin = caps(replace(_SETTING, bar_notional=1_000_000.0), _LIMITS, 5, sized_by_edge=True)
    yield near("notional by liquidity, a hundredth of a thin bar", 10_000.0, thin["liquidity"], 1e-6)
    hopeless = caps(replace(_SETTING, probability=0.3), _LIMITS, 5, sized_by_edge=True)
    yield near("notional by kelly, at break-even", 0.0, hopeless["kelly"], 0.0)
    beside = caps(replace(_SETTING, elsewhere=4_000.0), _LIMITS, 5, sized_by_edge=True)
    yield near("notional by capital_cap, 4,000 held in other dollars", 25_000.0, beside["capital_cap"], 1e-6)
    yield near("notional by exposure then: each asset by itself", 19_000.0, beside["exposure"], 1e-6)
    full = caps(replace(_SETTING, others=40_000.0, same_side=40_000.0), _LIMITS, 5, sized_by_edge=True)
    for name in ("exposure", "correlation", "capital_cap"):
        yield near(f"notional by {name}, all of it taken", 0.0, full[name], 0.0)
    dear = caps(replace(_SETTING, dollar_price=2.0, elsewhere=4_000.0), _LIMITS, 5, sized_by_edge=True)
    yield near("notional by capital_cap, in an asset worth two dollars", 12_000.0, dear["capital_cap"], 1e-6)
    for notional, leverage in ((3_999.0, 1), (4_001.0, 2), (12_001.0, 4)):
        found_leverage = needed_leverage(_SETTING, _LIMITS, notional).value
        yield equal(f"leverage for {notional:g} on a margin of 4,000", leverage, found_leverage)


def liquidation_by_hand(lab: Lab) -> Iterator[Finding]:  # noqa: ARG001
    """Entry 2000 at leverage 5, half a per cent of maintenance; and a walk that may touch a level."""
    yield near("liquidation of a long", 1600 / 0.995, liquidation_price(2000, 5, "long", 0.005), 1e-9)
    yield near("liquidation of a short", 2400 / 1.005, liquidation_price(2000, 5, "short", 0.005), 1e-9)
    sides: tuple[tuple[Literal["long", "short"], float], ...] = (("long", 1595 / 0.995), ("short", 2405 / 1.005))
    for side, level in sides:
        yield near(
            f"liquidation of a {side}, 5 of maintenance amount",
            level,
            liquidation_price(2000, 5, side, 0.005, 5.0),
            1e-9,
        )
    two_sigma = 2 * NormalDist().cdf(-2.0)
    for level in (math.exp(0.02), math.exp(-0.02)):
        yield near(
            f"probability to touch {level:.4f} of price, two σ away",
            two_sigma,
            touch_probability(1.0, level, 0.01),
            1e-9,
        )


_CLAIM = Claim(
    edge=True,
    reason="made up",
    deflated_sharpe_probability=0.99,
    excess_sharpe_probability=0.99,
    sharpe_per_bar=0.1,
    doubled_cost_sharpe_per_bar=0.1,
    trials=1,
    bars=5000,
    trades=500,
    overfitting_probability=0.1,
)


def _signal(side: Side) -> Signal:
    """At 2000, the stop 1 % away, the target 3 %, costs 0.2 %: break-even at 0.3."""
    up = 1 if side == "long" else -1
    return Signal(side, 0.6, 0.3, 100.0, 2000.0 + 60 * up, 2000.0 - 20 * up, 24)


def _planned(side: Side, mark: str = "2000", deep: dict[str, float] | None = None, **shown: Any) -> TradePlan:
    """The plan of `_signal` in an account of 10,000; `deep` and `shown` are what else there is to see."""
    shipped = shipped_settings()
    wide = {
        "kelly_fraction": 0.5,
        "risk_per_trade": 0.01,
        "target_volatility": 100.0,
        "max_exposure": 10.0,
        "max_same_side": 10.0,
        "margin_share": 1.0,
        "max_leverage": 5,
        "max_liquidation_probability": 0.5,
        "capital_cap": None,
        "backstop_distance": 1.5,
        "max_price_drift": 0.25,
    }
    settings = shipped.model_copy(update={"tactician": shipped.tactician.model_copy(update=wide)})
    signal = _signal(side)
    analysis = Analysis(SYMBOL, TIMEFRAME.name, 900_000, 2000.0, signal, claim=_CLAIM, digests={"model": "made up"})
    now = AccountInputs(
        now_ms=900_000,
        account="made up",
        equity=Decimal(10_000),
        available=Decimal(10_000),
        long_notional=Decimal(0),
        short_notional=Decimal(0),
        mark=Decimal(mark),
        rules=_RULES,
        brackets=_BRACKETS,
    )
    depth = Depth(**{"asks": 1e9, "bids": 1e9, "day_volume": 1e12, **(deep or {})})
    outcome = plan(analysis, signal, replace(now, **shown), depth, PlanningOptions.of(settings), Request())
    if not isinstance(outcome, Approved):
        raise Unexpected(f"no plan: {outcome.sentence} ({outcome.code})")
    return outcome.plan


def plans_by_hand(lab: Lab) -> Iterator[Finding]:  # noqa: ARG001
    """A stop three times as near as the target: the loss at the stop is what risk_per_trade allows."""
    for side, sign in (("long", 1), ("short", -1)):
        made = _planned(side)  # type: ignore[arg-type]
        yield equal(f"{side}: the limit that binds", "risk_per_trade", made.binding)
        yield equal(f"{side}: quantity, 100 / (20 + 4) down to a step", Decimal("4.166"), made.quantity)
        yield equal(f"{side}: loss at the stop, costs included", Decimal("99.984"), made.risk_quote)
        levels = [Decimal(2000 + sign * x) for x in (-20, -30, 60)]
        yield equal(
            f"{side}: stop, backstop, target", levels, [made.stop_price, made.backstop_price, made.take_profit_price]
        )
        moved = _planned(side, str(2000 + 4 * sign))  # type: ignore[arg-type]
        cost = Decimal("0.002") * (2000 + 4 * sign)
        quantity = _RULES.quantity_down(Decimal(100) / (24 + cost))
        yield equal(f"{side}: quantity once price has moved 4 our way", quantity, moved.quantity)
        yield equal(f"{side}: backstop then", Decimal(2000 - 32 * sign), moved.backstop_price)
    yield equal("a quantity between steps", Decimal("1.234"), _RULES.quantity_down(Decimal("1.2349999")))
    yield equal("a price between ticks", Decimal("2000.12"), _RULES.price_down(Decimal("2000.129")))


def caps_of_a_plan_by_hand(lab: Lab) -> Iterator[Finding]:  # noqa: ARG001
    """Longs of 3,000, shorts of 1,000, 96,000 asked and 48,000 bid, 9.6 millions a day: every limit of a plan."""
    shown = {"long_notional": Decimal(3000), "short_notional": Decimal(1000)}
    depth = {"asks": 96e3, "bids": 48e3}
    yearly = 0.03 * math.sqrt(365 * DAY_MS / (24 * TIMEFRAME.ms))
    for side, target, same, book in (("long", 2060, 3000, 96e3), ("short", 1940, 1000, 48e3)):
        found = _planned(side, deep={**depth, "day_volume": 9.6e9}, **shown).caps  # type: ignore[arg-type]
        sigma = yearly * abs(math.log(target / 2000)) / 0.03
        wanted = {
            "exposure": 96_000.0,
            "correlation": 100_000.0 - same,
            "liquidity": book / 4,
            "volatility_target": 1_000_000 / sigma,
            "risk_per_trade": 100 / 0.012,
        }
        for name, value in wanted.items():
            yield near(f"{side}: notional by {name}", value, found.get(name, math.nan), 1e-6)
        thin = _planned(side, deep={**depth, "day_volume": 9.6e6}, **shown).caps  # type: ignore[arg-type]
        yield near(f"{side}: notional by liquidity, a twentieth of a mean bar", 5000.0, thin["liquidity"], 1e-6)
    odd = replace(_RULES, tick=Decimal(7))
    for side, levels in (("long", [1981, 1974, 2058]), ("short", [2016, 2023, 1946])):
        made = _planned(side, rules=odd)  # type: ignore[arg-type]
        yield equal(
            f"{side}, ticks of 7: stop, backstop and target, none further away",
            levels,
            [made.stop_price, made.backstop_price, made.take_profit_price],
        )


_LIMITS_HINT = "Do not trade: sizes or limits are not what they say. Install the locked versions (requirements.lock)."
CHECKS = (
    Check(
        "sizes_by_hand",
        LINES[3],
        "every limit's size is its own: the stop's distance sizes, the target's does not",
        _LIMITS_HINT,
        sizes_by_hand,
    ),
    Check(
        "liquidation_by_hand",
        LINES[3],
        "liquidation lies where the exchange's formula puts it",
        _LIMITS_HINT,
        liquidation_by_hand,
    ),
    Check(
        "plans_by_hand",
        LINES[3],
        "a plan loses at its stop what it states, and every level is on its side",
        _LIMITS_HINT,
        plans_by_hand,
    ),
    Check(
        "loss_limits_by_hand",
        LINES[3],
        "a loss limit breaks on the spot: a cent earlier it does not",
        _LIMITS_HINT,
        loss_limits_by_hand,
    ),
    Check(
        "caps_of_a_plan_by_hand",
        LINES[3],
        "a plan's limits are those of its side, its bar and its horizon",
        _LIMITS_HINT,
        caps_of_a_plan_by_hand,
    ),
    Check(
        "loss_limits_by_asset",
        LINES[3],
        "each margin asset has its own loss limits, fees in another asset count",
        _LIMITS_HINT,
        loss_limits_by_asset,
    ),
    Check(
        "exits_by_hand",
        LINES[3],
        "each exit rule acts where it says, for longs and for shorts",
        _LIMITS_HINT,
        exits_by_hand,
    ),
    Check(
        "funding_by_its_sign",
        LINES[3],
        "with a positive rate longs pay and shorts receive, in the ledger as well",
        "Run `trader monitor`: it reconciles the ledger with the exchange.",
        funding_by_its_sign,
    ),
)
