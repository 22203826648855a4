"""Market regimes: a three-state Gaussian hidden Markov model, fitted on the training span, filtered forward only.

Only the filter α_t = P(state_t | x_1 … x_t) is ever shown: smoothed and Viterbi states look ahead (Hamilton 1989;
Rabiner 1989). States are ordered by volatility, so their names stay true from fit to fit. Like every feature the filter
starts at an anchor, the start of the row's UTC block less 512 bars, so that batch and stream agree to the bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from trader_cli.core.identity.anchors import anchor_block, blocks_between, floor_block, next_block
from trader_cli.features.blocked_matmul import crossed
from trader_cli.features.modwt import window_sum
from trader_cli.features.short_gaps import bridge

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from trader_cli.core.json_values import JsonObject
    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.features.bar_arrays import BarSeries

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

NAMES = ("calm", "normal", "stressed")
COLUMNS = tuple(f"regime_{name}" for name in NAMES)
FILTER_BARS = 512
"""A filter forgets where it began; it begins this many bars before the block it describes."""
HELD_FROM = 0.6
"""A state is entered where the filter gives it so much, and kept until another has it: all others have 0.4 then."""
_SPAN = 48
_ROUNDS = 40
_GAIN = 1e-5
_FLOOR = 1e-3
_SEQUENCE = 64
_MIN_ROWS = 200


def history_bars(timeframe: Timeframe) -> int:
    """The most bars, its own included, on which a row's regime depends."""
    block = anchor_block(timeframe)
    longest_ms = next_block(0, block)  # a day, or January 1970: no month is longer
    return _SPAN + FILTER_BARS + -(-longest_ms // timeframe.ms)


@dataclass(frozen=True)
class RegimeModel:
    """Standardisation (2,), state means and variances (3, 2), transition matrix (3, 3) and initial weights (3,)."""

    centre: Floats
    scale: Floats
    means: Floats
    variances: Floats
    transition: Floats
    initial: Floats

    def as_dict(self) -> JsonObject:
        """Plain lists, for the bundle."""
        return {name: getattr(self, name).tolist() for name in self.__dataclass_fields__}

    @classmethod
    def from_dict(cls, body: Mapping[str, object]) -> RegimeModel:
        """The inverse of `as_dict`."""
        return cls(**{name: np.asarray(body[name], dtype=np.float64) for name in cls.__dataclass_fields__})

    def filtered(self, bars: BarSeries, timeframe: Timeframe, since: int = 0) -> Floats:
        """P(state | bars so far) of bars `since` on, shape (n − since, 3).

        NaN where the anchor lies before the first bar or behind a gap that is not bridged. A bar without trades or
        without variation moves the filter by the transition alone.
        """
        joined = bridge(bars, timeframe.ms)
        if joined is None or since >= len(bars):
            return _filtered(self._block_filters(bars, timeframe, since), len(bars))[since:]
        found = self._block_filters(joined.bars, timeframe, int(joined.at[since]))
        return joined.own_rows(_filtered(found, len(joined.bars)))[since:]

    def followed(self, bars: BarSeries, timeframe: Timeframe, since: int = 0) -> tuple[Floats, Ints]:
        """`filtered`, and which state each bar is held to be in, shape (n − since,): by `held_states`; −1 where NaN."""
        joined = bridge(bars, timeframe.ms)
        if joined is None or since >= len(bars):
            found = self._block_filters(bars, timeframe, since)
            return _filtered(found, len(bars))[since:], _held(found, len(bars))[since:]
        found, n = self._block_filters(joined.bars, timeframe, int(joined.at[since])), len(joined.bars)
        held = np.where(joined.settled, _held(found, n)[joined.at], -1)
        return joined.own_rows(_filtered(found, n))[since:], held[since:]

    def _block_filters(self, bars: BarSeries, timeframe: Timeframe, since: int) -> list[_Block]:
        """The filter of every block with rows from `since` on, without any bridging."""
        blocks = _blocks(bars.open_ms, timeframe, since)
        if not blocks:
            return []
        likelihood = self._likelihood(observations(bars, timeframe))
        return [_Block(*block, alphas) for block, alphas in zip(blocks, self._forward(likelihood, blocks), strict=True)]

    def _likelihood(self, observed: Floats) -> Floats:
        """N(x_t; state k) up to a factor per row, shape (n, 3); 1 where nothing was observed."""
        likelihood, _ = _likelihoods((observed - self.centre) / self.scale, self.means, self.variances)
        return np.where(np.isnan(likelihood), 1.0, likelihood)

    def _forward(self, likelihood: Floats, blocks: list[tuple[int, int, int]]) -> list[Floats]:
        """The filter over [anchor, stop) of every block, each from the initial weights: arrays of shape (m, 3).

        One block runs on plain numbers, many side by side on arrays; both do the same arithmetic in the same order.
        """
        if len(blocks) == 1:
            anchor, _, stop = blocks[0]
            steps = likelihood[anchor:stop].tolist()
            return [np.array(_filter(steps, self.initial.tolist(), self.transition.tolist()))]
        length = max(stop - anchor for anchor, _, stop in blocks)
        rows = np.array([anchor for anchor, _, _ in blocks]) + np.arange(length)[:, None]
        side_by_side = likelihood[np.minimum(rows, len(likelihood) - 1)].transpose(0, 2, 1).copy()
        initial = np.repeat(self.initial[:, None], len(blocks), axis=1)
        alphas = np.array(_filter(side_by_side, initial, self.transition.tolist()))
        return [alphas[: stop - anchor, :, i] for i, (anchor, _, stop) in enumerate(blocks)]


@dataclass(frozen=True)
class _Block:
    """The filter (stop − anchor, 3) from an anchor on; rows first … stop are those of the block."""

    anchor: int
    first: int
    stop: int
    alphas: Floats


def _filtered(blocks: list[_Block], n: int) -> Floats:
    """Of all n rows, (n, 3); NaN where there is no block."""
    out = np.full((n, 3), np.nan)
    for one in blocks:
        out[one.first : one.stop] = one.alphas[one.first - one.anchor : one.stop - one.anchor]
    return out


def _held(blocks: list[_Block], n: int) -> Ints:
    """The state held at each of n rows, −1 where there is no block."""
    held = np.full(n, -1)
    for one in blocks:
        held[one.first : one.stop] = held_states(one.alphas)[one.first - one.anchor : one.stop - one.anchor]
    return held


def held_states(alphas: Floats) -> Ints:
    """The state that last had 0.6 in a filter (m, 3), shape (m,): one that hovers about ½ does not flap. Until any
    had, the likeliest at the first bar."""
    best = alphas.argmax(axis=1)
    entered = alphas.max(axis=1) >= HELD_FROM
    entered[:1] = True
    return np.asarray(best[np.maximum.accumulate(np.where(entered, np.arange(len(alphas)), 0))])


def _filter(likelihood: Any, initial: Any, transition: Sequence[Sequence[float]]) -> list[tuple[Any, Any, Any]]:
    """α_t(k) ∝ N(x_t; k) Σ_j A_jk α_{t−1}(j) ; each α is three numbers, or three arrays, one entry per block."""
    (a00, a01, a02), (a10, a11, a12), (a20, a21, a22) = transition
    out, predicted = [], initial
    for seen_a, seen_b, seen_c in likelihood:
        a, b, c = seen_a * predicted[0], seen_b * predicted[1], seen_c * predicted[2]
        total = a + b + c
        a, b, c = a / total, b / total, c / total
        out.append((a, b, c))
        predicted = a * a00 + b * a10 + c * a20, a * a01 + b * a11 + c * a21, a * a02 + b * a12 + c * a22
    return out


def _blocks(open_ms: Ints, timeframe: Timeframe, since: int) -> list[tuple[int, int, int]]:
    """(anchor, first, stop) rows of every anchor block with rows from `since` on that its anchor reaches gaplessly.

    The anchor has as many bars before it as an observation needs.
    """
    if since >= len(open_ms):
        return []
    block, step, found = anchor_block(timeframe), timeframe.ms, []
    for start_ms, end_ms in blocks_between(int(open_ms[since]), int(open_ms[-1]), block):
        began_ms = timeframe.floor(floor_block(start_ms, block)) - (FILTER_BARS + _SPAN) * step
        began, first, stop = np.searchsorted(open_ms, [began_ms, start_ms, end_ms])
        span_ms = open_ms[began:stop] - began_ms
        whole = int(began) + int(np.count_nonzero(span_ms == np.arange(len(span_ms)) * step))
        if max(first, since) < whole:
            found.append((int(began) + _SPAN, max(int(first), since), whole))
    return found


def observations(bars: BarSeries, timeframe: Timeframe) -> Floats:
    """(log trailing volatility, log volume against its trailing mean), shape (n, 2), over 48 bars.

    NaN in the warm-up, across a gap, and where price or volume stood still.
    """
    returns = np.full(len(bars), np.nan)
    returns[1:] = np.log(bars.close[1:] / bars.close[:-1])
    returns[1:][np.diff(bars.open_ms) != timeframe.ms] = np.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        volatility = np.log(window_sum(returns * returns, _SPAN) / _SPAN) / 2
        both = np.column_stack([volatility, np.log(bars.volume / (window_sum(bars.volume, _SPAN) / _SPAN))])
    return np.asarray(np.where(np.isfinite(both).all(axis=1, keepdims=True), both, np.nan))


def fit_regimes(bars: BarSeries, timeframe: Timeframe) -> RegimeModel | None:
    """Expectation-maximisation from volatility terciles; `None` with fewer than 200 usable bars or no variation.

    The bars are taken as sequences of 64, each starting from the pooled initial weights. What is found is rounded to
    single precision, so that the last bits of another machine make no other model.
    """
    observed = observations(bars, timeframe)
    observed = observed[np.isfinite(observed).all(axis=1)]
    if len(observed) < _MIN_ROWS or np.any(observed.std(axis=0) == 0):
        return None
    centre, scale = observed.mean(axis=0), observed.std(axis=0)
    x = ((observed - centre) / scale)[len(observed) % _SEQUENCE :]
    group = np.digitize(x[:, 0], np.quantile(x[:, 0], [1 / 3, 2 / 3]))
    means = np.stack([x[group == k].mean(axis=0) for k in range(3)])
    variances = np.stack([np.maximum(x[group == k].var(axis=0), _FLOOR) for k in range(3)])
    transition = np.full((3, 3), 0.02) + np.eye(3) * 0.94
    initial, before = np.full(3, 1 / 3), -np.inf
    for _ in range(_ROUNDS):
        (means, variances, transition, initial), fit = _improved(x, means, variances, transition, initial)
        if fit - before < _GAIN:
            break
        before = fit
    order = np.argsort(means[:, 0])
    ordered = (means[order], variances[order], transition[np.ix_(order, order)], initial[order])
    return RegimeModel(*(one.astype(np.float32).astype(np.float64) for one in (centre, scale, *ordered)))


def _improved(
    x: Floats, means: Floats, variances: Floats, transition: Floats, initial: Floats
) -> tuple[tuple[Floats, Floats, Floats, Floats], float]:
    """One round of Baum–Welch on sequences side by side, and the mean log likelihood before it (up to a constant)."""
    likelihood, best = _likelihoods(x, means, variances)
    seen = likelihood.reshape(-1, _SEQUENCE, 3).transpose(1, 2, 0).copy()
    alphas, scales = _forward_scaled(seen, transition, initial)
    betas = np.ones_like(alphas)
    for t in range(_SEQUENCE - 2, -1, -1):
        ahead = seen[t + 1] * betas[t + 1] / scales[t + 1]
        betas[t] = transition[:, :1] * ahead[0] + transition[:, 1:2] * ahead[1] + transition[:, 2:] * ahead[2]
    gammas = alphas * betas
    gammas /= gammas.sum(axis=1, keepdims=True)
    ahead = seen[1:] * betas[1:] / scales[1:, None]
    pairs = transition * crossed(_in_rows(alphas[:-1]), _in_rows(ahead))
    weights = _in_rows(gammas)
    total = weights.sum(axis=0)[:, None] + 1e-9
    new_means = crossed(weights, x) / total
    new_variances = np.maximum(crossed(weights, x * x) / total - new_means**2, _FLOOR)
    initial = gammas[0].mean(axis=1)
    fitted = (new_means, new_variances, pairs / pairs.sum(axis=1, keepdims=True), initial)
    return fitted, float((np.log(scales).sum() + best.sum()) / len(x))


def _in_rows(side_by_side: Floats) -> Floats:
    """Sequences (t, 3, b) as rows (b · t, 3), one sequence after the other."""
    return side_by_side.transpose(2, 0, 1).reshape(-1, 3)


def _forward_scaled(seen: Floats, transition: Floats, initial: Floats) -> tuple[Floats, Floats]:
    """The filter over sequences (t, 3, b) side by side, and its normalisers (t, b)."""
    alphas, scales = np.empty_like(seen), np.empty((len(seen), seen.shape[2]))
    predicted: Floats = initial[:, None]
    columns = [transition[j][:, None] for j in range(3)]
    for t, now in enumerate(seen):
        joint = now * predicted
        scales[t] = joint[0] + joint[1] + joint[2]
        a = alphas[t] = joint / scales[t]
        predicted = columns[0] * a[0] + columns[1] * a[1] + columns[2] * a[2]
    return alphas, scales


def _likelihoods(x: Floats, means: Floats, variances: Floats) -> tuple[Floats, Floats]:
    """N(x_t; state k), shape (n, 3), divided by the row's largest; and the logarithm (n,) of that, up to a constant."""
    logs = [
        -0.5 * ((x[:, 0] - m[0]) ** 2 / v[0] + (x[:, 1] - m[1]) ** 2 / v[1] + np.log(v[0]) + np.log(v[1]))
        for m, v in zip(means, variances, strict=True)
    ]
    best = np.maximum(np.maximum(logs[0], logs[1]), logs[2])
    return np.stack([np.exp(one - best) + 1e-12 for one in logs], axis=1), best
