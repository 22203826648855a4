"""Platt calibration: p' = σ(a·logit p + b), fitted by weighted maximum likelihood (Platt 1999).

Two numbers per class, because a calibration slice of overlapping labels holds only tens of independent ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_RIDGE = 1.0
_EDGE = 1e-6


def _logit(p: Floats) -> Floats:
    clipped = np.clip(p, _EDGE, 1 - _EDGE)
    return np.asarray(np.log(clipped / (1 - clipped)))


def fit_platt(p: Floats, y: Floats, weight: Floats) -> tuple[float, float]:
    """(a, b) from scores p, outcomes y in {0, 1} and weights, each of shape (n,); n = 0 gives the identity (1, 0).

    Newton's method on the weighted log loss plus a ridge towards the identity worth one observation.
    """
    z = np.column_stack([_logit(p), np.ones(len(p))])
    target = np.array([1.0, 0.0])
    theta = target.copy()
    for _ in range(50):
        fitted = 1.0 / (1.0 + np.exp(-z @ theta))
        gradient = z.T @ (weight * (fitted - y)) + _RIDGE * (theta - target)
        curvature = (z * (weight * fitted * (1 - fitted))[:, None]).T @ z + _RIDGE * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        theta = theta - np.clip(step, -2.0, 2.0)
        if np.abs(step).max() < 1e-10:
            break
    return max(float(theta[0]), 0.0), float(theta[1])


def apply_platt(p: Floats, coefficients: tuple[float, float]) -> Floats:
    """Calibrated probabilities, same shape as p. A slope below zero was cut to zero: then p says nothing."""
    a, b = coefficients
    return np.asarray(1.0 / (1.0 + np.exp(-(a * _logit(p) + b))))


def fit_classes(p: Floats, classes: NDArray[np.int64], weight: Floats) -> list[tuple[float, float]]:
    """One Platt map per class, one against the rest; p has shape (n, k), `classes` values 0 … k−1."""
    return [fit_platt(p[:, k], (classes == k).astype(np.float64), weight) for k in range(p.shape[1])]


def apply_classes(p: Floats, maps: list[tuple[float, float]]) -> Floats:
    """Calibrated class probabilities, shape (n, k), rows summing to one."""
    raw = np.column_stack([apply_platt(p[:, k], coefficients) for k, coefficients in enumerate(maps)])
    return np.asarray(raw / raw.sum(axis=1, keepdims=True))
