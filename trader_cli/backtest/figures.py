"""The figures of a backtest, from its rows: return and risk, trades, costs, and how likely it is luck."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from trader_cli.analyst.statistics import expected_best_sharpe, probabilistic_sharpe, sharpe
from trader_cli.backtest.performance import Risk, TradeFigures, risk_of, trade_figures
from trader_cli.core.json_values import built, object_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trader_cli.core.json_values import JsonObject


@dataclass(frozen=True)
class Figures:
    """Money in the quote asset. `turnover` is what was traded over the mean equity, `time_in_market` a share of bars.

    `deflated_sharpe_probability` is that of a Sharpe ratio above the best that `trials` without skill would show.
    """

    balance: float
    final_equity: float
    risk: Risk
    trades: TradeFigures
    still_open: int
    exits: dict[str, int]
    realised: float
    fees: float
    funding: float
    turnover: float
    time_in_market: float
    trials: int
    deflated_sharpe_probability: float
    halted: str | None

    def as_dict(self) -> JsonObject:
        """The JSON shape."""
        return asdict(self)

    @classmethod
    def from_dict(cls, body: Mapping[str, object]) -> Figures:
        """The inverse of `as_dict`."""
        risk, trades = built(Risk, object_of(body["risk"])), built(TradeFigures, object_of(body["trades"]))
        return built(cls, {**body, "risk": risk, "trades": trades})


def figures_of(
    frames: Mapping[str, pl.DataFrame],
    balance: float,
    bar_ms: int,
    halted: str | None,
    count_trial: Callable[[float], list[float]],
) -> Figures:
    """Of the frames of `Records`. `count_trial` takes its Sharpe ratio per bar and gives those of every trial."""
    trades, equity, fills = frames["trades"], frames["equity"], frames["fills"]
    closed, level = trades.filter(pl.col("closed").is_not_null()), equity["equity"].to_numpy()
    returns = np.diff(level) / level[:-1]
    trials, ends = count_trial(sharpe(returns)), closed["reason"].value_counts().sort("reason")
    return Figures(
        balance=balance,
        final_equity=float(level[-1]),
        risk=risk_of(level, balance, bar_ms),
        trades=trade_figures(closed["net"].to_numpy()),
        still_open=trades.height - closed.height,
        exits={str(why): int(count) for why, count in ends.iter_rows()},
        realised=float(trades["realised"].sum()),
        fees=float(trades["fees"].sum()),
        funding=float(trades["funding"].sum()),
        turnover=float((fills["price"] * fills["quantity"]).sum()) / float(level.mean()),
        time_in_market=float(np.mean(equity["exposure"].to_numpy() > 0)),
        trials=len(trials),
        deflated_sharpe_probability=probabilistic_sharpe(returns, expected_best_sharpe(trials, len(returns))),
        halted=halted,
    )
