"""Until when a model may open, by what it has learned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.core.json_values import whole_of
from trader_cli.core.market.timeframes import DAY_MS, Timeframe
from trader_cli.core.types import Abstention

if TYPE_CHECKING:
    from collections.abc import Mapping

PAIR_KIND = "pair"
"""How a bundle names a pair."""
NOT_WATCHED = Abstention(
    "pair_not_watched",
    "Pairs are not watched for drift yet, so live does not open by them; care of what is open goes on.",
)


def unwatched(kind: str, profile: str) -> Abstention | None:
    """Why nothing is opened by a bundle of this kind in a profile, whatever it claims."""
    return NOT_WATCHED if (kind, profile) == (PAIR_KIND, "live") else None


LEARNED_TO = "learned_to_ms"
"""What a bundle says where its age counts from another close than that of its last bar: a pair, from its older half."""


def learned_to_ms(description: Mapping[str, object]) -> int:
    """The close (UTC ms) from which on a bundle ages, of its description."""
    if LEARNED_TO in description:
        return whole_of(description[LEARNED_TO])
    return whole_of(description["last_ms"]) + Timeframe.parse(str(description["timeframe"])).ms


def valid_until_ms(learned_to_ms: int, max_model_age_days: float) -> int:
    """The last close (UTC ms) at which a model may open that has learned up to a close."""
    return learned_to_ms + round(max_model_age_days * DAY_MS)
