"""A verification as JUnit XML: a suite for each line of the guide, a case for each check."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trader_cli.pipelines.verification.checks import CheckResult, Report

_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_xml(report: Report) -> bytes:
    """The file's bytes. What a check raised is an error, what it found wrong a failure."""
    root = ET.Element("testsuites", {"name": f"trader verify, tier {report.tier}", **_counts(report.results)})
    for line in dict.fromkeys(result.line for result in report.results):
        results = [result for result in report.results if result.line == line]
        suite = ET.SubElement(root, "testsuite", {"name": line, **_counts(results)})
        for result in results:
            case = {"name": result.name, "classname": line, "time": f"{result.seconds:.3f}"}
            _judge(ET.SubElement(suite, "testcase", case), result)
    ET.indent(root)
    return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True))


def _counts(results: Sequence[CheckResult]) -> dict[str, str]:
    errors = sum(result.error is not None for result in results)
    failures = sum(not result.passed for result in results) - errors
    seconds = sum(result.seconds for result in results)
    return {
        "tests": str(len(results)),
        "failures": str(failures),
        "errors": str(errors),
        "time": f"{seconds:.3f}",
    }


def _judge(case: ET.Element, result: CheckResult) -> None:
    if result.passed:
        return
    message = _NOT_XML.sub("?", f"expected {result.expected}; found {result.found}")
    verdict = ET.SubElement(case, "failure" if result.error is None else "error", {"message": message})
    verdict.text = f"{message}\n{result.hint}"
