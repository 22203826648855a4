"""`trader flatten`."""

from __future__ import annotations

from typing import Annotated

import typer

from trader_cli.cli import options as o
from trader_cli.cli.show import print_facts, print_json, say

app = typer.Typer()


@app.command()
def flatten(
    symbols: Annotated[
        list[str] | None,
        typer.Argument(help="Of these alone; default: all.", show_default=False, callback=o.each_symbol),
    ] = None,
    halt: Annotated[bool, typer.Option("--halt", help="And let no position be opened until `trader reset`.")] = False,
    force: Annotated[bool, typer.Option("--force", help="End a process that owns the ledger first.")] = False,
    all_of_it: Annotated[
        bool, typer.Option("--all-of-it", help="All that the exchange shows of the symbols, whoever opened it.")
    ] = False,
    profile: o.Profile = None,
    config: o.Config = None,
    tape: o.Tape = None,
    json: o.Json = False,
) -> None:
    """Close every position of ours at market, now, and take our stops away.

    Nothing stands in its way: no halt, claim or plan, nor a ledger that is lost or damaged. A running `trader` that
    owns the ledger does it for us, and goes on trading after that unless --halt is given; one that does not answer
    within 3 s is named (exit code 11), and ended with --force.
    """
    from trader_cli.pipelines.trading.flatten_without_ledger import FlattenRequest
    from trader_cli.pipelines.trading.risk_reduction import flatten as run

    named = tuple(dict.fromkeys(symbols or ()))
    request = FlattenRequest("flatten", named, also_halt=halt, force=force, all_of_it=all_of_it, say=say)
    done = run(o.workspace_from(profile, config, tape), request)
    if json:
        told = {"left": done.left, "said": done.said, "exit_code": int(done.exit_code)}
        print_json(
            {
                "closed": done.closed,
                **({"halted": done.halted} if halt else {}),
                **(told if done.left or done.said else {}),
            }
        )
    else:
        for sentence in done.proved:
            print_facts(sentence, {})
        if done.closed:
            print_facts("went", dict(done.closed))
        if done.at_work and not done.halted:
            print_facts(f"{done.at_work} may enter again; `trader flatten --halt` would have stopped that", {})
        if done.halted:
            print_facts("halted: no position is opened until `trader reset`", {})
    for sentence in done.said:
        say(sentence)
    if done.exit_code:
        raise typer.Exit(int(done.exit_code))
