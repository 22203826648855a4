"""How good out-of-sample probabilities are: beside base rates that were known beforehand, and against what happened."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trader_cli.analyst.book import one_at_a_time
from trader_cli.analyst.calibration import fit_slope, logit
from trader_cli.analyst.decision import DOWN, FLAT, UP

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trader_cli.analyst.walk_forward import Dataset, Learner, OutOfSample

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

_NAMES = {UP: "up", DOWN: "down", FLAT: "flat"}
_BINS = 10
_DRAWS = 200
_SMALLEST = 1e-12


def quality(data: Dataset, out: OutOfSample, horizon: int) -> dict[str, float]:
    """Of the judged rows: what Brier score and log loss are beside base rates known beforehand, in all and by class;
    the slope of the probabilities of up, 1 where they are right and 0 where they tell nothing; the calibration error of
    up and the floor that right ones would show; the area under the curve of up.

    `slope_weight` is the information on the slope, by which slopes of several markets are pooled; `left_out_rows`:
    complete labelled rows that rest on bars which were not traded as they stand.
    """
    found = {
        "horizon_bars": float(horizon),
        "rows": float(len(data)),
        "left_out_rows": float(data.left_out),
        "effective_rows": float(data.uniqueness.sum()),
        "judged_rows": float(out.judged.sum()),
    }
    rows = out.judged & out.known
    if not rows.any():
        return found
    truth, said, base = outcomes_of_three(data.outcome[rows]), out.probabilities[rows], out.base_rates[rows]
    for name, p in (("", said), ("_base_rates", base)):
        each = ((p - truth) ** 2).mean(axis=0)
        found[f"brier{name}"] = float(each.sum())
        found |= {f"brier_{_NAMES[kind]}{name}": float(each[kind]) for kind in _NAMES}
        found[f"log_loss{name}"] = float(-np.log(np.maximum((p * truth).sum(axis=1), _SMALLEST)).mean())
    offset, up = logit(base[:, UP]), truth[:, UP]
    weight = data.uniqueness[rows]
    told = logit(said[:, UP]) - offset
    found["slope"] = fit_slope(told, offset, up, weight, 0.0)
    found["slope_weight"] = float((told * told) @ (weight * said[:, UP] * (1 - said[:, UP])))
    found["ece"], found["ece_floor"] = calibration_error(said[:, UP], up), error_floor(said[:, UP], horizon)
    found["auc"] = area_under_curve(out.score[rows], up > 0)
    found["acted_share"] = float(out.acted.sum() / rows.sum())
    return found


def promises(learner: Learner, out: OutOfSample) -> dict[str, float]:
    """Mean gains after costs, in basis points, that the trades of the book were taken for, and that they made, with the
    standard error of the difference. Trades are one at a time, so each is an independent one. Empty for fewer than two.
    """
    data = learner.data
    taken = one_at_a_time(data.start, data.end, out.acted)
    if len(taken) < 2:
        return {}
    kept = (data.gain(out.side) - learner.costs.of(out.side))[taken]
    missed = out.expected_value[taken] - kept
    error = float(missed.std(ddof=1)) / np.sqrt(len(taken))
    return {
        "trades": float(len(taken)),
        "promised_bps": float(out.expected_value[taken].mean()) * 1e4,
        "kept_bps": float(kept.mean()) * 1e4,
        "promise_error_bps": float(error) * 1e4,
    }


def reliability(data: Dataset, out: OutOfSample) -> list[list[float]]:
    """Ten groups of judged rows of equal size by their probability of up: [its mean, the share that rose, rows]."""
    rows = out.judged & out.known
    p, rose = out.probabilities[rows, UP], data.rose[rows]
    groups = np.array_split(np.argsort(p, kind="stable"), _BINS)
    return [[float(p[one].mean()), float(rose[one].mean()), float(len(one))] for one in groups if len(one)]


def outcomes_of_three(outcome: NDArray[np.int8]) -> Floats:
    """Up, down and flat as columns of ones and zeros, (n, 3)."""
    found = np.zeros((len(outcome), 3))
    for column, sign in ((UP, 1), (DOWN, -1), (FLAT, 0)):
        found[:, column] = outcome == sign
    return found


def calibration_error(p: Floats, truth: Floats) -> float:
    """Mean distance of what was said from what happened, over ten groups of equal size by p; p and truth (n,)."""
    return _mean_distance(p, truth, _groups(p))


def _groups(p: Floats) -> list[Ints]:
    """The rows of each of ten groups of equal size by p (n,)."""
    return [group for group in np.array_split(np.argsort(p, kind="stable"), _BINS) if len(group)]


def _mean_distance(p: Floats, truth: Floats, groups: list[Ints]) -> float:
    apart = [len(group) * abs(float(p[group].mean() - truth[group].mean())) for group in groups]
    return sum(apart) / len(p)


def error_floor(p: Floats, block: int) -> float:
    """What the calibration error of right probabilities p (n,) would be: outcomes drawn from them, alike in blocks."""
    rng, n, groups = np.random.default_rng(0), len(p), _groups(p)
    drawn = (np.repeat(rng.random(-(-n // block)), block)[:n] < p for _ in range(_DRAWS))
    return float(np.mean([_mean_distance(p, one.astype(np.float64), groups) for one in drawn]))


def area_under_curve(score: Floats, truth: NDArray[np.bool_]) -> float:
    """Probability that a true row has a higher score than a false one, ties half; 0.5 where there is only one kind."""
    ones = int(truth.sum())
    zeros = len(truth) - ones
    if not ones or not zeros:
        return 0.5
    _, at, counts = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[at]
    return float((ranks[truth].sum() - ones * (ones + 1) / 2) / (ones * zeros))
