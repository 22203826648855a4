"""`trader flatten`."""

from __future__ import annotations

from typing import Annotated

import typer

from trader_cli.cli import options as o
from trader_cli.cli.show import print_facts, print_json

app = typer.Typer()


@app.command()
def flatten(
    halt: Annotated[bool, typer.Option("--halt", help="And let nothing be opened until `trader reset`.")] = False,
    profile: o.Profile = None,
    config: o.Config = None,
    tape: o.Tape = None,
    json: o.Json = False,
) -> None:
    """Close every position of ours at market, now, and take our stops away.

    Nothing stands in its way: no halt, claim or plan. A running `trader` that owns the ledger does it for us, and
    goes on trading after that unless --halt is given.
    """
    from trader_cli.pipelines.reducing import flatten as run

    closed = run(o.settings_from(profile, config, tape), "flatten", also_halt=halt)
    if json:
        print_json({"closed": closed})
    elif closed:
        note = None if halt else "a process at work may enter again; `trader flatten --halt` would have stopped that"
        print_facts("closed", {**closed, "note": note})
    else:
        print_facts("flat: no position of ours is open", {})
