"""Why a backtest opened nothing, or nothing from some time on: reasons of decisions, counted by their closes."""

from __future__ import annotations

import polars as pl

from trader_cli.core.types import CLAIM_LAPSED

MOST = 3
"""Reasons that are named."""


def reasons(decisions: pl.DataFrame) -> dict[str, int]:
    """Of DECISIONS: at how many closes each code stood in the way, the most first; none where anything was entered."""
    if not decisions.filter(kind="entered").is_empty():
        return {}
    return _counted(decisions)


def lapsed(decisions: pl.DataFrame) -> dict[str, int]:
    """Of DECISIONS: at how many closes a claim did not hold any more, by the code that says why."""
    return _counted(decisions.filter(pl.col("code").is_in(sorted(CLAIM_LAPSED))))


def why_not(decisions: pl.DataFrame) -> str | None:
    """Why nothing was traded, or from when on not; None where nothing kept it from trading."""
    return untraded(decisions) or _told(decisions, lapsed(decisions))


def _counted(decisions: pl.DataFrame) -> dict[str, int]:
    counted = decisions.group_by("code").agg(pl.struct("symbol", "bar_closed").n_unique().alias("closes"))
    return dict(counted.sort(["closes", "code"], descending=[True, False]).iter_rows())


def untraded(decisions: pl.DataFrame) -> str | None:
    """`nothing traded: no_edge at 480 of 480 closes`, with the sentence of the commonest; None where something was."""
    said = reasons(decisions)
    if not said:
        return "nothing was decided" if decisions.is_empty() else None
    return f"nothing traded: {_told(decisions, said)}"


def _told(decisions: pl.DataFrame, said: dict[str, int]) -> str | None:
    """`no_edge at 480 of 480 closes`, with the sentence of the commonest; None where nothing was said."""
    if not said:
        return None
    closes = decisions.select(pl.struct("symbol", "bar_closed").n_unique()).item()
    told = ", ".join(f"{code} at {count} of {closes} closes" for code, count in list(said.items())[:MOST])
    commonest = decisions.filter(code=next(iter(said)))["sentence"].value_counts(sort=True)["sentence"][0]
    more = f", and {len(said) - MOST} more reasons" if len(said) > MOST else ""
    return f"{told}{more}. {commonest}"
