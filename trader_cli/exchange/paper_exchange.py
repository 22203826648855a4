"""`PaperExchange`: the real exchange's market data, and an account that is filled here on what they show. No keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.exchange.binance import BinanceExchange
from trader_cli.settings.workspace import Workspace, settings_of, workspace_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from trader_cli.core.ports import Clock
    from trader_cli.settings import Settings


class PaperExchange(BinanceExchange):
    """The exchange with a paper account behind `private`, whatever the mode. `folder` keeps it; None forgets it."""

    def __init__(
        self,
        config: Workspace | Settings | Mapping[str, object] | None = None,
        *,
        clock: Clock | None = None,
        folder: Path | None = None,
        remembered: Path | None = None,
    ) -> None:
        self._folder = folder
        super().__init__(_in_paper(config), clock=clock, remembered=remembered)

    def _paper_folder(self) -> Path | None:
        return self._folder


def _in_paper(config: Workspace | Settings | Mapping[str, object] | None) -> Workspace:
    """What a configuration means in the mode paper, whatever its own is."""
    if isinstance(config, Workspace) and config.mode == "paper":
        return config
    return workspace_of(settings_of(config).model_copy(update={"mode": "paper"}))
