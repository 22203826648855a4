"""What an account was: snapshots at each change, for answers of the exchange that lag behind."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING

from trader_cli.venue.engine.books import Account

if TYPE_CHECKING:
    from trader_cli.venue.engine.engine import Engine

KEPT_MS = 180_000
"""How far back an account is remembered."""


class AccountHistory:
    """The account of one engine at each of its changes, three minutes back. What has ended is shared, not copied."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._states = [(engine.now_ms, snapshot(engine.account))]
        engine.on_change.append(self._note)

    def _note(self, engine: Engine) -> None:
        state = engine.now_ms, snapshot(engine.account)
        if self._states[-1][0] == engine.now_ms and len(self._states) > 1:
            self._states[-1] = state
        else:
            self._states.append(state)
        while len(self._states) > 2 and self._states[1][0] <= engine.now_ms - KEPT_MS:
            del self._states[0]

    def as_of(self, time_ms: int) -> Engine:
        """The engine as it is now, its account as it was then, or as far back as is remembered."""
        seen = copy(self._engine)
        states = [state for at, state in self._states if at <= time_ms]
        seen.account = snapshot(states[-1] if states else self._states[0][1])
        return seen


def snapshot(account: Account) -> Account:
    """A copy that later changes leave alone. An order that has ended never changes: it is shared."""
    return Account(
        account.wallet,
        account.hedge_mode,
        {name: copy(position) for name, position in account.positions.items()},
        {name: copy(option) for name, option in account.options.items()},
        {number: copy(order) if order.is_open else order for number, order in account.orders.items()},
        {number: copy(algo) if algo.is_open else algo for number, algo in account.algos.items()},
        [*account.fills],
        [*account.income],
        dict(account.others),
        account.fees_in_bnb,
        account.maker_fee,
        account.taker_fee,
        account.multi_assets,
        account.credits_mode,
        [*account.owed],
        dict(account.countdowns),
    )
