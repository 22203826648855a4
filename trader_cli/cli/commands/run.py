"""`trader run`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from trader_cli.cli import options as o
from trader_cli.cli.commands.monitor import line
from trader_cli.cli.show import print_facts, print_json, progress_bar, quality_line, say, utc
from trader_cli.core.errors import ExitCode, UsageError
from trader_cli.core.money.assets import QUOTE

if TYPE_CHECKING:
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
    from trader_cli.pipelines.trading.iterations import Audience
    from trader_cli.pipelines.trading.trading_run import run_forever, run_once

    overrides = {**o.gaps_allowed(allow_gaps), **o.unproven_allowed(allow_unproven)}
    settings = o.settings_from(profile, config, tape, overrides)
    o.live_meant(settings, live=live)
    if forever and wait:
        raise UsageError("--wait is for one pass; --forever waits for every bar anyway.")
    names, parsed = o.several(settings, symbols, timeframe)
    o.one_of_several(names, forever=forever)
    seconds = o.duration(for_, "--for")

    def heard(report: Report) -> None:
        say(line(report), quiet=report.action == "stay")

    with progress_bar() as progress:
        audience = Audience(heard, say, progress)
        if forever:
            done = run_forever(settings, names, parsed, for_s=seconds, live=live, audience=audience)
        else:
            done = run_once(settings, names[0], parsed, wait=wait, for_s=seconds, live=live, audience=audience)
    if json:
        print_json(done)
    elif forever:
        print_facts(f"{', '.join(names)} {parsed}: ran", _forever_facts(done))
    else:
        print_facts(f"{done['symbol']} {done['timeframe']}: {_headline(done)}", pass_facts(done))
    refused = done.get("refusal")
    if refused is not None:
        abstained = done["abstention"] is not None or done["signal"] is None
        raise typer.Exit(o.code_of(refused["code"], ExitCode.ABSTAINED if abstained else ExitCode.REFUSED))


def _headline(done: dict[str, Any]) -> str:
    trade = done.get("trade")
    if done["still_open"]:
        return "a position is open"
    if done["refusal"] is not None or not trade:
        return "no trade"
    return f"traded, left by {trade['exit_reason']}"


def pass_facts(done: dict[str, Any]) -> dict[str, Any]:
    """A pass for people, in the order in which things happened."""
    claim, signal, plan, trade = done["claim"], done["signal"], done["plan"], done.get("trade")
    return {
        "bars": str(done["bars"]),
        "quality": quality_line(done["quality"]),
        "features": f"{done['features']}, {done['wavelet_features']} of them wavelet",
        "claim": None if claim is None else f"{'edge' if claim['edge'] else 'no edge'}: {claim['reason']}",
        "signal": None
        if signal is None
        else f"{signal['side']}, {signal['expected_value_bps']:.1f} bps expected"
        + (" (UNPROVEN)" if signal["unproven"] else ""),
        "plan": None
        if plan is None
        else f"{plan['side']} {plan['quantity']} at leverage {plan['leverage']}, bound by {plan['binding']}",
        "because": None if done["refusal"] is None else f"{done['refusal']['sentence']} ({done['refusal']['code']})",
        **({} if trade is None else _trade_facts(trade)),
        "profit": _profit(done["profit"]),
        "open": "; ".join(done["still_open"].values()) or None,
        "account": done["account"],
        "notes": "; ".join(done["notes"]) or None,
        "artifacts": "\n".join(f"{name}: {path}" for name, path in done["artifacts"].items()),
        "ledger": done["ledger"],
        "journal": done["journal"],
    }


def _trade_facts(trade: dict[str, Any]) -> dict[str, Any]:
    stops = [f"{s['purpose']} {s['trigger_price']} {s['status'].lower()}" for s in trade["stops"]]
    return {
        "order": f"{trade['order']}: {trade['quantity']} at {trade['entry_price']}, {utc(trade['entered_ms'])}",
        "stops": ", ".join(stops),
        "without full cover": f"{trade['seconds_uncovered']:.3f} s",
        "fees paid in": ", ".join(f"{paid} {asset}" for asset, paid in trade["fees_in"].items()) or None,
        "exit": None
        if trade["left_ms"] is None
        else f"{trade['exit_reason']} at {trade['exit_price']}, {utc(trade['left_ms'])}",
    }


def _forever_facts(done: dict[str, Any]) -> dict[str, Any]:
    return {
        "trades": str(done["trades"]),
        "profit": _profit(done["profit"]),
        "open": "; ".join(done["still_open"].values()) or None,
        "account": done["account"],
        "not traded": ", ".join(f"{code} {count}" for code, count in done["refusals"].items()) or None,
        "halted": done["halted"],
        "ledger": done["ledger"],
        "journal": done["journal"],
    }


def _profit(profit: dict[str, Any]) -> str:
    """Both numbers, of each asset that moved; the account's are left out where it was not told."""
    ledger, account = _amounts(profit, "ledger"), _amounts(profit, "account")
    if profit["account"] is None:
        return f"{ledger} by the ledger; the account did not answer"
    both = f"{ledger} by the ledger, {account} by the account"
    return f"{both}; relative difference {profit['relative_difference']:.1e}"


def _amounts(profit: dict[str, Any], whose: str) -> str:
    """The amounts of one of both; their assets are named unless all is USDT."""
    moved = [profit, *profit["others"]]
    if len(moved) == 1 and profit["asset"] == QUOTE:
        return str(profit[whose])
    return " and ".join(f"{one[whose]} {one['asset']}" for one in moved)
