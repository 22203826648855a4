"""Rules of the exchange that change under its clients, and quotes that lie apart, each with the time it holds from."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field, fields, replace
from functools import cache, cached_property
from itertools import accumulate, pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from trader_cli.core.market.symbols import delivery_ms_of
from trader_cli.core.market.timeframes import HOUR_MS
from trader_cli.core.money.assets import margin_asset_of
from trader_cli.venue.simulated_market.brackets import BRACKETS, usual_brackets

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from decimal import Decimal

    from trader_cli.core.money.orders import SymbolRules
    from trader_cli.venue.simulated_market.brackets import Bracket

PERPETUAL_DELIVERY_MS = 4_133_404_800_000
"""The delivery date of a contract that has none."""
Status = Literal["TRADING", "PENDING_TRADING", "BREAK", "PRE_SETTLE", "SETTLING", "CLOSE", "REMOVED"]
REDUCING: frozenset[Status] = frozenset({"TRADING", "PRE_SETTLE"})
"""Where a position may be reduced. It may be opened while TRADING alone; REMOVED is known no longer."""


@dataclass(frozen=True)
class RuleChange:
    """From `at_ms` on the symbol has these rules; what is None stays. `brackets`: see `margin.brackets_of`.

    `settles`: it is delisted then. What is open is settled at the mark price, and what waits is cancelled.
    """

    symbol: str
    at_ms: int
    tick: Decimal | None = None
    step: Decimal | None = None
    min_quantity: Decimal | None = None
    min_notional: Decimal | None = None
    status: Status | None = None
    delivery_ms: int | None = None
    brackets: tuple[Bracket, ...] | None = None
    funding_interval_h: int | None = None
    settles: bool = False

    @classmethod
    def delisting(cls, symbol: str, at_ms: int) -> RuleChange:
        """The end of a symbol, which nobody had heard of before."""
        return cls(symbol, at_ms, status="CLOSE", delivery_ms=at_ms, settles=True)


@dataclass(frozen=True)
class Listing:
    """What holds for a symbol at a moment, beside the filters its market has."""

    status: Status = "TRADING"
    delivery_ms: int = PERPETUAL_DELIVERY_MS
    brackets: tuple[Bracket, ...] = BRACKETS
    funding_interval_h: int | None = None
    filters: dict[str, Decimal] = field(default_factory=dict)

    @property
    def funding_interval_ms(self) -> int | None:
        """The interval between funding payments; None where it is the usual one."""
        return None if self.funding_interval_h is None else self.funding_interval_h * HOUR_MS

    def rules(self, base: SymbolRules) -> SymbolRules:
        """The filters that hold, `base` being the market's own. A coarser step makes the smallest quantity one step."""
        if not self.filters:
            return base
        step = self.filters.get("step", base.step)
        return replace(
            base,
            tick=self.filters.get("tick", base.tick),
            step=step,
            min_quantity=self.filters.get("min_quantity", max(base.min_quantity, step)),
            min_notional=self.filters.get("min_notional", base.min_notional),
        )


_INTERVALS_H = frozenset({1, 2, 4, 8})
"""Between two payments, as the exchange sets them. Twice one of them is a payment that was not recorded."""
FILTERS = ("tick", "step", "min_quantity", "min_notional")
"""What of a change is a filter."""


def funding_intervals(symbol: str, paid_ms: Iterable[int]) -> list[RuleChange]:
    """The changes of a symbol's funding interval that recorded payments (full hours, UTC ms) tell of.

    An interval of no whole hours up to a day is a hole in the record, and no change. Stamps in a hole pay nothing.
    """
    changes, interval_h = list[RuleChange](), 8
    for before, after in pairwise(sorted(paid_ms)):
        hours = (after - before) // HOUR_MS
        if hours != interval_h and hours in _INTERVALS_H:
            changes.append(RuleChange(symbol, before, funding_interval_h=hours))
            interval_h = hours
    return changes


