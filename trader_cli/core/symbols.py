"""What a symbol looks like, before anything is asked, or named, by it."""

from __future__ import annotations

import re

from trader_cli.core.errors import UsageError


def symbol_of(text: str) -> str:
    """The symbol a person has written, as the exchange writes it. Raises `UsageError` for what cannot be one."""
    symbol = text.upper()
    if not re.fullmatch(r"\w{2,40}", symbol):
        raise UsageError(
            f"{text!r} is not a symbol.",
            mend="Write it as the exchange does, such as ETHUSDT, and blanks between several.",
        )
    return symbol
