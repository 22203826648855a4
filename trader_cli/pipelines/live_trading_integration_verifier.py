"""`LiveTradingIntegrationVerifier`: does everything work together, value by value? Tier 0: offline, simulated exchange.

Its market, account and folders are its own: nothing of the user's is read or written but the configuration.
"""

from __future__ import annotations

import asyncio
from difflib import get_close_matches
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING

from trader_cli.core.errors import UsageError
from trader_cli.core.ports import silent
from trader_cli.pipelines.verification import (
    analyst_signals,
    end_to_end,
    exchange_data,
    feature_engineering,
    monitoring,
    own_settings,
    protection_checks,
    tactician_execution,
    tactician_plans,
    worked_exchange,
    worked_features,
    worked_models,
    worked_plans,
    worked_records,
    worked_refusals,
    worked_training,
)
from trader_cli.pipelines.verification.checks import Report, carry_out
from trader_cli.pipelines.verification.lab import Lab
from trader_cli.settings import as_settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from trader_cli.core.ports import Progress
    from trader_cli.pipelines.verification.checks import Check, CheckResult
    from trader_cli.settings import Settings

CHECKS: tuple[Check, ...] = (
    *exchange_data.CHECKS,
    *worked_records.CHECKS,
    *feature_engineering.CHECKS,
    *worked_features.CHECKS,
    *analyst_signals.CHECKS,
    *worked_training.CHECKS,
    *worked_models.CHECKS,
    *tactician_plans.CHECKS,
    *worked_plans.CHECKS,
    *worked_refusals.CHECKS,
    *tactician_execution.CHECKS,
    *monitoring.CHECKS,
    *protection_checks.CHECKS,
    *worked_exchange.CHECKS,
    *end_to_end.CHECKS,
    *worked_records.STORED,
    *own_settings.CHECKS,
)
"""Every check of tier 0, in the order of the guide's list."""


class LiveTradingIntegrationVerifier:
    """Verifies that all components work together. `config` is a `Settings` or a dict of the guide's keys.

    Costs, limits and monitoring are those of the configuration; the market is always the embedded one.
    """

    def __init__(self, config: Settings | Mapping[str, object] | None = None) -> None:
        self.settings = as_settings(config)

    async def run(self, only: Sequence[str] = (), *, tier: int = 0, progress: Progress = silent) -> Report:
        """`run_sync` beside a running event loop: virtual time needs a loop of its own."""
        return await asyncio.to_thread(self.run_sync, only, tier=tier, progress=progress)

    def run_sync(self, only: Sequence[str] = (), *, tier: int = 0, progress: Progress = silent) -> Report:
        """Carry out the checks, or those named by `only`; one that fails does not keep the others from running.

        Raises `UsageError` for a tier that is not built and a name that is not known.
        """
        chosen = chosen_checks(only, tier)
        began = perf_counter()
        results: list[CheckResult] = []
        with TemporaryDirectory(prefix="trader-verify-") as folder:
            lab = Lab(Path(folder), self.settings, progress)
            for number, check in enumerate(chosen):
                progress("verifying", number, len(chosen))
                results.append(carry_out(check, lab))
            progress("verifying", len(chosen), len(chosen))
            return Report(tier, lab.tape.label, round(perf_counter() - began, 3), tuple(results))


def chosen_checks(only: Sequence[str] = (), tier: int = 0) -> tuple[Check, ...]:
    """The checks of a tier, or those named. Raises `UsageError`."""
    if tier != 0:
        raise UsageError(
            f"Tier {tier} is not built yet; there is tier 0: offline, against the simulated exchange.",
            hint="Leave --tier away.",
        )
    known = [check.name for check in CHECKS]
    for name in only:
        if name not in known:
            near = get_close_matches(name, known, n=1, cutoff=0)
            raise UsageError(
                f"There is no check {name!r}; the nearest is {near[0]}.", hint="See `trader verify --list`."
            )
    return tuple(check for check in CHECKS if not only or check.name in only)
