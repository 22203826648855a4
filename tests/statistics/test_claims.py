"""Honest statistics: no edge where there is none, the planted one where it is. Long campaigns: benchmarks/claims.py."""

from __future__ import annotations

import pytest
from support.training.claims import claim_on

from trader_cli.venue.simulated_market.synthetic import synthetic_tape

pytestmark = pytest.mark.slow


def test_no_edge_is_claimed_without_a_lead() -> None:
    """The rule lets one market in twenty through by luck, and 11 is the luckiest known; of three at most one may claim."""
    lucky = claim_on(synthetic_tape(("ETHUSDT",), 112, 0.0, 11))
    others = [claim_on(synthetic_tape(("ETHUSDT",), 60, 0.0, seed)) for seed in (100, 101)]
    assert sum(claim.edge for claim in (lucky, *others)) <= 1
    assert not any(claim.edge for claim in others)


def test_the_planted_lead_is_found_even_at_doubled_costs() -> None:
    claim = claim_on(synthetic_tape(("ETHUSDT",), 112, 0.5, 13), cost_factor=2.0)
    assert claim.edge


def test_an_always_long_market_is_not_an_edge() -> None:
    """A strong drift that any long-only model earns: the claim compares with holding the same exposure."""
    claim = claim_on(synthetic_tape(("ETHUSDT",), 112, 0.0, 14), drift_per_year=2.0)
    assert not claim.edge
