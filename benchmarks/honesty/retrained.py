"""Trained again and again on bars that grow, every look counted in a trial ledger as the program counts it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.honesty.markets import FRAME, null, planted
from benchmarks.honesty.trained import FREE
from trader_cli.analyst.book import Book
from trader_cli.analyst.claim import make_claim
from trader_cli.analyst.training import TrainingInput, train
from trader_cli.core.market.schemas import milliseconds
from trader_cli.core.market.timeframes import DAY_MS
from trader_cli.core.types import Claim, Tries
from trader_cli.features.build import build_features
from trader_cli.features.family import FamilyOptions
from trader_cli.features.inputs import known_inputs
from trader_cli.features.registry import make_spec
from trader_cli.pipelines.stages.book_maker import book_maker
from trader_cli.settings import as_settings
from trader_cli.settings.room_options import TrainingOptions
from trader_cli.storage.state import Trial, TrialLedger, counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import polars as pl

    from trader_cli.analyst.claim import CountTries

DAY_BARS, BARS = 24, 4000
DAILY_LOOKS, YEAR_LOOKS = 30, 365
DYING, AFTER, EACH = 2400, 1000, 96
"""A lead dies at this bar; so many bars later nothing is left of its claim; trained anew every so many."""
GONE, MORE, LOOKED = 1500, 2000, 480
"""Bars until it is back, and within which it is found again; looked at every so many from the end."""
STRENGTH = 0.35
_SPREAD = 3
"""Learners of a training, as if each were another one."""


@dataclass(frozen=True)
class Looks:
    """What looks at one tape came to: the claim of the first that claims, else of the last; figures of them."""

    claim: Claim
    metrics: dict[str, float]


def looks_at(bars: pl.DataFrame, stops: Iterable[int], costs: Mapping[str, float], before: Sequence[int] = ()) -> Looks:
    """Trained on the first so many bars each time, until an edge is claimed; looks `before` only count."""
    features = build_features(bars, make_spec(FamilyOptions(FRAME, inputs=known_inputs(bars), higher=FRAME.higher)))
    settings = as_settings({"costs": dict(costs)})
    options, maker = TrainingOptions.of(settings), book_maker(settings)
    metrics: dict[str, float] = {"looks": 0.0}
    with TemporaryDirectory() as folder:
        ledger = TrialLedger(Path(folder))
        for number, stop in enumerate([*before, *stops]):
            seen = bars[:stop]
            given = TrainingInput("key", "made up", "ETHUSDT", FRAME, seen, features[:stop], {}, maker=maker)
            claim = train(given, options, counting(ledger, seen)).claim
            if number < len(before):
                metrics |= {"claimed before": float(claim.edge)}
                continue
            metrics["looks"] += 1
            metrics |= {"bars": float(stop), "tries": claim.trials, "dsr": claim.deflated_sharpe_probability}
            metrics |= {"fading": claim.fading}
            if claim.edge:
                break
    return Looks(claim, metrics)


def counting(ledger: TrialLedger, bars: pl.DataFrame) -> CountTries:
    """As `pipelines` counts the learners of one configuration."""
    times, per_day = milliseconds(bars["open_time"]), math.sqrt(DAY_MS / FRAME.ms)
    span = int(times[0]), int(times[-1])

    def count(sharpes: Sequence[float], share: float) -> Tries:
        for learner, ratio in enumerate(sharpes):
            ledger.record(Trial.of_span(f"one-{learner}", "made up", "ETHUSDT", span, ratio * per_day, share))
        found = counted(ledger.looked("made up", "ETHUSDT", *span))
        return Tries(found.number, tuple(one / per_day for one in found.sharpes))

    return count


def retrained_null(seed: int) -> Looks:
    """A market without an edge, looked at on thirty further days."""
    days = range(DAILY_LOOKS + 1)
    return looks_at(null(seed, BARS + DAILY_LOOKS * DAY_BARS), [BARS + day * DAY_BARS for day in days], {})


def dying(seed: int) -> Looks:
    """A lead that dies: every training from 1,000 bars after its death to the end of the tape."""
    strength = np.where(np.arange(BARS) < DYING, STRENGTH, 0.0)
    stops = range(DYING + AFTER, BARS + 1, EACH)
    return looks_at(planted(seed, BARS, strength), stops, FREE, before=[DYING])


def returning(seed: int) -> Looks:
    """One that comes back after 1,500 bars: looked at up to 2,000 bars later, the last look first."""
    back, end = DYING + GONE, DYING + GONE + MORE
    at = np.arange(end)
    strength = np.where((at < DYING) | (at >= back), STRENGTH, 0.0)
    return looks_at(planted(seed, end, strength), range(end, back, -LOOKED), FREE, before=[DYING])


def a_year_of_looks(seed: int) -> Looks:
    """A book of z = 4, retrained on each day of a year, its learners as unlike as can be: is .98 still reached?"""
    rng, end = np.random.default_rng([seed, 8]), BARS + YEAR_LOOKS * DAY_BARS
    noise = rng.normal(size=end)
    noise = (noise - noise.mean()) / noise.std()
    gains = noise + 4 / math.sqrt(end)
    turned = np.where(np.arange(end) % 2 == 0, 1.0, -1.0)
    book = Book(gains, turned, np.zeros(end), end // 2)
    bars = null(1, end)
    with TemporaryDirectory() as folder:
        ledger = TrialLedger(Path(folder))
        for day in range(YEAR_LOOKS + 1):
            tries = counting(ledger, bars[: BARS + day * DAY_BARS])([4 / math.sqrt(end)] * _SPREAD, 1.0)
    claim = make_claim(book, book, tries, 0.98)
    return Looks(claim, {"tries": tries.number, "dsr": claim.deflated_sharpe_probability})
