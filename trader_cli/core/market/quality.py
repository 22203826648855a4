"""What is wrong, or strange, with a series of bars: a report for people, not a feature (it looks both ways in time).

Only what a valid BARS frame can still hide is looked for. What makes a frame invalid `core.market.bars.check_bars`
refuses; rows left out on the way in (repeated, saved while open) are counted by whoever reads the file.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import polars as pl

from trader_cli.core.market.bars import check_bars, find_gaps
from trader_cli.core.market.gaps import Gap, utc_text
from trader_cli.core.market.quality_masks import changes_of, masks_by_kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trader_cli.core.json_values import JsonObject
    from trader_cli.core.market.timeframes import Timeframe

Severity = Literal["note", "warning", "error"]

UNFIT = ("interpolated", "other_instrument", "bad_print")
"""Kinds whose bars are not what was traded: made up, of something else, or a price nobody could have had."""

LISTED = 20
"""Findings listed per kind, the longest; the counts are of all."""


@dataclass(frozen=True)
class _Kind:
    """How much a kind of finding matters, and what is said of a run of bars of it after `3 bars from ... to ...`."""

    severity: Severity
    text: str


_KINDS: Mapping[str, _Kind] = MappingProxyType(
    {
        "gap": _Kind("warning", "missing"),
        "zero_volume": _Kind("note", "without a trade"),
        "stuck": _Kind("warning", "standing still without a trade"),
        "interpolated": _Kind(
            "error", "on a straight line between their neighbours in all prices and volume: filled in"
        ),
        "off_tick": _Kind("note", "with prices finer than the tick of the bars around: filled in, or a liquidation"),
        "bad_print": _Kind("warning", "with a move far outside the usual that is taken back at once"),
        "wick": _Kind("note", "with a high or low far outside the usual, left within the bar"),
        "jump": _Kind("note", "with a move far outside the usual that stays"),
        "other_instrument": _Kind("error", "opening at another price level than the close before: another instrument?"),
        "volumes_disagree": _Kind("warning", "whose volumes, prices and trade counts contradict each other"),
    }
)


@dataclass(frozen=True)
class Finding:
    """A run of bars with the same thing to say about it: opening times (UTC ms) of its first and last bar."""

    kind: str
    first_ms: int
    last_ms: int
    bars: int
    severity: Severity
    sentence: str


@dataclass(frozen=True)
class QualityReport:
    """What `quality_report` found. `counts` are of all findings and their bars, `findings` lists some of each kind."""

    timeframe: str
    rows: int
    first_ms: int | None
    last_ms: int | None
    gaps: tuple[Gap, ...]
    missing_bars: int
    missing_share: float
    counts: Mapping[str, tuple[int, int]]
    """Kind → (findings, bars); kinds that were not found are absent."""
    findings: tuple[Finding, ...]

    def bars_of(self, kind: str) -> int:
        """How many bars findings of this kind hold."""
        return self.counts.get(kind, (0, 0))[1]

    @property
    def worst(self) -> Severity | None:
        """The highest severity found, `None` if nothing was."""
        found = {_KINDS[kind].severity for kind in self.counts}
        order: tuple[Severity, ...] = ("error", "warning", "note")
        return next((severity for severity in order if severity in found), None)

    def as_dict(self) -> JsonObject:
        """JSON-able and small: at most `LISTED` findings per kind, gaps among them."""
        return {
            "timeframe": self.timeframe,
            "rows": self.rows,
            "first_ms": self.first_ms,
            "last_ms": self.last_ms,
            "missing_bars": self.missing_bars,
            "missing_share": self.missing_share,
            "worst": self.worst,
            "counts": {kind: {"findings": found, "bars": bars} for kind, (found, bars) in self.counts.items()},
            "findings": [asdict(finding) for finding in self.findings],
        }


def quality_report(bars: pl.DataFrame, timeframe: Timeframe) -> QualityReport:
    """What a valid BARS frame of shape (n, 11) hides. Raises `DataInvalid` if it is not valid (`check_bars`).

    Runs end at gaps. The kinds and their thresholds:

    - `gap`: opening times missing between two rows (`find_gaps`); `missing_share` is of the bars of the whole span.
    - `zero_volume`: volume 0. `stuck`: at least `STUCK_BARS` (3) of these in a row with one and the same price in
      open, high, low and close: fewer are a quiet moment, more an outage the exchange filled.
    - `interpolated`: open, high, low, close and volume each the mean of the bars before and after, to 1e-9 of the
      value, where volume and a price change; or to one unit of the last decimal, if that holds for at least 3 bars in
      a row whose volumes differ by more than 4 units. By chance five numbers do not agree to nine digits once, nor
      to their last digit three times.
    - `off_tick`: a price with more decimals than 99 % of all bars and 90 % of the 101 around it need (a tick that
      changes for good is not one). Straight-line fillers show it, too; those are counted there.
    - Outliers: with m the log return from close to close and σ = 1.4826 times the median |m| of the four blocks of 50
      bars before the bar's own, at least `LEAST_SIGMA` (5 bp, so that nothing below 1 % counts), a move over
      `OUTLIER_SIGMAS` (20) σ·√steps. `bad_print`: the next bar takes back all but a quarter of it; bars alone do not
      tell a false price from a spike that was traded. `jump`: it stays (a crash, news).
      `wick`: a high above, or low below, open and close by as much. Markets have fat tails, 20 σ is rare but real:
      jumps and wicks are notes.
    - `other_instrument`: the open over the close before differs by more than a factor of `OTHER_INSTRUMENT_FACTOR`
      (3). Within a bar any move can be traded; between two trades of one instrument such a step cannot: a ticker
      given to another coin, or a new denomination.
    - `volumes_disagree`: quote over base volume outside low..high by more than 1e-5 (the exchange truncates each
      trade's), taker buys above volume, or volume without trades; where those columns are known. (Not for
      coin-margined contracts.)
    """
    check_bars(bars, timeframe)
    rows, gaps = bars.height, find_gaps(bars, timeframe)
    missing = sum(gap.bars for gap in gaps)
    view = changes_of(bars, timeframe)
    masks = masks_by_kind(view, bars)
    listed, counts = _gap_findings(gaps), {"gap": (len(gaps), missing)}
    for kind, mask in masks.items():
        if not mask.any():
            continue
        found = _runs(view, mask)
        counts[kind] = (found.height, int(mask.sum()))
        listed += _findings(kind, found)
    return QualityReport(
        timeframe=timeframe.name,
        rows=rows,
        first_ms=int(view["at"][0]) if rows else None,
        last_ms=int(view["at"][-1]) if rows else None,
        gaps=gaps,
        missing_bars=missing,
        missing_share=missing / (rows + missing) if rows else 0.0,
        counts=MappingProxyType({kind: count for kind, count in counts.items() if count[0]}),
        findings=tuple(sorted(listed, key=lambda finding: (finding.first_ms, finding.kind))),
    )


def bars_of_kinds(bars: pl.DataFrame, timeframe: Timeframe, kinds: tuple[str, ...] = UNFIT) -> dict[str, pl.Series]:
    """Per kind, which of the n rows of valid BARS findings of it hold, (n,) without nulls; see `quality_report`.

    All of them: a report lists only some. Of the last row too little is known yet: fillers and prints are told by the
    bar after, a stuck run by its third bar.
    """
    masks = masks_by_kind(changes_of(bars, timeframe), bars)
    return {kind: masks[kind].fill_null(value=False) for kind in kinds}


def unfit_bars(bars: pl.DataFrame, timeframe: Timeframe) -> pl.Series:
    """Which of the n rows of valid BARS hold what was not traded (`UNFIT`), or were another coin's, whose name this one
    took over since; (n,) without nulls."""
    masks = bars_of_kinds(bars, timeframe)
    unfit = pl.DataFrame(masks).select(pl.any_horizontal(pl.all())).to_series()
    taken_over = masks["other_instrument"].arg_true()
    return unfit if taken_over.is_empty() else unfit | (pl.int_range(bars.height, eager=True) <= taken_over[-1])


def doubtful_bars(bars: pl.DataFrame, timeframe: Timeframe, last: int) -> dict[str, int]:
    """Kinds of `UNFIT` and `stuck` found among the `last` rows of valid BARS, with how many of those rows they hold."""
    masks = bars_of_kinds(bars, timeframe, (*UNFIT, "stuck"))
    return {kind: held for kind, mask in masks.items() if (held := int(mask.tail(last).sum()))}


def _runs(view: pl.DataFrame, mask: pl.Series) -> pl.DataFrame:
    """Runs of true, ended by gaps: first and last opening time (ms), bars, the largest |move| (log) among them."""
    rows = view.with_row_index().filter(mask)
    begins = (pl.col("index").diff() != 1) | (pl.col("steps") != 1)
    run = begins.fill_null(value=True).cast(pl.UInt32).cum_sum().alias("run")
    return rows.group_by(run, maintain_order=True).agg(
        pl.first("at").alias("first_ms"),
        pl.last("at").alias("last_ms"),
        pl.len().alias("bars"),
        pl.col("move").sort_by(pl.col("move").abs(), descending=True, nulls_last=True).first().alias("move"),
    )


def _findings(kind: str, runs: pl.DataFrame) -> list[Finding]:
    listed = runs.sort(pl.col("bars").cast(pl.Int64), pl.col("move").abs().fill_null(0.0), descending=True)[:LISTED]
    known = _KINDS[kind]
    return [
        Finding(
            kind, first, last, bars, known.severity, f"{_where(first, last, bars)} {known.text}{_moved(kind, move)}."
        )
        for first, last, bars, move in listed.select("first_ms", "last_ms", "bars", "move").iter_rows()
    ]


def _gap_findings(gaps: tuple[Gap, ...]) -> list[Finding]:
    longest = sorted(gaps, key=lambda gap: -gap.bars)[:LISTED]
    return [Finding("gap", gap.first_ms, gap.last_ms, gap.bars, "warning", f"{gap}.") for gap in longest]


def _where(first_ms: int, last_ms: int, bars: int) -> str:
    return (
        f"1 bar at {utc_text(first_ms)}"
        if bars == 1
        else f"{bars} bars from {utc_text(first_ms)} to {utc_text(last_ms)}"
    )


def _moved(kind: str, move: float | None) -> str:
    if kind not in {"bad_print", "jump", "other_instrument"} or move is None:
        return ""
    return f", {math.expm1(move):+,.1%} from the close before"
