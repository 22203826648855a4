"""Feature families of the user: from a Python file, or from an entry point of the group `trader.feature_families`.

The user's code runs here with the rights of the program; it gets copies of the bars that it cannot write to. What it
returns is checked, and what it raises is told with its file and line. See docs/feature-families.md.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from trader_cli.analyst.user_code import Origin, entry_point, module_of_file, origin_of_entry_point, users_code
from trader_cli.core.errors import ConfigurationError, DataInvalid
from trader_cli.features.bar_arrays import PRICE_INPUTS, BarSeries
from trader_cli.features.family import Family
from trader_cli.features.inputs import ALL_INPUTS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trader_cli.features.bar_arrays import Floats
    from trader_cli.features.family import FamilyOptions, MakeFamilies

Kind = TypeVar("Kind", bound=np.generic)
GROUP = "trader.feature_families"
_SETTING = "user_families"
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_HINT = "docs/feature-families.md shows a family that works."


def load_families(reference: str) -> MakeFamilies:
    """What makes the families of a file (`my_family.py`) or an entry point (`my_family`).

    Raises `ConfigurationError` naming the file, and the line where its code failed.
    """
    origin, make = _of_file(Path(reference)) if reference.endswith(".py") else _of_entry_point(reference)

    def families(options: FamilyOptions) -> tuple[Family, ...]:
        with users_code(origin, "families(options)"):
            made = tuple(make(options))
        return tuple(_checked(family, origin) for family in made)

    return families


def _of_file(path: Path) -> tuple[Origin, Callable[..., Iterable[Family]]]:
    origin, module = module_of_file(_SETTING, path)
    return origin, _function(getattr(module, "families", None), origin)


def _of_entry_point(name: str) -> tuple[Origin, Callable[..., Iterable[Family]]]:
    point = entry_point(_SETTING, GROUP, name)
    with users_code(Origin(_SETTING, name, name, ""), "the entry point"):
        found = point.load()
        file = inspect.getsourcefile(inspect.getmodule(found) or found) or name
    origin = origin_of_entry_point(_SETTING, point, file)
    return origin, _function(getattr(found, "families", found), origin)


def _function(found: object, origin: Origin) -> Callable[..., Iterable[Family]]:
    if not callable(found):
        raise ConfigurationError(
            f"user_families: {origin.reference} has no function families(options), which gives the families.",
            hint=_HINT,
        )
    made: Callable[..., Iterable[Family]] = found
    return made


def _checked(family: object, origin: Origin) -> Family:
    """The family with its source named and its results checked. Raises `ConfigurationError` for one of bad names."""
    if not isinstance(family, Family):
        raise ConfigurationError(
            f"user_families: families(options) of {origin.reference} gave {family!r}, which is no Family.", hint=_HINT
        )
    if not _NAME.fullmatch(family.name):
        raise ConfigurationError(f"user_families: {family.name!r} is no name: write it as my_family (a-z, 0-9, _).")
    foreign = [name for name in family.columns if not name.startswith(f"{family.name}_")]
    if foreign:
        raise ConfigurationError(
            f"user_families: columns of {family.name!r} begin with {family.name + '_'!r}; found {foreign[0]!r}."
        )
    unknown = sorted(set(family.inputs) - ALL_INPUTS)
    if unknown:
        raise ConfigurationError(
            f"user_families: {family.name!r} reads the unknown input {unknown[0]!r}.",
            hint=f"Known: {', '.join(sorted(ALL_INPUTS))}.",
        )

    def compute(bars: BarSeries, **parameters: object) -> dict[str, Floats]:
        with users_code(origin, f"the family {family.name!r}"):
            found = family.compute(_unwritable(bars, family.inputs), **parameters)
        return _arrays(found, family, len(bars))

    return replace(family, compute=compute, source=origin.digest)


def _unwritable(bars: BarSeries, inputs: tuple[str, ...]) -> BarSeries:
    """The bars with just the inputs that were declared, as copies that are not to be written to."""

    def shown(values: NDArray[Kind]) -> NDArray[Kind]:
        own = values.copy()
        own.setflags(write=False)
        return own

    own = {name: shown(bars[name]) for name in PRICE_INPUTS}
    extra = {name: shown(bars[name]) for name in inputs if name not in PRICE_INPUTS}
    return BarSeries(shown(bars.open_ms), **own, extra=MappingProxyType(extra))


def _arrays(found: object, family: Family, n: int) -> dict[str, Floats]:
    """The family's columns as float64 arrays of n rows. Raises `DataInvalid` naming family and column."""
    if not isinstance(found, Mapping):
        raise DataInvalid(f"The family {family.name!r} gives {type(found).__name__}; a mapping of columns is wanted.")
    return {name: _array(found, name, family, n) for name in family.columns}


def _array(found: Mapping[str, object], name: str, family: Family, n: int) -> Floats:
    if name not in found:
        raise DataInvalid(f"The family {family.name!r} does not give its column {name!r}; it gives {sorted(found)}.")
    try:
        given = np.asarray(found[name])
        if given.dtype.kind not in "fiub":
            raise TypeError(f"they are {given.dtype}")
        values = given.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise DataInvalid(f"The column {name!r} of the family {family.name!r} is not of numbers: {error}.") from error
    if values.shape != (n,):
        raise DataInvalid(
            f"The column {name!r} of the family {family.name!r} has the shape {values.shape}; {n} bars want ({n},)."
        )
    return values
