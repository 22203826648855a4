"""What a training starts from: a series as stored, and the ledger its trials are counted in."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trader_cli.core.market.schemas import milliseconds, rows_between
from trader_cli.core.market.timeframes import DAY_MS
from trader_cli.core.types import Tries
from trader_cli.storage.state import Trial, TrialLedger, counted, rule_trial
from trader_cli.storage.stored_columns import StoredColumns

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

    from trader_cli.analyst.book import BookMaker
    from trader_cli.analyst.claim import CountTries
    from trader_cli.analyst.training import TrainingInput
    from trader_cli.core.identity.manifests import Manifest
    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.settings import Workspace


@dataclass(frozen=True)
class TrainingData:
    """A series as stored: the manifests of its bars and features, their rows, one for one, and FUNDING if known.

    `stored_features` are read when they are first asked for. `fast`: the same of the bars that time entries, if any do.
    """

    symbol: str
    timeframe: Timeframe
    bars_manifest: Manifest
    features_manifest: Manifest
    bars: pl.DataFrame
    stored_features: StoredColumns
    funding: pl.DataFrame | None
    fast: TrainingData | None = None

    @property
    def features(self) -> pl.DataFrame:
        """FEATURES. Raises `DataInvalid` for damaged ones."""
        return self.stored_features.frame()

    def until(self, close_ms: int) -> TrainingData:
        """What had closed, or was paid, by then."""
        count = int(milliseconds(self.bars["open_time"]).searchsorted(close_ms - self.timeframe.ms, side="right"))
        funding = None if self.funding is None else rows_between(self.funding, 0, close_ms + 1)
        stored, fast = StoredColumns.of(self.features[:count]), self.fast and self.fast.until(close_ms)
        return replace(self, bars=self.bars[:count], stored_features=stored, funding=funding, fast=fast)


def training_input(given: TrainingData, key: str, maker: BookMaker | None = None) -> TrainingInput:
    """What a training starts from, of what is stored; `maker` trades for the claim."""
    from trader_cli.analyst.training import TrainingInput

    bars, made = given.bars_manifest, given.features_manifest
    inputs = {"bars": bars.digest, "features": made.digest, "feature_settings": made.settings}
    own = given.bars, given.stored_features, inputs, given.funding
    return TrainingInput(key, bars.source, given.symbol, given.timeframe, *own, maker)


def count_tries(workspace: Workspace, given: TrainingData, configuration: str, rule: str | None = None) -> CountTries:
    """Counts learners of a configuration in the trial ledger: Sharpe ratios per bar in, those of all on these data out.

    `rule`: what a rule's trials have in common by whichever means it is tried; then there is one learner.
    """
    ledger, lineage = TrialLedger(workspace.state_dir), workspace.lineage
    per_day, times = math.sqrt(DAY_MS / given.timeframe.ms), milliseconds(given.bars["open_time"])
    span = int(times[0]), int(times[-1])

    def count(sharpes: Sequence[float], share: float) -> Tries:
        for learner, sharpe in enumerate(sharpes):
            alone = f"{configuration}-{learner}"
            name = alone if rule is None else f"{rule_trial('judged', configuration, rule)}:{given.symbol}"
            ledger.record(Trial.of_span(name, lineage, given.symbol, span, sharpe * per_day, share))
        found = counted(ledger.looked(lineage, given.symbol, *span))
        return Tries(found.number, tuple(sharpe / per_day for sharpe in found.sharpes))

    return count
