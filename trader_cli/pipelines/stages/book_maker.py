"""Who trades for a claim: handed to training, which does not know the rules of plan and exit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.backtest.bar_book import BarBook
from trader_cli.settings.room_options import ManagementOptions

if TYPE_CHECKING:
    from trader_cli.analyst.book import BookMaker
    from trader_cli.core.json_values import JsonObject
    from trader_cli.settings import Settings


def book_maker(settings: Settings) -> BookMaker:
    """Trades by the rules as set, at a fixed notional."""
    return BarBook(ManagementOptions.of(settings), settings.tactician)


def book_rules(settings: Settings) -> JsonObject:
    """The settings that decide what is traded for a claim: with others it is another configuration."""
    return {
        "monitor": settings.monitor.model_dump(mode="json"),
        "risk": [settings.high_risk_threshold, settings.medium_risk_threshold],
        "plan": [settings.tactician.max_price_drift, settings.tactician.backstop_distance],
    }
