"""What was asked of the venue and how it was answered, and who asked although told not to."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from trader_cli.venue.request_weights import pool_of

KEPT = 20_000
"""Requests remembered; older ones are forgotten."""


@dataclass
class LoggedRequest:
    """One request. Times are the exchange's; None is not (yet).

    `outcome` is the status of the true answer, made at `executed_ms`; `status` is what was sent at `replied_ms`, 0
    where the connection was cut. `forbidden`: it came although its host had been told to send nothing.
    """

    number: int
    method: str
    path: str
    arrived_ms: int
    sent: str = field(repr=False)
    failure: str | None = None
    executed_ms: int | None = None
    outcome: int | None = None
    replied_ms: int | None = None
    status: int | None = None
    forbidden: bool = False

    @property
    def parameters(self) -> dict[str, str]:
        """Its parameters, without the signature."""
        return {name: value for name, value in parse_qsl(self.sent, keep_blank_values=True) if name != "signature"}

    @property
    def symbol(self) -> str | None:
        """The symbol it names."""
        return self.parameters.get("symbol")

    @property
    def route(self) -> tuple[str, str]:
        """Method and path."""
        return self.method, self.path


@dataclass(frozen=True)
class _Told:
    """A host was told at `since_ms` to send nothing before `until_ms`."""

    since_ms: int
    until_ms: int
    banned: bool


class RequestLog:
    """Requests in the order of their arrival; how many came to a host during a ban (418), or while limited (429)."""

    def __init__(self) -> None:
        self.requests: deque[LoggedRequest] = deque(maxlen=KEPT)
        self.while_banned = self.while_limited = 0
        self._told: dict[str, _Told] = {}
        self._count = 0

    def arrived(self, method: str, path: str, sent: str, now_ms: int) -> LoggedRequest:
        """Begin the entry of a request."""
        self._count += 1
        entry = LoggedRequest(self._count, method, path, now_ms, sent)
        self.requests.append(entry)
        told = self._told.get(pool_of(path).host)
        if told is not None and told.since_ms < now_ms < told.until_ms:
            entry.forbidden = True
            self.while_banned += told.banned
            self.while_limited += not told.banned
        return entry

    def told(self, path: str, until_ms: int, now_ms: int, *, banned: bool) -> None:
        """A reply says that nothing may be sent to the path's host before `until_ms`: it is known from now on."""
        host = pool_of(path).host
        before = self._told.get(host)
        if before is None or until_ms > before.until_ms:
            self._told[host] = _Told(now_ms, until_ms, banned)
