"""A ledger that holds more than the exchange shows, made smaller as a person asks for it: a line of its own kind.

What trades or forced orders explain is booked by them. What nothing explains is booked as "settled", at the price it
was entered at, once two looks a minute apart have shown the same. Nothing is ever made larger, and nothing is sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.identity import ids
from trader_cli.core.money.assets import margin_asset_of
from trader_cli.core.money.orders import TradeState
from trader_cli.core.money.plans import Refused
from trader_cli.storage.ledger_rows import Intent

if TYPE_CHECKING:
    from collections.abc import Callable

    from trader_cli.core.money.orders import OrderSide
    from trader_cli.execution.executor import Executor

_BETWEEN_S = 60.0  # two looks so far apart see the same only of what has come to rest
_ZERO = Decimal(0)


@dataclass(frozen=True)
class Settlement:
    """What the ledger held and the exchange shows of a symbol; signed quantities to book, or booked.

    `explained`: by trades that are not ours and by forced orders. `settled`: what nothing explains.
    """

    symbol: str
    ledger: Decimal
    exchange: Decimal
    explained: Decimal
    settled: Decimal
    booked: bool


@dataclass(frozen=True)
class _Seen:
    ours: Decimal
    shown: Decimal
    refused: Refused | None


async def settle(
    executor: Executor, symbol: str, before: Decimal, *, book: bool, say: Callable[[str], None]
) -> Settlement | Refused:
    """Bring a ledger that held `before` of a symbol down to what the exchange shows.

    Without `book` the ledger is to be a copy: what trades explain is written into it all the same.
    """
    first = await _look(executor, symbol)
    if first.refused is not None:
        return first.refused
    missing = _missing(first)
    done = Settlement(symbol, before, first.shown, first.ours - before, missing, booked=book)
    if missing == 0 or not book:
        return done
    say(f"{symbol}: the ledger holds {first.ours:f}, the exchange shows {first.shown:f}; looking again in a minute.")
    await executor.exchange.clock.sleep(_BETWEEN_S)
    again = await _look(executor, symbol)
    if again.refused is not None:
        return again.refused
    if again != first:
        return Refused(
            "looks_differ",
            f"{symbol}: a minute ago the ledger held {first.ours:f} and the exchange showed"
            f" {first.shown:f}; now {again.ours:f} and {again.shown:f}. It was left as it is: run it again.",
        )
    _book(executor, symbol, missing, f"ledger {again.ours:f}, exchange {again.shown:f}")
    return done


async def _look(executor: Executor, symbol: str) -> _Seen:
    """Ledger and exchange after everything that explains itself is booked."""
    await executor.view(symbol)
    private, ledger = executor.exchange.private, executor.ledger
    shown = {p.symbol: p.amount for p in await private.positions()}.get(symbol, _ZERO)
    resting = [o.client_id for o in await private.open_orders(symbol) if ids.is_ours(o.client_id)]
    moving = [
        i.client_id
        for i in ledger.unsettled(symbol)
        if i.purpose in {"entry", "exit"} and ledger.last_note(i.client_id) is not None
    ]
    ours = ledger.holding(symbol).amount
    waiting = ", ".join(dict.fromkeys([*resting, *moving]))
    if waiting or ledger.unbooked(symbol):
        return _Seen(
            ours,
            shown,
            Refused(
                "order_unknown",
                f"{symbol}: first it must be known what became of {waiting or 'what has filled'}; run"
                " `trader monitor`.",
            ),
        )
    if abs(shown) > abs(ours) and shown * ours >= 0:
        return _Seen(
            ours,
            shown,
            Refused(
                "larger",
                f"{symbol}: the ledger holds {ours:f}, the exchange shows {shown:f}. Settling makes ours smaller"
                " only; to take the rest over (`adopt`) is not there yet.",
            ),
        )
    return _Seen(ours, shown, None)


def _missing(seen: _Seen) -> Decimal:
    """What is to be booked: signed, against what we hold. On the other side nothing of it is ours."""
    return (seen.shown if seen.shown * seen.ours > 0 else _ZERO) - seen.ours


def _book(executor: Executor, symbol: str, amount: Decimal, why: str) -> None:
    ledger, at_ms = executor.ledger, executor.exchange.server_now_ms()
    side: OrderSide = "BUY" if amount > 0 else "SELL"
    client_id = ids.client_id(f"{symbol}-{at_ms}", "settled")
    intent = Intent(
        client_id, ledger.entries(symbol)[-1], symbol, "settled", side, abs(amount), at_ms, reduce_only=True
    )
    # A number below zero, so that it never meets a trade of the exchange and never counts as the newest one.
    trade = TradeState(
        -at_ms,
        "",
        symbol,
        side,
        ledger.holding(symbol).entry_price,
        abs(amount),
        _ZERO,
        margin_asset_of(symbol),
        _ZERO,
        maker=False,
        time_ms=at_ms,
    )
    with ledger.together():
        ledger.intend(intent)
        ledger.note(client_id, "done", at_ms, note=why)
        ledger.fill(client_id, trade)
