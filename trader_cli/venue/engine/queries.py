"""What every route of the venue needs: the exchange's own no, and parameters read from a query."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from trader_cli.core.errors import UsageError
from trader_cli.core.json_values import JsonObject
from trader_cli.core.market.timeframes import Timeframe

Query = Mapping[str, str]
Body = JsonObject | Sequence[object]
"""What a route answers: an object of JSON, or rows of it."""
Route = Callable[[Query, int], Body]
"""From the parameters and the moment (UTC ms) to the JSON."""


class VenueRejection(Exception):
    """The exchange's own no: HTTP status, numeric code and message."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


def invalid(name: str) -> VenueRejection:
    """The refusal of a parameter."""
    return VenueRejection(400, -1130, f"Data sent for parameter '{name}' is not valid.")


def named(query: Query, name: str) -> str:
    """A parameter that must be there. Raises `VenueRejection` (−1102)."""
    value = query.get(name)
    if not value:
        raise VenueRejection(400, -1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
    return value


def integer(query: Query, name: str) -> int | None:
    """A whole number, or `None` where it is absent. Raises `VenueRejection` (−1130)."""
    text = query.get(name)
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        raise invalid(name) from None


def page_limit(query: Query, default: int, most: int) -> int:
    """`limit`, 1 to `most`. Raises `VenueRejection` (−1130)."""
    limit = integer(query, "limit")
    if limit is not None and not 1 <= limit <= most:
        raise invalid("limit")
    return default if limit is None else limit


def timeframe_of(query: Query, finest: Timeframe) -> Timeframe:
    """`interval`, which must be a multiple of the tape's own. Raises `VenueRejection` (−1120)."""
    try:
        timeframe = Timeframe.parse(query.get("interval", ""))
    except UsageError:
        raise VenueRejection(400, -1120, "Invalid interval.") from None
    if timeframe.ms % finest.ms:
        raise VenueRejection(400, -1120, f"Invalid interval. This tape has no bars below {finest}.")
    return timeframe
