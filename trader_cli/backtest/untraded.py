"""Why a backtest opened nothing: the reasons of its decisions, counted by the closes they were given at."""

from __future__ import annotations

import polars as pl

MOST = 3
"""Reasons that are named."""


def reasons(decisions: pl.DataFrame) -> dict[str, int]:
    """Of DECISIONS: at how many closes each code stood in the way, the most first; none where anything was entered."""
    if not decisions.filter(kind="entered").is_empty():
        return {}
    counted = decisions.group_by("code").agg(pl.struct("symbol", "bar_closed").n_unique().alias("closes"))
    return dict(counted.sort(["closes", "code"], descending=[True, False]).iter_rows())


def untraded(decisions: pl.DataFrame) -> str | None:
    """`nothing traded: no_edge at 480 of 480 closes`, with the sentence of the commonest; None where something was."""
    said = reasons(decisions)
    if not said:
        return "nothing was decided" if decisions.is_empty() else None
    closes = decisions.select(pl.struct("symbol", "bar_closed").n_unique()).item()
    told = ", ".join(f"{code} at {count} of {closes} closes" for code, count in list(said.items())[:MOST])
    commonest = decisions.filter(code=next(iter(said)))["sentence"].value_counts(sort=True)["sentence"][0]
    more = f", and {len(said) - MOST} more reasons" if len(said) > MOST else ""
    return f"nothing traded: {told}{more}. {commonest}"
