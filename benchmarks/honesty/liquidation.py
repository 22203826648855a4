"""`python -m benchmarks.honesty.liquidation --seeds 0:40 --budget 120`: liquidation beside bridge Monte Carlo.

Each seed draws a σ of the horizon (0.5 % to 12 %), its uncertainty (0 to 0.8) and a maintenance rate, and takes 2× to
50× on both sides. A difference beyond 1e-5 is told in standard errors; of normal ones 0.27 % lie beyond 3.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING, Literal

import numpy as np

from benchmarks.honesty.seeded import seeds_within
from trader_cli.core.money.liquidation import liquidation_price, touch_probability

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_PATHS, _STEPS = 200_000, 8
_LEVERAGES = (2, 3, 5, 10, 15, 20, 30, 50)
_NEGLIGIBLE = 1e-5
_RARE = 1e-3
"""Below this so few paths come near that their spread says little of the error: it is that of a count then."""


def main() -> None:
    """One line a seed, then how many differ by how much."""
    spread = np.array([NormalDist().inv_cdf((k + 0.5) / _PATHS) for k in range(_PATHS)])
    errors: list[float] = []
    for seed in seeds_within(__doc__, "0:40", 120.0):
        rng = np.random.default_rng(seed)
        sigma, uncertainty, rate = math.exp(rng.uniform(-5.3, -2.1)), rng.uniform(0, 0.8), rng.uniform(0.004, 0.02)
        mine = [error for side in ("long", "short") for error in _beside(rng, spread, side, sigma, uncertainty, rate)]
        print(f"{seed:4} sigma {sigma:.4f}, uncertainty {uncertainty:.2f}: at most {max(mine):.2f} standard errors")
        errors += mine
    beyond = sum(error > 3 for error in errors)
    print(f"{beyond} of {len(errors)} beyond 3 standard errors and 1e-5, {0.0027 * len(errors):.1f} by chance")


def _beside(
    rng: np.random.Generator,
    spread: Floats,
    side: Literal["long", "short"],
    sigma: float,
    uncertainty: float,
    rate: float,
) -> list[float]:
    """How many standard errors each leverage is off; 0 where it is off by less than 1e-5."""
    sigmas = sigma * np.exp(uncertainty * rng.permutation(spread) - 0.5 * uncertainty**2)
    levels = [liquidation_price(1.0, n, side, rate) for n in _LEVERAGES]
    missed = _missed(rng, sigmas, [abs(math.log(level)) for level in levels], -1 if side == "long" else 1)
    found = []
    for level, stayed in zip(levels, missed, strict=True):
        touched, told = 1 - stayed, touch_probability(1.0, level, sigma, uncertainty)
        off = abs(float(touched.mean()) - told)
        error = max(float(touched.std()), math.sqrt(told) if told < _RARE else 0.0) / math.sqrt(_PATHS)
        found.append(0.0 if off < _NEGLIGIBLE else off / error)
    return found


def _missed(rng: np.random.Generator, sigmas: Floats, distances: list[float], sign: int) -> list[Floats]:
    """For each level the probability that a path, bridged between its steps, never touches it. (paths,) each."""
    step = sigmas / math.sqrt(_STEPS)
    at, missed = np.zeros(_PATHS), [np.ones(_PATHS) for _ in distances]
    for _ in range(_STEPS):
        then = at + sign * step * rng.normal(size=_PATHS)
        missed = [stayed * _between(d - at, d - then, step) for stayed, d in zip(missed, distances, strict=True)]
        at = then
    return missed


def _between(near: Floats, far: Floats, step: Floats) -> Floats:
    """P(a bridge does not touch a level so far from its ends); 0 where one of them lies beyond it."""
    return np.where((near > 0) & (far > 0), -np.expm1(-2 * near * far / step**2), 0.0)


if __name__ == "__main__":
    main()
