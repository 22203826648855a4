"""Distance to the nearest support and resistance that were given, as shares of the close, and their strengths."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.features.family import Family

if TYPE_CHECKING:
    from trader_cli.features.bar_arrays import BarSeries, Floats
    from trader_cli.features.family import FamilyOptions


def families(options: FamilyOptions) -> tuple[Family, ...]:  # noqa: ARG001
    """One family per side; null where no level of the side is known yet."""
    return tuple(
        Family(
            f"sr_{side}",
            (f"sr_{side}_gap", f"sr_{side}_strength"),
            _compute,
            0,
            ("close", f"level_{side}", f"level_{side}_strength"),
            parameters={"side": side},
            finite=True,
        )
        for side in ("support", "resistance")
    )


def _compute(bars: BarSeries, side: str) -> dict[str, Floats]:
    """|C − level| / C ≥ 0."""
    gap = abs(bars.close - bars[f"level_{side}"]) / bars.close
    return {f"sr_{side}_gap": gap, f"sr_{side}_strength": bars[f"level_{side}_strength"]}
