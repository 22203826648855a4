"""`trader new`."""

from __future__ import annotations

from typing import Annotated

import typer

from trader_cli.cli import options as o  # noqa: TC001  typer reads annotations
from trader_cli.cli.show import print_facts, print_json

app = typer.Typer(help="Write something to begin with: a rule of your own.", no_args_is_help=True)


@app.callback()
def root() -> None:
    """Write something to begin with: a rule of your own."""


@app.command()
def signal(
    name: Annotated[str, typer.Argument(help="What it is called, such as my_signal.")],
    json: o.Json = False,
) -> None:
    """Write a rule of thirty lines and its test, which passes as written, into this folder.

    A rule says what it would hold after each closed bar: long, short or nothing, with a stop. Size, leverage, stops and
    orders are the program's. It is certified against look-ahead before it is first used, and needs a passed claim
    (`trader train`) before it opens in live, as a model does. See docs/signals.md.
    """
    from pathlib import Path

    from trader_cli.pipelines.new_signal import write_new_signal

    made = write_new_signal(name, Path())
    if json:
        print_json({"rule": str(made.rule), "test": str(made.test), "name": made.reference, "try": made.tested_by})
        return
    print_facts(
        f"{made.rule} and {made.test} are written",
        {
            "try it": made.tested_by,
            "backtest": f"trader backtest --rule {made.reference} --allow-unproven",
            "trade by it": f"rule: {{name: {made.reference}}} in your settings, then trader train",
        },
    )
