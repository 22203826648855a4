"""What every reply is checked by. An empty or garbled 200 is an error, never "nothing there"."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeVar

from trader_cli.core.errors import ExchangeUnavailable
from trader_cli.exchange.connection.error_table import scrubbed

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
_HINT = "Check binance_exchange.base_url and the network; try again later."


def as_list(reply: Any, what: str) -> list[Any]:
    """The reply, if it is a list."""
    if not isinstance(reply, list):
        raise ExchangeUnavailable(
            f"Expected a list of {what} from the exchange; it answered {shown(reply)}.", hint=_HINT
        )
    return reply


def as_mapping(reply: Any, what: str, *needed: str) -> dict[str, Any]:
    """The reply, if it is an object that has the needed fields."""
    if not isinstance(reply, dict) or any(reply.get(name) is None for name in needed):
        raise ExchangeUnavailable(f"Expected {what} from the exchange; it answered {shown(reply)}.", hint=_HINT)
    return reply


def shown(reply: Any) -> str:
    """A reply shortened for a message: HTML is called HTML."""
    if reply is None or reply in ("", b"", {}, []):
        return "nothing"
    words = reply.decode(errors="replace") if isinstance(reply, bytes) else str(reply)
    text = " ".join(scrubbed(words).split())
    kind = "an HTML page" if text.lstrip().lower().startswith(("<!doctype", "<html")) else "what cannot be used"
    return f"{kind}: {text[:80]!r}"


def parsed(what: str, reply: Any, parse: Callable[[Any], T]) -> T:
    """`parse(reply)`, with a shape it did not expect turned into `ExchangeUnavailable`."""
    try:
        return parse(reply)
    except _misfits():
        raise ExchangeUnavailable(
            f"Expected {what} from the exchange; it answered {shown(reply)}.", hint=_HINT
        ) from None


def _misfits() -> tuple[type[Exception], ...]:
    """What parsing raises for a shape it did not expect; polars' own errors only where a frame was made by it."""
    polars = sys.modules.get("polars")
    plain = (ValueError, TypeError, IndexError, KeyError, OverflowError)
    return plain if polars is None else (*plain, polars.exceptions.PolarsError)
