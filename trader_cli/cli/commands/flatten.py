"""`trader flatten`."""

from __future__ import annotations

import typer

from trader_cli.cli import options as o
from trader_cli.cli.show import print_facts, print_json

app = typer.Typer()


@app.command()
def flatten(profile: o.Profile = None, config: o.Config = None, tape: o.Tape = None, json: o.Json = False) -> None:
    """Close every position of ours at market, now, and take our stops away.

    Nothing stands in its way: no halt, claim or plan; a running `trader` that owns the ledger does it for us.
    """
    from trader_cli.pipelines.trading import flatten as run

    closed = run(o.settings_from(profile, config, tape), "flatten")
    if json:
        print_json({"closed": closed})
    elif closed:
        print_facts("flat", closed)
    else:
        print_facts("flat: no position of ours is open", {})
