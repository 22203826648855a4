"""One client's side of the streams: what it has subscribed to by messages, and what waits to be sent to it."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from typing import TYPE_CHECKING

import orjson

from trader_cli.venue.streams.stream_names import stream_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from trader_cli.venue.streams.account_streams import AccountStreams
    from trader_cli.venue.streams.hub import StreamHub
    from trader_cli.venue.streams.stream_names import Route, Stream

MOST_STREAMS, MOST_WAITING = 1024, 20_000
_MOST_MESSAGES: dict[Route, int] = {"spot": 5}
"""A second, pings and pongs among them; ten where nothing is said."""
POLICY, GOING_AWAY = 1008, 1001
_KEY = re.compile(r"[0-9A-Za-z]{60,}")


class StreamConnection:
    """A listener with a queue. `ended` is set once it must be closed, with `code`."""

    def __init__(self, hub: StreamHub, accounts: AccountStreams, symbols: Collection[str], route: Route) -> None:
        self._hub, self._accounts, self._symbols, self.route = hub, accounts, symbols, route
        self.combined = False
        self.outgoing: asyncio.Queue[bytes] = asyncio.Queue(MOST_WAITING)
        self.ended, self.code, self.ponged_ms = asyncio.Event(), 0, 0
        self._streams: dict[str, Stream | None] = {}
        self._only: frozenset[bytes] = frozenset()
        self._arrived: deque[int] = deque()

    def hear(self, name: str, message: bytes) -> None:
        """One message of a stream; who does not read what is sent is cut off."""
        if self._only and not any(kind in message[:64] for kind in self._only):
            return
        self._send(b'{"stream":"%b","data":%b}' % (name.encode(), message) if self.combined else message)

    def _send(self, message: bytes) -> None:
        try:
            self.outgoing.put_nowait(message)
        except asyncio.QueueFull:
            self.end(POLICY)

    def end(self, code: int) -> None:
        """Let the socket be closed."""
        self.code = self.code or code
        self.ended.set()

    def left(self) -> None:
        """The socket is gone: nothing is heard any more."""
        self.unsubscribe([*self._streams])
        self._accounts.leave(self)

    def subscribe(self, names: Collection[str]) -> None:
        """To streams by name, to an account by its listen key.

        What the exchange does not serve here is taken, and stays silent, as there.
        """
        for name in names:
            if name in self._streams:
                continue
            if _KEY.fullmatch(name):
                self._streams[name] = None
                self.subscribe_account(name)
            else:
                stream = self._streams[name] = stream_of(name, self.route, self._symbols)
                if stream is not None:
                    self._hub.listen(stream, self)

    def subscribe_account(self, key: str) -> None:
        """To the account of a listen key, where accounts are served."""
        if self.route in {"private", "legacy"}:
            self._accounts.listen(key, self)

    def choose(self, events: str) -> None:
        """Hear only of these kinds, joined by `/`; of all where none is named."""
        self._only = frozenset(f'"{kind}"'.encode() for kind in events.split("/") if kind)

    def unsubscribe(self, names: Collection[str]) -> None:
        """From streams by name."""
        for name in names:
            stream = self._streams.pop(name, None)
            if _KEY.fullmatch(name):
                self._accounts.leave(self)
            if stream is not None:
                self._hub.leave(stream, self)

    # --- what it says ---

    def count(self, now_ms: int) -> None:
        """One more frame has come; more than so many a second end the connection."""
        self._arrived.append(now_ms)
        while self._arrived[0] <= now_ms - 1000:
            self._arrived.popleft()
        if len(self._arrived) > _MOST_MESSAGES.get(self.route, 10):
            self.end(POLICY)

    def take(self, text: str) -> None:
        """A message: SUBSCRIBE, UNSUBSCRIBE, LIST_SUBSCRIPTIONS, SET_PROPERTY or GET_PROPERTY. It is answered."""
        try:
            message = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            self._refuse(3, f"Invalid JSON: {error}", None)
            return
        number = message.get("id") if isinstance(message, dict) else None
        if not isinstance(message, dict) or not isinstance(message.get("method"), str):
            self._refuse(2, "Invalid request: method must be a string", number)
            return
        if not isinstance(number, (int, str, type(None))) or isinstance(number, bool):
            self._refuse(2, "Invalid request: request ID must be an unsigned integer", None)
            return
        self._carry_out(message["method"], message.get("params", []), number)

    def _carry_out(self, method: str, given: object, number: int | str | None) -> None:
        names = [name for name in given if isinstance(name, str)] if isinstance(given, list) else []
        if method in {"SUBSCRIBE", "UNSUBSCRIBE"}:
            if not isinstance(given, list) or len(names) < len(given) or not names:
                self._refuse(2, "Invalid request: params must be a list of stream names", number)
            elif method == "SUBSCRIBE" and len({*names, *self._streams}) > MOST_STREAMS:
                self._refuse(2, f"Invalid request: more than {MOST_STREAMS} streams", number)
            else:
                self._answer(None, number)
                (self.subscribe if method == "SUBSCRIBE" else self.unsubscribe)(names)
        elif method == "LIST_SUBSCRIPTIONS":
            self._answer([*self._streams], number)
        elif method in {"SET_PROPERTY", "GET_PROPERTY"}:
            self._property(method, given, number)
        else:
            self._refuse(2, f"Invalid request: unknown variant `{method}`", number)

    def _property(self, method: str, given: object, number: int | str | None) -> None:
        """`combined`: whether messages name their stream."""
        parts = given if isinstance(given, list) else []
        if parts[:1] != ["combined"]:
            self._refuse(0, "Unknown property", number)
        elif method == "GET_PROPERTY":
            self._answer(self.combined, number)
        elif len(parts) != 2 or not isinstance(parts[1], bool):
            self._refuse(1, "Invalid value type: expected Boolean", number)
        else:
            self.combined = parts[1]
            self._answer(None, number)

    def _answer(self, result: object, number: int | str | None) -> None:
        self._send(orjson.dumps({"result": result, "id": number}))

    def _refuse(self, code: int, sentence: str, number: object) -> None:
        self._send(orjson.dumps({"error": {"code": code, "msg": sentence}, "id": number}))
