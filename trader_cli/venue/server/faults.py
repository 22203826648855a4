"""Faults of the exchange as seeded values: which requests are slow, answered from a lagging replica, or fail, and when.

A plan says; the server does (`venue.bending`). The same plan and the same requests give the same faults.
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import yaml

from trader_cli.core.errors import ConfigurationError, UsageError
from trader_cli.core.json_values import built, objects_of
from trader_cli.venue.server.failure_kinds import failure_of
from trader_cli.venue.simulated_market.intrabar_path import uniforms

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from trader_cli.core.json_values import JsonObject

Endpoint = tuple[str, str]
"""Method and path."""

ENDPOINTS: tuple[Endpoint, ...] = (
    ("POST", "/fapi/v1/order"),
    ("DELETE", "/fapi/v1/order"),
    ("GET", "/fapi/v1/order"),
    ("POST", "/fapi/v1/algoOrder"),
    ("DELETE", "/fapi/v1/algoOrder"),
    ("GET", "/fapi/v1/algoOrder"),
    ("GET", "/fapi/v1/openOrders"),
    ("GET", "/fapi/v1/openAlgoOrders"),
    ("GET", "/fapi/v1/allOrders"),
    ("GET", "/fapi/v1/allAlgoOrders"),
    ("GET", "/fapi/v3/positionRisk"),
    ("GET", "/fapi/v3/account"),
    ("GET", "/fapi/v1/userTrades"),
    ("GET", "/fapi/v1/income"),
    ("GET", "/fapi/v1/exchangeInfo"),
    ("GET", "/fapi/v1/premiumIndex"),
    ("GET", "/fapi/v1/depth"),
    ("GET", "/fapi/v1/time"),
    ("GET", "/fapi/v1/leverageBracket"),
    ("GET", "/fapi/v1/symbolConfig"),
    ("POST", "/fapi/v1/leverage"),
    ("POST", "/fapi/v1/marginType"),
)
"""What a trading client asks and sends."""
RANDOM_FAILURES = (
    "503 unknown",
    "503 unknown before",
    "503",
    "dropped",
    "dropped before",
    "timeout -1007",
    "timeout -1007 before",
    "503 code 0",
    "-1001",
    "-1008",
    "html",
    "truncated",
    "empty",
    "{}",
    "[]",
    "403",
    "502",
)
"""What `random_plan` draws from. Not in it: limits and bans, and late execution, which are asked for by name."""


@dataclass(frozen=True)
class Fault:
    """What happens to the requests of one endpoint ("*" is any; `path` may hold wildcards).

    before_s: it waits so long before it is carried out; after_s: its reply waits so long after that; lag_s: a signed
    query shows the account as it was so long ago; failure: see `failure_kinds`. All in the venue's time. It holds
    from `from_ms` to before `to_ms` of the exchange's time, for requests that arrive then, with probability `share`,
    for `symbol` only, and for the first `count` of those only.
    """

    method: str
    path: str
    before_s: float = 0.0
    after_s: float = 0.0
    lag_s: float = 0.0
    failure: str | None = None
    from_ms: int | None = None
    to_ms: int | None = None
    share: float = 1.0
    symbol: str | None = None
    count: int | None = None

    def __post_init__(self) -> None:
        if self.failure is not None:
            failure_of(self.failure)
        if min(self.before_s, self.after_s, self.lag_s) < 0 or not 0 <= self.share <= 1:
            raise UsageError(f"A fault's seconds are 0 or more and its share is in [0, 1]; found {self}.")

    def holds_for(self, method: str, path: str, symbol: str | None, now_ms: int) -> bool:
        """Whether it is meant for this request, leaving `share` and `count` aside."""
        return (
            self.method in {"*", method}
            and fnmatchcase(path, self.path)
            and self.symbol in {None, symbol}
            and (self.from_ms is None or self.from_ms <= now_ms)
            and (self.to_ms is None or now_ms < self.to_ms)
        )


@dataclass(frozen=True)
class Meeting:
    """What one request meets: the longest of each delay, and the failure of the first fault that has one."""

    before_s: float = 0.0
    after_s: float = 0.0
    lag_s: float = 0.0
    failure: str | None = None
    until_ms: int | None = None


@dataclass(frozen=True)
class FaultPlan:
    """Faults that hold together, and the seed of their shares."""

    faults: tuple[Fault, ...] = ()
    seed: int = 0

    @property
    def lags(self) -> bool:
        """Whether some answer lags: what the account was has to be remembered."""
        return any(fault.lag_s for fault in self.faults)

    def as_dict(self) -> JsonObject:
        """As JSON and YAML hold it: defaults left out."""
        plain = {f.name: f.default for f in fields(Fault)}
        rows = [{n: v for n, v in asdict(fault).items() if v != plain[n]} for fault in self.faults]
        return {"seed": self.seed, "faults": rows}

    @classmethod
    def from_dict(cls, tree: Mapping[str, object], start_ms: int = 0) -> FaultPlan:
        """From what `as_dict` gives; `from_s` and `to_s` are seconds after `start_ms`. Raises `UsageError`."""
        try:
            return cls(
                tuple(_fault(row, start_ms) for row in objects_of(tree["faults"])), int(str(tree.get("seed", 0)))
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(
                f"A fault plan is `seed` and a list `faults`, each with method and path; {error!r} was found.",
                hint=f"The names of a fault: {', '.join(f.name for f in fields(Fault))}.",
            ) from error

    @classmethod
    def load(cls, path: str | Path, start_ms: int = 0) -> FaultPlan:
        """From a JSON or YAML file, as `from_dict`. Raises `ConfigurationError` or `UsageError`."""
        try:
            tree = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise ConfigurationError(f"The fault plan {path} cannot be read: {error}.") from error
        return cls.from_dict(tree if isinstance(tree, dict) else {}, start_ms)


def _fault(row: Mapping[str, object], start_ms: int) -> Fault:
    """A fault of a file; times after the start become times of the exchange."""
    given = dict(row)
    for name in ("from", "to"):
        after_s = given.pop(f"{name}_s", None)
        if after_s is not None:
            given[f"{name}_ms"] = start_ms + round(1000 * float(str(after_s)))
    return built(Fault, given)


class FaultRun:
    """A plan at work: it counts what has met which fault."""

    def __init__(self, plan: FaultPlan) -> None:
        self.plan = plan
        self._counts: dict[Endpoint, int] = {}
        self._met = [0] * len(plan.faults)

    def meets(self, method: str, path: str, symbol: str | None, now_ms: int) -> Meeting:
        """What a request that arrives now meets. Chance depends on seed, fault and number on its endpoint alone."""
        number = self._counts[method, path] = self._counts.get((method, path), 0) + 1
        met = [
            fault
            for at, fault in enumerate(self.plan.faults)
            if fault.holds_for(method, path, symbol, now_ms) and self._strikes(at, fault, number)
        ]
        if not met:
            return Meeting()
        failing = next((fault for fault in met if fault.failure is not None), None)
        return Meeting(
            max(f.before_s for f in met),
            max(f.after_s for f in met),
            max(f.lag_s for f in met),
            failing.failure if failing else None,
            failing.to_ms if failing else None,
        )

    def _strikes(self, at: int, fault: Fault, number: int) -> bool:
        if fault.count is not None and self._met[at] >= fault.count:
            return False
        if fault.share < 1 and uniforms(self.plan.seed + at, np.array([number]), 1)[0, 0] >= fault.share:
            return False
        self._met[at] += 1
        return True


def random_plan(
    seed: int,
    start_ms: int,
    *,
    span_s: float = 120.0,
    most_delay_s: float = 60.0,
    most_lag_s: float = 60.0,
    endpoints: Sequence[Endpoint] = ENDPOINTS,
    failures: Sequence[str] = RANDOM_FAILURES,
) -> FaultPlan:
    """A plan drawn at random: each endpoint is slow, lags or fails with a probability of the plan's own, 0.05 to 0.7.

    All spans lie in [start, start + span), and three of five begin with it. Delays are often short: they are drawn with
    density falling as 1/√x. Every answer takes a moment, at most 0.3 s, so that time moves.
    """
    dice, faults = random.Random(seed), list[Fault]()

    def seconds(most: float) -> float:
        return round(most * dice.random() ** 2, 3)

    def span() -> tuple[int, int]:
        first, last = sorted(round(1000 * span_s * dice.random()) for _ in range(2))
        return start_ms + (0 if dice.random() < 0.6 else first), start_ms + last + 1

    density = 0.05 + 0.65 * dice.random() ** 2
    pace, end_ms = round(0.3 * dice.random(), 3), start_ms + round(1000 * span_s)
    faults.append(Fault("*", "*", after_s=pace, from_ms=start_ms, to_ms=end_ms))
    for method, path in endpoints:
        if dice.random() < density:
            delays, (first, last) = (seconds(most_delay_s), seconds(most_delay_s)), span()
            faults.append(Fault(method, path, *delays, from_ms=first, to_ms=last))
        if method == "GET" and dice.random() < density:
            lag, (first, last) = seconds(most_lag_s), span()
            faults.append(Fault(method, path, lag_s=lag, from_ms=first, to_ms=last))
        if failures and dice.random() < density:
            failure, share, (first, last) = dice.choice(list(failures)), dice.choice((0.3, 0.7, 1.0)), span()
            faults.append(Fault(method, path, failure=failure, from_ms=first, to_ms=last, share=share))
    return FaultPlan(tuple(faults), seed)
