"""`trader unlock`."""

from __future__ import annotations

from typing import Annotated

import typer

from trader_cli.cli import options as o
from trader_cli.cli.show import print_facts, print_json

app = typer.Typer()


@app.command()
def unlock(
    symbol: Annotated[str, typer.Argument(help="The symbol whose entries are held back.", callback=o.one_symbol)],
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the ledger.")] = "by hand",
    profile: o.Profile = None,
    config: o.Config = None,
    tape: o.Tape = None,
    json: o.Json = False,
) -> None:
    """Let entries of a symbol in again, as a person who has looked at why they are held back. A halt is not lifted."""
    from trader_cli.pipelines.trading.symbol_unlock import unlock as run

    was = run(o.workspace_from(profile, config, tape), symbol, reason)
    if json:
        print_json({"symbol": symbol, "was_latched": None if was is None else {"code": was.code, "reason": was.reason}})
    elif was is None:
        print_facts(f"entries of {symbol} were not held back", {})
    else:
        print_facts(f"{symbol} is unlocked", {"it was": was.reason})
