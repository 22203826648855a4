"""Until when a model may open, by what it has learned."""

from __future__ import annotations

from trader_cli.core.market.timeframes import DAY_MS


def valid_until_ms(learned_to_ms: int, max_model_age_days: float) -> int:
    """The last close (UTC ms) at which a model may open that has learned up to a close."""
    return learned_to_ms + round(max_model_age_days * DAY_MS)
