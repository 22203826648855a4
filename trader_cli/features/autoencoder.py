"""Autoencoder features: the bottleneck, the reconstruction error, and how unusual that error is.

One tanh layer between two linear maps, begun at the principal components (to which a linear autoencoder comes: Baldi &
Hornik 1989), trained by Adam in numpy. Source: Hinton & Salakhutdinov 2006; the error as an anomaly: Sakurada & Yairi
2014. It is fitted on the rows it is given and never looks for others. Encoding adds feature by feature, so a row has
the same bits alone and among a million; a matrix product has not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.core.errors import ConfigurationError, DataMissing
from trader_cli.core.identity.digests import digest_value
from trader_cli.features.blocked_matmul import crossed, rows_at_once

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from trader_cli.core.json_values import JsonObject

    Floats = NDArray[np.float64]
    Singles = NDArray[np.float32]

MIN_ROWS = 64
_MOST_ROWS = 10_000
"""Rows that are fitted on, evenly spread over all that there are: some two thousand weights need no more."""
_CLIP = 8.0
_LEVELS = 1000
_TAIL_SHARE = 0.15
_BATCH = 256
_PRINCIPAL_ROWS = 1000
_ITERATIONS = 8
_STEP = 5e-3
_PATIENCE = 3
_GAIN = 1e-3
_CHUNK = 1024
_FEW = 8
"""Rows up to which a running sum over features beats a loop over them; it adds in the same order."""
_SPREAD = 0.5
"""Standard deviation of what enters the tanh at the start: nearly linear there, as the principal components are."""


def autoencoder_columns(bottleneck: int) -> tuple[str, ...]:
    """Names of the columns, in the order `Autoencoder.encode` gives them."""
    return (*(f"autoencoder_z{i}" for i in range(1, bottleneck + 1)), "autoencoder_error", "autoencoder_anomaly")


@dataclass(frozen=True)
class Autoencoder:
    """A fitted encoder of k features into b numbers.

    centre, scale (k,): standardisation; inward (k, b), inward_bias (b,); outward (b, k), outward_bias (k,); levels
    (1000,): ascending quantiles of the error on the training rows.
    """

    centre: Floats
    scale: Floats
    inward: Floats
    inward_bias: Floats
    outward: Floats
    outward_bias: Floats
    levels: Floats

    @property
    def columns(self) -> tuple[str, ...]:
        """autoencoder_z1 … zb, autoencoder_error, autoencoder_anomaly."""
        return autoencoder_columns(len(self.inward_bias))

    @property
    def digest(self) -> str:
        """The name of these very arrays."""
        return digest_value(self.as_dict())

    def as_dict(self) -> JsonObject:
        """Plain lists, for the bundle."""
        return {name: getattr(self, name).tolist() for name in self.__dataclass_fields__}

    @classmethod
    def from_dict(cls, body: Mapping[str, object]) -> Autoencoder:
        """The inverse of `as_dict`."""
        return cls(**{name: np.asarray(body[name], dtype=np.float64) for name in cls.__dataclass_fields__})

    def encode(self, x: Floats | Singles) -> Floats:
        """Features (n, k) to (n, b + 2): bottleneck in (−1, 1), mean squared error, its training percentile in [0, 1].

        Every row has the same bits whatever rows surround it. A feature that is NaN counts as its mean and is left out
        of the error; a row of nothing but NaN is NaN.
        """
        out = np.empty((len(x), len(self.inward_bias) + 2))
        for first in range(0, len(x), _CHUNK):
            out[first : first + _CHUNK] = self._encode(x[first : first + _CHUNK])
        return out

    def _encode(self, x: Floats | Singles) -> Floats:
        standard, known = standardised(x, self.centre, self.scale)
        z = np.ascontiguousarray(standard.T, dtype=np.float32)
        hidden = np.tanh(_weighted(self.inward, self.inward_bias, z))
        z -= _weighted(self.outward, self.outward_bias, hidden)
        error = _mean_square(z, known.T)
        percentile = np.searchsorted(self.levels, error, side="right") / len(self.levels)
        both = np.stack([*hidden, error, percentile], axis=1)
        return np.where(np.isnan(error)[:, None], np.nan, both)


def _weighted(weights: Floats, bias: Floats, x: Singles) -> Singles:
    """bias + weightsᵀ x for weights (p, q), x (p, n): (q, n), added up row by row in single precision."""
    start, single = bias.astype(np.float32)[:, None], weights.astype(np.float32)[:, :, None]
    if x.shape[1] <= _FEW:
        products = single * x[:, None, :]
        products[0] += start
        return np.asarray(np.add.accumulate(products, axis=0)[-1])
    total = np.repeat(start, x.shape[1], axis=1)
    part = np.empty_like(total)
    for weight, row in zip(single, x, strict=True):
        total += np.multiply(weight, row, out=part)
    return total


def _mean_square(residual: Singles, known: NDArray[np.bool_]) -> Floats:
    """Mean of squares (k, n) down each column over its known values, added in their order; NaN where none is known.

    numpy's own sum takes another order where there is but one column.
    """
    residual *= residual
    residual *= known
    if residual.shape[1] <= _FEW:
        total: Floats = np.add.accumulate(residual, axis=0, dtype=np.float64)[-1]
    else:
        total = residual[0].astype(np.float64)
        for row in residual[1:]:
            total += row
    with np.errstate(invalid="ignore"):
        return np.asarray(total / known.sum(axis=0))


def standardised(x: Floats | Singles, centre: Floats, scale: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """((x − centre) / scale clipped to ±8, unknown → 0; where x is known), both of x's shape."""
    known = np.isfinite(x)
    z = x - centre
    z /= scale
    np.clip(z, -_CLIP, _CLIP, out=z)
    if not known.all():
        z[~known] = 0.0
    return z, known


