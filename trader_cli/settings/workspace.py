"""What the settings mean, resolved once: whose account at which market, and where all that is kept of it lies.

A command, and a public class that is given a configuration, resolves it at its door; behind it these facts are passed
on, and nobody derives them again. Nothing is opened or made here: a tape's files are read for its name, and one looks
whether a ledger of an earlier version is there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trader_cli.core.identity.digests import digest_value
from trader_cli.settings.load import as_settings
from trader_cli.settings.places import earlier_names, host_source, state_root
from trader_cli.settings.source_names import content_source, file_content, synthetic_source

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trader_cli.settings.model import Mode, Settings

LEDGERS = "ledgers"
"""The folder of the ledgers in the state directory."""
SIM_KEYS = ("sim-key", "sim-read-key", "sim-withdraw-key", "sim-hedge-key", "sim-anywhere-key")
"""Keys of the simulated exchange, as `venue.server.authentication` knows them."""


@dataclass(frozen=True)
class AccountId:
    """One account: the name of its market, a digest of its key and market (12 hex digits), and the mode it trades in.

    `market` is the source name, under which artifacts of this market are kept apart from those of other markets.
    """

    market: str
    fingerprint: str
    mode: Mode


@dataclass(frozen=True)
class LedgerPlaces:
    """Where the ledgers of one account lie. `path` is the one of its mode: where an earlier version left it, if it did.

    `names`: market and fingerprint as they are named today, then as earlier versions named them.
    """

    mode: Mode
    path: Path
    folder: Path
    names: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, mode: Mode, folder: Path, names: tuple[tuple[str, str], ...]) -> LedgerPlaces:
        """Those of a mode: looks which of its files is there."""
        path, *earlier = _ledger_files(folder, names, mode)
        there = next((old for old in earlier if old.exists() and not path.exists()), path)
        return cls(mode, there, folder, names)

    def files(self, mode: str) -> tuple[Path, ...]:
        """Every place where the ledger of this account in a mode may lie: today's, and those of earlier versions."""
        return _ledger_files(self.folder, self.names, mode)


@dataclass(frozen=True)
class Workspace:
    """Settings and what they mean. Rooms below `pipelines` take of it only what they need: an account, places, options.

    `lineage` names whose data trials are counted on: the market, but for a tape its content alone.
    """

    settings: Settings
    account: AccountId
    lineage: str
    cache_dir: Path
    state_dir: Path
    ledgers: LedgerPlaces

    @property
    def mode(self) -> Mode:
        """Which market is traded, and whose fills count."""
        return self.account.mode

    @property
    def source(self) -> str:
        """The name under which this market's artifacts are kept apart from those of other markets."""
        return self.account.market

    @property
    def ledger_path(self) -> Path:
        """Where the ledger of this market, account and mode lies."""
        return self.ledgers.path


def workspace_of(config: Workspace | Settings | Mapping[str, object] | None) -> Workspace:
    """What a configuration means; one that was resolved before is itself.

    Raises `ConfigurationError` for keys that are not known, `DataMissing` for a tape that is not there.
    """
    if isinstance(config, Workspace):
        return config
    settings = as_settings(config)
    (source, lineage), key = _market(settings), account_key(settings)
    names = tuple((name, _fingerprint(name, key)) for name in (source, *earlier_names(source)))
    root = state_root(settings)
    return Workspace(
        settings,
        AccountId(source, names[0][1], settings.mode),
        lineage,
        Path(settings.cache_dir).expanduser(),
        root,
        LedgerPlaces.of(settings.mode, root / LEDGERS, names),
    )


def settings_of(config: Workspace | Settings | Mapping[str, object] | None) -> Settings:
    """The settings alone, for what asks neither market nor account: nothing is derived."""
    return config.settings if isinstance(config, Workspace) else as_settings(config)


def account_key(settings: Settings) -> str:
    """The API key that trades: in sim one of the simulated exchange's, whatever else is set; none in paper."""
    if settings.mode == "paper":
        return "paper"
    given = settings.binance_exchange.api_key.get_secret_value()
    return given if settings.mode != "sim" or given in SIM_KEYS else SIM_KEYS[0]


def _market(settings: Settings) -> tuple[str, str]:
    """(the source name of the market, whose data trials are counted on)."""
    sim = settings.sim
    if settings.mode != "sim":
        name = host_source(settings)
    elif sim.tape is None:
        name = synthetic_source(sim.symbols, sim.days, sim.planted_lead, settings.seed)
    else:
        path = Path(sim.tape).expanduser()
        content = file_content(path)
        return content_source(path, content, settings.seed), content
    return name, name


def _fingerprint(market: str, key: str) -> str:
    """Names the account without giving its key away."""
    return digest_value(["account", market, key])[:12]


def _ledger_files(folder: Path, names: tuple[tuple[str, str], ...], mode: str) -> tuple[Path, ...]:
    return tuple(folder / market / f"{fingerprint}-{mode}.sqlite" for market, fingerprint in names)
