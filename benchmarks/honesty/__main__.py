"""`python -m benchmarks.honesty next --seeds 0:40 --budget 600`: one line a market, then how many claim an edge."""

from __future__ import annotations

import argparse
import time

import numpy as np

from benchmarks.honesty.campaigns import CAMPAIGNS


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
    print(f"means: {_figures({name: float(np.mean([one.get(name, np.nan) for one in told])) for name in told[0]})}")


def _figures(metrics: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())


if __name__ == "__main__":
    main()
