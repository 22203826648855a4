"""Where a model's features lay in training, and how far they lie from there now: the population stability index.

PSI = Σ (q − p) · ln(q / p) over bins cut at the training rows' deciles, and one for unknown values. 0 where both are
distributed alike, whatever the unit: any increasing function of a feature has the same. Persistent features wander far
within any month, so a number says nothing by itself: a feature counts as moved where its index is beyond a quarter and
half as much again as the largest that any window of the training rows showed. Only features that the model splits on
are kept, weighed by what they gained it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.core.json_values import items_of, number_of, object_of, objects_of, texts_of, whole_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from trader_cli.core.json_values import JsonObject

    Floats = NDArray[np.float64]
    Singles = NDArray[np.float32]
    Bins = NDArray[np.uint8]

BINS = 10
WINDOW_ROWS = 500
_LEAST_WINDOW, _WINDOWS = 50, 8
_CLEARLY, _BEYOND = 0.25, 1.5
_FLOOR = 1e-3
"""Added to every share: a bin that a distribution leaves empty is no proof of another one."""
_DIGITS = 6


def stability_index(wanted: Floats, found: Floats) -> Floats:
    """PSI of shares found against those wanted, each (…, bins), over the last axis."""
    p, q = (shares + _FLOOR for shares in (wanted, found))
    p, q = p / p.sum(axis=-1, keepdims=True), q / q.sum(axis=-1, keepdims=True)
    return np.asarray(((q - p) * np.log(q / p)).sum(axis=-1))


@dataclass(frozen=True)
class FeatureBins:
    """Of k features: their names, weights (k,) that sum to 1, inner edges of their bins, shares of the training rows in
    each bin (k, BINS + 1), the last for unknown values, and the largest index (k,) of a window of `window` such rows.
    """

    names: tuple[str, ...]
    weights: Floats
    edges: tuple[Floats, ...]
    shares: Floats
    usual: Floats
    window: int

    @classmethod
    def of(cls, names: Sequence[str], gains: Floats, *parts: Floats | Singles) -> FeatureBins:
        """Of training rows of these features (f), in time order, and what each gained the model, (f,).

        `parts`: their values side by side, (n, a), (n, b) …
        """
        used = np.flatnonzero(gains > 0).tolist()
        x = _side_by_side(parts, used)
        edges = tuple(_edges(x[:, at]) for at in range(len(used)))
        window = int(np.clip(len(x) // _WINDOWS, _LEAST_WINDOW, WINDOW_ROWS))
        blank = np.zeros((len(used), BINS + 1))
        made = cls(
            tuple(names[at] for at in used),
            gains[used] / max(float(gains[used].sum()), 1e-300),
            edges,
            blank,
            np.zeros(len(used)),
            window,
        )
        binned = made.binned(x)
        shares = np.round(made._shares(binned), _DIGITS)
        told = cls(made.names, np.round(made.weights, _DIGITS), edges, shares, made.usual, window)
        starts = range(0, len(x) - window + 1, window)
        windows = [told.indices(binned[first : first + window]) for first in starts]
        usual = np.max(windows, axis=0) if windows else told.usual
        return cls(told.names, told.weights, edges, shares, np.round(usual, _DIGITS), window)

    def binned(self, x: Floats | Singles) -> Bins:
        """The bin of each value of these features x (n, k); the last bin where it is unknown."""
        found = np.full(x.shape, BINS, dtype=np.uint8)
        for at, edges in enumerate(self.edges):
            known = np.isfinite(x[:, at])
            found[known, at] = np.searchsorted(edges, x[known, at], side="right")
        return found

    def indices(self, binned: Bins) -> Floats:
        """PSI of each feature, (k,), over rows of bins (m, k)."""
        return stability_index(self.shares, self._shares(binned))

    def moved(self, binned: Bins) -> float:
        """The weight of the features that lie elsewhere in these rows of bins (m, k) than they ever did in training."""
        if len(binned) < self.window:
            return 0.0
        found = self.indices(binned)
        return float(self.weights[(found > _CLEARLY) & (found > _BEYOND * self.usual)].sum())

    def _shares(self, binned: Bins) -> Floats:
        counts = [np.bincount(column, minlength=BINS + 1) for column in binned.T]
        return np.array(counts, dtype=np.float64).reshape(len(self.names), BINS + 1) / max(len(binned), 1)

    def as_dict(self) -> JsonObject:
        """Plain lists and numbers, for the bundle."""
        features = [
            {
                "name": name,
                "weight": float(self.weights[at]),
                "edges": self.edges[at].tolist(),
                "shares": self.shares[at].tolist(),
                "usual": float(self.usual[at]),
            }
            for at, name in enumerate(self.names)
        ]
        return {"window": self.window, "features": features}

    @classmethod
    def from_dict(cls, body: Mapping[str, object]) -> FeatureBins:
        """The inverse of `as_dict`."""
        each = [object_of(one) for one in objects_of(body["features"])]
        shares = np.array([[number_of(share) for share in items_of(one["shares"])] for one in each])
        return cls(
            texts_of([one["name"] for one in each]),
            np.array([number_of(one["weight"]) for one in each]),
            tuple(np.array([number_of(edge) for edge in items_of(one["edges"])]) for one in each),
            shares.reshape(len(each), BINS + 1),
            np.array([number_of(one["usual"]) for one in each]),
            whole_of(body["window"]),
        )


def _side_by_side(parts: Sequence[Floats | Singles], used: Sequence[int]) -> Floats | Singles:
    """The columns of these numbers, of all parts counted on."""
    found, first = [], 0
    for part in parts:
        own = [at - first for at in used if first <= at < first + part.shape[1]]
        found.append(part[:, own])
        first += part.shape[1]
    joined: Floats | Singles = np.asarray(np.hstack(found))
    return joined


def _edges(values: Floats | Singles) -> Floats:
    """The deciles of known values (n,): values that were seen, each once."""
    known = values[np.isfinite(values)]
    if not len(known):
        return np.empty(0)
    return np.unique(np.quantile(known, np.arange(1, BINS) / BINS, method="inverted_cdf")).astype(np.float64)
