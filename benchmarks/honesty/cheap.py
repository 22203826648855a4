"""`python -m benchmarks.honesty.cheap --seeds 0:3 --budget 600`: what must not matter to a claim, and what costs do.

A market with a planted lead is judged again as it is, at 1,024 times its price, 400 years later (the calendar of days,
weeks and months comes round then), with its columns in reverse order, with each of them twice, upside down, and at
costs of 1 and 3 basis points a side, which doubled must not pay. Told is by how much the Sharpe ratio of a bar is
another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from benchmarks.honesty.markets import FRAME, planted
from benchmarks.honesty.seeded import seeds_within
from benchmarks.honesty.trained import FREE
from trader_cli.analyst.training import TrainingInput, train
from trader_cli.core.market.schemas import FEATURE_KEYS, TIME
from trader_cli.core.market.timeframes import DAY_MS
from trader_cli.core.types import Tries
from trader_cli.features.build import build_features
from trader_cli.features.family import FamilyOptions
from trader_cli.features.inputs import known_inputs
from trader_cli.features.registry import make_spec
from trader_cli.pipelines.stages.book_maker import book_maker
from trader_cli.settings import as_settings
from trader_cli.settings.room_options import TrainingOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from trader_cli.core.types import Claim

_BARS, _LEAD = 3000, 0.35
_PRICES = ("open", "high", "low", "close")
_CYCLE_MS = 146_097 * DAY_MS
_EXACT = 1e-12


def main() -> None:
    """One line a seed, then how far each came from the first judgement at most."""
    worst: dict[str, float] = {}
    for seed in seeds_within(__doc__, "0:3", 600.0):
        bars = planted(seed, _BARS, _LEAD)
        first = _claim(bars)
        found = {name: abs(again(bars).sharpe_per_bar - first.sharpe_per_bar) for name, again in AGAIN.items()}
        dear = [_claim(bars, bps) for bps in (1.0, 3.0)]
        falls = all(claim.doubled_cost_sharpe_per_bar <= claim.sharpe_per_bar for claim in dear)
        told = ", ".join(f"{name} {off:.2g}" for name, off in found.items())
        costs = "lower" if falls else "NOT LOWER"
        print(f"{seed:4} Sharpe {first.sharpe_per_bar:.4f}, {costs} at doubled costs; {told}", flush=True)
        worst = {name: max(off, worst.get(name, 0.0)) for name, off in found.items()}
    for name, off in worst.items():
        print(f"{name}: {'the same' if off < _EXACT else f'at most {off:.3g} of Sharpe ratio a bar'}")


def _claim(
    bars: pl.DataFrame, bps: float = 0.0, features: Callable[[pl.DataFrame], pl.DataFrame] = lambda frame: frame
) -> Claim:
    """What the only training ever run on these bars claims, with what `features` makes of theirs."""
    options = FamilyOptions(FRAME, inputs=known_inputs(bars), higher=FRAME.higher)
    wide = features(build_features(bars, make_spec(options)))
    settings = as_settings({"costs": {**FREE, "taker_fee_bps": bps}, "analyst": {"learners": 1}})
    given = TrainingInput("key", "made up", "ETHUSDT", FRAME, bars, wide, {}, maker=book_maker(settings))
    return train(given, TrainingOptions.of(settings), Tries.alone).claim


def _dearer(bars: pl.DataFrame) -> pl.DataFrame:
    return bars.with_columns(pl.col(*_PRICES, "taker_buy_quote") * 1024.0)


def _later(bars: pl.DataFrame) -> pl.DataFrame:
    times = [(pl.col(name).to_physical() + _CYCLE_MS).cast(TIME) for name in ("open_time", "close_time")]
    return bars.with_columns(times)


def _upside_down(bars: pl.DataFrame) -> pl.DataFrame:
    """Each price its inverse; who bought, sold."""
    square = float(bars["close"][0]) ** 2
    inverse = {name: square / pl.col(of) for name, of in zip(_PRICES, ("open", "low", "high", "close"), strict=True)}
    flipped = bars.with_columns(**inverse)
    bought = pl.col("volume") - pl.col("taker_buy_base")
    return flipped.with_columns(taker_buy_base=bought, taker_buy_quote=bought * pl.col("close"))


def _reversed(features: pl.DataFrame) -> pl.DataFrame:
    names = [name for name in features.columns if name not in FEATURE_KEYS]
    return features.select(*FEATURE_KEYS, *reversed(names))


def _twice(features: pl.DataFrame) -> pl.DataFrame:
    again = [pl.col(name).alias(f"{name}_again") for name in features.columns if name not in FEATURE_KEYS]
    return features.with_columns(again)


AGAIN: dict[str, Callable[[pl.DataFrame], Claim]] = {
    "as it is": _claim,
    "1,024 times the price": lambda bars: _claim(_dearer(bars)),
    "400 years later": lambda bars: _claim(_later(bars)),
    "columns reversed": lambda bars: _claim(bars, features=_reversed),
    "columns twice": lambda bars: _claim(bars, features=_twice),
    "upside down": lambda bars: _claim(_upside_down(bars)),
}


if __name__ == "__main__":
    main()
