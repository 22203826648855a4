"""`trader halt`."""

from __future__ import annotations

from typing import Annotated

import typer

from trader_cli.cli import options as o
from trader_cli.cli.show import print_facts, print_json

app = typer.Typer()


@app.command()
def halt(
    reason: Annotated[str, typer.Option("--reason", help="Why; shown by status.")] = "by hand",
    profile: o.Profile = None,
    config: o.Config = None,
    tape: o.Tape = None,
    json: o.Json = False,
) -> None:
    """Stop all entries until `trader reset`. Open positions stay under care, their stops where they are."""
    from trader_cli.pipelines.trading.halting import halt as run

    run(o.workspace_from(profile, config, tape), reason)
    if json:
        print_json({"halted": reason})
    else:
        print_facts("halted: no position is opened until `trader reset`", {"because": reason})
