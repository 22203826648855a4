"""What was ever tried on the data of a workspace, as its trial ledger has it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from trader_cli.storage.state import Looked, Trial, TrialLedger, counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trader_cli.core.json_values import JsonObject
    from trader_cli.settings import Workspace

_DAYS = 365
_MEANS = {
    "backtest": "backtest",
    "bars": "backtest on bare bars",
    "judged": "rule judged",
    "compared": "model compared",
}


@dataclass(frozen=True)
class TriedConfiguration:
    """One configuration on one symbol: by which means it was tried, its digest, how often and on what it was looked at.

    `yearly_sharpe` is of its last look; `counts` how many trials it counts as, a rule by every means at most once.
    """

    symbol: str
    means: str
    name: str
    looks: int
    first_ms: int
    last_ms: int
    yearly_sharpe: float
    counts: float

    @classmethod
    def of(cls, looks: Sequence[Trial]) -> TriedConfiguration:
        """Of every look at it, in the order they were taken."""
        looked, whole = Looked.of(looks), looks[0].configuration.partition(":")[0]
        what, _, rule = whole.partition("~")
        means, _, name = what.partition("-")
        if means not in _MEANS:  # of a training: its configuration, and which of its learners
            means, name = name, means
        return cls(
            looks[0].symbol,
            _MEANS.get(means, f"learner {means}"),
            rule or name,
            len(looks),
            min(one.first_ms for one in looks),
            max(one.last_ms for one in looks),
            looked.daily_sharpe * math.sqrt(_DAYS),
            looked.counts,
        )


@dataclass(frozen=True)
class TriedOn:
    """What was tried on one symbol, in the order it was first tried, and what all of it counts as."""

    symbol: str
    tried: tuple[TriedConfiguration, ...]
    counts: float

    def as_dict(self) -> JsonObject:
        """The JSON shape."""
        return asdict(self)


def tried_on(workspace: Workspace, symbol: str | None) -> list[TriedOn]:
    """What was tried on a symbol, or on every one that anything was tried on.

    A claim counts what overlaps its own span, which all of this does for the whole of the series.
    """
    ledger, lineage = TrialLedger(workspace.state_dir), workspace.lineage
    found = []
    for name in ledger.symbols(lineage) if symbol is None else [symbol]:
        looks = ledger.looks(lineage, name)
        tried = tuple(TriedConfiguration.of(one) for one in looks)
        found.append(TriedOn(name, tried, counted(Looked.of(one) for one in looks).number))
    return found
