"""Which model of a series is current, and whether what one decided may still open. What is open is not asked."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from trader_cli.core.types import Abstention
from trader_cli.storage.artifacts import stage_key
from trader_cli.storage.inventory import MODEL, RETIRED_MODEL

if TYPE_CHECKING:
    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.storage.artifacts import ArtifactStore

_BUNDLE = re.compile(r"[0-9a-f]{32}")


def retired_model(store: ArtifactStore, profile: str, symbol: str, timeframe: Timeframe) -> Abstention | None:
    """Why a series has no model, where it was taken away and none has come since."""
    model, retired = (store.pointed(stage_key(profile, symbol, timeframe, one)) for one in (MODEL, RETIRED_MODEL))
    if model is not None or retired is None:
        return None
    series = f"{symbol} --timeframe {timeframe}"
    return Abstention(
        "model_retired",
        f"The model {retired[:12]} of {symbol} {timeframe} was retired. Run `trader train {series}`, or `trader models"
        f" promote` another; then `trader analyze {series}`.",
    )


def not_current(
    store: ArtifactStore, profile: str, symbol: str, timeframe: Timeframe, decided_by: str
) -> Abstention | None:
    """Why what the bundle `decided_by` decided opens nothing any more: it was retired, or replaced.

    `None` where it is current, and of what no bundle decided: a person, or a series that never had a model.
    """
    if not _BUNDLE.fullmatch(decided_by):
        return None
    model = store.pointed(stage_key(profile, symbol, timeframe, MODEL))
    if model is None:
        return retired_model(store, profile, symbol, timeframe)
    if model == decided_by:
        return None
    return Abstention(
        "model_changed",
        f"This was decided by the model {decided_by[:12]}; that of {symbol} {timeframe} is {model[:12]} now. Run"
        f" `trader analyze {symbol} --timeframe {timeframe}`, then `trader tactics`.",
    )
