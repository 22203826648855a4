"""What we hold, what protects it, what is open, whether anything is wrong, and whether one can walk away.

From the ledger, and from the exchange where it has one of its own: in sim and paper the account lives with us, and the
ledger is as of the last command.
"""

from __future__ import annotations

import fcntl
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.errors import ExchangeUnavailable
from trader_cli.storage.asked import asked_of
from trader_cli.storage.ledger_reading import LedgerReading
from trader_cli.storage.markets import account_fingerprint, ledger_path

if TYPE_CHECKING:
    from pathlib import Path

    from trader_cli.exchange.quick_look import QuickLook
    from trader_cli.settings import Settings


@dataclass(frozen=True)
class HeldStatus:
    """One position of ours. Prices and quantities as text; `stop` and `backstop` None where none is known to rest."""

    symbol: str
    amount: str
    entry_price: str
    mark_price: str | None
    profit: str | None
    stop: str | None
    backstop: str | None
    take_profit: str | None
    problem: str | None


@dataclass(frozen=True)
class AccountStatus:
    """The account of the settings. `seen` says whose word it is: the exchange's, or the ledger's last line."""

    account: str
    ledger: str
    seen: str
    held: tuple[HeldStatus, ...]
    unknown: tuple[str, ...]
    foreign: tuple[str, ...]
    halted: str | None
    cared_for: bool
    profit: str
    trades: int
    refusals: dict[str, int]
    walk_away: bool
    verdict: str


def account_status(settings: Settings) -> AccountStatus:
    """The status of the account; asks the exchange two questions where it has the account."""
    path = ledger_path(settings)
    look, seen = _look(settings)
    with LedgerReading.shown(path) as ledger:
        if ledger is None:
            return _without_ledger(settings, path, look, seen)
        symbols = [symbol for symbol in ledger.symbols() if ledger.holding(symbol).amount != 0]
        held = tuple(_held(ledger, symbol, look) for symbol in symbols)
        moving = [i for i in ledger.unsettled() if i.purpose in {"entry", "exit"} and ledger.last_note(i.client_id)]
        unknown = tuple(f"{i.symbol} {i.purpose} {i.client_id}: {ledger.status(i.client_id)}" for i in moving)
        foreign = _foreign(ledger, look)
        verdict = _verdict(held, unknown, foreign)
        if look is None and settings.mode in {"demo", "live"} and not verdict[0]:
            verdict = True, f"by the ledger alone {verdict[1]} The exchange was not asked: see below."
        return AccountStatus(
            account_fingerprint(settings), str(path), seen, held, unknown, foreign, ledger.halted(), _is_owned(path),
            f"{ledger.net_income():f}", sum(len(ledger.entries(symbol)) for symbol in ledger.symbols()),
            ledger.counted_refusals(), not verdict[0], verdict[1],
        )  # fmt: skip


def _look(settings: Settings) -> tuple[QuickLook | None, str]:
    if settings.mode in {"sim", "paper"}:
        return None, "the ledger, as of the last command"
    if not settings.binance_exchange.api_key.get_secret_value():
        return None, "the ledger alone: no API key is set"
    from trader_cli.exchange.quick_look import quick_look

    try:
        return quick_look(settings.binance_exchange), "the exchange, now"
    except ExchangeUnavailable as error:
        return None, f"the ledger alone: {error.sentence}"


def _held(ledger: LedgerReading, symbol: str, look: QuickLook | None) -> HeldStatus:
    holding = ledger.holding(symbol)
    position = next((p for p in look.positions if p.symbol == symbol), None) if look else None
    resting = _resting(ledger, symbol, look)
    problem = None
    if look is not None and (position is None or position.amount != holding.amount):
        shown = f"{position.amount:f}" if position else "none"
        problem = f"the exchange shows {shown}; run `trader monitor`"
    elif resting["backstop"] is None and resting["stop"] is None:
        problem = "NO stop is known to rest; run `trader monitor`"
    return HeldStatus(
        symbol, f"{holding.amount:f}", f"{holding.entry_price:.8g}", f"{position.mark_price:f}" if position else None,
        f"{position.unrealized_profit:f}" if position else None, resting["stop"], resting["backstop"],
        resting["take_profit"], problem,
    )  # fmt: skip


def _resting(ledger: LedgerReading, symbol: str, look: QuickLook | None) -> dict[str, str | None]:
    """The level of each kind of stop of ours that rests, by the exchange if it was asked."""
    at_exchange = None if look is None else {stop.client_id for stop in look.stops if stop.is_open}
    levels: dict[str, str | None] = {"stop": None, "backstop": None, "take_profit": None}
    for intent in ledger.unsettled(symbol):
        rests = ledger.status(intent.client_id) == "open" if at_exchange is None else intent.client_id in at_exchange
        if rests and intent.trigger_price is not None:
            levels[intent.purpose] = f"{intent.trigger_price:f}"
    return levels


def _foreign(ledger: LedgerReading, look: QuickLook | None) -> tuple[str, ...]:
    """Positions the exchange shows beyond ours."""
    if look is None:
        return ()
    extra = {p.symbol: p.amount - ledger.holding(p.symbol).amount for p in look.positions}
    return tuple(f"{symbol} {amount:f}" for symbol, amount in extra.items() if amount != 0)


def _verdict(held: tuple[HeldStatus, ...], unknown: tuple[str, ...], foreign: tuple[str, ...]) -> tuple[bool, str]:
    """(whether something is wrong, the sentence)."""
    wrong = [f"{position.symbol}: {position.problem}" for position in held if position.problem]
    wrong += [f"it is not known what became of {what}; run `trader monitor`" for what in unknown]
    if wrong:
        return True, "NO: " + "; ".join(wrong)
    note = f" Not ours and left alone: {', '.join(foreign)}." if foreign else ""
    if not held:
        return False, "yes: no position of ours is open." + note
    return False, "yes: each position has its stop resting; only `trader monitor` trails, re-assesses and times." + note


def _is_owned(path: Path) -> bool:
    """Whether a process is at work on the ledger."""
    lock = path.with_suffix(".lock")
    if not lock.exists():
        return False
    with lock.open("r") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _without_ledger(settings: Settings, path: Path, look: QuickLook | None, seen: str) -> AccountStatus:
    foreign = tuple(f"{p.symbol} {p.amount:f}" for p in look.positions) if look else ()
    verdict = "nothing was traded here yet: there is no ledger. If one was lost: `trader ledger rebuild`."
    if foreign:
        verdict = (
            f"NO ledger, and the account holds {', '.join(foreign)}: run `trader ledger rebuild`, or look yourself."
        )
    return AccountStatus(
        account_fingerprint(settings), str(path), seen, (), (), foreign, asked_of(path, "halt"), cared_for=False,
        profit=f"{Decimal(0):f}", trades=0, refusals={}, walk_away=not foreign, verdict=verdict,
    )  # fmt: skip
