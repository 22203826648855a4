"""The figures of a run, from its rows: return and risk, trades, costs, and how likely it is luck."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from trader_cli.analyst.book import Book
from trader_cli.analyst.claim import make_claim
from trader_cli.analyst.statistics import sharpe
from trader_cli.backtest.costs import CostsByKind, cost_per_bar, costs_by_kind
from trader_cli.backtest.exposure_held import Closes, exposure_book
from trader_cli.backtest.performance import Risk, TradeFigures, bars_of_a_year, risk_of, trade_figures
from trader_cli.backtest.resampling import Interval, Intervals, intervals_of
from trader_cli.core.errors import DataInvalid
from trader_cli.core.json_values import built, object_of
from trader_cli.core.types import Claim

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trader_cli.core.json_values import JsonObject
    from trader_cli.core.types import Tries


@dataclass(frozen=True)
class FigureBasis:
    """What the figures rest on beside the rows: the money at first, the market, and what a claim needs.

    `count_trial` takes the Sharpe ratio per bar and gives every trial on these data.
    """

    balance: float
    bar_ms: int
    closes: Mapping[str, Closes]
    claim_probability: float
    count_trial: Callable[[float], Tries]


@dataclass(frozen=True)
class Figures:
    """Money in the quote asset. `turnover` is what was traded over the mean equity, `time_in_market` a share of bars.

    `mean_exposure` is net, `mean_gross_exposure` of longs and shorts together, both shares of equity; `held_return`
    what that same exposure, held all along, would have brought. `claim` is the verdict by the rule that models are held
    to. `unprotected_ms` is how long positions were not wholly behind stops, all together and the longest of them.
    """

    balance: float
    final_equity: float
    risk: Risk
    intervals: Intervals
    trades: TradeFigures
    still_open: int
    exits: dict[str, int]
    realised: float
    costs: CostsByKind
    turnover: float
    time_in_market: float
    mean_exposure: float
    mean_gross_exposure: float
    held_return: float
    unprotected_ms: int
    longest_unprotected_ms: int
    claim: Claim
    halted: str | None

    def as_dict(self) -> JsonObject:
        """The JSON shape."""
        return asdict(self)

    @classmethod
    def from_dict(cls, body: Mapping[str, object]) -> Figures:
        """The inverse of `as_dict`. Raises `DataInvalid` for figures of another version."""
        try:
            return cls._read(body)
        except (KeyError, TypeError) as error:
            raise DataInvalid(
                "The figures were written by another version of trader.", hint="Run `trader backtest` again."
            ) from error

    @classmethod
    def _read(cls, body: Mapping[str, object]) -> Figures:
        kinds = {"risk": Risk, "trades": TradeFigures, "costs": CostsByKind, "claim": Claim}
        parts = {name: built(kind, object_of(body[name])) for name, kind in kinds.items()}
        drawn = object_of(body["intervals"])
        intervals = Intervals(**{name: built(Interval, object_of(one)) for name, one in drawn.items()})
        return built(cls, {**body, **parts, "intervals": intervals})


def figures_of(frames: Mapping[str, pl.DataFrame], basis: FigureBasis, halted: str | None) -> Figures:
    """Of the frames of `Records`."""
    trades, equity, fills = frames["trades"], frames["equity"], frames["fills"]
    closed, level = trades.filter(pl.col("closed").is_not_null()), equity["equity"].to_numpy()
    ends, book = closed["reason"].value_counts().sort("reason"), exposure_book(equity, fills, basis.closes)
    doubled = book.gains - cost_per_bar(fills, equity) / level[:-1]
    tries, each = basis.count_trial(sharpe(book.gains)), Book(book.gains, np.ones(1), book.held, closed.height)
    bare = trades["unprotected_ms"]
    return Figures(
        balance=basis.balance,
        final_equity=float(level[-1]),
        risk=risk_of(level, basis.balance, basis.bar_ms),
        intervals=intervals_of(book.gains, math.sqrt(bars_of_a_year(basis.bar_ms))),
        trades=trade_figures(closed["net"].to_numpy()),
        still_open=trades.height - closed.height,
        exits={str(why): int(count) for why, count in ends.iter_rows()},
        realised=float(trades["realised"].sum()),
        costs=costs_by_kind(fills, trades),
        turnover=float((fills["price"] * fills["quantity"]).sum()) / float(level.mean()),
        time_in_market=float(np.mean(equity["exposure"].to_numpy() > 0)),
        mean_exposure=float(book.net.mean()),
        mean_gross_exposure=float(book.gross.mean()),
        held_return=float(np.prod(1 + book.held)) - 1,
        unprotected_ms=int(bare.sum()),
        longest_unprotected_ms=int(bare.to_numpy().max(initial=0)),
        claim=make_claim(each, replace(each, gains=doubled), tries, basis.claim_probability),
        halted=halted,
    )
