"""The streams of accounts: while somebody listens, an account's engine goes with the exchange's time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import orjson

from trader_cli.venue.clocks import sleep_unless
from trader_cli.venue.streams.account_events import AccountEvents

if TYPE_CHECKING:
    from collections.abc import Callable

    from trader_cli.core.json_values import JsonObject
    from trader_cli.venue.clocks import ServedClock
    from trader_cli.venue.engine.engine import Engine
    from trader_cli.venue.streams.hub import Listener
    from trader_cli.venue.streams.listen_keys import ListenKeys

_LOOK_MS = 1000
"""An account is looked at so often at least: for keys that have expired, and margins that wear thin."""


class Accounts(Protocol):
    """The engines of accounts, and the keys that open their streams."""

    listen_keys: ListenKeys

    def engine_of(self, account: str) -> Engine:
        """The engine of an account, by its name."""
        ...


@dataclass
class _Heard:
    """Who listens to an account, each by a key; what is told wakes whoever waits for its time."""

    events: AccountEvents
    woken: asyncio.Event
    listeners: list[tuple[str, Listener]] = field(default_factory=list)


class AccountStreams:
    """Of a venue's accounts. Needs a running event loop from the first listener on."""

    def __init__(self, clock: ServedClock, accounts: Callable[[], Accounts]) -> None:
        self._clock, self._accounts = clock, accounts
        self._heard: dict[str, _Heard] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def listen(self, key: str, listener: Listener) -> None:
        """From now on `listener` hears the account that a living key opens; by any other it hears nothing, ever."""
        now_ms = self._clock.now_ms()
        account = self._accounts().listen_keys.account_of(key, now_ms)
        if account is None:
            return
        if account not in self._heard:
            engine, woken = self._accounts().engine_of(account), asyncio.Event()
            engine.advance(now_ms)
            self._heard[account] = _Heard(AccountEvents(engine, lambda told: self._tell(account, told)), woken)
            self._tasks[account] = asyncio.create_task(self._keep(account, engine))
        self._heard[account].listeners.append((key, listener))

    def leave(self, listener: Listener) -> None:
        """`listener` hears no account any more."""
        for heard in self._heard.values():
            heard.listeners = [(key, one) for key, one in heard.listeners if one is not listener]
            heard.woken.set()

    def close(self) -> None:
        """Nothing is said any more."""
        for task in [*self._tasks.values()]:
            task.cancel()

    def _tell(self, account: str, told: JsonObject) -> None:
        message, keys, now_ms = orjson.dumps(told), self._accounts().listen_keys, self._clock.now_ms()
        for key, listener in [*self._heard[account].listeners]:
            if keys.account_of(key, now_ms) == account:
                listener.hear(key, message)

    async def _keep(self, account: str, engine: Engine) -> None:
        heard = self._heard[account]

        def wake(_engine: Engine) -> None:
            heard.woken.set()

        engine.on_change.append(wake)
        try:
            while heard.listeners:
                now_ms = max(self._clock.now_ms(), engine.now_ms)
                engine.advance(now_ms)
                heard.events.call_for_margin(engine)
                self._end_keys(heard, now_ms)
                due_ms = min(now_ms + _LOOK_MS, engine.next_funding_ms)
                due_ms = min(due_ms, engine.next_touch_ms(due_ms) or due_ms)
                heard.woken.clear()
                await sleep_unless(self._clock, max(due_ms - now_ms, 1) / 1000, heard.woken)
        finally:
            engine.on_change.remove(wake)
            heard.events.stop(engine)
            del self._heard[account], self._tasks[account]

    def _end_keys(self, heard: _Heard, now_ms: int) -> None:
        """Tell those whose key has expired or was deleted; they hear nothing after that."""
        keys = self._accounts().listen_keys
        for key, listener in [*heard.listeners]:
            if keys.account_of(key, now_ms) is None:
                told = {"e": "listenKeyExpired", "E": now_ms, "listenKey": key}
                listener.hear(key, orjson.dumps(told))
                heard.listeners.remove((key, listener))
