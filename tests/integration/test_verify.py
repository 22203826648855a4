"""`trader verify`: one whole run, its forms of output, what it refuses, and that it fails where something is broken."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from support.commands.command_line import CommandLine, Ran
from support.commands.shared_folders import made_for_all

from trader_cli.core.errors import ExitCode, UsageError
from trader_cli.pipelines.live_trading_integration_verifier import (
    CHECKS,
    LiveTradingIntegrationVerifier,
    chosen_checks,
)
from trader_cli.pipelines.verification.checks import LINES, Check, Finding, Report, at_most, carry_out, equal, near
from trader_cli.pipelines.verification.junit import junit_xml
from trader_cli.pipelines.verification.lab import Lab
from trader_cli.settings import as_settings

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
QUICK = ("stop_covers_the_position", "stops_trigger_by_mark_price")


@dataclass(frozen=True)
class Whole:
    """A whole run by the script at the top of the project."""

    ran: Ran
    junit: Path
    cli: CommandLine


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Run once, with costs and limits that are not the shipped ones, from an empty folder."""

    def make(folder: Path) -> list[Any]:
        own = folder / "own.yaml"
        own.write_text("costs: {taker_fee_bps: 6}\ntactician: {risk_per_trade: 0.008, max_leverage: 4}\n")
        words = ("--json", "--junit", "report.xml", "--config", str(own))
        process = subprocess.run(
            [sys.executable, str(ROOT / "live_trading_integration_verifier.py"), *words],
            cwd=folder,
            text=True,
            capture_output=True,
            check=False,
            env=CommandLine(folder).environment(),
        )
        return [process.returncode, process.stdout, process.stderr]

    folder, ran = made_for_all(tmp_path_factory, "verify", make)
    return Whole(Ran(*ran), folder / "report.xml", CommandLine(folder))


def test_a_whole_run_passes_every_check_of_every_line(whole: Whole) -> None:
    assert whole.ran.code == ExitCode.DONE, whole.ran.err
    body = whole.ran.json
    assert [r["name"] for r in body["results"]] == [check.name for check in CHECKS]
    assert all(r["passed"] and r["findings"] and r["error"] is None for r in body["results"])
    assert list(dict.fromkeys(r["line"] for r in body["results"])) == list(LINES)
    assert (body["passed"], body["tier"]) == (True, 0)
    assert "synthetic" in body["source"]


def test_values_are_compared_and_told(whole: Whole) -> None:
    """Of many more values than checks, each with what it had to be and what it was."""
    findings = [f for r in whole.ran.json["results"] for f in r["findings"]]
    assert len(findings) > 4 * len(CHECKS)
    assert all(f["what"] and f["expected"] and f["found"] for f in findings)
    assert not [f for f in findings if f["expected"] == "None"]


def test_nothing_of_the_users_is_touched(whole: Whole) -> None:
    assert {path.name for path in whole.cli.folder.iterdir()} == {"own.yaml", "report.xml"}


def test_the_junit_file_tells_the_same(whole: Whole) -> None:
    root = ET.parse(whole.junit).getroot()
    assert [suite.get("name") for suite in root] == list(LINES)
    assert [case.get("name") for case in root.iter("testcase")] == [check.name for check in CHECKS]
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == (str(len(CHECKS)), "0", "0")


def test_only_some_checks_as_a_table(trader: CommandLine) -> None:
    ran = trader.run("verify", *(word for name in QUICK for word in ("--only", name)))
    assert ran.code == ExitCode.DONE, ran.err
    assert [name for name in QUICK if name in ran.out] == list(QUICK)
    assert f"all {len(QUICK)} checks passed" in ran.out
    assert "klines_equal_the_tape" not in ran.out


def test_the_list_names_every_check_and_carries_out_none(trader: CommandLine) -> None:
    shown, listed = trader.run("verify", "--list"), trader.run("verify", "--list", "--json")
    assert (shown.code, listed.code) == (0, 0)
    assert [c["name"] for c in listed.json["checks"]] == [check.name for check in CHECKS]
    assert all(check.name in shown.out and check.promise in shown.out for check in CHECKS)
    assert all(line in shown.out for line in LINES)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--tier", "1"), "Tier 1 is not built yet"),
        (("--tier", "9"), "not built yet"),
        (("--only", "klines_equal_the_tap"), "klines_equal_the_tape"),
        (("--nonsense",), "No such option"),
    ],
)
def test_what_is_not_there_is_a_usage_error(trader: CommandLine, words: tuple[str, ...], said: str) -> None:
    ran = trader.run("verify", *words)
    assert (ran.code, said in ran.err) == (ExitCode.USAGE, True), ran.err


