"""`trader trials`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from trader_cli.cli import options as o
from trader_cli.cli.show import print_facts, print_json, print_table, rounded, utc

if TYPE_CHECKING:
    from trader_cli.pipelines.stages.tried_configurations import TriedConfiguration

app = typer.Typer()

_COLUMNS = ("tried", "configuration", "looks", "from", "to", "Sharpe a year", "counts as")


@app.command()
def trials(
    symbol: Annotated[
        str | None,
        typer.Argument(help="Only what was tried on this symbol.", callback=o.one_symbol, show_default=False),
    ] = None,
    profile: o.Profile = None,
    config: o.Config = None,
    tape: o.Tape = None,
    json: o.Json = False,
) -> None:
    """List every configuration that was ever trained or backtested on these data. Each raises the bar for a claim.

    The same one looked at again counts once more each time the span it is judged on has doubled; of learners that a
    training tries together each counts by how little it resembles the others.
    """
    from trader_cli.pipelines.stages.tried_configurations import tried_on

    found = tried_on(o.workspace_from(profile, config, tape), symbol)
    if json:
        print_json({"symbols": [one.as_dict() for one in found]})
        return
    if not any(one.tried for one in found):
        print_facts("no tries yet" + (f" on {symbol}" if symbol else ""), {"begin with": "trader train"})
        return
    for one in found:
        print_table(
            f"{one.symbol}: {rounded(one.counts)} tries count against what is judged on it next",
            _COLUMNS,
            [_row(tried) for tried in one.tried],
        )


def _row(one: TriedConfiguration) -> tuple[str, ...]:
    return (
        one.means,
        one.name[:12],
        str(one.looks),
        utc(one.first_ms)[:10],
        utc(one.last_ms)[:10],
        f"{one.yearly_sharpe:+.2f}",
        f"{one.counts:.2f}",
    )
