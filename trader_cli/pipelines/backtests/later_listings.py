"""Symbols that were listed within the span of a backtest: from which refit on there is enough of them to be traded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.analyst.training import MIN_ROWS
from trader_cli.core.errors import TooFewBars
from trader_cli.core.market.schemas import milliseconds
from trader_cli.pipelines.stages.model_training import train_on

if TYPE_CHECKING:
    from trader_cli.pipelines.stages.training_inputs import TrainingData
    from trader_cli.settings import Workspace
    from trader_cli.storage.artifacts import ArtifactStore


def entering(
    workspace: Workspace, store: ArtifactStore, series: TrainingData, span: tuple[int, int], refit_ms: int
) -> int | None:
    """The first refit of a span (first, last close) by which a model can be made of what had closed; None for none.

    The model is made and stored for that.
    """
    opened = milliseconds(series.bars["open_time"])
    first, last = int(opened[0]) + MIN_ROWS * series.timeframe.ms, int(opened[-1])
    for cut in range(span[0], min(span[1], last), refit_ms):
        if cut >= first:
            try:
                train_on(workspace, store, series, until_ms=cut)
            except TooFewBars:
                continue
            return cut
    return None
