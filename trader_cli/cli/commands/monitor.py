"""`trader monitor`."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from trader_cli.cli import options as o
from trader_cli.cli.show import print_facts, print_json, say
from trader_cli.core.errors import UsageError

if TYPE_CHECKING:
    from trader_cli.tactician.reports import Report

app = typer.Typer()
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


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
    """
    from trader_cli.pipelines.trading import monitor as run

    settings = o.settings_from(profile, config, tape)
    reports: list[Report] = []

    def heard(report: Report) -> None:
        again = bool(reports) and report.action == "stay" and reports[-1].action == "stay"
        if again and reports[-1].symbol == report.symbol:
            reports[-1] = report
        else:
            reports.append(report)
        say(line(report), quiet=report.action == "stay")

    left = run(settings, duration(for_), heard, say)
    if json:
        print_json({"reports": [asdict(report) for report in reports], "open": left})
        return
    for report in reports:
        if report.action == "flat":
            print_facts(line(report), {})
    for sentence in left.values() or ["no position of ours is open"]:
        print_facts(sentence, {})


def line(report: Report) -> str:
    """One look as a line."""
    from trader_cli.cli.show import utc

    when = f"{utc(report.at_ms)} " if report.at_ms else ""
    facts = [f"mark {report.mark}" if report.mark else "", f"stop {report.stop}" if report.stop else "",
             f"profit {report.profit}" if report.profit else "", report.sentence]  # fmt: skip
    return f"{when}{report.symbol} {report.action} ({report.reason}) " + ", ".join(fact for fact in facts if fact)


def duration(text: str | None) -> float | None:
    """Seconds of `90s`, `15m`, `4h`, `1d`. Raises `UsageError`."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if found is None or float(found.group(1)) <= 0:
        raise UsageError(f"--for is a time such as 90s, 15m, 4h or 1d; found {text!r}.")
    return float(found.group(1)) * _UNITS[found.group(2)]
