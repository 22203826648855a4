"""`trader tactics`."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Annotated

import typer

from trader_cli.cli import options as o
from trader_cli.cli.show import print_facts, print_json, say, utc
from trader_cli.core.errors import ExitCode, UsageError
from trader_cli.core.money.assets import DOLLARS, digits_of, dollar_pair, margin_asset_of
from trader_cli.core.money.plans import Approved, Refused, Request
from trader_cli.core.types import Abstention

if TYPE_CHECKING:
    from trader_cli.cli.show import Facts
    from trader_cli.core.money.plans import TradePlan

app = typer.Typer()
_OTHERWISE = {Refused: ExitCode.REFUSED, Abstention: ExitCode.ABSTAINED}


@app.command()
def tactics(
    symbol: o.MaybeSymbol = None,
    timeframe: o.MaybeTimeframe = None,
    position_size: Annotated[
        str | None, typer.Option("--position-size", help="At most this quantity.", show_default=False)
    ] = None,
    leverage: Annotated[
        int | None, typer.Option("--leverage", min=1, help="At most this leverage.", show_default=False)
    ] = None,
    risk_level: Annotated[
        str | None, typer.Option("--risk-level", help="low, medium or high share of the limits.", show_default=False)
    ] = None,
    profile: o.Profile = None,
    config: o.Config = None,
    tape: o.Tape = None,
    json: o.Json = False,
) -> None:
    """Turn the last analysis into a plan: size, leverage, stops, target, or a refusal with its reason.

    Exit code 0: there is a plan for `trader enter`. 4: the analysis is stale. 7: refused by risk. 8: there was no
    signal. 9: halted.
    """
    from trader_cli.pipelines.trading.trading_stages import tactics as run
    from trader_cli.tactician.planning import refused_request
    from trader_cli.tactician.tactician import document_of

    workspace = o.workspace_from(profile, config, tape)
    name, parsed = o.series(workspace, symbol, timeframe)
    request = Request(_number(position_size), leverage, risk_level)
    senseless = refused_request(request)
    if senseless is not None:
        raise UsageError(senseless.sentence)
    outcome = run(workspace, name, parsed, request, say)
    if json:
        print_json(document_of(outcome))
    elif isinstance(outcome, Approved):
        print_facts(plan_title(outcome.plan), plan_facts(outcome.plan))
    else:
        print_facts(f"{name} {parsed}: no plan", {"because": f"{outcome.sentence} ({outcome.code})"})
    if not isinstance(outcome, Approved):
        raise typer.Exit(o.code_of(outcome.code, _OTHERWISE[type(outcome)]))


def plan_title(plan: TradePlan) -> str:
    """One line about a plan."""
    return f"{plan.symbol} {plan.timeframe}: plan to go {plan.side} {plan.quantity:f} at about {plan.price:f}"


def plan_facts(plan: TradePlan) -> Facts:
    """A plan for people."""
    asset = margin_asset_of(plan.symbol)
    unit, few = ("quote", ".0f") if asset in DOLLARS else (asset, ".8f")
    caps = ", ".join(f"{name} {value:{few}}" for name, value in sorted(plan.caps.items(), key=lambda cap: cap[1]))
    worth = None if plan.dollar_price is None else f"one {asset} is {plan.dollar_price:f}, by {dollar_pair(asset)}"
    notional, risk = (digits_of(amount, asset) for amount in (plan.quantity * plan.price, plan.risk_quote))
    return {
        "plan": plan.plan_id,
        "size": f"{plan.quantity:f} ({notional} {unit}), bound by {plan.binding}",
        "limits": caps,
        "leverage": f"{plan.leverage}, isolated; P(touching liquidation) {plan.liquidation_probability:.2g}",
        "stop": f"{plan.stop_price:f}, backstop {plan.backstop_price:f}",
        "take profit": f"{plan.take_profit_price:f}",
        "risk": f"{risk} {unit} at the stop, costs included",
        "in dollars": worth,
        "expected": f"{plan.expected_value_bps:.1f} bps after costs"
        + (" (UNPROVEN: the model claims no edge)" if plan.unproven else ""),
        "valid until": f"{utc(plan.expires_ms)}; out by {utc(plan.exit_by_ms)}",
        "model": plan.lineage,
    }


def _number(text: str | None) -> Decimal | None:
    if text is None:
        return None
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise UsageError(f"--position-size is a number; found {text!r}.") from None
    if not value.is_finite() or value <= 0:
        raise UsageError(f"--position-size must be above 0; found {text}.")
    return value
