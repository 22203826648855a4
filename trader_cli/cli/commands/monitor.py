"""`trader monitor`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from trader_cli.cli import options as o
from trader_cli.cli.show import print_facts, print_json, say
from trader_cli.core.errors import ExitCode
from trader_cli.core.proofs.assurance import Doubt

if TYPE_CHECKING:
    from trader_cli.tactician.monitor_reports import Report

app = typer.Typer()


@app.command()
def monitor(
    for_: o.ForTime = None,
    profile: o.Profile = None,
    config: o.Config = None,
    tape: o.Tape = None,
    json: o.Json = False,
) -> None:
    """Care for open positions: check protection, trail the stop, re-assess at each closed bar, take profit, close.

    Ends when flat, after --for, or on a signal; stops stay at the exchange either way. Each look is stored.
    Exit code 5: what the exchange shows and the ledger do not agree, or it did not answer.
    """
    from trader_cli.pipelines.trading.trading_stages import monitor as run

    workspace = o.workspace_from(profile, config, tape)
    reports: list[Report] = []

    def heard(report: Report) -> None:
        again = bool(reports) and report.action == "stay" and reports[-1].action == "stay"
        if again and reports[-1].symbol == report.symbol:
            reports[-1] = report
        else:
            reports.append(report)
        if report.action == "flat" and not json:
            print_facts(line(report), {})
        else:
            say(line(report), quiet=report.action == "stay")

    done = run(workspace, o.duration(for_, "--for"), heard, say)
    is_proved = not isinstance(done.proof, Doubt)
    if json:
        print_json(
            {
                "reports": [asdict(report) for report in reports],
                "open": done.left,
                **({} if is_proved else {"doubt": done.proof.sentence}),
            }
        )
    else:
        for sentence in [*done.left.values(), *([] if is_proved and done.left else [done.proof.sentence])]:
            print_facts(sentence, {})
    if not is_proved:
        raise typer.Exit(ExitCode.UNAVAILABLE)


def line(report: Report) -> str:
    """One look as a line."""
    from trader_cli.cli.show import utc

    when = f"{utc(report.at_ms)} " if report.at_ms else ""
    facts = [
        f"mark {report.mark}" if report.mark else "",
        f"stop {report.stop}" if report.stop else "",
        f"profit {report.profit}" if report.profit else "",
        report.sentence,
    ]
    return f"{when}{report.symbol} {report.action} ({report.reason}) " + ", ".join(fact for fact in facts if fact)
