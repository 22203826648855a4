"""The executor needs of an exchange what its ports name, and nothing else: both there are, seen through the ports alone."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.trading.virtual_venue import SYMBOL, DownVenue, plan_now, trading

from trader_cli.core.money.plans import Approved
from trader_cli.core.ports import Broker, Exchange, MarketData
from trader_cli.exchange.binance import BinanceExchange
from trader_cli.execution.entry_result import EntryResult
from trader_cli.execution.executor import Executor
from trader_cli.settings.room_options import ExecutionOptions
from trader_cli.storage.ledger import Ledger

pytestmark = pytest.mark.slow


class Only:
    """An object of which nothing is seen but what these protocols name; `parts` are seen so, too."""

    def __init__(self, whole: Any, *protocols: type, parts: dict[str, type] | None = None) -> None:
        self._whole, self._parts = whole, parts or {}
        self._names = {name for protocol in protocols for name in vars(protocol) if not name.startswith("_")}

    def __getattr__(self, name: str) -> Any:
        if name not in self._names:
            raise AttributeError(f"no port names {name!r}")
        found = getattr(self._whole, name)
        return Only(found, self._parts[name]) if name in self._parts else found


def through_the_ports(exchange: BinanceExchange) -> Exchange:
    """The exchange as its ports show it."""
    seen: Any = Only(exchange, Exchange, MarketData, parts={"private": Broker, "protection": Broker})
    return seen


def test_what_no_port_names_is_not_seen() -> None:
    seen = Only({}, Broker)
    with pytest.raises(AttributeError, match="no port names 'keys'"):
        _ = seen.keys


@pytest.mark.parametrize("mode", ["demo", "paper"])
def test_the_executor_enters_protects_and_closes_through_the_ports_alone(mode: str, tmp_path: Path) -> None:
    async def work(exchange: BinanceExchange, ledger: Ledger, _venue: DownVenue) -> None:
        executor = Executor(through_the_ports(exchange), ledger, ExecutionOptions.of(exchange.workspace))
        plan = await plan_now(exchange)
        sent = [request.parameters for request in executor.requests(plan)]
        assert [p.get("newClientOrderId") or p.get("clientAlgoId") for p in sent][2:] == [
            plan.client_id(purpose) for purpose in ("entry", "backstop", "stop", "take_profit")
        ]
        done = await executor.enter(Approved(plan))
        assert isinstance(done, EntryResult), done
        assert done.cover is not None
        assert (done.quantity, done.cover.full) == (plan.quantity, True)
        tighter = await executor.protector.tighten(plan, done.cover, plan.stop_price * Decimal("1.002"))
        assert tighter.stop_price is not None
        assert tighter.stop_price > plan.stop_price
        assert await executor.close(SYMBOL, "test") == plan.quantity
        assert (await executor.view(SYMBOL)).is_flat
        assert await exchange.private.open_stops(SYMBOL) == []
        await executor.end()

    trading(tmp_path, work, mode=mode)
