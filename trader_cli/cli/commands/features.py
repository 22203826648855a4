"""`trader features`."""

from __future__ import annotations

from dataclasses import asdict

import typer

from trader_cli.cli import options as o
from trader_cli.cli.show import print_facts, print_json, progress_bar, utc

app = typer.Typer()


@app.command()
def features(
    symbol: o.MaybeSymbol = None,
    timeframe: o.MaybeTimeframe = None,
    allow_gaps: o.AllowGaps = False,
    profile: o.Profile = None,
    config: o.Config = None,
    tape: o.Tape = None,
    json: o.Json = False,
) -> None:
    """Build features from the fetched bars: wavelets, indicators, two higher time frames.

    No column sees the future; rows of the warm-up are null, never filled. Blocks made before are found, not made again.
    """
    from trader_cli.pipelines.stages import features as run

    settings = o.settings_from(profile, config, tape, o.gaps_allowed(allow_gaps))
    name, parsed = o.series(settings, symbol, timeframe)
    with progress_bar() as progress:
        done = run(settings, name, parsed, progress)
    if json:
        print_json({**asdict(done), "cache_hit": done.made == 0})
        return
    print_facts(
        f"{done.symbol} {done.timeframe}: {done.columns} features, {done.wavelet_columns} of them wavelet",
        {
            "rows": f"{done.rows}, {done.complete_rows} complete",
            "span": f"{utc(done.first_ms)} to {utc(done.last_ms)}",
            "blocks": f"{done.made} made, {done.found} found" if done.made else f"all {done.found} found (cache hit)",
            "market": done.source,
            "artifact": done.digest,
        },
    )
