"""Certificates: every known way to look ahead is caught, with its reach; what is causal passes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import pywt

from trader_cli.core.bars import aggregate_bars, check_bars
from trader_cli.core.errors import DataInvalid, VerificationFailed
from trader_cli.core.schemas import TIME
from trader_cli.core.timeframes import Timeframe
from trader_cli.features.build import build_features
from trader_cli.features.certificates import (
    AHEAD,
    IMPURE,
    NOT_FINITE,
    PASSED,
    UNDECLARED,
    UNEXERCISED,
    Certificate,
    ColumnVerdict,
    Reach,
    certify,
    merge,
)
from trader_cli.features.certification_tape import certification_frame, crashed, redrawn, rows_needed
from trader_cli.features.family import Family
from trader_cli.features.modwt import window_sum
from trader_cli.features.registry import FamilyOptions, FeatureSpec, make_spec
from trader_cli.features.series import PRICE_INPUTS, BarSeries
from trader_cli.features.trials import choose_cuts

M15 = Timeframe.parse("15m")
H1 = Timeframe.parse("1h")
Floats = np.ndarray[tuple[int], np.dtype[np.float64]]
TAPE = certification_frame(M15, PRICE_INPUTS, rows=1100, seed=5)


def planted(column: Callable[[BarSeries], Floats], **fields: object) -> FeatureSpec:
    """A family as a user writes one, with one column, beside nothing else."""
    given = {"warmup": 60, "inputs": PRICE_INPUTS, **fields}
    return FeatureSpec(M15, (Family("mine", ("mine_x",), lambda bars: {"mine_x": column(bars)}, **given),))


def verdict(spec: FeatureSpec, **options: object) -> ColumnVerdict:
    (found,) = certify(spec, {"synthetic": TAPE}, **options).columns
    return found


def hours_on_open_time(bars: BarSeries) -> Floats:
    frame = pl.DataFrame({"open_time": pl.Series(bars.open_ms).cast(TIME), "close": bars.close})
    hours = frame.group_by((pl.col("open_time").to_physical() // H1.ms * H1.ms).cast(TIME).alias("hour")).agg(
        pl.last("close").alias("hour_close")
    )
    return (
        frame.join_asof(hours.sort("hour"), left_on="open_time", right_on="hour")["hour_close"].to_numpy() / bars.close
    )


def stationary(wavelet: str, level: int) -> Callable[[BarSeries], Floats]:
    def column(bars: BarSeries) -> Floats:
        x = np.log(bars.close)
        padded = np.pad(x, (0, -len(x) % 2**level), mode="edge")
        return pywt.swt(padded, wavelet, level, norm=True, trim_approx=True)[1][: len(x)]

    return column


def centred_mean(bars: BarSeries) -> Floats:
    return np.convolve(bars.close, np.ones(11) / 11, "same") / bars.close


def denoised_gap(bars: BarSeries) -> Floats:
    parts = pywt.wavedec(np.log(bars.close), "db4", level=3)
    threshold = np.median(np.abs(parts[-1])) / 0.6745 * np.sqrt(2 * np.log(len(bars)))
    kept = [parts[0], *(pywt.threshold(part, threshold, "soft") for part in parts[1:])]
    return np.log(bars.close) - pywt.waverec(kept, "db4")[: len(bars)]


def pivot(bars: BarSeries, known_after: int, k: int = 3) -> Floats:
    """1 where a bar's high is the highest of the k on either side, stamped `known_after` bars later."""
    windows = np.lib.stride_tricks.sliding_window_view(bars.high, 2 * k + 1)
    found = np.zeros(len(bars))
    found[k : len(bars) - k] = windows.argmax(axis=1) == k
    return np.concatenate([np.zeros(known_after), found[: len(bars) - known_after]])


class Markov:
    """Two states of a Gaussian hidden Markov model with fixed parameters, on log returns."""

    stay, sigmas = 0.97, np.array([0.002, 0.008])

    def densities(self, bars: BarSeries) -> Floats:
        returns = np.diff(np.log(bars.close), prepend=np.log(bars.close[:1]))[:, None]
        return np.exp(-0.5 * (returns / self.sigmas) ** 2) / self.sigmas + 1e-12

    @property
    def moves(self) -> Floats:
        return np.array([[self.stay, 1 - self.stay], [1 - self.stay, self.stay]])

    def filtered(self, bars: BarSeries) -> Floats:
        state, out = np.array([0.5, 0.5]), []
        for density in self.densities(bars):
            state = (state @ self.moves) * density
            state = state / state.sum()
            out.append(state)
        return np.array(out)

    def smoothed(self, bars: BarSeries) -> Floats:
        forward, density = self.filtered(bars), self.densities(bars)
        later, out = np.ones(2), forward.copy()
        for t in range(len(bars) - 2, -1, -1):
            later = self.moves @ (density[t + 1] * later)
            later = later / later.sum()
            out[t] = forward[t] * later / (forward[t] * later).sum()
        return out

    def viterbi(self, bars: BarSeries) -> Floats:
        logs, moves = np.log(self.densities(bars)), np.log(self.moves)
        best, back = logs[0], []
        for row in logs[1:]:
            scores = best[:, None] + moves
            back.append(scores.argmax(axis=0))
            best = scores.max(axis=0) + row
        path = [int(best.argmax())]
        for step in reversed(back):
            path.append(int(step[path[-1]]))
        return np.array(path[::-1], dtype=np.float64)


def back_filled(bars: BarSeries) -> Floats:
    mean = window_sum(bars.close, 20) / (20 * bars.close)
    return pl.Series(mean).fill_nan(None).fill_null(strategy="backward").to_numpy()


def ranks(x: Floats) -> Floats:
    return x.argsort().argsort() / len(x)


BAD: dict[str, tuple[FeatureSpec, Callable[[Reach], bool]]] = {
    "higher frame joined on open time": (planted(hours_on_open_time), lambda reach: reach == 3),
    "swt haar d2": (planted(stationary("haar", 2)), lambda reach: reach == 3),
    "swt db4 d3": (planted(stationary("db4", 3)), lambda reach: reach == "whole" or 20 <= reach <= 28),
    "centred 11-bar mean": (planted(centred_mean), lambda reach: reach == 5),
    "wavedec-denoised gap": (planted(denoised_gap), lambda reach: reach == "whole" or reach > 20),
    "pivot stamped at its bar": (planted(lambda bars: pivot(bars, 0)), lambda reach: reach in {2, 3}),
    "HMM smoothed": (planted(lambda b: Markov().smoothed(b)[:, 1]), lambda reach: reach == "whole" or reach > 20),
    "HMM Viterbi": (planted(Markov().viterbi), lambda reach: reach == "whole" or 1 <= reach < 96),
    "whole z-score": (planted(lambda b: (b.close - b.close.mean()) / b.close.std()), lambda reach: reach == "whole"),
    "whole rank": (planted(lambda b: ranks(b.volume)), lambda reach: reach == "whole"),
    "back-fill": (planted(back_filled, warmup=0), lambda reach: reach == "whole" or reach > 4),
}


@pytest.mark.parametrize("name", BAD)
def test_every_known_way_to_look_ahead_is_caught(name: str) -> None:
    spec, plausible = BAD[name]
    found = verdict(spec)
    assert found.status == AHEAD
    assert found.reach is not None
    assert plausible(found.reach), found.reach
