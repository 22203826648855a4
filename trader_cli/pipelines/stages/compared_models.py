"""Two stored models of one series, compared on the stored bars after both trainings."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from trader_cli.core.errors import DataInvalid, UsageError
from trader_cli.core.market.timeframes import DAY_MS, Timeframe
from trader_cli.pipelines.stages.book_maker import book_maker
from trader_cli.pipelines.stages.model_stages import training_data
from trader_cli.pipelines.stages.training_inputs import training_input
from trader_cli.settings.room_options import TrainingOptions
from trader_cli.storage.artifacts import ArtifactStore
from trader_cli.storage.bundles import BundleStore
from trader_cli.storage.state import Trial, TrialLedger

if TYPE_CHECKING:
    from trader_cli.analyst.model_comparison import Comparison
    from trader_cli.settings import Workspace


def compare_models(workspace: Workspace, champion: str, challenger: str) -> Comparison:
    """Of two bundles by their digests. Raises `DataMissing`, `DataInvalid` or `UsageError`.

    Each counts as a trial on the bars it is compared on, since the best of many may be promoted.
    """
    from trader_cli.analyst.bundled import from_bundle
    from trader_cli.analyst.model_comparison import compare
    from trader_cli.analyst.trained_model import TrainedModel

    store = ArtifactStore(workspace.cache_dir)
    bundles = BundleStore(store.root / "models")
    ours, theirs = (from_bundle(*bundles.load(digest)) for digest in (champion, challenger))
    if not (isinstance(ours, TrainedModel) and isinstance(theirs, TrainedModel)):
        raise UsageError(
            "Only models of one series are compared, neither rules nor pairs.",
            hint="Trade both with `trader backtest`, then `trader backtest compare` these.",
        )
    timeframe = Timeframe.parse(ours.timeframe)
    series = training_data(workspace, store, ours.symbol, timeframe)
    for digest, one in ((champion, ours), (challenger, theirs)):
        absent = [name for name in one.base_features if name not in series.features.columns]
        if absent:
            raise DataInvalid(
                f"The model {digest[:12]} reads {absent[0]!r}, which the stored features do not have.",
                hint="Give the --config it was trained with, and run `trader features`.",
            )
    given = training_input(series, "", book_maker(workspace.settings))
    found = compare(ours, theirs, given, TrainingOptions.of(workspace.settings))
    ledger, per_day = TrialLedger(workspace.state_dir), math.sqrt(DAY_MS / timeframe.ms)
    for digest, contender in ((champion, found.champion), (challenger, found.challenger)):
        sharpe, span = contender.sharpe_per_bar * per_day, (found.first_ms, found.last_ms)
        ledger.record(Trial.of_span(f"compared-{digest}", workspace.lineage, ours.symbol, span, sharpe))
    return found
