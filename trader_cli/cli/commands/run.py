"""`trader run`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from trader_cli.cli import options as o
from trader_cli.cli.commands.monitor import line
from trader_cli.cli.show import print_facts, print_json, progress_bar, quality_line, say, utc
from trader_cli.core.errors import ExitCode, UsageError
from trader_cli.core.money.assets import QUOTE

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal

    from trader_cli.cli.show import Facts
    from trader_cli.pipelines.trading.run_values import Money, RunForever, RunOnce, TradeSummary
    from trader_cli.tactician.monitor_reports import Report

app = typer.Typer()


@app.command()
def run(
    symbols: o.Symbols = None,
    timeframe: o.MaybeTimeframe = None,
    forever: Annotated[bool, typer.Option("--forever", help="Trade on: each closed bar, several symbols.")] = False,
    for_: o.ForTime = None,
    wait: Annotated[int, typer.Option("--wait", min=0, help="One pass: wait at most so many bars for a signal.")] = 0,
    live: Annotated[bool, typer.Option("--live", help="live: open positions with real money.")] = False,
    allow_gaps: o.AllowGaps = False,
    allow_unproven: o.AllowUnproven = False,
    profile: o.Profile = None,
    config: o.Config = None,
    tape: o.Tape = None,
    json: o.Json = False,
) -> None:
    """All stages in a row: fetch, features, train if there is no model, analyze, tactics, enter, monitor until flat.

    Exit code 8: no signal. 7: refused by risk. 9: halted. With --forever it trades until a signal or --for; a restart
    goes on where it was.
    """
    from trader_cli.pipelines.trading.iterations import EventSink
    from trader_cli.pipelines.trading.run_values import RunForever, RunOnce
    from trader_cli.pipelines.trading.trading_run import run_forever, run_once

    overrides = {**o.gaps_allowed(allow_gaps), **o.unproven_allowed(allow_unproven)}
    workspace = o.workspace_from(profile, config, tape, overrides)
    o.live_meant(workspace, live=live)
    if forever and wait:
        raise UsageError("--wait is for one iteration; --forever waits for every bar anyway.")
    names, parsed = o.several(workspace, symbols, timeframe)
    o.one_of_several(names, forever=forever)
    seconds = o.duration(for_, "--for")

    def heard(report: Report) -> None:
        say(line(report), quiet=report.action == "stay")

    with progress_bar() as progress:
        sink = EventSink(heard, say, progress)
        done: RunForever | RunOnce
        if forever:
            done = run_forever(workspace, names, parsed, for_s=seconds, live=live, sink=sink)
        else:
            done = run_once(workspace, names[0], parsed, wait=wait, for_s=seconds, live=live, sink=sink)
    if json:
        print_json(done.as_dict())
    elif isinstance(done, RunForever):
        print_facts(f"{', '.join(names)} {parsed}: ran", _forever_facts(done))
    else:
        print_facts(f"{done.done.symbol} {done.done.timeframe}: {_headline(done)}", iteration_facts(done))
    if isinstance(done, RunOnce) and done.done.refusal is not None:
        abstained = done.done.abstention is not None or done.done.signal is None
        raise typer.Exit(o.code_of(done.done.refusal.code, ExitCode.ABSTAINED if abstained else ExitCode.REFUSED))


def _headline(run: RunOnce) -> str:
    if run.still_open:
        return "a position is open"
    if run.done.refusal is not None or run.done.trade is None:
        return "no trade"
    return f"traded, left by {run.done.trade.exit_reason}"


def iteration_facts(run: RunOnce) -> Facts:
    """A pass for people, in the order in which things happened."""
    done = run.done
    claim, signal, plan, refusal = done.claim, done.signal, done.plan, done.refusal
    return {
        "bars": str(done.bars),
        "quality": quality_line(done.quality),
        "features": f"{done.features}, {done.wavelet_features} of them wavelet",
        "claim": None if claim is None else f"{'edge' if claim.edge else 'no edge'}: {claim.reason}",
        "signal": None
        if signal is None
        else f"{signal.side}, {signal.expected_value_bps:.1f} bps expected"
        + (" (UNPROVEN)" if signal.unproven else ""),
        "plan": None
        if plan is None
        else f"{plan.side} {plan.quantity:f} at leverage {plan.leverage}, bound by {plan.binding}",
        "because": None if refusal is None else f"{refusal.sentence} ({refusal.code})",
        **({} if done.trade is None else _trade_facts(done.trade)),
        "profit": _profit(done.profit),
        "open": "; ".join(run.still_open.values()) or None,
        "account": run.account,
        "notes": "; ".join(done.notes) or None,
        "artifacts": "\n".join(f"{name}: {path}" for name, path in done.artifacts.items()),
        "ledger": done.ledger,
        "journal": done.journal,
    }


def _trade_facts(trade: TradeSummary) -> Facts:
    stops = [f"{s.purpose} {s.trigger_price:f} {s.status.lower()}" for s in trade.stops]
    return {
        "order": f"{trade.order}: {trade.quantity:f} at {_price(trade.entry_price)}, {utc(trade.entered_ms or 0)}",
        "stops": ", ".join(stops),
        "without full cover": f"{trade.seconds_uncovered:.3f} s",
        "fees paid in": ", ".join(f"{paid:f} {asset}" for asset, paid in trade.fees_in.items()) or None,
        "exit": None
        if trade.left_ms is None
        else f"{trade.exit_reason} at {_price(trade.exit_price)}, {utc(trade.left_ms)}",
    }


def _price(price: Decimal | None) -> str:
    return "None" if price is None else f"{price:f}"


def _forever_facts(run: RunForever) -> Facts:
    return {
        "trades": str(run.trades),
        "profit": _profit(run.profit, is_account_known=run.is_account_known),
        "open": "; ".join(run.still_open.values()) or None,
        "account": run.account,
        "not traded": ", ".join(f"{code} {count}" for code, count in run.refusals.items()) or None,
        "halted": run.halted,
        "ledger": run.ledger,
        "journal": run.journal,
    }


def _profit(profit: Money, *, is_account_known: bool = True) -> str:
    """Both numbers, of each asset that moved; the account's are left out where it was not told."""
    ledger = _amounts(profit, lambda money: money.ledger)
    if not is_account_known:
        return f"{ledger} by the ledger; the account did not answer"
    both = f"{ledger} by the ledger, {_amounts(profit, lambda money: money.account)} by the account"
    return f"{both}; relative difference {float(profit.difference):.1e}"


def _amounts(profit: Money, of: Callable[[Money], Decimal]) -> str:
    """The amounts of one of both; their assets are named unless all is USDT."""
    moved = [profit, *profit.others]
    if len(moved) == 1 and profit.asset == QUOTE:
        return f"{of(profit):f}"
    return " and ".join(f"{of(one):f} {one.asset}" for one in moved)
