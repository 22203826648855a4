"""A backtest again under harder conditions than those it was made under: what of its profit survives.

Those who decide expect the costs they always did. Nothing of it is stored, and none of the runs is a trial.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from trader_cli.backtest.performance import risk_of
from trader_cli.core.errors import TraderError
from trader_cli.core.ports import silent
from trader_cli.exchange.simulated_exchange import SimulatedExchange
from trader_cli.exchange.strained_exchange import Strain, StrainedExchange
from trader_cli.pipelines.backtests.backtest_recipe import Recipe, prepare
from trader_cli.pipelines.backtests.prepared_backtest import slower, trade
from trader_cli.pipelines.backtests.resampled_market import resampled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trader_cli.backtest.backtest_account import BacktestAccount
    from trader_cli.core.json_values import JsonObject
    from trader_cli.core.ports import Progress
    from trader_cli.pipelines.backtests.backtest_store import StoredBacktest
    from trader_cli.pipelines.backtests.prepared_backtest import PreparedBacktest
    from trader_cli.settings import Workspace
    from trader_cli.storage.artifacts import ArtifactStore

DRAWS = 5
"""How many markets are drawn anew."""


@dataclass(frozen=True)
class StressCase:
    """One condition: what the exchange makes harder, how far apart its book lies, how much longer orders take to
    arrive, and which days are drawn, if any.
    """

    name: str
    strain: Strain | None = None
    book_width: int = 1
    latency: int = 1
    draw: int | None = None


CASES = (
    StressCase("costs ×2", Strain(fees=2), book_width=2),
    StressCase("costs ×3", Strain(fees=3), book_width=3),
    StressCase("spread ×3", book_width=3),
    StressCase("latency ×3", latency=3),
    StressCase("1 of 5 entries missed", Strain(missed=0.2)),
    StressCase("half of the entries missed", Strain(missed=0.5)),
    *(StressCase(f"days drawn again, {draw}", draw=draw) for draw in range(1, DRAWS + 1)),
)


@dataclass(frozen=True)
class StressResult:
    """What a case came to; all null with `refused`, the reason, where it could not be tried. `drawdown` is negative."""

    case: str
    total_return: float | None
    sharpe: float | None
    drawdown: float | None
    trades: int | None
    halted: str | None
    refused: str | None = None

    @property
    def survives(self) -> bool:
        """Whether it still makes money."""
        return self.total_return is not None and self.total_return > 0

    def as_dict(self) -> JsonObject:
        """The JSON shape."""
        return {**asdict(self), "survives": self.survives}


def stress(
    workspace: Workspace,
    store: ArtifactStore,
    done: StoredBacktest,
    cases: tuple[StressCase, ...] = CASES,
    progress: Progress = silent,
) -> Iterator[StressResult]:
    """Every case in order, as it was first, each once it is tried.

    Raises `DataError` where the backtest cannot be made again.
    """
    prepared, f = prepare(Recipe.of(done.manifest), workspace, store), done.figures
    yield StressResult("as it was", f.risk.total_return, f.risk.sharpe, f.risk.drawdown, f.trades.count, f.halted)
    for number, case in enumerate(cases):
        progress("cases tried", number, len(cases))
        yield _tried(case, prepared, store)


def _tried(case: StressCase, prepared: PreparedBacktest, store: ArtifactStore) -> StressResult:
    try:
        account = _traded(case, prepared, store)
    except TraderError as error:
        return StressResult(case.name, None, None, None, None, None, str(error))
    frames = account.records.frames()
    level = frames["equity"]["equity"].to_numpy()
    risk = risk_of(level, prepared.workspace.settings.sim.balance, prepared.request.timeframe.ms)
    ended = int(frames["trades"]["closed"].is_not_null().sum())
    return StressResult(case.name, risk.total_return, risk.sharpe, risk.drawdown, ended, account.halted)


def _traded(case: StressCase, prepared: PreparedBacktest, store: ArtifactStore) -> BacktestAccount:
    if case.draw is not None:
        prepared = resampled(prepared, store, case.draw)
    if case.book_width != 1:
        wider = {
            name: replace(tape, book_width=tape.book_width * case.book_width)
            for name, tape in prepared.tape.symbols.items()
        }
        prepared = replace(prepared, tape=replace(prepared.tape, symbols=wider))
    if case.latency != 1:
        prepared = slower(prepared, case.latency)
    if case.strain is None:
        return trade(prepared, make_venue=SimulatedExchange)
    return trade(prepared, make_venue=partial(StrainedExchange, strain=case.strain))
