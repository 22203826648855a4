"""What an engine knows of prices to come: the first that reaches anything of each symbol, and until when all is calm.

Where prices to come are known, what is looked for once need not be again until the account changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from trader_cli.venue.engine.triggers import Touch, first_touch

if TYPE_CHECKING:
    from trader_cli.venue.engine.books import Account
    from trader_cli.venue.engine.engine_state import EngineState


class _Ahead(NamedTuple):
    """The first touch of a symbol up to a time, as an account's orders and positions stand."""

    account: Account
    until_ms: int
    touch: Touch | None

    def holds(self, account: Account, now_ms: int, upto_ms: int) -> bool:
        """Whether it is still ahead, and far enough."""
        passed = self.touch is not None and self.touch.time_ms <= now_ms
        return self.account is account and not passed and self.until_ms >= upto_ms


class LookAhead:
    """Of one engine, which says when its account changes."""

    def __init__(self, engine: EngineState) -> None:
        self._engine = engine
        self._ahead: dict[str, _Ahead] = {}
        self._busy: tuple[Account, list[str]] | None = None
        self._calm_ms, self._calm = 0, list[str]()

    def changed(self, symbol: str | None) -> None:
        """What concerns a symbol, or everything, is another now."""
        if symbol not in self._calm:
            self._calm_ms = 0
        self._busy = None
        if symbol is None:
            self._ahead.clear()
        else:
            self._ahead.pop(symbol, None)

    def busy(self) -> list[str]:
        """Symbols on which a price can change something, ascending."""
        account = self._engine.account
        if self._busy is None or self._busy[0] is not account:
            self._busy = account, sorted(self._engine.busy())
        return self._busy[1]

    # --- until when nothing happens ---

    def is_calm(self, now_ms: int) -> bool:
        """Whether nothing happens by itself from here up to a time, as far as is known at no cost."""
        return self._engine.now_ms <= now_ms < self._calm_ms

    def disturb(self) -> None:
        """Something may happen at any moment, whatever prices do."""
        self._calm_ms = 0

    def note_calm(self, until_ms: int) -> None:
        """Nothing but a price happens before that."""
        markets, now_ms, self._calm = self._engine.markets, self._engine.now_ms, self.busy()
        self._calm_ms = min([until_ms, *(markets[symbol].still_until(now_ms) for symbol in self._calm)])

    # --- what happens first ---

    def first_touches(self, upto_ms: int, ahead_ms: int) -> list[Touch]:
        """The earliest touches in (now, upto] that change something; looked for up to `ahead_ms` where that is known.

        Several symbols may have one in the same millisecond: observed together, they often have.
        """
        touches = [self._first_touch(symbol, upto_ms, ahead_ms) for symbol in self.busy()]
        found = [touch for touch in touches if touch is not None and touch.time_ms <= upto_ms]
        earliest = min((t.time_ms for t in found), default=0)
        return [t for t in found if t.time_ms == earliest]

    def next_touch_ms(self, upto_ms: int) -> int | None:
        """When a price changes something next, up to a time; None where none does, or nobody knows."""
        known = [symbol for symbol in self.busy() if self._engine.markets[symbol].knows_ahead]
        touches = [self._first_touch(symbol, upto_ms, upto_ms) for symbol in known]
        return min((touch.time_ms for touch in touches if touch is not None), default=None)

    def _first_touch(self, symbol: str, upto_ms: int, ahead_ms: int) -> Touch | None:
        engine, market = self._engine, self._engine.markets[symbol]
        if not market.knows_ahead:
            return first_touch(engine, symbol, upto_ms)
        ahead = self._ahead.get(symbol)
        if ahead is None or not ahead.holds(engine.account, engine.now_ms, upto_ms):
            if upto_ms < market.still_until(engine.now_ms):
                return None
            until_ms = max(ahead_ms, upto_ms)
            ahead = self._ahead[symbol] = _Ahead(engine.account, until_ms, first_touch(engine, symbol, until_ms))
        return ahead.touch
