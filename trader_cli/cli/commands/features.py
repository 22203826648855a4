"""`trader features`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from trader_cli.cli import options as o
from trader_cli.cli.show import (
    failure_bodies,
    print_facts,
    print_json,
    print_table,
    progress_bar,
    quality_line,
    say_failures,
    utc,
)
from trader_cli.core.errors import ExitCode, TraderError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trader_cli.core.json_values import JsonObject
    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.core.ports import Progress
    from trader_cli.features.certificates import Certificate
    from trader_cli.features.column_verdicts import ColumnVerdict
    from trader_cli.features.family_costs import FamilyCost
    from trader_cli.pipelines.stages.stage_results import FeaturesBuilt
    from trader_cli.settings import Workspace

app = typer.Typer()


@app.command()
def features(
    symbols: o.Symbols = None,
    timeframe: o.MaybeTimeframe = None,
    everything: Annotated[bool, typer.Option("--all", help="All symbols fetched in this time frame.")] = False,
    certify: Annotated[
        bool, typer.Option("--certify", help="Certify every column anew, on synthetic and stored bars; then build.")
    ] = False,
    cost: Annotated[bool, typer.Option("--cost", help="Show what each family costs, and build nothing.")] = False,
    allow_gaps: o.AllowGaps = False,
    profile: o.Profile = None,
    config: o.Config = None,
    tape: o.Tape = None,
    json: o.Json = False,
) -> None:
    """Build features from the fetched bars: wavelets, indicators, two higher time frames.

    No column sees the future, and a stored certificate shows it: without one, columns are certified first. Exit code
    10: a column failed. Rows of the warm-up are null, never filled. Blocks made before are found, not made again.
    """
    from trader_cli.pipelines.stages.up_to_date import features as run

    workspace = o.workspace_from(profile, config, tape, o.gaps_allowed(allow_gaps))
    if cost and certify:
        raise UsageError("--cost builds and certifies nothing.", hint="Leave out --cost or --certify.")
    if everything and (cost or symbols):
        raise UsageError("--all means every symbol fetched.", hint="Leave out --all, or the symbols and --cost.")
    names, parsed = o.several(workspace, symbols, timeframe, everything=everything)
    if cost:
        from trader_cli.pipelines.stages.live_budget import feature_costs

        budget_ms = workspace.settings.feature_engineering_orchestrator.live_budget_ms
        _show_costs(feature_costs(workspace.settings, parsed), parsed.name, budget_ms, as_json=json)
        return
    if len(names) > 1:
        _many(workspace, names, parsed, certify=certify, json=json)
        return
    [name] = names
    with progress_bar() as progress:
        certificate = _certified(workspace, name, parsed, progress) if certify else None
        failed = certificate is not None and bool(certificate.failures)
        done = None if failed else run(workspace, name, parsed, progress)
    if json:
        _print_json(done, certificate)
    else:
        if certificate is not None:
            _show_certificate(certificate)
        if done is not None:
            _show(done)
    if failed:
        raise typer.Exit(ExitCode.VERIFICATION_FAILED)


def _certified(workspace: Workspace, symbol: str, timeframe: Timeframe, progress: Progress) -> Certificate:
    from trader_cli.pipelines.stages.model_stages import certify

    return certify(workspace, symbol, timeframe, progress)


def _many(workspace: Workspace, names: list[str], timeframe: Timeframe, *, certify: bool, json: bool) -> None:
    """One symbol after the other; the trouble of one does not keep the others from theirs."""
    from trader_cli.pipelines.stages.up_to_date import features as run

    done: list[FeaturesBuilt] = []
    failed: dict[str, TraderError] = {}
    with progress_bar() as progress:
        for number, name in enumerate(names, start=1):
            try:
                if certify:
                    _certified(workspace, name, timeframe, progress).require()
                done.append(run(workspace, name, timeframe, progress))
            except TraderError as error:
                failed[name] = error
            progress("symbols", number, len(names))
    if json:
        series = [asdict(one) for one in done]
        print_json({"timeframe": timeframe.name, "series": series, "failed": failure_bodies(failed)})
    else:
        rows = [
            [d.symbol, str(d.rows), str(d.complete_rows), str(d.columns), ", ".join(d.unknown), d.digest[:12]]
            for d in done
        ]
        columns = ("symbol", "rows", "complete", "features", "unknown at the last bar", "artifact")
        print_table(f"Features of {len(done)} series of {timeframe} bars", columns, rows)
        say_failures(failed)
    if failed:
        raise typer.Exit(max(trouble.exit_code for trouble in failed.values()))


def _print_json(done: FeaturesBuilt | None, certificate: Certificate | None) -> None:
    body: JsonObject = {} if done is None else {**asdict(done), "cache_hit": done.made == 0}
    if certificate is not None:
        found = {"digest": certificate.digest, "passed": not certificate.failures, **certificate.as_dict()}
        body["certificate"] = found
    print_json(body)


def _show(done: FeaturesBuilt) -> None:
    print_facts(
        f"{done.symbol} {done.timeframe}: {done.columns} features, {done.wavelet_columns} of them wavelet",
        {
            "rows": f"{done.rows}, {done.complete_rows} complete",
            "span": f"{utc(done.first_ms)} to {utc(done.last_ms)}",
            **({"unknown at the last bar": ", ".join(done.unknown)} if done.unknown else {}),
            "blocks": f"{done.made} made, {done.found} found" if done.made else f"all {done.found} found (cache hit)",
            **({"gaps": _gaps(done)} if done.gaps else {}),
            "quality": quality_line(done.quality),
            "market": done.source,
            "artifact": done.digest,
            "certificate": done.certificate,
        },
    )


def _gaps(done: FeaturesBuilt) -> str:
    cost = (
        f"{done.rows_lost} rows behind them ({done.rows_lost / done.rows:.1%}) lack more than a tenth of the features"
    )
    return f"{done.gaps}, {done.missing_bars} bars missing: {cost}"


def _show_certificate(certificate: Certificate) -> None:
    """One line per family, and one per column that failed."""
    families = {
        column.family: [c for c in certificate.columns if c.family == column.family] for column in certificate.columns
    }
    rows = [(name, str(len(columns)), _restart(columns), _status(columns)) for name, columns in families.items()]
    tapes = ", ".join(f"{tape.rows} {tape.name} bars at {tape.cuts} cuts" for tape in certificate.tapes)
    print_table(f"Certified on {tapes}", ("family", "columns", "restart, bars", "result"), rows)
    bad = certificate.failures
    if bad:
        rows = [(c.name, c.family, c.status, "" if c.reach is None else str(c.reach)) for c in bad]
        print_table(f"{len(bad)} FAILED", ("column", "family", "what", "reach, bars"), rows)
    print_facts("all columns passed" if not bad else "nothing is built", {"certificate": certificate.digest})


def _restart(columns: Sequence[ColumnVerdict]) -> str:
    """The most bars a column needs before a row; some recursive ones need more than the warm-up."""
    known = [column.restart_bars for column in columns if column.restart_bars is not None]
    longer = len(columns) - len(known)
    most = str(max(known, default=0))
    return f"{most}, {longer} > warm-up" if longer else most


def _status(columns: Sequence[ColumnVerdict]) -> str:
    failed = sum(column.status != "passed" for column in columns)
    constant = sum(column.constant for column in columns)
    if failed:
        return f"{failed} FAILED"
    return "passed" + (f"; {constant} never varied" if constant else "")


def _show_costs(costs: Sequence[FamilyCost], timeframe: str, budget_ms: float, *, as_json: bool) -> None:
    total_ms = sum(cost.ms_per_new_bar for cost in costs)
    columns = sum(cost.columns for cost in costs)
    ns_per_value = sum(cost.ns_per_row for cost in costs) / max(columns, 1)
    if as_json:
        families = [{**asdict(cost), "ns_per_value": cost.ns_per_value} for cost in costs]
        print_json(
            {
                "timeframe": timeframe,
                "families": families,
                "columns": columns,
                "ns_per_value": ns_per_value,
                "ms_per_new_bar": total_ms,
                "live_budget_ms": budget_ms,
            }
        )
        return
    rows = [(c.name, str(c.columns), f"{c.ns_per_value:.1f}", f"{c.ms_per_new_bar:.2f}") for c in costs]
    rows.append(("total", str(columns), f"{ns_per_value:.1f}", f"{total_ms:.2f}"))
    over = ", OVER BUDGET: `run` refuses" if total_ms > budget_ms else ""
    title = f"Cost of {timeframe} features, CPU time; {budget_ms:g} ms per new bar are allowed{over}"
    print_table(title, ("family", "columns", "ns per row and column", "ms per new bar"), rows)
