"""The shapes of trees that compete."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trader_cli.settings.analyst_section import AnalystSettings


def shapes(options: AnalystSettings) -> list[AnalystSettings]:
    """The shapes of trees that are tried: as configured, finer, coarser."""
    finer = {"leaves": 2 * options.leaves, "trees": max(5, options.trees // 2)}
    coarser = {
        "leaves": max(2, options.leaves - 1),
        "trees": options.trees * 3 // 2,
        "learning_rate": options.learning_rate * 0.6,
    }
    return [options.model_copy(update=change) for change in ({}, finer, coarser)][: options.learners]
