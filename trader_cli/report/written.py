"""Numbers, times and tables as a page writes them. Everything that comes from outside is escaped here."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

NONE = "–"
_DIGEST = re.compile(r"[0-9a-f]{32}")


def text(said: object) -> str:
    """Anything as text of a page."""
    return escape(str(said), quote=True)


def _with_minus(written: str) -> str:
    """With the sign that is as wide as a digit; nothing is below zero that is written as zero."""
    if written.startswith("-") and not any(digit in written for digit in "123456789"):
        written = written[1:]
    return written.replace("-", "−")


def percent(share: float | None, digits: int = 2) -> str:
    """`12.35%` of 0.12345."""
    return NONE if share is None else _with_minus(f"{100 * share:,.{digits}f}") + "%"


def signed_percent(share: float | None, digits: int = 2) -> str:
    """`+12.35%`."""
    return NONE if share is None else _plus(share, percent(share, digits))


def number(value: float | None, digits: int = 2) -> str:
    """`1,234.50`."""
    return NONE if value is None else _with_minus(f"{value:,.{digits}f}")


def signed(value: float | None, digits: int = 2) -> str:
    """`+1,234.50`."""
    return NONE if value is None else _plus(value, number(value, digits))


def _plus(value: float, written: str) -> str:
    return f"+{written}" if value > 0 and any(digit in written for digit in "123456789") else written


def day(time_ms: int) -> str:
    """`2024-01-31`."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d")


def lasting(milliseconds: float) -> str:
    """`42 min`, `5.2 hours`, `3.1 days`, `365 days`."""
    minutes = milliseconds / 60_000
    if minutes < 90:
        return f"{minutes:.0f} min"
    days = minutes / 1440
    return f"{minutes / 60:.1f} hours" if days < 2 else f"{days:.1f} days" if days < 10 else f"{days:,.0f} days"


def tone(value: float | None) -> str:
    """The class of what is good or bad."""
    return "" if not value else "gain" if value > 0 else "loss"


def figure(name: str, value: float | None, written: str, *, coloured: bool = False) -> str:
    """A figure that a program can read back: `name` is where `Figures` has it, `data-value` the number itself."""
    kind = f' class="{tone(value)}"' if coloured and tone(value) else ""
    known = "" if value is None else f' data-value="{value!r}"'
    return f'<span{kind} data-figure="{text(name)}"{known}>{text(written)}</span>'


def facts(rows: Mapping[str, str]) -> str:
    """Name–text lines; digests are set as code."""
    lines = (f"<dt>{text(name)}</dt><dd>{_told(said)}</dd>" for name, said in rows.items())
    return f'<dl class="facts">{"".join(lines)}</dl>'


def _told(said: str) -> str:
    return f"<code>{text(said)}</code>" if _DIGEST.fullmatch(said) else text(said)


def lines(cells: Iterable[str]) -> str:
    """HTML parts, one a line."""
    return "\n".join(cells)
