"""`python -m benchmarks.honesty next --seeds 0:40 --budget 600`: one line a market, then how many claim an edge."""

from __future__ import annotations

import argparse
import time

import numpy as np

from benchmarks.honesty.campaigns import CAMPAIGNS
from trader_cli.analyst.claim import MIN_TRADES


def main() -> None:
    """Run a campaign over the seeds; it ends early where its time, in CPU seconds, is up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("campaign", choices=CAMPAIGNS)
    parser.add_argument("--seeds", default="0:20", help="first:stop")
    parser.add_argument("--budget", type=float, default=600.0, help="CPU seconds")
    chosen = parser.parse_args()
    campaign, (first, stop) = CAMPAIGNS[chosen.campaign], map(int, chosen.seeds.split(":"))
    stop = stop if campaign.markets is None else min(stop, campaign.markets)
    began, edges, told = time.process_time(), [], []
    for seed in range(first, stop):
        if time.process_time() - began > chosen.budget:
            break
        model = campaign.model(seed)
        edges.append(model.claim.edge)
        told.append(model.metrics)
        print(
            f"{seed:4} {'edge   ' if edges[-1] else 'no edge'} {model.claim.reason}; {_figures(model.metrics)}",
            flush=True,
        )
    spent = time.process_time() - began
    should = f"{campaign.least * len(edges):.0f} to {campaign.most * len(edges):.0f} should"
    print(f"{campaign.says}: {sum(edges)} of {len(edges)} claim an edge, {should}; {spent:.0f} CPU s")
    names = sorted({name for one in told for name in one})
    print(f"means: {_figures({name: float(np.nanmean([one.get(name, np.nan) for one in told])) for name in names})}")
    print(f"pooled: {_figures(_pooled(told))}")


def _pooled(told: list[dict[str, float]]) -> dict[str, float]:
    """The slope by the information of each market; by how many standard errors trades kept less than they promised, of
    all, and of the market where it is furthest off, either way, of those with trades enough for a claim."""
    weights = np.array([one.get("slope_weight", 0.0) for one in told])
    slopes = np.array([one.get("slope", 0.0) for one in told])
    traded = [one for one in told if one.get("promise_error_bps", 0.0) > 0]
    trades, missed, error = (
        np.array([value(one) for one in traded])
        for value in (
            lambda one: one["trades"],
            lambda one: one["promised_bps"] - one["kept_bps"],
            lambda one: one["promise_error_bps"],
        )
    )
    each = (missed / error)[trades >= MIN_TRADES] if traded else np.empty(0)
    return {
        "slope": float(weights @ slopes / weights.sum()) if weights.any() else float("nan"),
        "promised_bps": float(trades @ [one["promised_bps"] for one in traded] / trades.sum()) if traded else 0.0,
        "kept_bps": float(trades @ [one["kept_bps"] for one in traded] / trades.sum()) if traded else 0.0,
        "promises_missed": float(trades @ missed / np.sqrt((trades * error) @ (trades * error))) if traded else 0.0,
        "most_missed": float(each[np.argmax(np.abs(each))]) if len(each) else 0.0,
    }


def _figures(metrics: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())


if __name__ == "__main__":
    main()
