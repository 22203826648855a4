"""`trader stress`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from trader_cli.cli import options as o
from trader_cli.cli.show import print_json, print_table, progress_bar, say

if TYPE_CHECKING:
    from trader_cli.pipelines.backtests.backtest_stress import StressResult

app = typer.Typer()
_COLUMNS = ("case", "return", "Sharpe", "drawdown", "trades", "survives", "")


@app.command()
def stress(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[BACKTEST]",
            help="The backtest, or how its name begins; default: the last one.",
            show_default=False,
        ),
    ] = None,
    profile: o.Profile = None,
    config: o.Config = None,
    tape: o.Tape = None,
    json: o.Json = False,
) -> None:
    """Trade a backtest again under harder conditions, and show what of it survives.

    Costs and spreads are multiplied, entries missed, and whole days drawn again, features and decisions made of them
    anew. Those who decide expect the costs they always did. Nothing of it is stored, and none is a trial.
    """
    from trader_cli.pipelines.backtests.backtest_store import find, newest
    from trader_cli.pipelines.backtests.backtest_stress import CASES
    from trader_cli.pipelines.backtests.backtest_stress import stress as tried
    from trader_cli.storage.artifacts import ArtifactStore

    workspace = o.workspace_from(profile, config, tape)
    store = ArtifactStore(workspace.cache_dir)
    done = newest(workspace, store) if name is None else find(workspace, store, name)
    results: list[StressResult] = []
    try:
        with progress_bar() as progress:
            results.extend(tried(workspace, store, done, CASES, progress))  # each as it is tried
    finally:
        if not json and results:
            _show(done.name, results, len(CASES))
    if json:
        print_json({"backtest": done.name, "cases": [result.as_dict() for result in results]})


def _show(name: str, results: list[StressResult], cases: int) -> None:
    """As far as they were tried."""
    print_table(f"backtest {name} under stress", _COLUMNS, [_row(result) for result in results])
    tried = results[1:]
    left = f"; {cases - len(tried)} were not tried" if len(tried) < cases else ""
    say(f"{sum(result.survives for result in tried)} of {len(tried)} cases still make money{left}.")


def _row(result: StressResult) -> tuple[str, ...]:
    if result.total_return is None or result.drawdown is None:
        return (result.case, "–", "–", "–", "–", "–", result.refused or "")
    sharpe = "–" if result.sharpe is None else f"{result.sharpe:.2f}"
    figures = (f"{result.total_return:+.2%}", sharpe, f"{result.drawdown:.2%}", str(result.trades))
    return (
        result.case,
        *figures,
        "yes" if result.survives else "no",
        f"halted {result.halted}" if result.halted else "",
    )
