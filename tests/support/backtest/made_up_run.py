"""A run that never was: a year of bars, trades on them whose money adds up, and the report of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from trader_cli.backtest.exposure_held import Closes
from trader_cli.backtest.figures import FigureBasis, figures_of
from trader_cli.backtest.records import framed
from trader_cli.core.market.schemas import BARS
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.core.types import Tries
from trader_cli.report.run_report import RunReport

QUARTER = Timeframe.parse("15m")
START_MS = 1_704_067_200_000
YEAR = 35_040
FEE = 0.0005
REASONS = ("stop", "take_profit", "confidence", "time")


def made_up_bars(rng: np.random.Generator, count: int, start_ms: int) -> pl.DataFrame:
    """A walk on ticks of 0.01, busier by day."""
    opened = start_ms + np.arange(count, dtype=np.int64) * QUARTER.ms
    busy = 0.6 + 0.5 * np.sin(np.arange(count) / 96 * 2 * np.pi) ** 2
    moves = rng.standard_normal(count) * 0.0019 * busy * np.exp(0.4 * np.sin(np.arange(count) / 4000))
    close = np.round(2300 * np.exp(np.cumsum(moves)), 2)
    first = np.concatenate([[2300.0], close[:-1]])
    reach = np.abs(rng.standard_normal((2, count))) * close * 0.0011 * busy
    high, low = np.maximum(first, close) + reach[0], np.minimum(first, close) - reach[1]
    columns: dict[str, Any] = {
        "open_time": opened,
        "close_time": opened + QUARTER.ms - 1,
        "open": first,
        "high": high.round(2),
        "low": low.round(2),
        "close": close,
        "volume": rng.gamma(2, 900 * busy).round(3),
    }
    rest = {name: None for name in BARS.columns if name not in columns}
    return pl.DataFrame({**columns, **rest}, schema=dict(BARS.columns))


class MadeUpRun:
    """Trades one after the other, half long and half short, each with stops that were tightened."""

    def __init__(self, seed: int = 7, bars: int = YEAR, trades: int = 500, symbol: str = "ETHUSDT") -> None:
        self.rng, self.symbol = np.random.default_rng(seed), symbol
        self.bars = made_up_bars(self.rng, bars, START_MS)
        self.rows: dict[str, list[tuple[object, ...]]] = {name: [] for name in framed({})}
        self.wallet, self.amount, self.entry = 10_000.0, 0.0, 0.0
        self.close = self.bars["close"].to_list()
        self.times = [START_MS + (n + 1) * QUARTER.ms for n in range(bars)]
        starts = np.sort(self.rng.choice(bars // 24 - 2, trades, replace=False)) * 24 + 4 if trades else []
        self.plans = {int(at): number for number, at in enumerate(starts)}
        for n in range(bars):
            self._bar(n)

    def _bar(self, n: int) -> None:
        if n in self.plans:
            self._trade(n, self.plans[n])
        now = self.times[n]
        equity = self.wallet + self._open_profit(n)
        self.rows["equity"].append((now + 500, self.wallet, equity, abs(self._amount_at(n)) * self.close[n]))

    def _trade(self, n: int, number: int) -> None:
        rng, plan = self.rng, f"plan{number:04d}"
        sign, lasts = (1 if rng.random() < 0.5 else -1), int(rng.integers(3, 20))
        price = self.close[n] * (1 + sign * 0.0001)
        quantity = round(0.6 * self.wallet / price, 3)
        out = n + lasts
        exit_price = self.close[out] * (1 - sign * 0.0001) + sign * 0.0008 * self.close[n]
        opened, closed = self.times[n] + 520, self.times[out] + 7_300
        realised, fees = sign * quantity * (exit_price - price), FEE * quantity * (price + exit_price)
        funding = quantity * price * 1e-4 * (number % 3 == 0)
        reason = REASONS[int(rng.integers(len(REASONS)))]
        told = (self.symbol, plan)
        half = round(quantity / 2, 3)
        buy, sell = ("BUY", "SELL") if sign > 0 else ("SELL", "BUY")
        said = float(np.clip(0.52 + 0.1 * rng.standard_normal(), 0.35, 0.8))
        decided = (opened, self.symbol, self.times[n], "entered", "risk_per_trade", "made up", plan, said)
        self.rows["decisions"].append(decided)
        for part in (half, quantity - half):
            fill = (opened, *told, "entry", buy, price, part, FEE * part * price, 0.0, "entry", False, self.close[n])
            self.rows["fills"].append(fill)
        last = (closed, *told, "exit", sell, exit_price, quantity, FEE * quantity * exit_price, realised, reason)
        self.rows["fills"].append((*last, reason == "take_profit", exit_price + sign * 0.05))
        for step in range(0, lasts, 4):
            level = price * (1 - sign * (0.012 - 0.0015 * step))
            self.rows["levels"].append((self.times[n + step] + 900, *told, "stop", round(level, 2)))
        self.rows["levels"].append((opened, *told, "take_profit", round(price * (1 + sign * 0.018), 2)))
        net = realised - fees - funding
        row = (opened, closed, *told, "long" if sign > 0 else "short", quantity, price, exit_price)
        self.rows["trades"].append((*row, realised, fees, funding, net, reason, 0 if number % 90 else 340 + number))
        self.held = (n, out, sign * quantity, price)
        self.wallet += net

    def _amount_at(self, n: int) -> float:
        held = getattr(self, "held", None)
        return held[2] if held is not None and held[0] <= n < held[1] else 0.0

    def _open_profit(self, n: int) -> float:
        """Wallet moves at the entry in this run, so what is still open is put back step by step."""
        held = getattr(self, "held", None)
        if held is None or n >= held[1]:
            return 0.0
        first, last, amount, price = held
        net = float(self.rows["trades"][-1][11])  # type: ignore[arg-type]
        return amount * (self.close[n] - price) - net * (last - n) / (last - first)

    def report(self, **changes: Any) -> RunReport:
        """The values a page is made of."""
        for n in range(0, len(self.times), 11):
            self.rows["decisions"].append(
                (
                    self.times[n] + 500,
                    self.symbol,
                    self.times[n],
                    "abstention",
                    "no_edge",
                    "not above break-even",
                    None,
                    None,
                )
            )
        frames = framed(self.rows)
        basis = FigureBasis(
            10_000.0, QUARTER.ms, {self.symbol: Closes.of(self.bars, QUARTER)}, 0.95, lambda s: Tries(3, (s, 0.0, 0.01))
        )
        given: dict[str, Any] = {
            "kind": "backtest",
            "name": "3f2a91c04b7d",
            "symbols": (self.symbol,),
            "timeframe": QUARTER,
            "since_ms": self.times[0],
            "until_ms": self.times[-1],
            "figures": figures_of(frames, basis, None),
            "frames": frames,
            "bars": {self.symbol: self.bars},
            "assumptions": {"market": "made up for a test", "seed": "7", "money at first": "10,000.00"},
            "made_from": {"backtest": "0123456789abcdef" * 2, "bars ETHUSDT": "fedcba9876543210" * 2},
        }
        return RunReport(**{**given, **changes})
