"""Loss limits of the account, while positions are open: each latched once, whatever else holds entries back."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from trader_cli.core.limits import LossLimits, breaches
from trader_cli.storage.ledger import LedgerUnwritable

if TYPE_CHECKING:
    from trader_cli.execution.executor import Executor
    from trader_cli.settings import Settings

_ACCOUNT, _BROKEN = "", "loss_limit"


class LossMinder:
    """Remembers which limits were broken; a disk that takes no line does not keep it from acting."""

    def __init__(self, settings: Settings) -> None:
        self._options = settings.tactician
        self._counted: set[tuple[str, int]] = set()

    async def broken(self, executor: Executor) -> str | None:
        """A newly broken limit: latched; its reason if positions are to be closed for it."""
        account, _ = await executor.courier.looks.ask("account", executor.courier.private.account)
        ledger, now = executor.ledger, executor.exchange.server_now_ms()
        limits, since = LossLimits(self._options.max_daily_loss, self._options.max_drawdown), ledger.cleared_ms()
        found = breaches(
            ledger.flows(), account.wallet, account.unrealized_profit, limits, now, since_ms=since
        )  # fmt: skip
        told = {str(body["limit"]) for _, body, _ in ledger.assessments(_ACCOUNT, since, (_BROKEN,))}
        fresh = {n: why for n, why in found.items() if n not in told and (n, since) not in self._counted}
        if not fresh:
            return None
        reason = next(iter(fresh.values()))
        self._counted |= {(name, since) for name in fresh}
        standing = ledger.halted()
        with suppress(LedgerUnwritable), ledger.together():
            for name in fresh:
                ledger.assess(_ACCOUNT, _BROKEN, {"limit": name}, now)
            ledger.halt(reason if standing in {None, reason} else f"{standing}; {reason}", now)
        return reason if self._options.close_on_halt else None
