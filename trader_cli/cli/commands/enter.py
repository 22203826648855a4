"""`trader enter`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from trader_cli.cli import options as o
from trader_cli.cli.commands.tactics import plan_facts, plan_title
from trader_cli.cli.show import print_facts, print_json, say
from trader_cli.core.errors import DataInvalid, ExitCode
from trader_cli.core.money.breaker import BEYOND_BACKSTOP, UNPROTECTED
from trader_cli.core.money.plans import Approved, Refused

if TYPE_CHECKING:
    from pathlib import Path

    from trader_cli.cli.show import Facts
    from trader_cli.core.json_values import JsonObject
    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.core.money.orders import StopState
    from trader_cli.execution.entry_result import EntryResult
    from trader_cli.pipelines.trading.trading_stages import DryRun
    from trader_cli.settings import Workspace

app = typer.Typer()
BREAKDOWNS = frozenset({UNPROTECTED, BEYOND_BACKSTOP})
"""Why a position was left that is no success of the entry, however often it is asked for."""


@app.command()
def enter(
    symbol: o.MaybeSymbol = None,
    timeframe: o.MaybeTimeframe = None,
    plan: o.PlanFile = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the exact requests; none is sent.")] = False,
    live: Annotated[bool, typer.Option("--live", help="live: open a position with real money.")] = False,
    profile: o.Profile = None,
    config: o.Config = None,
    tape: o.Tape = None,
    json: o.Json = False,
) -> None:
    """Carry out the last plan: one order, its stops resting at the exchange.

    Running it again for the same plan sends nothing. Exit code 6: the exchange said no. 7: refused by a check.
    9: halted.
    """
    from trader_cli.pipelines.trading.trading_stages import enter as run
    from trader_cli.pipelines.trading.trading_stages import rehearse

    workspace = o.workspace_from(profile, config, tape)
    o.live_meant(workspace, live=live)
    name, parsed = o.series(workspace, symbol, timeframe)
    decided = _plan(workspace, name, parsed, plan)
    if isinstance(decided, Refused):
        _refuse(name, decided, as_json=json)
        return
    if dry_run:
        _show_rehearsal(rehearse(workspace, decided.plan, name), as_json=json)
        return
    done = run(workspace, decided.plan, name, live=live, say=say)
    if isinstance(done, Refused):
        _refuse(name, done, as_json=json)
        return
    if json:
        print_json(entered_dict(done))
    else:
        print_facts(_headline(done), entered_facts(done))
    if done.quantity == 0 or done.closed in BREAKDOWNS or (done.fresh and done.closed is not None):
        raise typer.Exit(ExitCode.REJECTED)


def _plan(workspace: Workspace, symbol: str, timeframe: Timeframe, file: Path | None) -> Approved | Refused:
    from trader_cli.pipelines.trading.trading_stages import plan_from, stored_plan

    if file is None:
        return stored_plan(workspace, symbol, timeframe)
    import json

    try:
        body = json.loads(file.read_bytes())  # with or without a byte order mark
    except ValueError as error:
        raise DataInvalid(f"{file} is no plan: {error}.", hint="Write one with `trader tactics --json`.") from error
    if not isinstance(body, dict) or "kind" not in body:
        raise DataInvalid(f"{file} is no plan.", hint="Write one with `trader tactics --json`.")
    return plan_from(body)


def _refuse(symbol: str, refused: Refused, *, as_json: bool) -> None:
    if as_json:
        print_json({"kind": "refusal", "code": refused.code, "sentence": refused.sentence})
    else:
        print_facts(f"{symbol}: not entered", {"because": f"{refused.sentence} ({refused.code})"})
    raise typer.Exit(o.code_of(refused.code, ExitCode.REFUSED))


def _show_rehearsal(done: DryRun, *, as_json: bool) -> None:
    refused = done.refused and {"code": done.refused.code, "sentence": done.refused.sentence}
    if as_json:
        print_json({"plan": done.plan.as_dict(), "refused": refused, "requests": [asdict(r) for r in done.requests]})
    else:
        print_facts(plan_title(done.plan), plan_facts(done.plan))
        for request in done.requests:
            fields = "&".join(f"{name}={value}" for name, value in request.parameters.items())
            print(f"{request.method} {request.path}\n    {fields}")
        if done.refused is not None:
            print_facts("would not be entered", {"because": f"{done.refused.sentence} ({done.refused.code})"})
    if done.refused is not None:
        raise typer.Exit(o.code_of(done.refused.code, ExitCode.REFUSED))


def _headline(done: EntryResult) -> str:
    plan = done.plan
    if done.quantity == 0:
        return f"{plan.symbol}: the entry {plan.client_id('entry')} ended without a fill"
    if done.closed is not None and not done.fresh:
        return f"{plan.symbol}: was entered before and has been left since ({done.closed}); no order was sent"
    if done.closed is not None:
        what = f"{done.quantity:f} filled, no stop could be had in time, and it was left again"
        return f"{plan.symbol}: {what} ({done.closed})"
    what = "entered" if done.fresh else "was entered before; no order was sent"
    return f"{plan.symbol}: {what}: {done.filled}"


def entered_facts(done: EntryResult) -> Facts:
    """An entry for people."""
    cover = done.cover
    return {
        "plan": done.plan.plan_id,
        "order": _order_id(done) + (f", exchange id {done.order.order_id}" if done.order else ""),
        "backstop": _stop(cover.backstop) if cover else None,
        "stop": ", ".join(filter(None, (_stop(s) for s in cover.stops))) if cover else None,
        "take profit": ", ".join(filter(None, (_stop(s) for s in cover.take_profits))) if cover else None,
        "without full cover": f"{done.uncovered_ms / 1000:.3f} s",
    }


def _order_id(done: EntryResult) -> str:
    return done.plan.client_id("entry") if done.order is None else done.order.client_id


def _stop(stop: StopState | None) -> str | None:
    if stop is None:
        return None
    what = "closes everything" if stop.close_position else f"{stop.quantity:f}"
    return f"{what} at {stop.trigger_price:f} by mark price"


def entered_dict(done: EntryResult) -> JsonObject:
    """An entry for programs."""
    cover = done.cover
    stops = [] if cover is None else [*([cover.backstop] if cover.backstop else []), *cover.stops, *cover.take_profits]
    return {
        "kind": "entered",
        "plan_id": done.plan.plan_id,
        "symbol": done.plan.symbol,
        "side": done.plan.side,
        "fresh": done.fresh,
        "client_id": _order_id(done),
        "order_id": done.order.order_id if done.order else None,
        "quantity": f"{done.quantity:f}",
        "average_price": done.average,
        "closed": done.closed,
        "seconds_uncovered": done.uncovered_ms / 1000,
        "stops": [
            {
                "client_id": s.client_id,
                "kind": s.kind,
                "trigger_price": f"{s.trigger_price:f}",
                "quantity": None if s.close_position else f"{s.quantity:f}",
                "close_position": s.close_position,
            }
            for s in stops
        ],
    }
