"""What the exchange shows of the whole account, as the value that proofs are made from."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from trader_cli.core.errors import ConfigurationError, ExchangeRejected, ExchangeUnavailable
from trader_cli.core.proofs.evidence import AccountSnapshot

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from trader_cli.core.ports import Broker, Clock

T = TypeVar("T")
BUDGET_S = 3.0
"""So long each question is waited for; what has not answered then is unknown."""


async def take_account_snapshot(broker: Broker, clock: Clock, now_ms: int) -> AccountSnapshot:
    """Positions, stops and orders, asked side by side; each `None` where it did not answer, with the reason."""
    problems: list[str] = []

    async def answered(question: Awaitable[list[T]]) -> tuple[T, ...] | None:
        try:
            return tuple(await asyncio.wait_for(question, clock.loop_s(BUDGET_S)))
        except TimeoutError:
            problems.append(f"it has not answered within {BUDGET_S:g} s.")
        except (ExchangeUnavailable, ExchangeRejected, ConfigurationError) as error:
            problems.append(error.sentence)
        return None

    positions, stops, orders = await asyncio.gather(
        answered(broker.positions()), answered(broker.open_stops()), answered(broker.open_orders())
    )
    held = None if positions is None else tuple(p for p in positions if p.amount != 0)
    return AccountSnapshot(now_ms, held, stops, orders, tuple(dict.fromkeys(problems)))
