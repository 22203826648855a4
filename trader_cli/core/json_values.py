"""JSON at the edges: objects that are written, and objects that were read, whose fields have no type yet.

Inside there are frozen values. What one looks like as JSON is said once, by `as_dict` beside it; `from_dict` reads it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from _typeshed import DataclassInstance

JsonObject = dict[str, object]
"""Texts, numbers, booleans, null, lists and objects by name."""
Value = TypeVar("Value")


def flat(value: DataclassInstance) -> JsonObject:
    """The fields of a frozen value that holds no others, by name: `dataclasses.asdict` without its copies."""
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def built(kind: Callable[..., Value], fields: Mapping[str, object]) -> Value:
    """A value of a kind from its fields by name. Raises `TypeError` where they are not those it has."""
    return kind(**fields)


def object_of(field: object) -> JsonObject:
    """A field that is an object. Raises `TypeError` for anything else."""
    if not isinstance(field, dict):
        raise TypeError(f"an object was expected, found {field!r}")
    return field


def items_of(field: object) -> list[object]:
    """The items of a field that is a list. Raises `TypeError` for anything else."""
    if not isinstance(field, list | tuple):
        raise TypeError(f"a list was expected, found {field!r}")
    return list(field)


def objects_of(field: object) -> list[JsonObject]:
    """The objects of a field that is a list of them. Raises `TypeError` for anything else."""
    return [object_of(item) for item in items_of(field)]


def texts_of(field: object) -> tuple[str, ...]:
    """The texts of a field that is a list of them. Raises `TypeError` for what is no list."""
    return tuple(str(item) for item in items_of(field))


def whole_of(field: object) -> int:
    """A field that is a whole number. Raises `TypeError` for anything else."""
    if not isinstance(field, int):
        raise TypeError(f"a whole number was expected, found {field!r}")
    return field


def number_of(field: object) -> float:
    """A field that is a number. Raises `TypeError` for anything else."""
    if not isinstance(field, int | float):
        raise TypeError(f"a number was expected, found {field!r}")
    return field
