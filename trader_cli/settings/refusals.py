"""Why a setting is refused, in a sentence: its key, what is wanted, what was found."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import ValidationError

_SECRET = {"api_key", "api_secret"}
_WANTED: Mapping[str, str] = MappingProxyType(
    {
        "bool_parsing": "true or false is wanted",
        "bool_type": "true or false is wanted",
        "finite_number": "a finite number is wanted",
        "float_parsing": "a number is wanted",
        "float_type": "a number is wanted",
        "greater_than": "a number above {gt:g} is wanted",
        "greater_than_equal": "a number of at least {ge:g} is wanted",
        "int_from_float": "a whole number is wanted",
        "int_parsing": "a whole number is wanted",
        "int_type": "a whole number is wanted",
        "less_than": "a number below {lt:g} is wanted",
        "less_than_equal": "a number of at most {le:g} is wanted",
        "list_type": "a list is wanted",
        "literal_error": "{expected} is wanted",
        "string_type": "a text is wanted",
        "too_long": "a list of at most {max_length} is wanted",
        "too_short": "a list of at least {min_length} is wanted",
        "tuple_type": "a list is wanted",
    }
)
"""By what pydantic calls the error, filled with what it knows of it."""


def refusal_of(error: ValidationError) -> str:
    """The first of what is wrong. A secret is never shown, nor a whole section."""
    first = error.errors()[0]
    known = first.get("ctx", {})
    key = ".".join(str(part) for part in (*first["loc"], *([known["key"]] if "key" in known else [])))
    wanted = _WANTED.get(first["type"], "").format_map(known) or first["msg"].removeprefix("Value error, ")
    found = known.get("found", first["input"])
    shown = "" if key.rsplit(".", 1)[-1] in _SECRET or isinstance(found, dict) else f"; found {found!r}"
    return f"Setting {key!r}: {wanted}{shown}."
