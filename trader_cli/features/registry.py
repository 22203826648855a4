"""The registry: which families there are, what switches them on, and what they are made for.

A family is a small file in `features/families/` with a function `families(options)`; a user's own file looks the same
(docs/feature-families.md). To add one, write the file and name it here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.features.families import (
    candles,
    derivatives,
    higher,
    levels,
    order_flow,
    session,
    technical,
    user_levels,
    wavelet,
)
from trader_cli.features.feature_spec import FeatureSpec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trader_cli.features.family import FamilyOptions, MakeFamilies


LEGACY: dict[str, MakeFamilies] = {"technical": technical.families, "candles": candles.families}
ADVANCED: dict[str, MakeFamilies] = {
    "wavelet": wavelet.families,
    "higher": higher.families,
    "session": session.families,
    "levels": levels.families,
    "order_flow": order_flow.families,
    "derivatives": derivatives.families,
    "given_levels": user_levels.families,
}


def make_spec(
    options: FamilyOptions, *, legacy: bool = True, advanced: bool = True, own: Iterable[MakeFamilies] = ()
) -> FeatureSpec:
    """The families of these options: the package's, as switched, then the user's `own`.

    Families whose inputs are not known are left out, and named. Raises `ConfigurationError` for bad parameters.
    """
    makers = [*(ADVANCED.values() if advanced else ()), *(LEGACY.values() if legacy else ()), *own]
    made = [family for make in makers for family in make(options)]
    known = [family for family in made if options.inputs.issuperset(family.inputs)]
    left_out = tuple(family.name for family in made if family not in known)
    return FeatureSpec(options.timeframe, tuple(known), left_out)
