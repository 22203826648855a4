"""`LiveTradingPipeline`: the stages in a row, in memory: fetch, features, train, analyze, tactics, enter, monitor.

One pass, or for weeks: every closed bar analysed, tactics while a signal is pending, the monitor beside them, several
symbols. One loop does one thing after the other, so that the same market gives the same journal.
"""

from __future__ import annotations

from collections import deque
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING

from trader_cli.core.answers import Answer
from trader_cli.core.errors import DataMissing, ExchangeRejected, ExchangeUnavailable, UsageError
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.execution.accounts import ExchangeLease
from trader_cli.execution.entry_result import EntryResult
from trader_cli.execution.orphan_orders import ledger_for
from trader_cli.execution.shutdown import leaving, until_time_is_up
from trader_cli.pipelines.market_access import Market
from trader_cli.pipelines.trading.iterations import EventSink, Iteration, Trader
from trader_cli.pipelines.trading.live_loop import LiveLoop
from trader_cli.settings.workspace import workspace_of
from trader_cli.tactician.tactician import document_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from trader_cli.core.json_values import JsonObject
    from trader_cli.exchange.binance import BinanceExchange
    from trader_cli.settings import Settings, Workspace
    from trader_cli.storage.ledger import Ledger


class LiveTradingPipeline:
    """The whole flow. `config` is a `Settings` or a dict of the guide's keys; what is not passed is built from it."""

    def __init__(
        self,
        config: Workspace | Settings | Mapping[str, object] | None = None,
        *,
        exchange: BinanceExchange | None = None,
        ledger: Ledger | None = None,
        source: str | None = None,
        live: bool = False,
        sink: EventSink | None = None,
    ) -> None:
        self.workspace = workspace_of(config)
        self.settings = self.workspace.settings
        self._lease = ExchangeLease(self.workspace, exchange, "pipeline", "pipeline")
        self._ledger = ledger
        self._source = source
        self._live = live
        self._sink = sink or EventSink()
        self._forever: LiveLoop | None = None
        self._results: deque[JsonObject] = deque(maxlen=self.settings.tactician.max_history)

    async def initialize(self) -> bool:
        """Connect to the exchange, if none was given."""
        await self._lease.open()
        return True

    async def close(self) -> None:
        """End what `initialize` began."""
        await self._lease.close()

    def stop(self) -> None:
        """Let `run_forever` return after what is under way. Stops stay where they rest."""
        if self._forever is not None:
            self._forever.stop()

    # --- the guide's surface ---

    async def execute_trading(self, market_data: Mapping[str, object]) -> Answer:
        """One pass without the care: analyse, decide, enter. False, with `code` and `sentence`, where nothing is done.

        `market_data` names the symbol and the time it was seen (`timestamp`, ISO or UTC ms; optional `timeframe`):
        data older than one bar abstain as stale. Price, volume and book are taken from the exchange, not from here.
        """
        if "symbol" not in market_data:
            raise UsageError("Market data need a symbol.")
        timeframe = Timeframe.parse(str(market_data.get("timeframe", "1h")))
        age_ms = self._lease.exchange.server_now_ms() - _time_of(market_data.get("timestamp"))
        if abs(age_ms) > timeframe.ms:
            sentence = f"The market data are {age_ms / 3_600_000:.1f} h old; at most one {timeframe} bar is allowed."
            return self._answered(
                {"kind": "abstention", "code": "market_data_stale", "sentence": sentence}, given=False
            )
        try:
            async with self._trading(str(market_data["symbol"])) as trader:
                done = await trader.once(str(market_data["symbol"]), timeframe, may_train=False)
        except DataMissing as error:
            missing: JsonObject = {"kind": "error", "code": type(error).__name__, "sentence": str(error)}
            return self._answered(missing, given=False)
        body = document_of(done.outcome) if done.outcome is not None else {}
        given = isinstance(done.entered, EntryResult)
        return self._answered({**body, "entered": given}, given=given)

    def _answered(self, body: JsonObject, *, given: bool) -> Answer:
        self._results.append(body)
        return Answer(body, given=given)

    def get_trading_status(self) -> JsonObject:
        """What this pipeline knows of itself; asks the exchange nothing."""
        return {
            "initialized": self._lease.is_open,
            "mode": self.settings.mode,
            "market": self.workspace.source,
            "passes": len(self._results),
            "last": self._results[-1] if self._results else None,
        }

    # --- both kinds of run ---

    async def run_once(
        self, symbol: str, timeframe: Timeframe, *, wait: int = 0, for_s: float | None = None
    ) -> Iteration:
        """Fetch, features, train where there is no model, analyze (waiting up to `wait` bars for a signal), tactics,
        enter, and care until flat or for `for_s` seconds."""
        done = Iteration(symbol, timeframe.name, notes=["the time given was up before the iteration was done"])
        async with self._trading(symbol) as trader:
            with until_time_is_up(), trader.listener.open():
                ends_ms = None if for_s is None else trader.market.clock.monotonic_ms() + for_s * 1000
                await trader.executor.reconciler.booker.receive_income()
                if not await self._holds(trader, symbol):
                    done = await trader.once(symbol, timeframe, wait=wait, ends_ms=ends_ms)
                else:
                    done = Iteration(
                        symbol,
                        timeframe.name,
                        notes=["a position of ours is open already: the monitor goes on with it"],
                    )
                if trader.ledger.holding(symbol).amount != 0:
                    left_s = None if ends_ms is None else (ends_ms - trader.market.clock.monotonic_ms()) / 1000
                    await trader.monitor.start_monitoring(left_s)
        return done

    @staticmethod
    async def _holds(trader: Trader, symbol: str) -> bool:
        """Whether a position of ours is open; one that is found bare is covered before a signal is heard."""
        async with leaving().shielded():
            view = await trader.executor.view(symbol)
            with suppress(ExchangeUnavailable, ExchangeRejected):  # care goes on with what could not be had here
                await trader.executor.cover_if_bare(view)
        return view.held != 0

    async def run_forever(self, symbols: Sequence[str], timeframe: Timeframe, *, for_s: float | None = None) -> None:
        """Trade symbols until `stop()`, or for `for_s` seconds. Silence of the exchange is waited out.

        Raises `DataError` where the ledger cannot be written; stops stay where they rest.
        """
        async with self._trading(*symbols) as trader, trader.market.exchange.account_news(trader.listener.wake):
            with trader.listener.open():
                self._forever = LiveLoop(trader, symbols, timeframe)
                await self._forever.run(for_s)

    @asynccontextmanager
    async def _trading(self, *symbols: str) -> AsyncIterator[Trader]:
        """Everything a pass needs, while its ledger is open."""
        exchange = self._lease.exchange
        market = Market(exchange, exchange.clock, self._source or self.workspace.source)
        async with ledger_for(exchange, self._ledger, symbols) as ledger:
            yield Trader(self.workspace, market, ledger, self._sink, live=self._live)


def _time_of(stamp: object) -> int:
    """UTC milliseconds of an ISO text or a number of them. Raises `UsageError`."""
    if isinstance(stamp, int) and not isinstance(stamp, bool):
        return stamp
    try:
        return round(datetime.fromisoformat(str(stamp)).timestamp() * 1000)
    except ValueError as error:
        raise UsageError(f"The timestamp {stamp!r} is neither ISO text nor UTC milliseconds.") from error
