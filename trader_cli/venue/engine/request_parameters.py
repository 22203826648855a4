"""Parameters of signed requests, each read with the exchange's own refusal."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation

from trader_cli.venue.engine.queries import VenueRejection

Parameters = Mapping[str, str]


_HUGE = Decimal(10) ** 12


_MOST_DIGITS = 24


def rejected(code: int, message: str) -> VenueRejection:
    """A refusal with HTTP status 400."""
    return VenueRejection(400, code, message)


def missing(name: str) -> VenueRejection:
    """The refusal of a request without a mandatory parameter."""
    return rejected(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def required(parameters: Parameters, name: str) -> str:
    """A parameter that must be there."""
    value = parameters.get(name, "")
    if not value:
        raise missing(name)
    return value


def number(parameters: Parameters, name: str) -> Decimal:
    """A positive decimal parameter that must be there."""
    try:
        value = Decimal(required(parameters, name))
    except InvalidOperation:
        raise rejected(-1100, f"Illegal characters found in parameter '{name}'.") from None
    if not value.is_finite():
        raise rejected(-1100, f"Illegal characters found in parameter '{name}'.")
    if abs(value) >= _HUGE or len(value.as_tuple().digits) > _MOST_DIGITS:
        raise rejected(-1111, "Precision is over the maximum defined for this asset.")
    return value


def whole(parameters: Parameters, name: str, default: int) -> int:
    """A whole number that need not be there."""
    text = parameters.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit()):
        raise rejected(-1100, f"Illegal characters found in parameter '{name}'.")
    return int(text)


def flag(parameters: Parameters, name: str) -> bool:
    """A boolean parameter, false if absent."""
    text = parameters.get(name, "false").lower()
    if text not in {"true", "false"}:
        raise rejected(-1130, f"Data sent for parameter '{name}' is not valid.")
    return text == "true"
