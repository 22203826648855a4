"""Positions that a broken limit or another process wants closed: tried at every look until they are."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from trader_cli.core.errors import OwnershipLost, TraderError
from trader_cli.execution.request_listener import RequestListener
from trader_cli.storage.owner_requests import forget_request, request_of, requested_symbols
from trader_cli.tactician.monitor_reports import Report
from trader_cli.tactician.position_management import LOOK_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from trader_cli.execution.executor import Executor
    from trader_cli.tactician.protection_watch import ProtectionWatch


class RequestedCloses:
    """What is to be closed, and why. `limits`: symbols that a loss limit closes, until they are flat.

    `on_close` hears of each close and of one that found nothing open; `on_trouble` why a close has to be tried again.
    """

    def __init__(
        self,
        protection: ProtectionWatch,
        on_close: Callable[[Executor, str, Report | None], None],
        on_trouble: Callable[[str, TraderError], None],
    ) -> None:
        self._protection = protection
        self._on_close, self._on_trouble = on_close, on_trouble
        self.limits: dict[str, str] = {}

    @property
    def are_waiting(self) -> bool:
        """Whether something is to be closed that is not yet."""
        return bool(self._protection.closing or self.limits)

    async def carry_out(self, executor: Executor, ours: Iterable[str], *, entering: bool) -> None:
        """Close what is wanted closed, as long as it is. A request is forgotten once all of it is done.

        `entering`: an entry is under way, which the request is about, too.
        """
        path, wanted = executor.ledger.path, dict(self.limits)
        reason, self._protection.closing = request_of(path, "flatten"), wanted
        if reason is not None:
            RequestListener(path, executor.exchange.clock).acknowledge()
            only = requested_symbols(path, "flatten")
            wanted |= {symbol: reason for symbol in ours if not only or symbol in only}
        done = await asyncio.gather(*(self._close(executor, symbol, why) for symbol, why in list(wanted.items())))
        if reason is not None and all(done) and not entering:
            with suppress(OSError):  # a read-only disk: whoever asked takes it away
                forget_request(path, "flatten")

    async def _close(self, executor: Executor, symbol: str, why: str) -> bool:
        try:
            closed = await executor.close(symbol, why, most_s=LOOK_S)
        except OwnershipLost:
            raise
        except TraderError as error:
            self._on_trouble(symbol, error)
            return False
        self._protection.closing.pop(symbol, None)
        self.limits.pop(symbol, None)
        now = executor.exchange.server_now_ms()
        self._on_close(executor, symbol, Report(symbol, now, "close", why, quantity=f"{closed:f}") if closed else None)
        return True
