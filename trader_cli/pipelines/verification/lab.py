"""Where checks are carried out: a folder of its own, a small made-up market, and what is made once and shared.

Costs, limits, features and monitoring are those of the configuration that is verified; market, account and folders are
always the lab's, and every component that can be switched off is on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import SecretStr

from trader_cli.core.market.timeframes import Timeframe
from trader_cli.pipelines.market_access import Market, connected
from trader_cli.pipelines.stages.model_stages import train
from trader_cli.pipelines.trading.analyst_assessor import StageAssessor
from trader_cli.settings.load import shipped_settings
from trader_cli.settings.workspace import workspace_of
from trader_cli.storage.artifacts import ArtifactStore, stage_key
from trader_cli.venue.clocks import VirtualClock, run_virtual
from trader_cli.venue.server.faulty_venue import FaultyVenue
from trader_cli.venue.simulated_market.synthetic import synthetic_tape

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    import polars as pl

    from trader_cli.core.ports import Progress
    from trader_cli.core.types import Analysis
    from trader_cli.pipelines.stages.stage_results import Trained
    from trader_cli.settings import Settings, Workspace
    from trader_cli.venue.simulated_market.tape import SymbolTape, Tape

T = TypeVar("T")
SYMBOL = "ETHUSDT"
TIMEFRAME = Timeframe.parse("15m")
_DAYS, _LEAD, _SEED, _START = 40, 0.5, 7, 0.75
_MOST_BARS_TO_A_SIGNAL = 96
KEY, SECRET = "sim-key", "sim-secret"
"""The simulated exchange's own. They open nothing."""


@dataclass(frozen=True)
class Study:
    """A trained series and the analysis of its last bar: the first one with a signal, where there is one."""

    workspace: Workspace
    trained: Trained
    bars: pl.DataFrame
    features: pl.DataFrame
    analysis: Analysis
    now_ms: int

    @property
    def settings(self) -> Settings:
        """The settings of its workspace."""
        return self.workspace.settings

    @property
    def store(self) -> ArtifactStore:
        """Its artifacts."""
        return ArtifactStore(self.workspace.cache_dir)


@dataclass
class Lab:
    """One verification's workshop in `root`. What was made, or failed to be, is remembered."""

    root: Path
    config: Settings
    progress: Progress
    _made: dict[str, Any] = field(default_factory=dict)
    _folders: int = 0

    def settings(self, name: str, lead: float = _LEAD, **tactician: object) -> Settings:
        """The configuration that is verified, in a folder `name` of the lab and on its market."""
        given, shipped = self.config, shipped_settings()
        folder = self.root / name
        features = given.feature_engineering_orchestrator
        cache = features.wavelet_cache.model_copy(
            update={"cache_dir": str(folder / "cache" / "wavelet"), "cache_enabled": True}
        )
        on = {"enable_advanced_features": True, "enable_legacy_features": True, "wavelet_cache": cache}
        sim = {"tape": None, "symbols": (SYMBOL,), "days": _DAYS, "planted_lead": lead, "start": _START}
        exchange = {
            "api_key": SecretStr(KEY),
            "api_secret": SecretStr(SECRET),
            "use_testnet": False,
            "base_url": None,
            "clock": "venue",
            "max_retries": 3,
        }
        managed = {"enable_position_sizing": True, "enable_leverage_optimization": True, "enable_risk_management": True}
        return given.model_copy(
            update={
                "mode": "sim",
                "seed": _SEED,
                "cache_dir": str(folder / "cache"),
                "state_dir": str(folder / "state"),
                "sim": shipped.sim.model_copy(update=sim),
                "binance_exchange": given.binance_exchange.model_copy(update=exchange),
                "analyst": shipped.analyst.model_copy(update={"learners": 1, "threads": given.analyst.threads}),
                "feature_engineering_orchestrator": features.model_copy(update=on),
                "tactician": given.tactician.model_copy(update={**managed, **tactician}),
            }
        )

    def folder(self) -> str:
        """The name of a folder nobody has used yet."""
        self._folders += 1
        return f"world-{self._folders}"

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What `make` gives, made once; what it raised is raised again."""
        if name not in self._made:
            try:
                self._made[name] = make()
            except Exception as error:
                self._made[name] = error
                raise
        made = self._made[name]
        if isinstance(made, Exception):
            raise made
        return made  # type: ignore[no-any-return]

    # --- what is shared ---

    @property
    def tape(self) -> Tape:
        """The market with a planted lead."""
        return self.once("tape", lambda: synthetic_tape((SYMBOL,), _DAYS, _LEAD, _SEED))

    @property
    def symbol_tape(self) -> SymbolTape:
        """Its one symbol."""
        return self.tape.symbols[SYMBOL]

    @property
    def start_ms(self) -> int:
        """Where on the market's tape trading begins."""
        return self.tape.at(_START)

    @property
    def study(self) -> Study:
        """The market with a lead, trained and analysed."""
        return self.once("study", lambda: self._studied(self.settings("study"), self.tape, _MOST_BARS_TO_A_SIGNAL))

    @property
    def null_study(self) -> Study:
        """The market without a lead, trained and analysed: there is nothing to be found in it."""
        tape = self.once("null tape", lambda: synthetic_tape((SYMBOL,), _DAYS, 0.0, _SEED))
        return self.once("null study", lambda: self._studied(self.settings("null", 0.0), tape, 0))

    def _studied(self, settings: Settings, tape: Tape, wait: int) -> Study:
        workspace = workspace_of(settings)

        async def work(market: Market) -> Study:
            assessor = StageAssessor(workspace, market)
            await assessor.refresh(SYMBOL, TIMEFRAME)
            trained = train(workspace, SYMBOL, TIMEFRAME, self.progress)
            analysis = assessor.analysis(SYMBOL, TIMEFRAME)
            for _ in range(wait):
                if analysis.signal is not None:
                    break
                await market.clock.sleep(TIMEFRAME.ms / 1000)
                analysis = await assessor.assess(SYMBOL, TIMEFRAME.name)
            store = assessor.store
            stages = ("bars", "features")
            bars, features = (store.require(stage_key(workspace.mode, SYMBOL, TIMEFRAME, s), s) for s in stages)
            now = market.exchange.server_now_ms()
            return Study(workspace, trained, store.read(bars), store.read(features), analysis, now)

        return in_market(settings, tape, self.start_ms, work)


def in_market(settings: Settings, tape: Tape, at_ms: int, work: Callable[[Market], Awaitable[T]]) -> T:
    """`work` in a market connected from `at_ms` on, in virtual time, with an account of its own."""
    clock = VirtualClock(at_ms)

    async def main() -> T:
        async with (
            FaultyVenue(tape, clock) as venue,
            connected(workspace_of(at_venue(settings, venue.url)), clock, venue_url=venue.url) as exchange,
        ):
            return await work(Market(exchange, clock, tape.source))

    return run_virtual(main, clock)


def at_venue(settings: Settings, url: str) -> Settings:
    """The settings with the exchange found at `url`."""
    exchange = settings.binance_exchange.model_copy(update={"base_url": url})
    return settings.model_copy(update={"binance_exchange": exchange})
