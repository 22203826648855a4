"""Honest statistics: no edge where there is none, the planted one where it is. Long campaigns: benchmarks/claims.py."""

from __future__ import annotations

import pytest
from claims import claim_on

from trader_cli.venue.synthetic import synthetic_tape

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("seed", [11])
def test_no_edge_is_claimed_without_a_lead(seed: int) -> None:
    claim = claim_on(synthetic_tape(("ETHUSDT",), 112, 0.0, seed))
    assert not claim.edge


def test_the_planted_lead_is_found_even_at_doubled_costs() -> None:
    claim = claim_on(synthetic_tape(("ETHUSDT",), 112, 0.5, 13), cost_factor=2.0)
    assert claim.edge


def test_an_always_long_market_is_not_an_edge() -> None:
    """A strong drift that any long-only model earns: the claim compares with holding the same exposure."""
    claim = claim_on(synthetic_tape(("ETHUSDT",), 112, 0.0, 14), drift_per_year=2.0)
    assert not claim.edge
