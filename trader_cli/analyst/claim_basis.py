"""What a model's claim rests on besides data and labels, and whether it still holds.

An edge is claimed after certain costs, with or without an act model, at a level of certainty, from one seed, by certain
versions of the libraries that compute features and trees. Under others nobody has shown it.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import version
from typing import TYPE_CHECKING

from trader_cli import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trader_cli.core.json_values import JsonObject
    from trader_cli.settings.room_options import TrainingOptions

_LIBRARIES = ("lightgbm", "numpy", "PyWavelets", "TA-Lib")
PRODUCER = f"trader {__version__}"


@lru_cache(maxsize=1)
def library_versions() -> dict[str, str]:
    """Of the libraries whose numbers a model is made of."""
    return {name: version(name) for name in _LIBRARIES}


def made_with(config: TrainingOptions) -> JsonObject:
    """What a claim that is made now rests on, as JSON."""
    return {
        "costs": config.costs.model_dump(mode="json"),
        "enable_dual_model_system": config.analyst.enable_dual_model_system,
        "claim_probability": config.analyst.claim_probability,
        "seed": config.seed,
        "libraries": dict(library_versions()),
    }


def changed_since(made: Mapping[str, object], producer: str, config: TrainingOptions) -> str | None:
    """What is other now than when a model was made, in words; `None` where nothing is."""
    if producer != PRODUCER:
        return f"made by {producer}; this is {PRODUCER}"
    for name, now in made_with(config).items():
        then = made.get(name)
        if then == now:
            continue
        if isinstance(now, dict) and isinstance(then, dict):
            part = next(key for key in (*now, *then) if now.get(key) != then.get(key))
            return f"made with {name} {part} {then.get(part)}; it is {now.get(part)} now"
        return f"made with {name} {then}; it is {now} now"
    return None
