"""`trader status`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from trader_cli.cli import options as o
from trader_cli.cli.show import age, print_facts, print_json, print_table, utc

if TYPE_CHECKING:
    from trader_cli.pipelines.status import SeriesStatus

app = typer.Typer()

_COLUMNS = ("series", "bars", "last close", "age", "features", "model", "last analysis")


@app.command()
def status(profile: o.Profile = None, config: o.Config = None, tape: o.Tape = None, json: o.Json = False) -> None:
    """Show what is there: bars, features, models, analyses."""
    from trader_cli.pipelines.status import status as run

    done = run(o.settings_from(profile, config, tape))
    if json:
        print_json(asdict(done))
        return
    now = "not begun" if done.now_ms is None else utc(done.now_ms)
    print_facts(f"profile {done.profile}", {"market": done.source, "time": now})
    if not done.series:
        print_facts("nothing fetched yet", {"begin with": "trader fetch ETHUSDT --timeframe 15m"})
        return
    print_table("", _COLUMNS, [_row(series) for series in done.series])
    for series in done.series:
        for problem in series.problems:
            print_facts(f"! {series.symbol} {series.timeframe}: {problem}", {})


def _row(s: SeriesStatus) -> tuple[str, ...]:
    shown = "?" if s.age_ms is None else age(s.age_ms)
    return f"{s.symbol} {s.timeframe}", str(s.bars), utc(s.last_close_ms), shown, s.features, s.model, s.outcome
