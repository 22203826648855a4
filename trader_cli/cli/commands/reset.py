"""`trader reset`."""

from __future__ import annotations

from typing import Annotated

import typer

from trader_cli.cli import options as o
from trader_cli.cli.show import print_facts, print_json

app = typer.Typer()


@app.command()
def reset(
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the ledger.")] = "by hand",
    profile: o.Profile = None,
    config: o.Config = None,
    tape: o.Tape = None,
    json: o.Json = False,
) -> None:
    """Lift a halt, as a person who has looked at its reason."""
    from trader_cli.pipelines.trading.halting import reset as run

    was = run(o.workspace_from(profile, config, tape), reason)
    if json:
        print_json({"was_halted": was})
    elif was is None:
        print_facts("was not halted", {})
    else:
        print_facts("the halt is lifted", {"it was": was})