class RuleBook:
    """Every change of the rules, in order of time.

    `observed`: of markets that are only looked at. Any full hour may be a funding time there, and the rates that were
    seen say which were. `paid`: the full hours at which funding was paid, of symbols for which they were recorded.
    """

    def __init__(
        self,
        changes: Iterable[RuleChange] = (),
        *,
        observed: bool = False,
        paid: Mapping[str, Collection[int]] = MappingProxyType({}),
    ) -> None:
        self._changes = sorted(changes, key=lambda change: change.at_ms)
        self.observed = observed
        self._paid = paid
        self._listings: dict[str, tuple[list[int], list[Listing]]] = {}
        self._change_ms = [change.at_ms for change in self._changes]
        self.ends = {change.symbol: change.at_ms for change in self._changes if change.settles}
        """When symbols are delisted, UTC ms."""
        self.has_intervals = observed or bool(paid) or any(change.funding_interval_h for change in self._changes)

    def at(self, symbol: str, now_ms: int) -> Listing:
        """What holds now."""
        if symbol not in self._listings:
            self._listings[symbol] = self._made(symbol)
        times, listings = self._listings[symbol]
        return listings[bisect_right(times, now_ms)]

    def _made(self, symbol: str) -> tuple[list[int], list[Listing]]:
        """When a symbol's rules change, and what holds before the first change and after each."""
        changes = [change for change in self._changes if change.symbol == symbol]
        return [change.at_ms for change in changes], list(accumulate(changes, _changed, initial=_unchanged(symbol)))

    def next_after(self, now_ms: int) -> int | None:
        """When something changes next."""
        at = bisect_right(self._change_ms, now_ms)
        return self._change_ms[at] if at < len(self._change_ms) else None

    def next_funding_ms(self, symbol: str, now_ms: int, usual_ms: int = 8 * HOUR_MS) -> int:
        """When funding falls due next, as it stands now."""
        interval_ms = self.at(symbol, now_ms).funding_interval_ms or usual_ms
        return (now_ms // interval_ms + 1) * interval_ms

    def next_stamp_ms(self, symbols: Iterable[str], now_ms: int, usual_ms: int) -> int:
        """The first full hour after now at which funding may fall due on any of these symbols."""
        if not self.has_intervals:
            return (now_ms // usual_ms + 1) * usual_ms
        if self.observed or any(s not in self._paid and delivery_ms_of(s) is None for s in symbols):
            return (now_ms // HOUR_MS + 1) * HOUR_MS
        at = bisect_right(self._stamps, now_ms)
        return self._stamps[at] if at < len(self._stamps) else (now_ms // usual_ms + 1) * usual_ms

    @cached_property
    def _stamps(self) -> list[int]:
        """Every full hour at which funding was paid on some symbol, ascending."""
        return sorted({at for hours in self._paid.values() for at in hours})

    def funds_at(self, symbol: str, time_ms: int, usual_ms: int = 8 * HOUR_MS) -> bool:
        """Whether funding falls due then; `time_ms` is a full hour, `usual_ms` the interval unless changed.

        Contracts with a day of delivery pay none.
        """
        if delivery_ms_of(symbol) is not None:
            return False
        if symbol in self._paid:
            return time_ms in self._paid[symbol]
        return self.observed or time_ms % (self.at(symbol, time_ms - 1).funding_interval_ms or usual_ms) == 0


@cache
def _unchanged(symbol: str) -> Listing:
    return Listing(brackets=usual_brackets(margin_asset_of(symbol)))


def _changed(listing: Listing, change: RuleChange) -> Listing:
    given = {f.name: getattr(change, f.name) for f in fields(change) if getattr(change, f.name) is not None}
    filters = {name: given.pop(name) for name in FILTERS if name in given}
    del given["symbol"], given["at_ms"], given["settles"]
    return replace(listing, filters={**listing.filters, **filters}, **given)


@dataclass(frozen=True)
class PriceShift:
    """In [from, to) premiumIndex quotes mark and index times these factors, and as of `stale_ms` ago.

    The last price, the book and the engine's own mark stay: only what is quoted lies apart.
    """

    symbol: str
    from_ms: int = 0
    to_ms: int = PERPETUAL_DELIVERY_MS
    mark: float = 1.0
    index: float = 1.0
    stale_ms: int = 0

    def holds(self, symbol: str, now_ms: int) -> bool:
        """Whether it holds for the symbol now."""
        return self.symbol == symbol and self.from_ms <= now_ms < self.to_ms
