"""Small drawings that need no script: histograms, and probabilities against what happened, as SVG."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.report.written import text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

WIDTH, HEIGHT, FOOT = 440, 150, 20
_BINS = 44


def histogram(drawn: Floats, actual: float, write: Callable[[float], str], label: str) -> str:
    """How often each value was drawn (d,), the actual one marked. What lies below zero is coloured as loss."""
    low, high = (float(x) for x in np.quantile(np.append(drawn, actual), [0.002, 0.998]))
    low, high = min(low, actual), max(high, actual)
    if high <= low:
        low, high = low - 0.5, high + 0.5
    counts, edges = np.histogram(np.clip(drawn, low, high), bins=_BINS, range=(low, high))
    tallest, wide = int(counts.max(initial=1)), WIDTH / _BINS

    def x(value: float) -> float:
        return (value - low) / (high - low) * WIDTH

    bars = [
        f'<rect class="bar{" loss" if edge + (high - low) / _BINS / 2 < 0 else ""}" x="{n * wide + 0.5:.1f}"'
        f' y="{HEIGHT - count / tallest * (HEIGHT - 24):.1f}" width="{wide - 1:.1f}"'
        f' height="{count / tallest * (HEIGHT - 24):.1f}"/>'
        for n, (count, edge) in enumerate(zip(counts.tolist(), edges.tolist(), strict=False))
        if count
    ]
    at = x(actual)
    anchor = "end" if at > WIDTH * 0.7 else "start"
    mark = (
        f'<line class="mark" x1="{at:.1f}" x2="{at:.1f}" y1="6" y2="{HEIGHT}"/>'
        f'<text class="strong" x="{at + (-5 if anchor == "end" else 5):.1f}" y="14" text-anchor="{anchor}">'
        f"{text(write(actual))}</text>"
    )
    ticks = "".join(
        f'<text x="{share * WIDTH:.0f}" y="{HEIGHT + 14}" text-anchor="{where}">'
        f"{text(write(low + share * (high - low)))}</text>"
        for share, where in ((0, "start"), (0.5, "middle"), (1, "end"))
    )
    foot = f'<line class="axis" x1="0" x2="{WIDTH}" y1="{HEIGHT}" y2="{HEIGHT}"/>'
    return _svg(WIDTH, HEIGHT + FOOT, label, "".join(bars) + foot + mark + ticks)


@dataclass(frozen=True)
class Reliability:
    """Trades of about one probability: what was said on average, the share won with its 95 % interval, how many."""

    said: float
    won: float
    low: float
    high: float
    count: int


def reliability_drawing(groups: Sequence[Reliability], label: str) -> str:
    """Said against happened, the diagonal being right."""
    size, left, foot = 300, 34, 26

    def x(share: float) -> float:
        return left + share * size

    def y(share: float) -> float:
        return 8 + (1 - share) * size

    parts = [f'<line class="diagonal" x1="{x(0)}" y1="{y(0)}" x2="{x(1)}" y2="{y(1)}"/>']
    for share in (0, 0.25, 0.5, 0.75, 1):
        parts.append(f'<line class="axis" x1="{x(0)}" x2="{x(1)}" y1="{y(share)}" y2="{y(share)}" opacity=".6"/>')
        parts.append(f'<text x="{left - 6}" y="{y(share) + 4}" text-anchor="end">{share:.0%}</text>')
        parts.append(f'<text x="{x(share)}" y="{y(0) + 16}" text-anchor="middle">{share:.0%}</text>')
    largest = max((group.count for group in groups), default=1)
    for group in groups:
        at, radius = x(group.said), 3 + 5 * (group.count / largest) ** 0.5
        parts.append(
            f'<line class="whisker" x1="{at:.1f}" x2="{at:.1f}" y1="{y(group.low):.1f}" y2="{y(group.high):.1f}"/>'
        )
        parts.append(f'<circle class="dot" cx="{at:.1f}" cy="{y(group.won):.1f}" r="{radius:.1f}"/>')
    return _svg(left + size + 12, size + 8 + foot, label, "".join(parts), "drawing square")


def _svg(width: float, height: float, label: str, inside: str, kind: str = "drawing") -> str:
    box = f'viewBox="0 0 {width:.0f} {height:.0f}"'
    return f'<svg class="{kind}" {box} role="img" aria-label="{text(label)}">{inside}</svg>'
