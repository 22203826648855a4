"""What a check is, what it finds, and what a verification comes to. No check lives here."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from decimal import Decimal
from time import perf_counter
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from trader_cli.core.json_values import JsonObject
    from trader_cli.pipelines.verification.lab import Lab

Ordered = TypeVar("Ordered", float, Decimal)
LINES = (
    "Exchange API data fetching",
    "Feature engineering with wavelet transforms",
    "Analyst ML model signal generation",
    "Tactician position management",
    "Position monitoring and closing",
    "Complete end-to-end flow",
)
"""The guide's list, in its order and words."""


class Unexpected(Exception):
    """A check cannot go on: what it looks at is not there."""


@dataclass(frozen=True)
class Finding:
    """One comparison: what was looked at, what it had to be, what it was."""

    what: str
    expected: str
    found: str
    passed: bool


def equal(what: str, expected: object, found: object) -> Finding:
    """The very same value."""
    return Finding(what, _text(expected), _text(found), bool(expected == found))


def holds(what: str, found: bool) -> Finding:
    """What has to be true."""
    return Finding(what, "yes", "yes" if found else "no", found)


def near(what: str, expected: float, found: float, tolerance: float) -> Finding:
    """A number no further away than `tolerance`; NaN is nowhere near anything."""
    return Finding(what, f"{expected!r} ± {tolerance:g}", repr(found), bool(abs(expected - found) <= tolerance))


def at_most(what: str, limit: Ordered, found: Ordered) -> Finding:
    """No more than a limit."""
    return Finding(what, f"at most {_text(limit)}", _text(found), bool(found <= limit))


def at_least(what: str, limit: Ordered, found: Ordered) -> Finding:
    """No less than a limit."""
    return Finding(what, f"at least {_text(limit)}", _text(found), bool(found >= limit))


def _text(value: object) -> str:
    text = str(value) or "(empty)"
    return text if len(text) <= 300 else f"{text[:297]}..."


@dataclass(frozen=True)
class Check:
    """A promise of the product under a stable name, on a line of the guide, and what mends it where it is broken.

    `run` yields findings; the promise holds if there is at least one and all of them passed.
    """

    name: str
    line: str
    promise: str
    hint: str
    run: Callable[[Lab], Iterable[Finding]]


@dataclass(frozen=True)
class CheckResult:
    """A check that was carried out. `error` is what it raised, if it did: that is a failure like any other."""

    name: str
    line: str
    expected: str
    found: str
    seconds: float
    passed: bool
    hint: str
    findings: tuple[Finding, ...]
    error: str | None = None


@dataclass(frozen=True)
class Report:
    """A verification. `source` names the market it was made on."""

    tier: int
    source: str
    seconds: float
    results: tuple[CheckResult, ...]

    @property
    def passed(self) -> bool:
        """Whether every check passed, and there was one."""
        return bool(self.results) and all(result.passed for result in self.results)

    @property
    def failed(self) -> tuple[CheckResult, ...]:
        """The checks that did not pass."""
        return tuple(result for result in self.results if not result.passed)

    def as_dict(self) -> JsonObject:
        """As JSON shows it: there the hint of a check is "mend"."""
        body = asdict(self)
        rows = [{"mend" if name == "hint" else name: row[name] for name in row} for row in body["results"]]
        return {**body, "results": rows}


def carry_out(check: Check, lab: Lab) -> CheckResult:
    """The result of one check; whatever it raises becomes what was found."""
    began, findings = perf_counter(), list[Finding]()
    error: str | None = None
    try:
        findings += check.run(lab)
    except Exception as raised:  # noqa: BLE001 - supervises: a check that breaks must not keep the others from running
        error = f"{type(raised).__name__}: {raised}"
    wrong = next((finding for finding in findings if not finding.passed), None)
    passed = bool(findings) and wrong is None and error is None
    expected, found = check.promise, f"so it is, in {len(findings)} values"
    if error is not None:
        found = error
    elif wrong is not None:
        expected, found = f"{wrong.what}: {wrong.expected}", wrong.found
    elif not findings:
        found = "nothing was compared"
    return CheckResult(
        check.name,
        check.line,
        expected,
        found,
        round(perf_counter() - began, 3),
        passed,
        check.hint,
        tuple(findings),
        error,
    )
