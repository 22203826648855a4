"""The quick engine: a rule's signals on bare bars, filled at the next open, by skipping from trade to trade.

Where positions end does not depend on the wallet (`bar_exits`), so it is found for all of them at once; then the money
is counted trade by trade. There is one position at a time. What a bar does between its open and its close is not known
here, and never resolved in our favour.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.backtest.bar_exits import Payments, Positions, exits
from trader_cli.backtest.bar_values import BarResult, BarTrades, Reason

if TYPE_CHECKING:
    from trader_cli.backtest.bar_exits import Exits
    from trader_cli.backtest.bar_values import Bars, BarTerms, Floats, Ints
    from trader_cli.features.rule import BarSignals


def trade_bars(bars: Bars, signals: BarSignals, terms: BarTerms) -> BarTrades:
    """What a rule would have traded."""
    return _booked(bars, Payments.of(bars), signals, terms).trades()


def backtest_bars(bars: Bars, signals: BarSignals, terms: BarTerms) -> BarResult:
    """Trades and equity."""
    payments = Payments.of(bars)
    books = _booked(bars, payments, signals, terms)
    return BarResult(books.trades(), _equity(bars, payments, books))


def positions_of(bars: Bars, signals: BarSignals, terms: BarTerms) -> Positions:
    """The positions that the signals ask for, wherever they may end before their time."""
    side = signals.side
    turns = np.flatnonzero(np.diff(side, prepend=np.int8(0)))
    turns = turns[turns + 1 < len(bars)]
    opening = side[turns] != 0
    until = np.append(turns[1:] + 1, len(bars))[opening]
    said = turns[opening]
    entry, sign = said + 1, side[said].astype(np.int64)
    price = bars.open[entry] * (1 + sign * terms.slippage)
    stop, target = price * (1 - sign * signals.stop[said]), price * (1 + sign * signals.target[said])
    return Positions(entry, until, sign, price, stop, target, price / terms.leverage)


@dataclass(frozen=True)
class _Books:
    """Positions with their ends, and the money: quantities, and the wallet before each trade and after the last."""

    positions: Positions
    exits: Exits
    fee_in: Floats
    fee_out: Floats
    gain: Floats
    quantity: Floats
    wallet: Floats

    def trades(self) -> BarTrades:
        """The trades that were had: those for which the wallet was large enough."""
        at = np.flatnonzero(self.quantity)
        p, e, quantity = self.positions, self.exits, self.quantity[at]
        realised = np.where(e.reason == Reason.STILL_OPEN, 0.0, self.gain)[at]
        return BarTrades(
            entry=p.entry[at],
            exit=e.at[at],
            sign=p.sign[at],
            quantity=quantity,
            entry_price=p.price[at],
            exit_price=e.price[at],
            fees=quantity * (self.fee_in + self.fee_out)[at],
            funding=quantity * e.paid[at],
            realised=quantity * realised,
            wallet=self.wallet[1:][at],
            reason=e.reason[at],
        )


def _booked(bars: Bars, payments: Payments, signals: BarSignals, terms: BarTerms) -> _Books:
    positions = positions_of(bars, signals, terms)
    ends = _slipped(exits(bars, payments, positions, terms.maintenance), positions.sign, terms)
    fee_in = positions.price * terms.taker_fee
    fee_out = ends.price * np.array([terms.taker_fee, terms.taker_fee, terms.maker_fee, 0.0, 0.0])[ends.reason]
    gain = positions.sign * (ends.price - positions.price)
    realised = np.where(ends.reason == Reason.STILL_OPEN, 0.0, gain)
    lot = positions.price * (1 / terms.leverage + terms.taker_fee) * terms.step
    quantity, wallet = _money(terms, lot, realised - fee_in - fee_out - ends.paid)
    return _Books(positions, ends, fee_in, fee_out, gain, quantity, wallet)


def _slipped(ends: Exits, sign: Ints, terms: BarTerms) -> Exits:
    """Market orders fill worse than their level; a target is a resting order, a liquidation takes the margin."""
    at_market = (ends.reason == Reason.SIGNAL) | (ends.reason == Reason.STOP)
    return replace(ends, price=np.where(at_market, ends.price * (1 - sign * terms.slippage), ends.price))


def _money(terms: BarTerms, lot: Floats, unit_gain: Floats) -> tuple[Floats, Floats]:
    """Quantities, shape (k,), and the wallet before each trade and after the last, shape (k + 1,).

    `lot` is what a step of quantity takes from the wallet, `unit_gain` what a unit brings in the end.
    """
    wallet, share, step = terms.wallet, terms.share, terms.step
    quantities, wallets = [], [wallet]
    for cost, gain in zip(lot.tolist(), unit_gain.tolist(), strict=True):
        quantity = max(wallet * share // cost, 0.0) * step
        wallet += quantity * gain
        quantities.append(quantity)
        wallets.append(wallet)
    return np.array(quantities), np.array(wallets)


def _equity(bars: Bars, payments: Payments, books: _Books) -> Floats:
    """Equity at each close, shape (n,): piecewise a base and a quantity times what the price has moved.

    A piece begins where a position is filled, pays funding, or ends.
    """
    entry, end, sign = books.positions.entry, books.exits.at, books.positions.sign
    before, after = books.wallet[:-1] - books.quantity * books.fee_in, books.wallet[1:]
    held = books.quantity * sign
    begins = np.column_stack([entry, end]).ravel()
    bases = np.column_stack([before, after]).ravel()
    quantities = np.column_stack([held, np.zeros(len(held))]).ravel()
    paying, bars_of, paid = _payments_held(payments, books)
    into = 2 * paying + 1
    pieces = [
        np.insert(begins, into, bars_of),
        np.insert(bases, into, books.wallet[paying] - books.quantity[paying] * (books.fee_in[paying] + paid)),
        np.insert(quantities, into, held[paying]),
        np.insert(np.repeat(books.positions.price, 2), into, books.positions.price[paying]),
    ]
    lengths = np.diff(np.concatenate([[0], pieces[0], [len(bars)]]))
    base, quantity, price = (
        np.repeat(np.concatenate([[first], piece]), lengths)
        for first, piece in zip((books.wallet[0], 0.0, 0.0), pieces[1:], strict=True)
    )
    equity: Floats = base + quantity * (bars.close - price)
    return equity


def _payments_held(payments: Payments, books: _Books) -> tuple[Ints, Ints, Floats]:
    """Payments that found a position open: which one, the bar, and what a unit of it has paid by then."""
    which = np.searchsorted(books.positions.entry, payments.at, side="left") - 1
    within = payments.at < np.append(books.exits.at, -1)[which]  # before the first position: which is −1
    which, bars_of, amounts = which[within], payments.at[within], payments.amount[within]
    paid, last, so_far = np.empty(len(which)), -1, 0.0
    for at, (position, amount) in enumerate(zip(which.tolist(), amounts.tolist(), strict=True)):
        so_far = (so_far if position == last else 0.0) + int(books.positions.sign[position]) * amount
        paid[at], last = so_far, position
    return which, bars_of, paid
