"""Anchors and blocks: from where a feature is evaluated, and how derived artifacts are cut.

Recursive indicators depend on where they start. Every feature is evaluated from an anchor, the start of its UTC block
less its warm-up, so that batch, streaming, cache and restart run the same numbers from the same place and agree to the
bit. Why days up to 4h: docs/decisions/0002-anchors.md.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from trader_cli.core.market.timeframes import DAY_MS, HOUR_MS, Timeframe

Block = Literal["day", "month"]


def anchor_block(timeframe: Timeframe) -> Block:
    """The block a feature of this time frame is anchored to."""
    return "day" if timeframe.ms <= 4 * HOUR_MS else "month"


def floor_block(time_ms: int, block: Block) -> int:
    """Start (UTC ms) of the block that holds `time_ms`."""
    if block == "day":
        return time_ms - time_ms % DAY_MS
    at = datetime.fromtimestamp(time_ms / 1000, UTC)
    return int(datetime(at.year, at.month, 1, tzinfo=UTC).timestamp()) * 1000


def next_block(start_ms: int, block: Block) -> int:
    """Start of the block after the one that starts at `start_ms`."""
    if block == "day":
        return start_ms + DAY_MS
    at = datetime.fromtimestamp(start_ms / 1000, UTC)
    year, month = (at.year + 1, 1) if at.month == 12 else (at.year, at.month + 1)
    return int(datetime(year, month, 1, tzinfo=UTC).timestamp()) * 1000


def blocks_between(first_ms: int, last_ms: int, block: Block) -> list[tuple[int, int]]:
    """(start, end) of every block that holds a time in [first_ms, last_ms]; ends are exclusive."""
    spans: list[tuple[int, int]] = []
    start = floor_block(first_ms, block)
    while start <= last_ms:
        end = next_block(start, block)
        spans.append((start, end))
        start = end
    return spans


def storage_blocks(first_ms: int, last_ms: int, timeframe: Timeframe) -> list[tuple[int, int]]:
    """(start, end) of the chunks that hold the bars opening in [first_ms, last_ms]: whole UTC months, but for frames
    below 1h days in the month of the last bar, so that a new bar costs a day and a year costs twelve files."""
    months = blocks_between(first_ms, last_ms, "month")
    if timeframe.ms >= HOUR_MS or not months:
        return months
    start = months[-1][0]
    return [*months[:-1], *blocks_between(max(first_ms, start), last_ms, "day")]
