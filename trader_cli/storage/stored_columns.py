"""A stored frame that is read when it is first asked for, and may be let go of: it is read again then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl


class Columns(Protocol):
    """Columns by name, as of a `polars.DataFrame`."""

    @property
    def columns(self) -> list[str]:
        """Their names, in order."""
        ...

    def get_column(self, name: str) -> pl.Series:
        """One of them."""
        ...


@dataclass
class StoredColumns:
    """Columns that `read` gives, the same each time."""

    read: Callable[[], pl.DataFrame]
    _held: pl.DataFrame | None = None

    @classmethod
    def of(cls, frame: pl.DataFrame) -> StoredColumns:
        """Those of a frame that is there anyway."""
        return cls(lambda: frame)

    def frame(self) -> pl.DataFrame:
        """All of them. Raises what reading raises."""
        if self._held is None:
            self._held = self.read()
        return self._held

    def let_go(self) -> None:
        """Hold them no longer."""
        self._held = None

    @property
    def columns(self) -> list[str]:
        """Their names, in order."""
        return self.frame().columns

    def get_column(self, name: str) -> pl.Series:
        """One of them."""
        return self.frame().get_column(name)
