"""`trader verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from trader_cli.cli import options as o
from trader_cli.cli.show import print_facts, print_json, print_table, progress_bar
from trader_cli.core.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trader_cli.pipelines.verification.checks import Check, Report

app = typer.Typer()


@app.command()
def verify(
    tier: Annotated[int, typer.Option("--tier", help="0: offline. Tiers 1 to 3 are not built yet.")] = 0,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Just this check; may be repeated.", show_default=False)
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the checks; carry out none.")] = False,
    junit: o.JunitFile = None,
    profile: o.Profile = None,
    config: o.Config = None,
    json: o.Json = False,
) -> None:
    """Verify that everything works together, value by value, on a simulated exchange in a folder of its own.

    Costs and limits are those of the configuration; nothing of yours is touched. Exit code 10: a check failed.
    """
    from trader_cli.pipelines.live_trading_integration_verifier import LiveTradingIntegrationVerifier, chosen_checks

    checks = chosen_checks(only or (), tier)
    if list_:
        _list(checks, as_json=json)
        return
    verifier = LiveTradingIntegrationVerifier(o.settings_from(profile, config))
    with progress_bar() as progress:
        report = verifier.run_sync(only or (), tier=tier, progress=progress)
    if junit is not None:
        from trader_cli.pipelines.verification.junit import junit_xml

        junit.write_bytes(junit_xml(report))
    if json:
        print_json({"passed": report.passed, **report.as_dict()})
    else:
        _show(report)
    if not report.passed:
        raise typer.Exit(ExitCode.VERIFICATION_FAILED)


def _list(checks: Sequence[Check], *, as_json: bool) -> None:
    if as_json:
        body = [{"name": c.name, "line": c.line, "expected": c.promise, "mend": c.hint} for c in checks]
        print_json({"checks": body})
        return
    for line in dict.fromkeys(check.line for check in checks):
        print_facts(line, {check.name: check.promise for check in checks if check.line == line})


def _show(report: Report) -> None:
    for line in dict.fromkeys(result.line for result in report.results):
        rows = [
            (f"  {r.name}", "passed" if r.passed else "FAILED", f"{r.seconds:.2f} s", r.found if r.passed else "")
            for r in report.results
            if r.line == line
        ]
        print_table(line, ("  check", "result", "time", "found"), rows)
    for result in report.failed:
        facts = {"expected": result.expected, "found": result.found, "hint": result.hint}
        print_facts(f"{result.name} FAILED", facts)
    print_facts(_headline(report), {"market": report.source, "seconds": f"{report.seconds:.1f}"})


def _headline(report: Report) -> str:
    passed = len(report.results) - len(report.failed)
    if report.passed:
        return f"all {passed} checks passed"
    return f"{len(report.failed)} of {len(report.results)} checks FAILED: {', '.join(r.name for r in report.failed)}"
