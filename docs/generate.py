"""Writes the pages that can be derived, such as docs/configuration.md. `make docs` runs it; a test compares."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]

EXIT_MEANINGS = {
    0: "done",
    1: "a bug in trader",
    2: "usage: call it again, corrected",
    3: "configuration: a setting, the environment or this machine's clock",
    4: "data missing, stale or invalid: run the stage that is named; or a folder that cannot be used (full, read-only)",
    5: "the exchange is unreachable, or answered what cannot be used: try again",
    6: "the exchange rejected the request",
    7: "refused by risk",
    8: "abstained: no signal, and the reason",
    9: "halted",
    10: "verification failed",
    11: "another process owns the ledger; its pid is named",
    12: "`status --exit-code`: one cannot walk away",
    129: "SIGHUP, the terminal is gone; everything on disk is whole",
    130: "Ctrl-C; everything on disk is whole",
    143: "SIGTERM; everything on disk is whole",
}


def configuration() -> str:
    """Every key: default, meaning, environment variable, effect and test."""
    from trader_cli.settings import Settings
    from trader_cli.settings.load import environment_name, key_paths, package_yaml

    defaults = yaml.safe_load(package_yaml("default.yaml"))
    effects = yaml.safe_load((ROOT / "docs" / "key_effects.yaml").read_text())
    lines = [
        "# Configuration",
        "",
        "Later wins: `configs/default.yaml`, the profile's overlay, your own file (`--config`), the environment, the",
        "command line. An unknown key is refused with the nearest one that exists. Secrets come from the environment",
        "only. Written by `make docs` from the settings model.",
        "",
        "| key | default | meaning | environment | effect | test |",
        "|---|---|---|---|---|---|",
    ]
    for path in key_paths():
        key = ".".join(path)
        model: Any = Settings
        value: Any = defaults
        for part in path:
            field = model.model_fields[part]
            model, value = field.annotation, value[part]
        effect, test = effects[key].split(" | ")
        shown = "null" if value is None else str(value).replace("|", "\\|")
        where = f"`{test.rpartition('::')[2]}`" if test else ""
        lines.append(f"| `{key}` | `{shown}` | {field.description} | `{environment_name(path)}` | {effect} | {where} |")
    return "\n".join(lines) + "\n"


def exit_codes() -> str:
    """The exit codes."""
    from trader_cli.core.errors import ExitCode

    rows = [f"| {code.value} | {EXIT_MEANINGS[code.value]} |" for code in ExitCode]
    return "\n".join(["# Exit codes", "", "| code | meaning |", "|---|---|", *rows]) + "\n"


def commands() -> str:
    """Help of every command, as printed."""
    from typer import rich_utils
    from typer.testing import CliRunner

    from trader_cli.cli.main import COMMANDS, app

    rich_utils.MAX_WIDTH = 100
    words = [[], *([name] for name in COMMANDS), ["venue", "serve"], ["venue", "status"], ["venue", "reset"]]
    words += [["new", "signal"], *(["backtest", name] for name in ("list", "show", "compare", "export"))]
    words += [["cache", "stats"], ["cache", "gc"]]
    words += [["ledger", "show"], ["ledger", "backup"], ["ledger", "rebuild"], ["ledger", "settle"]]
    parts = ["# Commands\n\nWritten by `make docs`.\n"]
    for word in words:
        shown = CliRunner().invoke(app, [*word, "--help"], prog_name="trader", env={"COLUMNS": "100"}).output
        body = "\n".join(line.rstrip() for line in shown.strip("\n").splitlines())
        parts.append(f"## trader {' '.join(word)}".rstrip() + f"\n\n```\n{body}\n```\n")
    return "\n".join(parts)


def feature_families() -> str:
    """docs/feature-families.md with its table of families; the rest of the page is written by hand."""
    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.features.family import FamilyOptions
    from trader_cli.features.inputs import ALL_INPUTS
    from trader_cli.features.registry import ADVANCED, LEGACY

    hour = Timeframe.parse("1h")
    options = FamilyOptions(hour, inputs=ALL_INPUTS, higher=hour.higher)
    rows = ["| family | columns | inputs | warm-up, bars | switch |", "|---|---|---|---|---|"]
    for switch, makers in (("enable_advanced_features", ADVANCED), ("enable_legacy_features", LEGACY)):
        for family in (family for make in makers.values() for family in make(options)):
            frame = "" if family.timeframe is None else f" of {family.timeframe}"
            names = f"{len(family.columns)}: `{family.columns[0]}` … `{family.columns[-1]}`"
            inputs = ", ".join(f"`{name}`" for name in family.inputs)
            rows.append(f"| `{family.name}` | {names} | {inputs} | {family.warmup}{frame} | `{switch}` |")
    page = (ROOT / "docs" / "feature-families.md").read_text()
    before, after = page.split("<!-- families -->")[0], page.split("<!-- /families -->")[1]
    return f"{before}<!-- families -->\n" + "\n".join(rows) + f"\n<!-- /families -->{after}"


GENERATED = {
    "docs/configuration.md": configuration,
    "docs/exit-codes.md": exit_codes,
    "docs/commands.md": commands,
    "docs/feature-families.md": feature_families,
}


def demo_output(folder: Path) -> str:
    """What scripts/demo.sh prints, run in this folder, with long digests shortened."""
    environment = {
        **os.environ,
        "BIN": str(Path(sys.executable).parent),
        "COLUMNS": "110",
        "TRADER_CACHE_DIR": "cache/demo",
        "TRADER_STATE_DIR": "state",
    }
    ran = subprocess.run(
        ["sh", str(ROOT / "scripts" / "demo.sh")],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [
        line.rstrip() for line in re.sub(r"\b([0-9a-f]{8})[0-9a-f]{24}\b", r"\1…", ran.stdout).strip().splitlines()
    ]
    return "\n".join(lines)


def take_picture() -> str:
    """docs/report.png: the first screens of the page that README.md's first backtest gives. Says what came of it."""
    from trader_cli.report.browser import chromium, take_picture

    if chromium() is None:
        return f"{PICTURE} stays as it was: no Chromium is installed"
    with tempfile.TemporaryDirectory() as folder:
        trader = [str(Path(sys.executable).parent / "trader")]
        environment = {**os.environ, **PICTURED, "TRADER_CACHE_DIR": "cache/demo", "TRADER_STATE_DIR": "state"}
        for words in FIRST_BACKTEST:
            command = [*trader, *words.split()]
            subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
        take_picture(Path(folder) / "report.html", ROOT / PICTURE, height=1180)
    return f"wrote {PICTURE}"


PICTURE = "docs/report.png"
FIRST_BACKTEST = ("fetch ETHUSDT -t 15m", "features", "backtest ETHUSDT -t 15m", "report -o report.html")
PICTURED = {"TRADER_PROFILE": "sim", "TRADER_TACTICIAN__RISK_PER_TRADE": "0.002"}
"""As README.md has it."""


def readme_demo(readme: str) -> str:
    """The demo block of a README."""
    return readme.split("<!-- demo:")[1].split("```\n")[1]


def main() -> None:
    """Write every generated page, and the demo block of README.md."""
    page = ROOT / "README.md"
    text = page.read_text()
    with tempfile.TemporaryDirectory() as folder:
        shown = demo_output(Path(folder))
    page.write_text(text.replace("```\n" + readme_demo(text) + "```\n<!-- /demo", f"```\n{shown}\n```\n<!-- /demo"))
    for name, make in GENERATED.items():
        (ROOT / name).write_text(make())
        print(f"wrote {name}")
    print(take_picture())


if __name__ == "__main__":
    main()
