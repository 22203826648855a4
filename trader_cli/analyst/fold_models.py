"""The models behind a claim: of each segment of the walk-forward the one that had seen nothing later, as plain text.

They are kept so that what the claim was made of can be said again, bar by bar: no other model may be asked about bars
that the final one was trained on.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.analyst.act_model import act_features
from trader_cli.analyst.booster_text import calibrated_of, numbers_of, text_of
from trader_cli.analyst.decision import Payoffs
from trader_cli.analyst.fitted_families import FittedFamilies
from trader_cli.analyst.read_features import as_read, beside
from trader_cli.analyst.side_model import SideModel
from trader_cli.analyst.walk_forward import OutOfSample
from trader_cli.core.errors import DataInvalid, DataMissing
from trader_cli.core.identity.digests import canonical_json
from trader_cli.core.json_values import built, items_of, number_of, object_of, whole_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from trader_cli.analyst.boosting import Calibrated
    from trader_cli.analyst.decision import TradeCosts
    from trader_cli.analyst.walk_forward import Dataset, Fold
    from trader_cli.core.json_values import JsonObject
    from trader_cli.features.bar_arrays import BarSeries

    Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class FoldModel:
    """Of one segment: bars that open from `first_ms` to `last_ms`, UTC ms; whether a claim rests on it.

    `side` and `act` are None where too little had been seen; `fitted` are the families as fitted on the rows before.
    """

    first_ms: int
    last_ms: int
    judged: bool
    fitted: FittedFamilies
    side: SideModel | None
    act: Calibrated | None = None

    def as_dict(self) -> JsonObject:
        """Plain lists, numbers and the boosters' text."""
        side, act = self.side, self.act
        of_side = None if side is None else {**_told(side.booster), "flat": side.flat, "least": side.least}
        if side is not None and of_side is not None:
            of_side["payoffs"] = asdict(side.payoffs)
        return {
            "first_ms": self.first_ms,
            "last_ms": self.last_ms,
            "judged": self.judged,
            "fitted": self.fitted.as_dict(),
            "side": of_side,
            "act": None if act is None else _told(act),
        }

    @classmethod
    def from_dict(cls, body: Mapping[str, object]) -> FoldModel:
        """The inverse of `as_dict`."""
        side, act, known = None, body["act"], body["side"]
        if known is not None:
            told = object_of(known)
            payoffs = built(Payoffs, object_of(told["payoffs"]))
            side = SideModel(_booster(told), number_of(told["flat"]), payoffs, number_of(told["least"]))
        return cls(
            whole_of(body["first_ms"]),
            whole_of(body["last_ms"]),
            bool(body["judged"]),
            FittedFamilies.from_dict(object_of(body["fitted"])),
            side,
            None if act is None else _booster(object_of(act)),
        )


def _told(model: Calibrated) -> JsonObject:
    return {**numbers_of(model), "booster": text_of(model).decode()}


def _booster(told: Mapping[str, object]) -> Calibrated:
    return calibrated_of(str(told["booster"]).encode(), told)


@dataclass(frozen=True)
class KeptFolds:
    """The models of all segments, in time order; the opening time of the last bar there was, UTC ms, and the longest
    horizon that was tried, which say how many rows and bars a book was made of."""

    last_bar_ms: int
    longest_horizon: int
    models: tuple[FoldModel, ...]

    @classmethod
    def of(
        cls,
        bars: BarSeries,
        data: Dataset,
        folds: Sequence[Fold],
        families: Mapping[int, FittedFamilies],
        models: Sequence[tuple[SideModel | None, Calibrated | None]],
        longest_horizon: int,
    ) -> KeptFolds:
        """Those of folds of labelled rows, with families by the row that ends a fold, and (side, act) of each."""
        opened = bars.open_ms[data.start]
        kept = [
            FoldModel(int(opened[at.start]), int(opened[at.stop - 1]), fold.judged, families[at.stop], *pair)
            for fold, at, pair in zip(folds, (fold.test for fold in folds), models, strict=True)
        ]
        return cls(int(bars.open_ms[-1]), longest_horizon, tuple(kept))

    def as_file(self) -> bytes:
        """The file of a bundle."""
        told = {"last_bar_ms": self.last_bar_ms, "longest_horizon": self.longest_horizon}
        return canonical_json({**told, "folds": [fold.as_dict() for fold in self.models]})


def folds_of(text: bytes) -> KeptFolds:
    """The inverse of `as_file`. Raises `DataMissing` where a bundle keeps none, `DataInvalid` for another file."""
    if not text:
        raise DataMissing(
            "The model bundle keeps no models of its folds.",
            hint="Run `trader train` again, on a series without a fast frame.",
        )
    try:
        told = object_of(json.loads(text))
        models = tuple(FoldModel.from_dict(object_of(fold)) for fold in items_of(told["folds"]))
        return KeptFolds(whole_of(told["last_bar_ms"]), whole_of(told["longest_horizon"]), models)
    except (KeyError, TypeError, ValueError) as error:
        raise DataInvalid(
            "The models of the bundle's folds cannot be read.", hint="Run `trader train` again."
        ) from error


def said_again(
    folds: Sequence[FoldModel], bars: BarSeries, data: Dataset, costs: TradeCosts, *, by_act: bool
) -> tuple[OutOfSample, Flags]:
    """(What the folds' models say of the rows they were kept for, which sides are acted on, (n,)).

    `data` are the rows that were trained on, `costs` those of their trades. `by_act`: the act model decides. Raises
    `DataMissing` where rows of a fold are not among them.
    """
    out, opened = OutOfSample.nothing(len(data)), bars.open_ms[data.start]
    acted = np.zeros(len(data), np.bool_)
    for fold in folds:
        first, stop = np.searchsorted(opened, [fold.first_ms, fold.last_ms + 1]).tolist()
        if first == stop or (opened[first], opened[stop - 1]) != (fold.first_ms, fold.last_ms):
            raise DataMissing(
                "The bars of the bundle's folds are not there: they were fetched anew, or changed.",
                hint="Run `trader train` again.",
            )
        if fold.side is None:
            continue
        test = slice(first, stop)
        columns = fold.fitted.columns(bars, data.x[test], data.start[test])
        x = beside(data.x[test], as_read(columns))
        out.say(fold.side, x, test, data.sigma[test], costs.at(test), judged=fold.judged)
        acted[test] = out.acted[test]
        if by_act:
            told = (
                None if fold.act is None else fold.act.predict(act_features(x, out.probabilities[test], out.side[test]))
            )
            acted[test] &= False if told is None else told > out.break_even[test]
    return out, acted
