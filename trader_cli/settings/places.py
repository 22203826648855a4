"""Where things of these settings lie, as far as the settings alone say it."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from trader_cli.settings.model import Settings


_LOOPBACK = "127.0.0.1"
_DEFAULT_PORTS = {"http": 80, "https": 443}
_REAL, _DEMO = "binance-um", "binance-demo"
_OFFICIAL = {
    "fapi.binance.com-https": _REAL,
    "demo-fapi.binance.com-https": _DEMO,
    "testnet.binancefuture.com-https": _DEMO,
}
"""The exchange's own hosts spelled out: the markets that are meant where none is set."""


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
        host = (url.hostname or "unnamed-host").rstrip(".")
        port = None if url.port == _DEFAULT_PORTS.get(url.scheme) else url.port
        name = f"{_LOOPBACK if _is_this_machine(host) else host}-{port or url.scheme}"
        return _OFFICIAL.get(name, name)
    return _DEMO if settings.binance_exchange.use_testnet else _REAL


def earlier_names(source: str) -> tuple[str, ...]:
    """The names under which earlier versions kept a market whose host was spelled out."""
    return tuple(name for name, market in _OFFICIAL.items() if market == source)


def _is_this_machine(host: str) -> bool:
    """Whether a host is this machine by one of its own names: however it is spelt, it is one market."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    with suppress(ValueError):
        address = ip_address(host.partition("%")[0])
        inner = getattr(address, "ipv4_mapped", None) or address
        return inner.is_loopback or inner.is_unspecified
    return False


def account_folder(root: Path, source: str, clock: str) -> Path:
    """The folder of the accounts' journal of a market, one for each kind of time it is played in."""
    return root / "venue" / source / clock
