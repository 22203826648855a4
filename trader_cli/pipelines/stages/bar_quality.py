"""The data-quality report of bars that were fetched: made and stored; bars that stayed as they are keep theirs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from trader_cli.core.json_values import object_of, objects_of
from trader_cli.core.market.quality import quality_report

if TYPE_CHECKING:
    from trader_cli.core.identity.manifests import Manifest
    from trader_cli.core.json_values import JsonObject
    from trader_cli.pipelines.stages.stored_series import StoredSeries


def judged(series: StoredSeries, bars: Manifest) -> tuple[Manifest, list[str]]:
    """The manifest of bars with their gaps and what the data-quality report counts, and its gravest sentences.

    The report is stored.
    """
    report = quality_report(series.store.read(bars), series.timeframe)
    series.store.point(series.key("quality"), series.store.put_document(report.as_dict()))
    counts = {kind: bars_ for kind, (_, bars_) in report.counts.items()}
    gaps = tuple((gap.first_ms, gap.last_ms, gap.bars) for gap in report.gaps)
    grave = [finding.sentence for finding in report.findings if finding.severity == "error"]
    return replace(bars, gaps=gaps, notes={**bars.notes, "quality": counts}), grave


def judged_before(series: StoredSeries, bars: Manifest, known: Manifest | None) -> tuple[Manifest, list[str]] | None:
    """The same of bars that this version has judged, chunk for chunk, by the report stored then; else `None`."""
    if known is None or replace(known, gaps=bars.gaps, notes=bars.notes) != bars:
        return None
    digest = series.store.found(series.key("quality"))
    report = None if digest is None else series.store.get_document(digest)
    if report is None or not _is_of(report, known):
        return None
    return known, [str(found["sentence"]) for found in objects_of(report["findings"]) if found["severity"] == "error"]


def _is_of(report: JsonObject, bars: Manifest) -> bool:
    """Whether a stored report is the one of these bars: a fetch that was killed may have stored that of others."""
    counted = {kind: object_of(found)["bars"] for kind, found in object_of(report["counts"]).items()}
    told = (report["rows"], report["first_ms"], report["last_ms"], counted)
    return told == (bars.rows, bars.first_ms, bars.last_ms, bars.quality)
