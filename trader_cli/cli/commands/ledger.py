"""`trader ledger`."""

from __future__ import annotations

from typing import Annotated

import typer

from trader_cli.cli import options as o
from trader_cli.cli.show import print_facts, print_json, print_table, utc
from trader_cli.core.errors import DataMissing, UsageError

app = typer.Typer(no_args_is_help=True, help="Show, back up or make again the ledger of the account.")


@app.command()
def show(
    last: Annotated[int, typer.Option("--last", min=1, help="How many decisions and fills.")] = 20,
    profile: o.Profile = None,
    config: o.Config = None,
    tape: o.Tape = None,
    json: o.Json = False,
) -> None:
    """Show the latest decisions and fills, and what each order was for."""
    from trader_cli.storage.ledger_reading import LedgerReading
    from trader_cli.storage.markets import ledger_path

    path = ledger_path(o.settings_from(profile, config, tape))
    with LedgerReading.shown(path) as ledger:
        if ledger is None:
            raise DataMissing(f"There is no ledger at {path}.", mend="It begins with `trader tactics` or `trader run`.")
        decisions, fills = ledger.decisions()[-last:], ledger.fills()[-last:]
        if json:
            print_json({
                "ledger": str(path), "journal": ledger.journal_digest(), "net_income": f"{ledger.net_income():f}",
                "decisions": [{"symbol": d[1], "decision_ms": d[2], "kind": d[3], **d[4]} for d in decisions],
                "fills": [{k: str(v) for k, v in vars(fill).items()} for fill in fills],
            })  # fmt: skip
            return
        print_facts(str(path), {"net": f"{ledger.net_income():f}", "journal": ledger.journal_digest()})
        rows = [
            (utc(decided), symbol, kind, f"{body['side']} {body['quantity']}, {body['binding']}" if kind == "plan"
             else f"{body['sentence']} ({body['code']})")
            for _, symbol, decided, kind, body in decisions
        ]  # fmt: skip
        print_table("decisions", ("bar closed", "symbol", "kind", "what"), rows)
        print_table(
            "fills",
            ("time", "symbol", "purpose", "side", "quantity", "price", "profit", "fee"),
            [(utc(f.time_ms), f.symbol, f.purpose, f.side, f"{f.quantity:f}", f"{f.price:f}", f"{f.realized:f}",
              f"{f.commission:f}") for f in fills],
        )  # fmt: skip


@app.command()
def backup(
    file: o.NewFile, profile: o.Profile = None, config: o.Config = None, tape: o.Tape = None, json: o.Json = False
) -> None:
    """Write a whole copy of the ledger, also while another process writes it."""
    from trader_cli.storage.ledger_reading import LedgerReading
    from trader_cli.storage.markets import ledger_path

    path = ledger_path(o.settings_from(profile, config, tape))
    if file.exists() or not file.absolute().parent.is_dir():
        why = "is there already" if file.exists() else "lies in no folder that exists"
        raise UsageError(f"{file} {why}.", mend="Name a new file.")
    with LedgerReading.shown(path) as ledger:
        if ledger is None:
            raise DataMissing(f"There is no ledger at {path}.", mend="It begins with `trader tactics` or `trader run`.")
        ledger.backup(file)
    if json:
        print_json({"ledger": str(path), "backup": str(file)})
    else:
        print_facts("backed up", {"ledger": str(path), "to": str(file)})


@app.command()
def rebuild(
    symbols: o.Symbols = None, profile: o.Profile = None, config: o.Config = None, tape: o.Tape = None,
    json: o.Json = False,
) -> None:  # fmt: skip
    """Make a lost ledger again from what the exchange remembers of our orders, so that positions are ours again."""
    from trader_cli.pipelines.trading import rebuild_ledger

    booked = rebuild_ledger(o.settings_from(profile, config, tape), symbols or [])
    if json:
        print_json({"fills": booked})
    elif booked:
        print_facts("made again", {symbol: f"{count} fills" for symbol, count in booked.items()})
    else:
        print_facts("nothing to make again: the account holds nothing; name symbols to have their past", {})
