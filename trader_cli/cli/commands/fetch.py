"""`trader fetch`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from trader_cli.cli import options as o
from trader_cli.cli.show import print_facts, print_json, progress_bar, utc

app = typer.Typer()


@app.command()
def fetch(
    symbol: o.Symbol,
    timeframe: o.FetchTimeframe = "1h",
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, help="Bars; default: fetch.history_bars.", show_default=False)
    ] = None,
    allow_gaps: o.AllowGaps = False,
    profile: o.Profile = None,
    config: o.Config = None,
    tape: o.Tape = None,
    json: o.Json = False,
) -> None:
    """Fetch closed bars and the state of the market.

    What is stored already is not fetched again. A limit too small for one row of features is raised to what that takes.
    """
    from trader_cli.core.timeframes import Timeframe
    from trader_cli.pipelines.fetch import fetch as run

    parsed = Timeframe.parse(timeframe)
    settings = o.settings_from(profile, config, tape, o.gaps_allowed(allow_gaps))
    with progress_bar() as progress:
        done = run(settings, symbol.upper(), parsed, limit, progress=progress)
    if json:
        print_json({**asdict(done), "cache_hit": done.new_bars == 0})
        return
    print_facts(
        f"{done.symbol} {done.timeframe}: {done.bars} bars",
        {
            "new": "none, up to date (cache hit)" if done.new_bars == 0 else done.new_bars,
            "span": f"{utc(done.first_ms)} to {utc(done.last_ms)}",
            "gaps": "; ".join(map(str, done.gaps)) or "none",
            "market": done.source,
            "artifact": done.digest,
            "note": " ".join(done.notes) or None,
        },
    )
