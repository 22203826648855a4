"""`trader ledger`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from trader_cli.cli import options as o
from trader_cli.cli.show import print_facts, print_json, print_table, say, utc
from trader_cli.core.errors import DataMissing, ExitCode, UsageError
from trader_cli.core.money.assets import amounts_text
from trader_cli.core.money.plans import Refused

app = typer.Typer(no_args_is_help=True, help="Show, back up, make again or settle the ledger of the account.")


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

    path = o.workspace_from(profile, config, tape).ledger_path
    with LedgerReading.shown(path) as ledger:
        if ledger is None:
            raise DataMissing(f"There is no ledger at {path}.", hint="It begins with `trader tactics` or `trader run`.")
        decisions, fills = ledger.decisions()[-last:], ledger.fills()[-last:]
        if json:
            print_json(
                {
                    "ledger": str(path),
                    "journal": ledger.journal_digest(),
                    "net_income": f"{ledger.net_income():f}",
                    "net_by_asset": {asset: f"{net:f}" for asset, net in ledger.nets().items()},
                    "decisions": [
                        {"symbol": d.symbol, "decision_ms": d.decision_ms, "kind": d.kind, **d.body} for d in decisions
                    ],
                    "fills": [{k: str(v) for k, v in vars(fill).items()} for fill in fills],
                }
            )
            return
        print_facts(str(path), {"net": amounts_text(ledger.nets()), "journal": ledger.journal_digest()})
        rows = [
            (
                utc(d.decision_ms),
                d.symbol,
                d.kind,
                f"{d.body['side']} {d.body['quantity']}, {d.body['binding']}"
                if d.kind == "plan"
                else f"{d.body['sentence']} ({d.body['code']})",
            )
            for d in decisions
        ]
        print_table("decisions", ("bar closed", "symbol", "kind", "what"), rows)
        print_table(
            "fills",
            ("time", "symbol", "purpose", "side", "quantity", "price", "profit", "fee", "paid in"),
            [
                (
                    utc(f.time_ms),
                    f.symbol,
                    f.purpose,
                    f.side,
                    f"{f.quantity:f}",
                    f"{f.price:f}",
                    f"{f.realized:f}",
                    f"{f.commission:f}",
                    f.commission_asset,
                )
                for f in fills
            ],
        )


@app.command()
def backup(
    file: o.NewFile, profile: o.Profile = None, config: o.Config = None, tape: o.Tape = None, json: o.Json = False
) -> None:
    """Write a whole copy of the ledger, also while another process writes it."""
    from trader_cli.storage.ledger_reading import LedgerReading

    path = o.workspace_from(profile, config, tape).ledger_path
    if file.exists() or not file.absolute().parent.is_dir():
        why = "is there already" if file.exists() else "lies in no folder that exists"
        raise UsageError(f"{file} {why}.", hint="Name a new file.")
    with LedgerReading.shown(path) as ledger:
        if ledger is None:
            raise DataMissing(f"There is no ledger at {path}.", hint="It begins with `trader tactics` or `trader run`.")
        ledger.backup(file)
    if json:
        print_json({"ledger": str(path), "backup": str(file)})
    else:
        print_facts("backed up", {"ledger": str(path), "to": str(file)})


@app.command()
def rebuild(
    symbols: o.Symbols = None,
    profile: o.Profile = None,
    config: o.Config = None,
    tape: o.Tape = None,
    json: o.Json = False,
) -> None:
    """Make a lost or damaged ledger again from what the exchange remembers of our orders: positions are ours again.

    What lies in its place is moved aside. Entries are halted until `trader reset`: look at it first.
    """
    from trader_cli.pipelines.trading.ledger_repair import rebuild_ledger

    made = rebuild_ledger(o.workspace_from(profile, config, tape), symbols or [])
    if json:
        print_json(asdict(made))
        return
    rest = {"the old file": made.moved_to, "halted": made.halted}
    if made.fills:
        print_facts("made again", {**{symbol: f"{count} fills" for symbol, count in made.fills.items()}, **rest})
    else:
        print_facts("no position and no order of ours is at the exchange; name symbols to have their past", rest)


@app.command()
def settle(
    symbol: o.Symbol,
    yes: Annotated[bool, typer.Option("--yes", help="Book it; without, it is only shown.")] = False,
    profile: o.Profile = None,
    config: o.Config = None,
    tape: o.Tape = None,
    json: o.Json = False,
) -> None:
    """Make the ledger's position as small as the one the exchange shows, where it holds more.

    What trades or forced orders explain is booked by them; what nothing explains only if two looks a minute apart show
    the same. It is never made larger, and no order is sent.
    """
    from trader_cli.pipelines.trading.ledger_repair import settle as run

    done = run(o.workspace_from(profile, config, tape), symbol, say, book=yes)
    if isinstance(done, Refused):
        _told({"kind": "refusal", **asdict(done)}, done.sentence, json=json)
        raise typer.Exit(ExitCode.REFUSED)
    facts = {
        "ledger": f"{done.ledger:f}",
        "exchange": f"{done.exchange:f}",
        "by trades": f"{done.explained:f}",
        "by your word": f"{done.settled:f}",
    }
    differs = done.explained != 0 or done.settled != 0
    title = f"{symbol}: both agree" if not differs else f"{symbol}: booked" if yes else f"{symbol}: would be booked"
    if json:
        print_json({"kind": "settlement", "symbol": symbol, **facts, "booked": yes and differs})
    else:
        print_facts(
            title, {**facts, "to book it": f"trader ledger settle {symbol} --yes" if differs and not yes else None}
        )
    if differs and not yes:
        raise typer.Exit(ExitCode.REFUSED)


def _told(body: dict[str, str], sentence: str, *, json: bool) -> None:
    if json:
        print_json(body)
    else:
        print_facts(sentence, {})
