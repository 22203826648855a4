"""`trader train`."""

from __future__ import annotations

from dataclasses import asdict

import typer

from trader_cli.cli import options as o
from trader_cli.cli.show import print_facts, print_json, progress_bar, utc

app = typer.Typer()


@app.command()
def train(
    symbol: o.MaybeSymbol = None,
    timeframe: o.MaybeTimeframe = None,
    allow_gaps: o.AllowGaps = False,
    profile: o.Profile = None,
    config: o.Config = None,
    tape: o.Tape = None,
    json: o.Json = False,
) -> None:
    """Train the models, and find out whether they have an edge.

    Triple-barrier labels, walk-forward purged by label end, calibrated. The claim counts costs and every training ever
    run on these data. A model without an edge is stored and says so; it gives no signals.
    """
    from trader_cli.pipelines.stages.up_to_date import train as run

    workspace = o.workspace_from(profile, config, tape, o.gaps_allowed(allow_gaps))
    name, parsed = o.series(workspace, symbol, timeframe)
    with progress_bar() as progress:
        done = run(workspace, name, parsed, progress)
    if json:
        print_json({**asdict(done), "cache_hit": done.cached})
        return
    claim, metrics = done.claim, done.metrics
    left_out = int(metrics.get("left_out_rows", 0))
    print_facts(
        f"{done.symbol} {done.timeframe}: {'edge' if claim.edge else 'no edge'} claimed",
        {
            "rule": workspace.settings.rule.name,
            "because": claim.reason,
            "Sharpe per bar": f"{claim.sharpe_per_bar:.4f} after costs,"
            f" {claim.doubled_cost_sharpe_per_bar:.4f} at doubled costs",
            "out of sample": f"{claim.bars} bars, {claim.trades} signals, {claim.trials} tries on these data counted",
            "Brier score": f"{metrics['brier']:.4f}, base rates {metrics['brier_base_rates']:.4f}"
            if "brier" in metrics
            else None,
            "rows": f"{metrics['rows']:.0f}, worth {metrics['effective_rows']:.0f} independent ones;"
            f" {done.features} features",
            "left out": f"{left_out} rows on bars that were not traded as they stand" if left_out else None,
            "span": f"{utc(done.first_ms)} to {utc(done.last_ms)}",
            "market": done.source,
            "model": f"{done.digest}{' (cache hit)' if done.cached else ''}",
        },
    )
