"""A year of `trader backtest` beside 48 hours of `run --forever` as it was before there were backtests, on one market.

Both have the same bars, and a model of the same bars before; the run's hours are the year's first. CPU is user and
system time of whole processes, loading counted; before it begins, each has run for a second and stored what it needs.
How many entries of the run the backtest has at the same side and price is printed: since then a position that turns is
left and entered in one moment, not a bar later.
"""

from __future__ import annotations

import csv
import json
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.versions import ROOT, checked_out, compiled, spent, told

BEFORE = "1d6888f"
SERIES = ("ETHUSDT", "--timeframe", "15m")
DAYS, LEARNT_DAYS, HOURS = 425, 60, 48
LEARNT, LATER = (LEARNT_DAYS + 1e-6) / DAYS, 0.99
SPANS = {"fast": ("2024-03-02", "2025-02-24"), "faithful": ("2024-03-02", "2024-03-30")}
"""Last days of backtests from 2024-03-01 on, when the models have learnt: the run's, and as many as can be awaited."""


@dataclass(frozen=True)
class Version:
    """A version of the product in a folder of its own."""

    tree: Path
    folder: Path

    def cpu_s(self, *words: str, start: float = LEARNT) -> float:
        """CPU seconds of a command; its time begins at that share of the market."""
        settings = {
            "analyst": {"learners": 1},
            "sim": {"days": DAYS, "symbols": SERIES[:1], "start": start},
            "fetch": {"history_bars": DAYS * 96 if start == LATER else LEARNT_DAYS * 96 - 260},
            "tactician": {"max_daily_loss": 0.9, "max_drawdown": 0.9},
        }
        (self.folder / "settings.yaml").write_text(json.dumps(settings))
        state = {"TRADER_CACHE_DIR": "cache", "TRADER_STATE_DIR": f"state-{start}"}
        chosen = ("--profile", "sim", "--config", "settings.yaml")
        command = [sys.executable, "-m", "trader_cli", *words, *chosen]
        return spent(command, self.folder, {**state, "PYTHONPATH": str(self.tree)})[0]

    def said(self) -> str:
        """What the last command said."""
        return (self.folder / "said").read_text()


def run() -> None:
    """Print CPU seconds a virtual hour of both, and how often the one goes into the other."""
    with tempfile.TemporaryDirectory(prefix="trader-before-") as name:
        tree = checked_out(BEFORE, Path(name) / "tree")
        if tree is None:
            print(f"backtests against {BEFORE}: left out, that commit is not in this repository")
            return
        compiled(ROOT)
        then, now = (Version(each, Path(name) / said) for each, said in ((tree, "then"), (ROOT, "now")))
        for version in (then, now):
            version.folder.mkdir()
            version.cpu_s("run", *SERIES, "--forever", "--for", "1s")
        for stage in ("fetch", "features"):
            now.cpu_s(stage, *SERIES, start=LATER)
        _compare(then, now)


def _compare(then: Version, now: Version) -> None:
    an_hour = then.cpu_s("run", *SERIES, "--forever", "--for", f"{HOURS}h") / HOURS
    entered = re.findall(r"entered (long|short) \S+ at ([0-9.]+)", then.said())
    print(f"run --forever of {BEFORE}, {HOURS} virtual hours: {an_hour:.2f} CPU s an hour, {len(entered)} entries")
    for speed, (until, later) in SPANS.items():
        figures, short = _backtest(now, speed, until)
        ours = _entries(now, speed)
        print(f"  {sum(one in ours for one in entered)} of them are the {speed} backtest's, which has {len(ours)}")
        _show(speed, figures, short, HOURS, an_hour)
        whole, long = _backtest(now, speed, later)
        _show(speed, whole, long, whole["hours"], an_hour)
        more = (long - short) / (whole["hours"] - HOURS)
        print(f"    an hour more costs {more * 1000:.2f} ms: {an_hour / more:,.0f} times less", flush=True)


def _backtest(now: Version, speed: str, until: str) -> tuple[dict[str, float], float]:
    span = ("--since", "2024-03-01", "--until", until)
    spent = now.cpu_s("backtest", *SERIES, "--model", "current", *span, "--speed", speed, "--json", start=LATER)
    said = told(now.folder)
    figures, asked = said["figures"], said["request"]
    hours = (asked["until_ms"] - asked["since_ms"]) / 3_600_000
    return {"held": figures["time_in_market"], "trades": figures["trades"]["count"], "hours": hours}, spent


def _entries(now: Version, speed: str) -> list[tuple[str, str]]:
    """(side, price) of each entry of the backtest that was made last."""
    made = told(now.folder)["backtest"]
    now.cpu_s("backtest", "export", made, speed, start=LATER)
    with (now.folder / speed / "fills.csv").open() as rows:
        return [
            ("long" if fill["side"] == "BUY" else "short", fill["price"])
            for fill in csv.DictReader(rows)
            if fill["purpose"] == "entry"
        ]


def _show(speed: str, figures: dict[str, float], spent: float, hours: float, an_hour: float) -> None:
    held = f"held {figures['held']:.0%} of {hours:.0f} hours, {figures['trades']:.0f} trades ended"
    times = an_hour / (spent / hours)
    print(f"  {speed} backtest: {spent:.2f} CPU s, {held}: {times:,.0f} times less an hour", flush=True)


if __name__ == "__main__":
    run()
