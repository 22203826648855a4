"""Which model may trade which bars: none a bar of its own training."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trader_cli.core.errors import UsageError
from trader_cli.core.market.gaps import utc_text

if TYPE_CHECKING:
    from trader_cli.analyst.bundled import Trained


@dataclass(frozen=True)
class ModelSpan:
    """A model and the close from which on it trades. Raises `UsageError` where it was trained on bars after that."""

    model: Trained
    from_ms: int
    digest: str

    def __post_init__(self) -> None:
        seen_ms = self.model.seen_to_ms
        if seen_ms > self.from_ms:
            raise UsageError(
                f"The model {self.digest[:12]} was trained on bars up to {utc_text(seen_ms)}: what it would trade"
                f" from {utc_text(self.from_ms)} on it has seen.",
                hint="Begin later (--since), or let models be trained on the way: leave out --model.",
            )


@dataclass(frozen=True)
class ModelSchedule:
    """Models by the close from which on each trades, in order, the first from the beginning."""

    spans: tuple[ModelSpan, ...]

    def at(self, close_ms: int) -> ModelSpan:
        """The one that trades the bar which closed then."""
        return self.spans[max(0, bisect_right(self.spans, close_ms, key=lambda span: span.from_ms) - 1)]
