"""The eleven known ways to look ahead (method notes §3c), each as a column; and a filtered one that does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import polars as pl
import pywt

from trader_cli.core.market.schemas import TIME
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.features.bar_arrays import BarSeries
from trader_cli.features.modwt import window_sum

H1 = Timeframe.parse("1h")
Floats = np.ndarray[tuple[int], np.dtype[np.float64]]


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


PEEKING: Mapping[str, Callable[[BarSeries], Floats]] = MappingProxyType(
    {
        "higher frame joined on open time": hours_on_open_time,
        "swt haar d2": stationary("haar", 2),
        "swt db4 d3": stationary("db4", 3),
        "centred 11-bar mean": centred_mean,
        "wavedec-denoised gap": denoised_gap,
        "pivot stamped at its bar": lambda bars: pivot(bars, 0),
        "HMM smoothed": lambda bars: Markov().smoothed(bars)[:, 1],
        "HMM Viterbi": Markov().viterbi,
        "whole z-score": lambda bars: (bars.close - bars.close.mean()) / bars.close.std(),
        "whole rank": lambda bars: ranks(bars.volume),
        "back-fill": back_filled,
    }
)
WARMUPS = MappingProxyType({"back-fill": 0})
"""In bars, of those that need another than 60."""
