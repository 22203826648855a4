"""What speaks against a comforting sentence: each doubt with both numbers where two differ, and with what to run.

A proof of `assurance` can only be built where these come back empty.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from trader_cli.core.proofs.evidence import ZERO, NoBooks, covering, is_a_stop, orphans

if TYPE_CHECKING:
    from collections.abc import Collection
    from decimal import Decimal

    from trader_cli.core.identity.ids import Purpose
    from trader_cli.core.money.orders import StopState
    from trader_cli.core.proofs.evidence import AccountSnapshot, Books, Traces

_AGAIN = "run `trader status` again"
_CARE = "run `trader monitor`"


def of_flat(symbol: str, snapshot: AccountSnapshot, books: Books) -> tuple[str, ...]:
    """Every reason why a symbol may not be called flat."""
    reasons = [*_unanswered(snapshot, {symbol}), *_pending(books, symbol)]
    held = books.held.get(symbol, ZERO)
    if held != 0:
        reasons += _differing(symbol, held, snapshot) or [is_open(symbol, held)]
    second = second_trader(orphans((o for o in snapshot.resting if o.symbol == symbol), books.known))
    return (*reasons, *_left_over(snapshot, books, symbol), *([second] if second else []))


def of_protected(symbol: str, snapshot: AccountSnapshot, books: Books) -> tuple[str, ...]:
    """Every reason why our position on a symbol may not be called protected."""
    held = books.held.get(symbol, ZERO)
    if held == 0:
        return (f"{symbol}: the ledger holds no position",)
    reasons = [*_unanswered(snapshot, {symbol}), *_pending(books, symbol)]
    if snapshot.positions is not None and not _is_all_there(held, snapshot.amount(symbol)):
        reasons += _differing(symbol, held, snapshot)
    if snapshot.stops is not None:
        reasons += _unprotected(symbol, held, covering(symbol, held, snapshot, books))
    return tuple(reasons)


def of_walk_away(snapshot: AccountSnapshot, books: Books | NoBooks) -> tuple[str, ...]:
    """Every reason not to walk away."""
    reasons = [*_unanswered(snapshot, None), *books.others]
    if isinstance(books, NoBooks):
        return (*reasons, *_without_books(snapshot, books))
    reasons += _pending(books, None)
    for symbol, held in books.held.items():
        reasons += _differing(symbol, held, snapshot) if snapshot.positions is not None else []
        reasons += (
            _unprotected(symbol, held, covering(symbol, held, snapshot, books)) if snapshot.stops is not None else []
        )
    flat = {o.symbol for o in snapshot.resting} - set(books.held)
    for symbol in sorted(flat):
        reasons += _left_over(snapshot, books, symbol)
    doubled = [
        s for s, count in Counter(p.symbol for p in snapshot.positions or () if p.amount != 0).items() if count > 1
    ]
    reasons += [f"{symbol}: two positions are shown: the account is in hedge mode; look yourself" for symbol in doubled]
    reasons += [
        f"{o.symbol}: entry {o.client_id} was taken to be absent, and {o.filled:f} of it has filled; {_CARE}"
        for o in snapshot.past
        if o.client_id in books.dead and o.filled
    ]
    second = second_trader(orphans((*snapshot.resting, *snapshot.past), books.known))
    return (*reasons, second) if second else tuple(reasons)


def of_all_flat(snapshot: AccountSnapshot, books: Books) -> tuple[str, ...]:
    """Every reason why the account may not be called flat of ours."""
    open_still = [is_open(symbol, held) for symbol, held in books.held.items() if snapshot.amount(symbol) == held]
    return (*of_walk_away(snapshot, books), *open_still)


def of_recorded(books: Books | NoBooks) -> tuple[str, ...]:
    """What a ledger of an account that lives with us leaves open."""
    if isinstance(books, NoBooks):
        return (*books.others, *(() if books.fresh else (f"{books.sentence}; {books.hint}",)))
    reasons = [*books.others, *_pending(books, None)]
    for symbol, held in books.held.items():
        kept = [s for s in books.resting if s.symbol == symbol and is_a_stop(s)]
        whole = any(s.quantity is None for s in kept)
        if not whole and sum((s.quantity or ZERO for s in kept), ZERO) < abs(held):
            reasons.append(f"{symbol}: NO stop is known to rest for all of {held:f}; {_CARE}")
    left = [s for s in books.resting if s.symbol not in books.held]
    return (*reasons, *(f"{s.symbol}: {_named(s.purpose)} {s.client_id} still rests; {_CARE}" for s in left))


def of_absence(traces: Traces) -> tuple[str, ...]:
    """Every reason why an entry that was sent may not be called absent."""
    name, reasons = f"{traces.symbol} {traces.client_id}", []
    if traces.ordered is not False:
        reasons.append(f"{name}: the exchange {'has it' if traces.ordered else 'did not say whether it has it'}")
    if traces.traded != 0:
        reasons.append(
            f"{name}: {'its trades were not shown' if traces.traded is None else f'{traces.traded:f} traded'}"
        )
    if traces.before is None or traces.after is None or traces.before != traces.after:
        reasons.append(f"{name}: the position was {_number(traces.before)} and is {_number(traces.after)}")
    if traces.waited_ms < traces.enough_ms:
        reasons.append(f"{name}: {traces.waited_ms / 1000:.0f} of {traces.enough_ms / 1000:.0f} s have passed")
    return tuple(reasons)


def second_trader(unknown: Collection[str]) -> str | None:
    """The sentence about orders of our kind that this ledger does not know; None where there are none."""
    if not unknown:
        return None
    return (
        f"{len(unknown)} order(s) with our ids are not in this ledger ({_some(unknown)}): a second trader works on"
        " this account (another machine, another state directory), or they were written in another ledger; stop the"
        " other trader, or run `trader ledger rebuild`"
    )


def _unanswered(snapshot: AccountSnapshot, symbols: set[str] | None) -> list[str]:
    """What was not asked or not answered. One symbol can do without its orders: ours at the engine never rest."""
    silent = {
        "positions": snapshot.positions is None,
        "stops": snapshot.stops is None,
        "orders": snapshot.orders is None,
    }
    missing = [name for name, is_silent in silent.items() if is_silent and (name != "orders" or symbols is None)]
    why = f" ({' '.join(snapshot.problems)})" if snapshot.problems else ""
    reasons = [f"the exchange has not shown its {' and '.join(missing)}{why}; {_AGAIN}"] if missing else []
    if snapshot.symbols is not None and (symbols is None or symbols - snapshot.symbols):
        reasons.append(
            f"the exchange was asked about {', '.join(sorted(snapshot.symbols)) or 'no symbol'} only; {_AGAIN}"
        )
    return reasons


def _pending(books: Books, symbol: str | None) -> list[str]:
    """Orders of unknown end, and fills that are in no booked trade.

    An exit of unknown end has nothing to reduce where nothing is held: it keeps entries away, and no one waiting.
    """
    reasons = [
        f"it is not known what became of {m.symbol} {m.purpose} {m.client_id}: {m.status}; {_CARE}"
        for m in books.moving
        if symbol in {None, m.symbol} and (m.purpose == "entry" or books.held.get(m.symbol, ZERO) != 0)
    ]
    return reasons + [
        f"{name}: {amount:f} filled and is not booked yet; {_CARE}"
        for name, amount in books.unbooked.items()
        if amount != 0 and symbol in {None, name}
    ]


def _differing(symbol: str, held: Decimal, snapshot: AccountSnapshot) -> list[str]:
    """Where ledger and exchange disagree about a symbol: both numbers."""
    amount = snapshot.amount(symbol)
    if amount == held:
        return []
    both = f"{symbol}: the ledger holds {held:f}, the exchange shows {_shown(snapshot, symbol)}"
    if _is_all_there(held, amount):
        return [f"{both}: {amount - held:f} of it is not ours, and our stops may close it too; {_CARE}"]
    return [f"{both}; {_CARE}, and where they still differ `trader ledger settle {symbol}`"]


def _is_all_there(held: Decimal, shown: Decimal) -> bool:
    """Whether the exchange shows at least what the ledger holds, on its side."""
    return held * shown > 0 and abs(shown) >= abs(held)


def _shown(snapshot: AccountSnapshot, symbol: str) -> str:
    """A position in the exchange's words: its side and its profit."""
    position = snapshot.position(symbol)
    if position is None:
        return "no answer" if snapshot.positions is None else "none"
    side = "long" if position.amount > 0 else "short"
    return f"{position.amount:f} ({side}, profit {position.unrealized_profit:f})"


