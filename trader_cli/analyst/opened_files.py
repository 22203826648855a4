"""What a user's code reads beside what it is given: files that no digest names, and no claim could be bound to."""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib.util import source_from_cache
from pathlib import Path
from typing import TYPE_CHECKING

import trader_cli
from trader_cli.analyst.user_code import imported_files
from trader_cli.core.errors import ConfigurationError

if TYPE_CHECKING:
    from trader_cli.analyst.user_code import Origin

_OWN = (Path(sys.prefix), Path(sys.base_prefix), Path(trader_cli.__file__).parent)
_SYSTEM = ("/proc/", "/sys/", "/dev/null", "/dev/urandom", "/etc/", "/usr/share/", "/usr/lib/")
_CODE = frozenset({".py", ".pyc", ".so", ".pyd"})


class OpenedFiles:
    """Every file that Python opens in this process from now on. Made once, in a process that ends soon."""

    def __init__(self) -> None:
        self._opened: dict[Path, None] = {}
        sys.addaudithook(self._hear)

    def _hear(self, event: str, details: tuple[object, ...]) -> None:
        if event == "open" and isinstance(details[0], str) and not details[0].startswith(_SYSTEM):
            self._opened[Path(details[0]).absolute()] = None

    def refuse(self, origin: Origin) -> None:
        """Raises `ConfigurationError` naming a file of data that was opened, or one that was imported unseen."""
        own = Path(origin.file).expanduser().resolve()
        known = {own, *(file.resolve() for file in imported_files(own, own.read_bytes()))} if own.is_file() else {own}
        for path in map(_source, list(self._opened)):
            if _is_own(path) or not path.is_file():
                continue
            if path.suffix not in _CODE:
                raise ConfigurationError(
                    f"{origin.setting}: {origin.reference} reads the file {path}.",
                    hint="A rule knows bars and features only: put what it needs into its source, or into parameters.",
                )
            if path.suffix == ".py" and path.resolve() not in known:
                raise ConfigurationError(
                    f"{origin.setting}: {origin.reference} imports {path}, and no import statement says so.",
                    hint="Import it by an import statement, so that it is part of the rule's source.",
                )


def _is_own(path: Path) -> bool:
    """Whether a file is of Python, of what is installed, or of the program."""
    return any(path.is_relative_to(folder) for folder in _OWN)


def _source(path: Path) -> Path:
    """The file that a compiled one was made of: Python opens only that where there is one."""
    with suppress(ValueError):
        return Path(source_from_cache(str(path)))
    return path
