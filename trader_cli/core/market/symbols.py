"""What a symbol looks like, before anything is asked, or named, by it; and which other markets belong to it."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from trader_cli.core.errors import UsageError

_SYMBOL = re.compile(r"\w{2,40}")
_DELIVERY = re.compile(r"(?P<pair>\w+)_(?P<day>\d{6})")
_IN_FILE_NAME = re.compile(r"(?P<symbol>[^\W_]{5,40}(?:_(?:\d{6}|PERP))?)(?=[-_.])")
"""`BTCUSDT-15m.parquet`, `BTCUSDT_260327-15m.parquet`; six digits are a day of delivery, as the exchange writes it."""
_MULTIPLE = re.compile(r"(?P<many>10{3,6})(?P<coin>[^\W\d]\w+)")


def is_symbol(text: str) -> bool:
    """Whether it can be one: letters of any script, digits, underscores; so it can also name a file or a folder."""
    return _SYMBOL.fullmatch(text) is not None


def symbol_of(text: str) -> str:
    """The symbol a person has written, as the exchange writes it. Raises `UsageError` for what cannot be one."""
    symbol = text.upper()
    if not is_symbol(symbol):
        raise UsageError(
            f"{text!r} is not a symbol.",
            hint="Write it as the exchange does, such as ETHUSDT, and blanks between several.",
        )
    return symbol


def symbol_in(file_name: str) -> str | None:
    """The symbol with which the name of a file of bars begins, if it does. A delivery contract keeps its day."""
    found = _IN_FILE_NAME.match(file_name)
    return found["symbol"] if found is not None and found["symbol"] == found["symbol"].upper() else None


def delivery_ms_of(symbol: str) -> int | None:
    """When a contract is delivered whose name says so, 08:00 UTC of the day in `BTCUSDT_260327`; None for others."""
    found = _DELIVERY.fullmatch(symbol)
    if found is None:
        return None
    try:
        day = datetime.strptime(found["day"], "%y%m%d").replace(tzinfo=UTC)
    except ValueError:
        return None
    return int(day.timestamp() + 8 * 3600) * 1000


def pair_of(symbol: str) -> str:
    """The pair whose index a contract follows: `BTCUSDT` of `BTCUSDT_260327`, a perpetual's own name."""
    found = _DELIVERY.fullmatch(symbol)
    return symbol if found is None else found["pair"]


def spot_markets(symbol: str) -> tuple[tuple[str, int], ...]:
    """Names the spot market of a contract may have, the likelier first, and how many of its coins one contract is of.

    The spot market of `1000SHIBUSDT` is `SHIBUSDT`, at a thousandth of the price; that of `1000SATSUSDT` has its name.
    """
    pair = pair_of(symbol)
    found = _MULTIPLE.fullmatch(pair)
    return ((pair, 1),) if found is None else ((pair, 1), (found["coin"], int(found["many"])))
