"""`trader report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trader_cli.cli import options as o
from trader_cli.cli.show import print_facts, print_json, say
from trader_cli.core.errors import DataMissing, UsageError

if TYPE_CHECKING:
    from trader_cli.report.run_report import RunReport
    from trader_cli.settings import Workspace

app = typer.Typer()


@app.command()
def report(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[BACKTEST | session | account]",
            help="A backtest, or how its name begins; or the last session, or all, of this profile's ledger;"
            " default: the last backtest.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Where to write the page; default: report-NAME.html here.", show_default=False
        ),
    ] = None,
    open_it: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
    png: Annotated[bool, typer.Option("--png", help="Take a picture of it, too, by an installed Chromium.")] = False,
    profile: o.Profile = None,
    config: o.Config = None,
    tape: o.Tape = None,
    json: o.Json = False,
) -> None:
    """Make one self-contained page of a backtest, a session or the account: it opens without a network."""
    from trader_cli.report.browser import require_chromium, take_picture
    from trader_cli.report.page import is_a_page, page
    from trader_cli.storage.files import write_atomic

    if png:
        require_chromium()
    run = _run(o.workspace_from(profile, config, tape), what)
    file = out or Path(f"report-{'' if run.kind == 'backtest' else f'{run.kind}-'}{run.name}.html")
    if file.is_dir() or (file.exists() and not is_a_page(file)):
        raise UsageError(f"{file} is there already, and it is no report.", hint="Name another file with -o.")
    content = page(run).encode()
    write_atomic(file, content)
    picture = file.with_suffix(".png") if png else None
    if picture is not None:
        take_picture(file, picture)
    if json:
        print_json({"report": str(file), "picture": None if picture is None else str(picture), "bytes": len(content)})
    else:
        size = f"{len(content) / 1e6:.2f} MB, opens without a network"
        print_facts(f"{run.kind} {run.name}", {"report": file, "picture": picture, "size": size})
    if open_it:
        _show(file)


def _run(workspace: Workspace, what: str | None) -> RunReport:
    from trader_cli.pipelines.backtests.backtest_store import find, newest
    from trader_cli.report.backtest_report import backtest_report
    from trader_cli.report.ledger_report import ledger_report
    from trader_cli.storage.artifacts import ArtifactStore
    from trader_cli.storage.ledger_reading import LedgerReading

    store = ArtifactStore(workspace.cache_dir)
    if what not in {"session", "account"}:
        found = newest(workspace, store) if what is None else find(workspace, store, what)
        return backtest_report(store, workspace.mode, found.manifest)
    with LedgerReading.shown(workspace.ledger_path) as ledger:
        if ledger is None:
            raise DataMissing(
                f"There is no ledger at {workspace.ledger_path}.",
                hint="It begins with `trader tactics` or `trader run`.",
            )
        level = workspace.settings.analyst.claim_probability
        return ledger_report(ledger, store, "session" if what == "session" else "account", workspace.mode, level)


def _show(file: Path) -> None:
    import webbrowser

    if not webbrowser.open(file.resolve().as_uri()):
        say(f"No browser could be opened; open {file} yourself.")
