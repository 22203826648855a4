"""`trader train`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from trader_cli.cli import options as o
from trader_cli.cli.show import print_facts, print_json, progress_bar, rounded, utc

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trader_cli.cli.show import Facts
    from trader_cli.pipelines.stages.stage_results import Trained

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

    Triple-barrier labels over several horizons, walk-forward purged by label end, calibrated. The claim is about the
    book that would have been traded, after costs, with every configuration ever tried on these data counted. A model
    without an edge is stored and says so; it gives no signals.
    """
    from trader_cli.pipelines.stages.up_to_date import train as run

    workspace = o.workspace_from(profile, config, tape, o.gaps_allowed(allow_gaps))
    name, parsed = o.series(workspace, symbol, timeframe)
    with progress_bar() as progress:
        done = run(workspace, name, parsed, progress)
    if json:
        told = asdict(done) if done.pair else {name: x for name, x in asdict(done).items() if name != "pair"}
        print_json({**told, "cache_hit": done.cached})
        return
    claim, metrics = done.claim, done.metrics
    left_out = int(metrics.get("left_out_rows", 0))
    horizon = metrics.get("horizon_bars")
    print_facts(
        f"{done.symbol} {done.timeframe}: {'edge' if claim.edge else 'no edge'} claimed",
        {
            "rule": workspace.settings.rule.name,
            "because": claim.reason,
            "Sharpe per bar": f"{claim.sharpe_per_bar:.4f} after costs,"
            f" {claim.doubled_cost_sharpe_per_bar:.4f} at doubled costs",
            "would be found": None if claim.edge else _found(claim.smallest_sharpe_found),
            "out of sample": f"{claim.bars} bars, {claim.trades} trades one at a time, {rounded(claim.trials)} tries on"
            " these data counted",
            "horizon": None if horizon is None else f"{horizon:.0f} bars, of those that were tried",
            **_probabilities(metrics),
            "promised": _promises(metrics),
            "intervals": _intervals(metrics),
            "act model": done.act,
            **_pair(done),
            "rows": f"{metrics['rows']:.0f}, worth {metrics['effective_rows']:.0f} independent ones;"
            f" {done.features} features",
            "left out": f"{left_out} rows on bars that were not traded as they stand" if left_out else None,
            "span": f"{utc(done.first_ms)} to {utc(done.last_ms)}",
            "market": done.source,
            "model": f"{done.digest}{' (cache hit)' if done.cached else ''}",
        },
    )


def _pair(done: Trained) -> Facts:
    """Both halves of a pair: whether, and when."""
    if done.pair is None:
        return {}
    pair, told = done.pair, done.metrics
    alone, auc = pair.slow_alone, pair.fast.get("auc")
    return {
        "whether": f"{done.timeframe} permits; alone it would claim {'an edge' if alone.edge else 'none'}"
        f" ({alone.reason}), half {pair.halves['slow'][:12]}",
        "when": f"{pair.fast_timeframe}: too little was permitted to learn from"
        if auc is None
        else f"{pair.fast_timeframe} times entries; AUC of up {auc:.3f} where permitted, slope of both"
        f" {pair.timing_slope or 0.0:.2f}, half {pair.halves['fast'][:12]}",
        "permissions": f"{told['permissions']:.0f} judged, {told['permissions_entered']:.0f} with a trigger,"
        f" {told['permissions_lapsed']:.0f} lapsed",
    }


def _found(smallest: float) -> str:
    return f"a Sharpe ratio of {smallest:.4f} per bar, nine times in ten, on so many bars and tries"


def _probabilities(metrics: Mapping[str, float]) -> Facts:
    """How good they are beside base rates that were known beforehand."""
    if "brier" not in metrics:
        return {}
    known = {name: f"{metrics[name]:.4f}, base rates {metrics[f'{name}_base_rates']:.4f}" for name in _BESIDE}
    by_class = (
        f"{name} {1 - metrics[f'brier_{name}'] / metrics[f'brier_{name}_base_rates']:+.2%}"
        for name in _CLASSES
        if metrics[f"brier_{name}_base_rates"] > 0
    )
    return {
        "Brier score": known["brier"],
        "better by class": ", ".join(by_class),
        "log loss": known["log_loss"],
        "calibration": f"slope {metrics['slope']:.2f}, error {metrics['ece']:.3f} (right ones would show"
        f" {metrics['ece_floor']:.3f}); AUC of up {metrics['auc']:.3f}",
    }


def _promises(metrics: Mapping[str, float]) -> str | None:
    """What trades were taken for, and what they made."""
    if "promised_bps" not in metrics:
        return None
    return (
        f"{metrics['promised_bps']:+.1f} bp a trade, kept {metrics['kept_bps']:+.1f} bp, over {metrics['trades']:.0f}"
        f" trades (standard error {metrics['promise_error_bps']:.1f})"
    )


def _intervals(metrics: Mapping[str, float]) -> str | None:
    """How often the intervals told before held what came, and in calm and wild markets."""
    if "coverage" not in metrics:
        return None
    by_fifth = ", ".join(f"{metrics[f'coverage_{at}']:.1%}" for at in range(1, 6))
    return f"held {metrics['coverage']:.1%} of what came; by volatility, calmest fifth first, {by_fifth}"


_BESIDE, _CLASSES = ("brier", "log_loss"), ("up", "down", "flat")
