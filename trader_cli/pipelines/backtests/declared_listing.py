"""What was tradable and when, as a person declares it: by that list a universe is shown to be whole.

Nothing here knows whether the list is true. What is said is said by the list, whose digest the backtest keeps.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from trader_cli.core.errors import UsageError
from trader_cli.core.identity.digests import digest_value
from trader_cli.core.json_values import texts_of, whole_of
from trader_cli.core.market.gaps import utc_text
from trader_cli.core.market.timeframes import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from trader_cli.core.json_values import JsonObject
    from trader_cli.pipelines.stages.symbol_lines import SymbolLine


@dataclass(frozen=True)
class Listed:
    """A symbol was tradable in [from, to), UTC ms: from its first day to the end of its last; None: it is still."""

    symbol: str
    from_ms: int
    to_ms: int | None

    def has_ended(self, last_ms: int) -> bool:
        """Whether its bars, the last of which closed then, reach its last day."""
        return self.to_ms is not None and last_ms >= self.to_ms - DAY_MS

    def comes_within(self, span: tuple[int, int], closes: tuple[int, int] | None) -> bool:
        """Whether it was listed within a span (since, until), and its `closes` (first, last) reach as far as it did."""
        since, until = span
        stored = closes is not None and (closes[1] >= until or self.has_ended(closes[1]))
        return since < self.from_ms < until and stored

    def holds(self, time_ms: int) -> bool:
        """Whether it was tradable then."""
        return self.from_ms <= time_ms and (self.to_ms is None or time_ms < self.to_ms)


@dataclass(frozen=True)
class ListingProof:
    """How many symbols were tradable when a span began, by a list of this digest, and which are not stored over it."""

    digest: str
    tradable: int
    absent: tuple[str, ...]

    def as_dict(self) -> JsonObject:
        """The JSON shape."""
        return {"digest": self.digest, "tradable": self.tradable, "absent": list(self.absent)}

    @classmethod
    def from_dict(cls, body: Mapping[str, object]) -> ListingProof:
        """The inverse of `as_dict`."""
        return cls(str(body["digest"]), whole_of(body["tradable"]), texts_of(body["absent"]))


def listing_of(lines: Sequence[SymbolLine]) -> tuple[Listed, ...]:
    """Of a file's lines: SYMBOL FIRST-DAY [LAST-DAY]; none where no line names a day.

    Raises `UsageError` for a line that is no such, and where only some name days.
    """
    if all(len(line.words) == 1 for line in lines):
        return ()
    found = []
    for line in lines:
        words = line.words
        try:
            first, *last = (
                int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 1000 for day in words[1:]
            )
            if len(last) > 1 or (last and last[0] < first):
                raise ValueError
        except ValueError:
            raise UsageError(
                f"{line.place}: {' '.join(words)!r} is no line such as LUNAUSDT 2021-01-28 2022-05-13.",
                hint="Each line has a symbol, the first day it was traded and, where it is not any more, the last; or"
                " none of them has a day.",
            ) from None
        found.append(Listed(line.symbol(words[0]), first, last[0] + DAY_MS if last else None))
    return tuple(found)


def proof_of(listed: Sequence[Listed], closes: Mapping[str, tuple[int, int]], span: tuple[int, int]) -> ListingProof:
    """Whether what was tradable when the span (since, until) began is stored over it. `closes`: (first, last) of each.

    A symbol that ends on the way is to be stored up to its last day. Raises `UsageError` where nothing was tradable.
    """
    since, until = span
    tradable = [one for one in listed if one.holds(since)]
    if not tradable:
        raise UsageError(f"By the file, no symbol was tradable {utc_text(since)}.")
    absent = []
    for one in tradable:
        first, last = closes.get(one.symbol, (until, since))
        if first > max(since, one.from_ms + 2 * DAY_MS) or last < min(until, (one.to_ms or until + DAY_MS) - DAY_MS):
            absent.append(one.symbol)
    digest = digest_value([[one.symbol, one.from_ms, one.to_ms] for one in listed])
    return ListingProof(digest, len(tradable), tuple(sorted(absent)))