def test_a_wrong_configuration_is_told_before_anything_runs(trader: CommandLine) -> None:
    assert trader.run("verify", TRADER_TACTICIAN__RISK_PER_TRADE="much").code == ExitCode.CONFIGURATION


def test_limits_that_leave_no_room_fail_the_checks_that_need_it(trader: CommandLine) -> None:
    """The configuration's own limits are in force: with a cap of one USDT there is no plan, and the mend is named."""
    words = ("verify", "--only", "size_is_the_smallest_cap", "--only", "klines_equal_the_tape")
    ran = trader.run(*words, "--junit", "report.xml", "--json", TRADER_TACTICIAN__CAPITAL_CAP="1")
    assert ran.code == ExitCode.VERIFICATION_FAILED, ran.err
    results = {r["name"]: r for r in ran.json["results"]}
    assert not results["size_is_the_smallest_cap"]["passed"]
    assert "below_minimum" in results["size_is_the_smallest_cap"]["found"]
    assert results["klines_equal_the_tape"]["passed"]
    shown = trader.run(*words, TRADER_TACTICIAN__CAPITAL_CAP="1")
    assert shown.code == ExitCode.VERIFICATION_FAILED
    assert "1 of 2 checks FAILED: size_is_the_smallest_cap" in shown.out
    assert results["size_is_the_smallest_cap"]["mend"] in shown.out.replace("\n", " ")
    errors = ET.parse(trader.folder / "report.xml").getroot().findall(".//error")
    assert ["below_minimum" in (error.get("message") or "") for error in errors] == [True]


def test_the_class_is_called_as_in_the_guide() -> None:
    async def use() -> Report:
        return await LiveTradingIntegrationVerifier({"mode": "live"}).run(QUICK[1:])

    report = asyncio.run(use())
    assert report.passed
    assert [result.name for result in report.results] == list(QUICK[1:])
    with pytest.raises(FrozenInstanceError):
        report.tier = 1  # type: ignore[misc]
    with pytest.raises(UsageError, match="not built yet"):
        LiveTradingIntegrationVerifier().run_sync(tier=2)


def looking(*findings: Finding, error: Exception | None = None) -> Check:
    def look(_lab: Lab) -> Iterator[Finding]:
        yield from findings
        if error is not None:
            raise error

    return Check("made_up", LINES[0], "all is well", "mend it", look)


def test_a_check_passes_only_by_what_it_found(tmp_path: Path) -> None:
    lab = Lab(tmp_path, as_settings(None), lambda *_: None)
    good, bad = equal("one", 1, 1), equal("two", 2, 3)
    assert carry_out(looking(good), lab).passed
    wrong = carry_out(looking(good, bad), lab)
    assert (wrong.passed, wrong.expected, wrong.found) == (False, "two: 2", "3")
    assert (carry_out(looking(), lab).passed, carry_out(looking(), lab).found) == (False, "nothing was compared")
    raised = carry_out(looking(good, error=ValueError("no \x00 good")), lab)
    assert (raised.passed, raised.found, len(raised.findings)) == (False, "ValueError: no \x00 good", 1)
    assert not near("nan", 1.0, float("nan"), 1.0).passed
    assert not at_most("nan", 1.0, float("nan")).passed
    root = ET.fromstring(junit_xml(Report(0, "made up", 0.1, (wrong, raised))))
    assert (root.get("failures"), root.get("errors")) == ("1", "1")
    assert not Report(0, "made up", 0.0, ()).passed


def test_what_could_not_be_made_is_not_made_again(tmp_path: Path) -> None:
    lab, tries = Lab(tmp_path, as_settings(None), lambda *_: None), []

    def fail() -> int:
        tries.append(1)
        raise ValueError("no")

    for _ in range(3):
        with pytest.raises(ValueError, match="no"):
            lab.once("it", fail)
    assert (len(tries), lab.once("other", lambda: 7), lab.once("other", fail)) == (1, 7, 7)


def test_names_are_stable_and_every_check_is_described() -> None:
    names = [check.name for check in CHECKS]
    assert len(set(names)) == len(names) >= 25
    assert {check.line for check in CHECKS} == set(LINES)
    assert all(check.promise and check.hint.endswith((".", "`.")) for check in CHECKS)
    assert chosen_checks(names[:2]) == CHECKS[:2]
    assert replace(CHECKS[0], name="other") not in CHECKS


def test_breaks_of_the_product_are_seen() -> None:
    """A seeded slice of the campaign that `make breaks` runs whole."""
    ran = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "break_verify.py"), "--sample", "2", "--seed", "7"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert (ran.returncode, "2 of 2 breaks seen" in ran.stdout) == (0, True), ran.stdout + ran.stderr
