"""Which market and which account the settings mean: the names under which artifacts and ledgers are kept apart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from trader_cli.core.identity.digests import digest_value
from trader_cli.settings.places import earlier_names, host_source
from trader_cli.storage.ledger_identity import FOLDER
from trader_cli.storage.state import state_root
from trader_cli.venue.server.authentication import KEYS
from trader_cli.venue.simulated_market.source_names import file_content, file_source, synthetic_source

if TYPE_CHECKING:
    from trader_cli.settings import Settings

_SIM_KEY = "sim-key"


def market_source(settings: Settings) -> str:
    """The name under which this market's artifacts are kept apart from those of other markets."""
    sim = settings.sim
    if settings.mode == "sim":
        if sim.tape is not None:
            return file_source(Path(sim.tape).expanduser(), settings.seed)
        return synthetic_source(sim.symbols, sim.days, sim.planted_lead, settings.seed)
    return host_source(settings)


def market_lineage(settings: Settings) -> str:
    """Whose data trials are counted on: the market's source, but for a tape its content alone."""
    tape = settings.sim.tape
    return (
        file_content(Path(tape).expanduser())
        if settings.mode == "sim" and tape is not None
        else market_source(settings)
    )


def account_key(settings: Settings) -> str:
    """The API key that trades: in sim one of the simulated exchange's, whatever else is set; none in paper."""
    if settings.mode == "paper":
        return "paper"
    given = settings.binance_exchange.api_key.get_secret_value()
    return given if settings.mode != "sim" or given in KEYS else _SIM_KEY


def account_fingerprint(settings: Settings) -> str:
    """Names the account without giving its key away: a digest of the key and the market."""
    return _fingerprint(settings, market_source(settings))


def _fingerprint(settings: Settings, source: str) -> str:
    return digest_value(["account", source, account_key(settings)])[:12]


def ledger_path(settings: Settings) -> Path:
    """Where the ledger of this market, account and mode lies: where an earlier version left it, if it did."""
    path, *earlier = ledger_paths(settings, settings.mode)
    return next((old for old in earlier if old.exists() and not path.exists()), path)


def ledger_paths(settings: Settings, mode: str) -> tuple[Path, ...]:
    """Every place where the ledger of this account in a mode may lie: today's, and those of earlier versions."""
    source, folder = market_source(settings), state_root(settings) / FOLDER
    return tuple(
        folder / name / f"{_fingerprint(settings, name)}-{mode}.sqlite" for name in (source, *earlier_names(source))
    )
