"""Boosters as text, and the numbers of their calibration, as bundles keep them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from trader_cli.analyst.boosting import Calibrated
from trader_cli.core.json_values import number_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trader_cli.core.json_values import JsonObject

_THREADS = re.compile(r"^\[num_threads: \d+\]\n", re.MULTILINE)


def text_of(model: Calibrated) -> bytes:
    """The booster as text, without the number of threads it was made by, which changes nothing in it."""
    return _THREADS.sub("", str(model.booster.model_to_string())).encode()


def numbers_of(model: Calibrated) -> JsonObject:
    """What is calibrated."""
    return {"centre": model.centre, "base": model.base, "slope": model.slope}


def calibrated_of(text: bytes, told: Mapping[str, object]) -> Calibrated:
    """The inverse of both."""
    import lightgbm

    booster = lightgbm.Booster(model_str=text.decode())
    return Calibrated(booster, *(number_of(told[name]) for name in ("centre", "base", "slope")))