def fit_autoencoder(x: Floats | Singles, *, bottleneck: int, seed: int, rounds: int = 10) -> Autoencoder:
    """Fit on training rows x (n, k) in time order, NaN allowed; the last 15 % of them say when to stop.

    Deterministic in x and the seed. The arrays are rounded (weights to 1e-5, the rest to single precision), so that the
    last bits of another machine's linear algebra make no other encoder. Raises `DataMissing` for fewer than 64 rows
    with any known feature, `ConfigurationError` for a bottleneck wider than the rows. Of more than 10,000 rows so many
    are taken, evenly spread.
    """
    if not 1 <= bottleneck <= x.shape[1]:
        raise ConfigurationError(
            f"The autoencoder's bottleneck is {bottleneck}; the rows have {x.shape[1]} features.",
            hint="Set feature_engineering_orchestrator.autoencoder_bottleneck between 1 and that.",
        )
    x = _spread(x)
    x = x[np.isfinite(x).any(axis=1)]
    if len(x) < MIN_ROWS:
        raise DataMissing(f"An autoencoder needs {MIN_ROWS} rows; found {len(x)}.", hint="Fetch more bars.")
    centre, scale = _moments(x)
    z, known = standardised(x, centre, scale)
    edge = len(z) - max(1, int(len(z) * _TAIL_SHARE))
    early, late = (_TrainingSet.of(z[part], known[part], bottleneck) for part in (slice(edge), slice(edge, None)))
    weights = np.round(_trained(early, late, bottleneck, np.random.default_rng(seed), rounds), 5)
    inward, inward_bias, outward, outward_bias = _parts(weights, bottleneck)
    unjudged = Autoencoder(centre, scale, inward, inward_bias, outward, outward_bias, np.zeros(1))
    errors = np.sort(unjudged.encode(x)[:, -2])
    levels = errors[(np.arange(_LEVELS) * len(errors)) // _LEVELS]
    return Autoencoder(centre, scale, inward, inward_bias, outward, outward_bias, _single(levels))


def _spread(x: Floats | Singles) -> Floats:
    """`_MOST_ROWS` of the rows at most."""
    count = min(len(x), _MOST_ROWS)
    return x[np.arange(count) * len(x) // max(count, 1)].astype(np.float64)


def _moments(x: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation of the known values of each feature; 0 and 1 where there are none or no variation."""
    known = np.isfinite(x)
    count = np.maximum(known.sum(axis=0), 1)
    filled = np.where(known, x, 0.0)
    centre = _single(filled.sum(axis=0) / count)
    filled -= centre
    filled *= known
    spread = _single(np.sqrt((filled * filled).sum(axis=0) / count))
    return centre, np.where(spread > 1e-12 * np.abs(centre), spread, 1.0)


def _single(x: Floats) -> Floats:
    return x.astype(np.float32).astype(np.float64)


@dataclass(frozen=True)
class _TrainingSet:
    """Standardised rows z (n, k) and where they are known, of which `size` are taken at once."""

    z: Floats
    known: NDArray[np.bool_]
    size: int

    @classmethod
    def of(cls, z: Floats, known: NDArray[np.bool_], bottleneck: int) -> _TrainingSet:
        """In batches of 256, or fewer where the products would be large."""
        return cls(z, known, min(_BATCH, rows_at_once(z.shape[1] * bottleneck)))

    def batches(self, order: NDArray[np.int64]) -> Iterator[_TrainingSet]:
        """The rows in this order, batch by batch."""
        for first in range(0, len(order), self.size):
            rows = order[first : first + self.size]
            yield _TrainingSet(self.z[rows], self.known[rows], self.size)

    def thinned(self) -> _TrainingSet:
        """About a thousand of them, evenly spread."""
        every = 1 + len(self.z) // _PRINCIPAL_ROWS
        return _TrainingSet(self.z[::every], self.known[::every], self.size)

    def covered(self, axes: Floats) -> Floats:
        """Their covariance (k, k) times axes (k, b)."""
        pieces = (self.z[i : i + self.size] for i in range(0, len(self.z), self.size))
        return np.asarray(sum(crossed(piece, piece @ axes) for piece in pieces) / len(self.z))


def _principal(training_set: _TrainingSet, bottleneck: int, rng: np.random.Generator) -> Floats:
    """Weights by which the layer begins as the first principal components, their signs fixed.

    By subspace iteration (Golub & Van Loan, *Matrix Computations*, ch. 8): a start needs no more precision.
    """
    axes = np.linalg.qr(rng.normal(size=(training_set.z.shape[1], bottleneck)))[0]
    for _ in range(_ITERATIONS):
        axes = np.linalg.qr(training_set.covered(axes))[0]
    values, turn = np.linalg.eigh(crossed(axes, training_set.covered(axes)))
    axes = axes @ turn[:, ::-1]
    axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), np.arange(bottleneck)] < 0, -1.0, 1.0)
    reach = np.sqrt(np.maximum(values[::-1], 1e-6)) / _SPREAD
    return _flat(axes / reach, np.zeros(bottleneck), (axes * reach).T, np.zeros(len(axes)))


def _flat(*parts: Floats) -> Floats:
    return np.concatenate([part.ravel() for part in parts])


def _parts(weights: Floats, bottleneck: int) -> tuple[Floats, Floats, Floats, Floats]:
    """inward (k, b), inward_bias (b,), outward (b, k), outward_bias (k,) of the flat weights (2 k b + b + k,)."""
    k = (len(weights) - bottleneck) // (2 * bottleneck + 1)
    first, second, third = k * bottleneck, (k + 1) * bottleneck, (2 * k + 1) * bottleneck
    inward, outward = weights[:first].reshape(k, bottleneck), weights[second:third].reshape(bottleneck, k)
    return inward, weights[first:second], outward, weights[third:]


def _trained(early: _TrainingSet, late: _TrainingSet, bottleneck: int, rng: np.random.Generator, rounds: int) -> Floats:
    """Adam (Kingma & Ba 2015) on the early rows; the weights that did best on the late ones."""
    weights = _principal(early.thinned(), bottleneck, rng)
    mean, square = np.zeros_like(weights), np.zeros_like(weights)
    best, least, waited, taken = weights, _loss(late, weights, bottleneck), 0, 0
    for _ in range(rounds):
        for batch in early.batches(rng.permutation(len(early.z))):
            slope, taken = _slope(batch, weights, bottleneck), taken + 1
            mean += 0.1 * (slope - mean)
            square += 0.001 * (slope * slope - square)
            step = _STEP * np.sqrt(1 - 0.999**taken) / (1 - 0.9**taken)
            weights = weights - step * mean / (np.sqrt(square) + 1e-8)
        loss = _loss(late, weights, bottleneck)
        waited = 0 if loss < least * (1 - _GAIN) else waited + 1
        if loss < least:
            best, least = weights, loss
        if waited == _PATIENCE:
            break
    return best


def _residual(rows: _TrainingSet, weights: Floats, bottleneck: int) -> tuple[Floats, Floats]:
    """Reconstruction less the rows (n, k), 0 where unknown, and the bottlenecks (n, b)."""
    inward, inward_bias, outward, outward_bias = _parts(weights, bottleneck)
    hidden = np.tanh(rows.z @ inward + inward_bias)
    residual = hidden @ outward
    residual += outward_bias
    residual -= rows.z
    residual *= rows.known
    return residual, hidden


def _loss(rows: _TrainingSet, weights: Floats, bottleneck: int) -> float:
    """Mean squared error over the known values."""
    total = 0.0
    for batch in rows.batches(np.arange(len(rows.z))):
        residual, _ = _residual(batch, weights, bottleneck)
        total += float(np.square(residual, out=residual).sum())
    return total / max(float(rows.known.sum()), 1.0)


def _slope(rows: _TrainingSet, weights: Floats, bottleneck: int) -> Floats:
    """Gradient of half the mean squared error per row, by the flat weights."""
    residual, hidden = _residual(rows, weights, bottleneck)
    residual /= len(hidden)
    outward = _parts(weights, bottleneck)[2]
    back = (residual @ outward.T) * (1 - hidden * hidden)
    return _flat(rows.z.T @ back, back.sum(axis=0), hidden.T @ residual, residual.sum(axis=0))
