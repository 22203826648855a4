"""Where things of these settings lie, as far as the settings alone say it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from trader_cli.settings.model import Settings


def state_root(settings: Settings) -> Path:
    """The configured state directory, else the user's."""
    if settings.state_dir is not None:
        return Path(settings.state_dir).expanduser()
    from platformdirs import user_state_dir

    return Path(user_state_dir("trader"))


def host_source(settings: Settings) -> str:
    """The name of the market at the host that is set; a simulated market has a name of its own instead."""
    if settings.binance_exchange.base_url is not None:
        url = urlsplit(settings.binance_exchange.base_url)
        return f"{url.hostname or 'unnamed-host'}-{url.port or url.scheme}"
    return "binance-demo" if settings.binance_exchange.use_testnet else "binance-um"


def account_folder(root: Path, source: str, clock: str) -> Path:
    """The folder of the accounts' journal of a market, one for each kind of time it is played in."""
    return root / "venue" / source / clock
