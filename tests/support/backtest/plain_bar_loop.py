"""The rules of `backtest.bar_engine` told bar by bar, one thing after the other: what the quick engine has to equal."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from trader_cli.backtest.bar_values import BarResult, Bars, BarTerms, BarTrades, Reason
from trader_cli.features.rule import BarSignals

COLUMNS = tuple(BarTrades.__dataclass_fields__)
WHOLE = {"entry", "exit", "sign", "reason"}


@dataclass
class _Loop:
    """The account on its way."""

    terms: BarTerms
    wallet: float
    sign: int = 0
    entry: int = 0
    price: float = 0.0
    quantity: float = 0.0
    stop: float = 0.0
    target: float = 0.0
    paid: float = 0.0
    rows: list[tuple[float, ...]] = field(default_factory=list)

    @property
    def margin(self) -> float:
        return self.price / self.terms.leverage

    @property
    def liquidation(self) -> float:
        return (self.margin - self.paid - self.sign * self.price) / (self.terms.maintenance - self.sign)

    @property
    def bankruptcy(self) -> float:
        return self.price - self.sign * (self.margin - self.paid)

    def lost(self, price: float, level: float) -> bool:
        return (price - level) * self.sign <= 0

    def open(self, at: int, price: float, sign: int, stop: float, target: float) -> None:
        t = self.terms
        self.sign, self.entry, self.paid = sign, at, 0.0
        self.price = price * (1 + sign * t.slippage)
        lot = self.price * (1 / t.leverage + t.taker_fee) * t.step
        self.quantity = max(self.wallet * t.share // lot, 0.0) * t.step
        self.stop, self.target = self.price * (1 - sign * stop), self.price * (1 + sign * target)
        if self.quantity == 0:
            self.sign = 0

    def end(self, at: int, price: float, reason: Reason) -> None:
        t, fee_in = self.terms, self.price * self.terms.taker_fee
        if reason in {Reason.SIGNAL, Reason.STOP}:
            price = price * (1 - self.sign * t.slippage)
        rates = {Reason.SIGNAL: t.taker_fee, Reason.STOP: t.taker_fee, Reason.TARGET: t.maker_fee}
        fee_out = price * rates.get(reason, 0.0)
        realised = 0.0 if reason is Reason.STILL_OPEN else self.sign * (price - self.price)
        self.wallet += self.quantity * (realised - fee_in - fee_out - self.paid)
        self.rows.append(
            (
                self.entry,
                at,
                self.sign,
                self.quantity,
                self.price,
                price,
                self.quantity * (fee_in + fee_out),
                self.quantity * self.paid,
                self.quantity * realised,
                self.wallet,
                reason,
            )
        )
        self.sign = 0

    def equity(self, close: float) -> float:
        if self.sign == 0:
            return self.wallet
        fee_in = self.price * self.terms.taker_fee
        base = self.wallet - self.quantity * (fee_in + self.paid)
        return base + self.quantity * self.sign * (close - self.price)

    def at_open(self, at: int, price: float, rate: float, *, turned: bool) -> None:
        self.paid += self.sign * (rate * price)
        if self.lost(price, self.liquidation):
            self.end(at, self.bankruptcy, Reason.LIQUIDATION)
        elif turned:
            self.end(at, price, Reason.SIGNAL)
        elif self.lost(price, self.stop):
            self.end(at, price, Reason.STOP)
        elif (price - self.target) * self.sign >= 0:
            self.end(at, price, Reason.TARGET)

    def within(self, at: int, high: float, low: float) -> None:
        worst, best, level = (low, high, self.liquidation) if self.sign > 0 else (high, low, self.liquidation)
        if (level - self.stop) * self.sign >= 0 and self.lost(worst, level):
            self.end(at, self.bankruptcy, Reason.LIQUIDATION)
        elif self.lost(worst, self.stop):
            self.end(at, self.stop, Reason.STOP)
        elif (best - self.target) * self.sign >= 0:
            self.end(at, self.target, Reason.TARGET)


def plain(bars: Bars, signals: BarSignals, terms: BarTerms) -> BarResult:
    """Trades and equity, by a loop over every bar."""
    loop, equity, side = _Loop(terms, terms.wallet), [], [0, 0, *signals.side.tolist()]
    columns = (bars.open, bars.high, bars.low, bars.close, bars.funding_rate)
    for at, (opened, high, low, close, rate) in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
        before, said = side[at : at + 2]
        if loop.sign:
            loop.at_open(at, opened, rate, turned=said != before)
        if said and said != before:
            loop.open(at, opened, said, float(signals.stop[at - 1]), float(signals.target[at - 1]))
        if loop.sign:
            loop.within(at, high, low)
        equity.append(loop.equity(close))
    if loop.sign:
        loop.end(len(bars), float(bars.close[-1]), Reason.STILL_OPEN)
    table = list(zip(*loop.rows, strict=True)) if loop.rows else [()] * len(COLUMNS)
    named = zip(COLUMNS, table, strict=True)
    trades = BarTrades(**{n: np.array(v, dtype=np.int64 if n in WHOLE else np.float64) for n, v in named})
    return BarResult(trades, np.array(equity))
