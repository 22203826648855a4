"""Which sections an analysis has beside what it decides: by the kind that is request for, and one by one."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from trader_cli.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

SECTIONS = frozenset({"indicators", "patterns", "levels", "health", "regime", "liquidation", "interval", "explanation"})
ANALYSIS_TYPES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "full": SECTIONS,
        "technical": frozenset({"indicators", "patterns", "levels"}),
        "risk": frozenset({"health", "regime", "liquidation", "interval"}),
        "signal": frozenset(),
    }
)
"""A signal or an abstention, with its probabilities and its claim, is in each: it is decided alike in all."""
_INCLUDE = "include_"


def sections_of(request: Mapping[str, object]) -> frozenset[str]:
    """The sections that `analysis_type` (default: full) names, with or without those of `include_…`.

    Raises `UsageError` for a kind or a section that is not known, and for an `include_…` that is neither true nor
    false.
    """
    kind = str(request.get("analysis_type", "full"))
    if kind not in ANALYSIS_TYPES:
        raise UsageError(f"There is no analysis_type {kind!r}.", hint=f"Known: {', '.join(ANALYSIS_TYPES)}.")
    chosen = set(ANALYSIS_TYPES[kind])
    for name, wanted in request.items():
        if name.startswith(_INCLUDE):
            section = name.removeprefix(_INCLUDE)
            if section not in SECTIONS:
                known = ", ".join(sorted(_INCLUDE + one for one in SECTIONS))
                raise UsageError(f"An analysis has no section of {name!r}.", hint=f"Known: {known}.")
            if not isinstance(wanted, bool):
                raise UsageError(f"{name} is true or false; found {wanted!r}.")
            (chosen.add if wanted else chosen.discard)(section)
    return frozenset(chosen)
