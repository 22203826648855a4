"""What a trading session went by, as a manifest of the kind a backtest has: bars, features and models of its positions.

As long as its reference is kept, sweeping the cache leaves what it names. It holds no orders or money: the ledger does.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from trader_cli import __version__
from trader_cli.core.errors import TraderError
from trader_cli.core.identity.digests import digest_value
from trader_cli.core.identity.manifests import ArtifactKey, Manifest
from trader_cli.storage.artifacts import ArtifactStore
from trader_cli.storage.inventory import SESSION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trader_cli.core.money.plans import TradePlan
    from trader_cli.pipelines.trading.ledger_ownership import LedgerOwnership
    from trader_cli.settings import Workspace
    from trader_cli.storage.ledger import Ledger

_ARTIFACTS = ("bars", "features", "model")


@contextmanager
def kept_session(workspace: Workspace, owned: LedgerOwnership, say: Callable[[str], None]) -> Iterator[None]:
    """However the session ends, what it went by is written down then. What cannot be written stops nothing."""
    began_ms = owned.market.clock.now_ms()
    try:
        yield
    finally:
        try:
            keep_session(workspace, owned.ledger, began_ms)
        except Exception as error:  # noqa: BLE001 - supervises: what was traded is done, whatever a note of it lacks
            why = error if isinstance(error, (TraderError, OSError)) else repr(error)
            say(f"What this session went by could not be written down: {why}")


def keep_session(workspace: Workspace, ledger: Ledger, began_ms: int) -> Manifest | None:
    """The manifest, published, of what was entered since, or cared for; `None` where there was nothing.

    Its name is that of the positions: another session over the same ones leaves what the first has written.
    """
    plans = _plans(ledger, began_ms)
    if not plans:
        return None
    from trader_cli.pipelines.stages.code_digest import code_digest
    from trader_cli.pipelines.stages.deciding_settings import deciding_settings

    settings, name = deciding_settings(workspace), digest_value([plan.plan_id for plan in plans])[:12]
    manifest = Manifest(
        stage=f"{SESSION}{name}",
        producer=f"trader {__version__}",
        source=workspace.source,
        symbol=plans[0].symbol,
        timeframe=plans[0].timeframe,
        settings=digest_value(settings),
        inputs={
            f"{stage} {plan.symbol} {plan.decision_ms}": plan.digests[stage]
            for plan in plans
            for stage in _ARTIFACTS
            if stage in plan.digests
        },
        first_ms=plans[0].decision_ms,
        last_ms=plans[-1].decision_ms,
        notes={
            "plans": [plan.plan_id for plan in plans],
            "ledger": ledger.path.name,
            "settings": settings,
            "market": {"source": workspace.source},
            "seed": workspace.settings.seed,
            "code": code_digest(),
        },
    )
    store, key = (
        ArtifactStore(workspace.cache_dir),
        ArtifactKey(workspace.mode, manifest.symbol, manifest.timeframe, manifest.stage),
    )
    before = store.current(key)
    if before is not None:
        return before
    store.publish(key, manifest)
    return manifest


def _plans(ledger: Ledger, began_ms: int) -> list[TradePlan]:
    """Those entered since then, and of what is held the one it came from; by decision."""
    found: dict[str, TradePlan] = {}
    for symbol in ledger.symbols():
        is_held = ledger.holding(symbol).amount != 0
        for decision in reversed(ledger.entries(symbol)):
            plan = ledger.plan(decision)
            if plan is not None and (is_held or plan.created_ms >= began_ms):
                found[plan.plan_id] = plan
            elif plan is not None:
                break
            is_held = False
    return sorted(found.values(), key=lambda plan: (plan.decision_ms, plan.symbol))