def _unprotected(symbol: str, held: Decimal, stops: tuple[StopState, ...]) -> list[str]:
    covered = sum((s.quantity for s in stops), ZERO)
    if any(s.close_position for s in stops) or covered >= abs(held):
        return []
    missing = abs(held) - covered
    return [f"{symbol}: the exchange shows NO stop of ours for {missing:f} of {abs(held):f}; {_CARE}"]


def _left_over(snapshot: AccountSnapshot, books: Books, symbol: str) -> list[str]:
    """Orders of ours that rest although nothing is held."""
    if books.held.get(symbol):
        return []
    left = [o for o in snapshot.resting if o.symbol == symbol and o.client_id in books.known]
    moving = {m.client_id for m in books.moving}
    return [
        f"{symbol}: order {o.client_id} of ours still rests although we hold none; run `trader flatten {symbol}`"
        for o in left
        if o.client_id not in moving
    ]


def _without_books(snapshot: AccountSnapshot, books: NoBooks) -> list[str]:
    """Why an account without a ledger may not be left: whatever carries our ids, or is held at all."""
    ours = orphans((*snapshot.resting, *snapshot.past), ())
    held = [f"{p.symbol} {p.amount:f}" for p in snapshot.positions or () if p.amount != 0]
    if books.fresh and not ours and not held:
        return []
    reasons = [f"{books.sentence}; {books.hint}"]
    if ours:
        reasons.append(f"{len(ours)} order(s) with our ids are known to the exchange ({_some(ours)})")
    return reasons + ([f"the account holds {', '.join(held)}"] if held else [])


def _some(names: Collection[str]) -> str:
    return ", ".join(list(names)[:3]) + (" …" if len(names) > 3 else "")


def _named(purpose: Purpose) -> str:
    return "a " + purpose.replace("_", " ")


def _number(value: Decimal | None) -> str:
    return "unknown" if value is None else f"{value:f}"


def is_open(symbol: str, held: Decimal) -> str:
    """What is held, as a clause."""
    return f"{symbol}: {'long' if held > 0 else 'short'} {abs(held):f} is open"
