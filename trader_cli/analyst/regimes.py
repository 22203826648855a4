"""Market regimes: a three-state Gaussian hidden Markov model, fitted on the training span, filtered forward only.

Only the filter α_t = P(state_t | x_1 … x_t) is ever shown: smoothed and Viterbi states look ahead (Hamilton 1989;
Rabiner 1989). States are ordered by volatility, so their names stay true from fit to fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from trader_cli.analyst.labels import trailing_volatility

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trader_cli.features.series import BarSeries

    Floats = NDArray[np.float64]

NAMES = ("calm", "normal", "stressed")
_SPAN = 48
_ROUNDS = 40
_FLOOR = 1e-3
FILTER_BARS = 512
"""A filter forgets where it began; analyses start it this many bars before the one they describe."""


@dataclass(frozen=True)
class RegimeModel:
    """Standardisation (2,), state means and variances (3, 2), transition matrix (3, 3) and initial weights (3,)."""

    centre: Floats
    scale: Floats
    means: Floats
    variances: Floats
    transition: Floats
    initial: Floats

    def as_dict(self) -> dict[str, Any]:
        """Plain lists, for the bundle."""
        return {name: getattr(self, name).tolist() for name in self.__dataclass_fields__}

    @classmethod
    def from_dict(cls, body: dict[str, Any]) -> RegimeModel:
        """The inverse of `as_dict`."""
        return cls(**{name: np.asarray(body[name], dtype=np.float64) for name in cls.__dataclass_fields__})

    def filtered(self, bars: BarSeries) -> Floats:
        """P(state | bars so far), shape (n, 3); rows before the observations are defined are NaN."""
        observed = observations(bars)
        known = np.isfinite(observed).all(axis=1)
        out = np.full((len(bars), 3), np.nan)
        standard = (observed[known] - self.centre) / self.scale
        alphas, _ = _forward(_likelihoods(standard, self.means, self.variances), self.transition, self.initial)
        out[known] = alphas
        return out


def observations(bars: BarSeries) -> Floats:
    """(log trailing volatility, log volume against its trailing mean), shape (n, 2); NaN in the warm-up."""
    volatility = trailing_volatility(bars.close, _SPAN)
    sums = np.cumsum(bars.volume)
    mean = np.full(len(bars), np.nan)
    mean[_SPAN:] = (sums[_SPAN:] - sums[:-_SPAN]) / _SPAN
    with np.errstate(divide="ignore", invalid="ignore"):
        both = np.column_stack([np.log(volatility), np.log(bars.volume / mean)])
    return np.asarray(np.where(np.isfinite(both), both, np.nan))


def fit_regimes(bars: BarSeries) -> RegimeModel | None:
    """Expectation-maximisation from volatility terciles; `None` with fewer than 200 usable bars or no variation."""
    observed = observations(bars)
    observed = observed[np.isfinite(observed).all(axis=1)]
    if len(observed) < 200 or np.any(observed.std(axis=0) == 0):
        return None
    centre, scale = observed.mean(axis=0), observed.std(axis=0)
    x = (observed - centre) / scale
    group = np.digitize(x[:, 0], np.quantile(x[:, 0], [1 / 3, 2 / 3]))
    means = np.stack([x[group == k].mean(axis=0) for k in range(3)])
    variances = np.stack([np.maximum(x[group == k].var(axis=0), _FLOOR) for k in range(3)])
    transition = np.full((3, 3), 0.02) + np.eye(3) * 0.94
    initial = np.full(3, 1 / 3)
    for _ in range(_ROUNDS):
        means, variances, transition, initial = _improve(x, means, variances, transition, initial)
    order = np.argsort(means[:, 0])
    return RegimeModel(centre, scale, means[order], variances[order], transition[np.ix_(order, order)], initial[order])


def _improve(
    x: Floats, means: Floats, variances: Floats, transition: Floats, initial: Floats
) -> tuple[Floats, Floats, Floats, Floats]:
    """One round of Baum–Welch, with scaled forward and backward passes."""
    likelihood = _likelihoods(x, means, variances)
    alphas, scales = _forward(likelihood, transition, initial)
    betas = np.ones_like(alphas)
    for t in range(len(x) - 2, -1, -1):
        betas[t] = transition @ (likelihood[t + 1] * betas[t + 1]) / scales[t + 1]
    gammas = alphas * betas
    gammas /= gammas.sum(axis=1, keepdims=True)
    pairs = transition * (alphas[:-1].T @ (likelihood[1:] * betas[1:] / scales[1:, None]))
    weight = gammas.sum(axis=0)[:, None] + 1e-9
    new_means = gammas.T @ x / weight
    new_variances = np.maximum(gammas.T @ (x * x) / weight - new_means**2, _FLOOR)
    return new_means, new_variances, pairs / pairs.sum(axis=1, keepdims=True), gammas[0]


def _likelihoods(x: Floats, means: Floats, variances: Floats) -> Floats:
    """N(x_t; state k), shape (n, 3), scaled per row so that the largest is 1."""
    logs = -0.5 * (((x[:, None, :] - means) ** 2) / variances + np.log(variances)).sum(axis=2)
    return np.asarray(np.exp(logs - logs.max(axis=1, keepdims=True)) + 1e-12)


def _forward(likelihood: Floats, transition: Floats, initial: Floats) -> tuple[Floats, Floats]:
    alphas, scales = np.empty_like(likelihood), np.empty(len(likelihood))
    previous = initial
    for t in range(len(likelihood)):
        joint = likelihood[t] * (previous if t == 0 else previous @ transition)
        scales[t] = joint.sum()
        previous = alphas[t] = joint / scales[t]
    return alphas, scales
