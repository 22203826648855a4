"""The long campaign behind the claim rule: how often markets without a lead claim an edge, and with one find it."""

from __future__ import annotations

import sys
from pathlib import Path

from trader_cli.venue.simulated_market.synthetic import synthetic_tape

SEEDS = range(100, 130)


def run() -> None:
    """Thirty markets of each kind; about ten minutes on two cores."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from support.training.claims import claim_on

    for lead in (0.0, 0.35, 0.5):
        claims = [claim_on(synthetic_tape(("ETHUSDT",), 112, lead, seed)) for seed in SEEDS]
        edges = sum(claim.edge for claim in claims)
        print(f"planted lead {lead:4}: {edges} of {len(claims)} markets claim an edge", flush=True)
