"""Loss limits: whether what was lost today, or since the highest equity, halts trading. Pure.

Equity is the account's own word, so a loss counts when the account shows it, whichever row explains it later. What was
paid in or out moves the levels from before it; nothing else does: what a person loses by hand is lost as well.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import accumulate
from typing import TYPE_CHECKING

from trader_cli.core.market.timeframes import DAY_MS
from trader_cli.core.money.assets import CREDITS, DOLLARS, QUOTE, assets_to_price, digits_of, valued

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from trader_cli.core.money.assets import Flow
    from trader_cli.core.money.orders import AccountState

    Prices = Mapping[str, Mapping[str, Decimal]]
    Amounts = Sequence[tuple[int, Decimal]]

_SETTLED_MS = 60_000
"""How long after a transfer a look may still show the wallet without it."""
_BESIDE_MS = 3_600_000
"""How far from the beginning of a day a look may be to say what the equity was then."""
KEPT_MS = 900_000
"""How often a look is remembered that saw nothing higher."""
_FINEST = Decimal("0.0005")
_RECENT_MS = 2 * DAY_MS


@dataclass(frozen=True)
class LossLimits:
    """Shares of equity: of a UTC day, and from the highest equity."""

    daily: float
    drawdown: float


@dataclass(frozen=True)
class EquityPoint:
    """What a look at the account saw of one asset: wallet balance, and equity with unrealised profit."""

    time_ms: int
    wallet: Decimal
    equity: Decimal


@dataclass(frozen=True)
class EquityHistory:
    """What is remembered of an asset: looks before this one, and (time, amount) of transfers, oldest first."""

    seen: Sequence[EquityPoint] = ()
    transfers: Amounts = ()


def breach(
    flows: Iterable[tuple[int, Decimal]],
    wallet: Decimal,
    unrealized: Decimal,
    limits: LossLimits,
    now_ms: int,
    *,
    since_ms: int = 0,
    history: EquityHistory = EquityHistory(),
) -> str | None:
    """The sentence of the first limit that is broken, if one is; see `breaches`."""
    found = breaches(flows, wallet, unrealized, limits, now_ms, since_ms=since_ms, history=history)
    return next(iter(found.values()), None)


def breaches(
    flows: Iterable[tuple[int, Decimal]],
    wallet: Decimal,
    unrealized: Decimal,
    limits: LossLimits,
    now_ms: int,
    *,
    since_ms: int = 0,
    history: EquityHistory = EquityHistory(),
    asset: str = QUOTE,
) -> dict[str, str]:
    """The sentences of the limits that are broken, by name: "day" with its number, and "drawdown".

    `flows` are our (time, amount) changes of the wallet of `asset`, oldest first; `wallet` is the balance after all of
    them. They tell the levels that no look saw. What was lost before `since_ms`, when a person last lifted a halt, has
    been looked at and counts no more.
    """
    past = _Past(list(flows), EquityPoint(now_ms, wallet, wallet + unrealized), history, since_ms)
    opened, peak = past.opened(max(now_ms // DAY_MS * DAY_MS, since_ms)), past.peak()
    return limits_broken(opened, peak, wallet + unrealized, limits, now_ms, asset=asset)


def limits_broken(
    opened: Decimal, peak: Decimal, equity: Decimal, limits: LossLimits, now_ms: int, *, asset: str = QUOTE
) -> dict[str, str]:
    """What `breaches` says of an equity, given the level at which the day opened and the highest there was."""
    found = {}
    if opened > 0 and opened - equity >= opened * Decimal(str(limits.daily)):
        lost, whole = digits_of(opened - equity, asset), digits_of(opened, asset)
        found[f"day {now_ms // DAY_MS}"] = f"the loss of this UTC day, {lost}, reached {limits.daily:.1%} of {whole}"
    if peak > 0 and peak - equity >= peak * Decimal(str(limits.drawdown)):
        fallen = f"equity fell by {digits_of(peak - equity, asset)} from its highest, {digits_of(peak, asset)}"
        found["drawdown"] = f"{fallen}: {limits.drawdown:.1%} are allowed"
    return found


_UNEXPLAINED = Decimal("0.001")
"""Share of a wallet, far below any limit, that no row need explain."""


class _Past:
    """Levels of one asset, each as it would be today: moved by what was paid in or out after it."""

    def __init__(
        self, flows: list[tuple[int, Decimal]], now: EquityPoint, history: EquityHistory, since_ms: int
    ) -> None:
        moves = counted_transfers(history.transfers, now.time_ms)
        self._times = [time_ms for time_ms, _ in moves]
        self._sums = [Decimal(0), *accumulate(amount for _, amount in moves)]
        self._flow_times = [time_ms for time_ms, _ in flows]
        self._flow_sums = [Decimal(0), *accumulate(amount for _, amount in flows)]
        self._since_ms = since_ms
        seen = sorted(history.seen, key=lambda point: point.time_ms)
        before = [point for point in seen if point.time_ms < now.time_ms and not self._is_unclear(point)]
        last = EquityPoint(max(now.time_ms, *self._flow_times[-1:], 0), now.wallet, now.equity)
        self._points = [*(self._moved(point) for point in before if point.time_ms >= since_ms), last]
        self._point_times = [point.time_ms for point in self._points]
        self._counts = self._counted()

    def _is_unclear(self, point: EquityPoint) -> bool:
        """Whether a look came so soon after a transfer that its wallet may be the one from before it."""
        place = bisect_right(self._times, point.time_ms)
        return place > 0 and point.time_ms - self._times[place - 1] < _SETTLED_MS

    def _moved(self, point: EquityPoint) -> EquityPoint:
        paid = self._sums[-1] - self._sums[bisect_right(self._times, point.time_ms)]
        return EquityPoint(point.time_ms - 1, point.wallet + paid, point.equity + paid)

    def _counted(self) -> list[int]:
        """How many flows are in the wallet of each point, so that none is counted twice.

        Of those booked in the very millisecond of a look, as many as explain the next wallet best; none where that
        leaves much unexplained: what a person lost by hand must not be hidden behind them.
        """
        counts = [len(self._flow_times)]
        for point, following in zip(reversed(self._points[:-1]), reversed(self._points[1:]), strict=True):
            first, last = (bisect_right(self._flow_times, at) for at in (point.time_ms, point.time_ms + 1))
            missing = following.wallet - self._flow_sums[counts[-1]] - point.wallet
            best = min(range(first, last + 1), key=lambda count: abs(missing + self._flow_sums[count]))
            left = abs(missing + self._flow_sums[best])
            counts.append(best if left <= abs(following.wallet) * _UNEXPLAINED else first)
        return counts[::-1]

    def _wallet(self, time_ms: int) -> Decimal:
        """The wallet at a time: of the last look before it and what was booked since, or back from the first."""
        place = max(bisect_right(self._point_times, time_ms) - 1, 0)
        booked = self._flow_sums[bisect_right(self._flow_times, time_ms)]
        return self._points[place].wallet + booked - self._flow_sums[self._counts[place]]

    def opened(self, begun_ms: int) -> Decimal:
        """The level at the beginning of a day, or when a person lifted a halt.

        What a look close to it saw, unrealised profit included; else the wallet as booked. Where only later looks are
        close, the higher of both: a profit that was open then can be lost today.
        """
        before = [point for point in self._points if begun_ms - _BESIDE_MS <= point.time_ms < begun_ms]
        if before:
            return before[-1].equity
        place = min(bisect_right(self._point_times, begun_ms - 1), len(self._points) - 1)
        first, count = self._points[place], self._counts[place]
        beside = first.time_ms < begun_ms + _BESIDE_MS
        level = max(first.wallet, first.equity) if beside else first.wallet
        return level - self._flow_sums[count] + self._flow_sums[bisect_right(self._flow_times, begun_ms - 1)]

    def peak(self) -> Decimal:
        """The highest level: as seen, and as booked between looks."""
        since = bisect_right(self._flow_times, self._since_ms - 1)
        booked = [self._wallet(at) for at in (self._since_ms - 1, *self._flow_times[since:])]
        return max(*booked, *(point.equity for point in self._points))


def counted_transfers(transfers: Amounts, now_ms: int) -> Amounts:
    """Those that count: one paid in a moment ago may not be in the wallet yet, and is no loss that is missing there."""
    return [(at, amount) for at, amount in transfers if amount < 0 or at <= now_ms - _SETTLED_MS]


def worth_keeping(history: EquityHistory, point: EquityPoint) -> bool:
    """Whether a look is to be remembered: the first, one a quarter of an hour, and each clearly higher than the rest.

    So much is forgotten at most: 0.05 % of the highest equity.
    """
    if not history.seen or point.time_ms - history.seen[-1].time_ms >= KEPT_MS:
        return True
    last = _moment(history, history.seen[-1])
    rest = [level.equity for level in history.seen if _moment(history, level) == last]
    return point.equity > max(rest) * (1 + _FINEST)


def thinned(history: EquityHistory, now_ms: int) -> EquityHistory:
    """The same levels in fewer looks: the first, those of two days, and before them the highest between transfers."""
    best: dict[int, EquityPoint] = {}
    for point in history.seen:
        place = _moment(history, point)
        if place not in best or point.equity > best[place].equity:
            best[place] = point
    recent = {point for point in history.seen if point.time_ms > now_ms - _RECENT_MS}
    kept = {*history.seen[:1], *best.values(), *recent}
    return EquityHistory(sorted(kept, key=lambda point: point.time_ms), history.transfers)


def _moment(history: EquityHistory, point: EquityPoint) -> int:
    """How many transfers came before a look."""
    return sum(at <= point.time_ms for at, _ in history.transfers)


def breaches_by_asset(
    flows: Iterable[Flow],
    account: AccountState,
    prices: Prices,
    limits: LossLimits,
    now_ms: int,
    *,
    since_ms: int = 0,
    histories: Mapping[str, EquityHistory] | None = None,
    traded: Collection[str] | None = None,
) -> dict[str, str]:
    """The sentences of the limits that are broken in any margin asset; see `breaches`, `traded` in `counted_states`.

    Each margin asset has its own equity, day and highest: no share of all of them together can be lost without one of
    them having lost as much, so none needs a price. What contracts cost in another asset (fees in BNB) counts at its
    price in the margin asset, `prices[margin][other]`, which the sentence names. An account in credits mode has one
    equity of its credits and dollars.
    """
    booked = list(flows)
    states = counted_states(booked, account, traded)
    if CREDITS in states:
        booked, account, prices = _in_credits(booked, account, prices)
    found: dict[str, str] = {}
    for margin, state in states.items():
        known = prices.get(margin, {})
        counted = valued(booked, margin, known)
        elsewhere = valued([f for f in booked if f.asset != f.margin_asset], margin, known)
        wallet = state.wallet + sum((amount for _, amount in elsewhere), Decimal(0))  # as if it had been paid from here
        history = _with_costs((histories or {}).get(margin, EquityHistory()), elsewhere)
        broken = breaches(
            counted, wallet, state.unrealized_profit, limits, now_ms, since_ms=since_ms, history=history, asset=margin
        )
        named = sorted(assets_to_price(booked, margin) & set(known))
        at = "".join(f", {asset} at {known[asset]:f}" for asset in named)
        words = f" ({margin}{at})" if named or margin != QUOTE else ""
        tail = "" if margin == QUOTE else f" {margin}"
        found |= {f"{name}{tail}": f"{why}{words}" for name, why in broken.items()}
    return found


def _in_credits(
    flows: Iterable[Flow], account: AccountState, prices: Prices
) -> tuple[list[Flow], AccountState, Prices]:
    """The same with every dollar counted as a credit: which of both the account was paid in says only its mode then."""
    alike = {CREDITS, *DOLLARS}

    def named(asset: str) -> str:
        return CREDITS if asset in alike else asset

    rows = (account, *account.others)
    wallet, free, profit = (
        sum((getattr(row, name) for row in rows if row.asset in alike), Decimal(0))
        for name in ("wallet", "available", "unrealized_profit")
    )
    others = tuple(row for row in account.others if row.asset not in alike)
    known = {other: price for asset in sorted(alike) for other, price in prices.get(asset, {}).items()}
    return (
        [replace(flow, asset=named(flow.asset), margin_asset=named(flow.margin_asset)) for flow in flows],
        replace(account, wallet=wallet, available=free, unrealized_profit=profit, asset=CREDITS, others=others),
        {**prices, CREDITS: known},
    )


def counted_states(
    flows: Iterable[Flow], account: AccountState, traded: Collection[str] | None = None
) -> dict[str, AccountState]:
    """The balances whose losses are counted, each by itself, by margin asset; also where its fees are nothing.

    `traded` are the margin assets of contracts that were traded, by default those of `flows`: one in which only fees
    and rebates are paid has no limit of its own.
    """
    booked = list(flows)
    in_credits = CREDITS in account.wallets
    if in_credits:
        booked, account, _ = _in_credits(booked, account, {})
    at_work = {state.asset for state in (account, *account.others) if state.unrealized_profit}
    margins = {QUOTE, *at_work, *(traded if traded is not None else (flow.margin_asset for flow in booked))}
    margins = margins - set(DOLLARS) | {CREDITS} if in_credits else margins - {CREDITS}
    return {margin: account.of(margin) for margin in sorted(margins)}


def _with_costs(history: EquityHistory, elsewhere: Amounts) -> EquityHistory:
    """Looks as if what was paid in other assets by then had been paid from this one."""
    times, sums = [at for at, _ in elsewhere], [Decimal(0), *accumulate(amount for _, amount in elsewhere)]
    paid = [sums[bisect_right(times, point.time_ms - 1)] for point in history.seen]
    seen = [
        EquityPoint(point.time_ms, point.wallet + cost, point.equity + cost)
        for point, cost in zip(history.seen, paid, strict=True)
    ]
    return EquityHistory(seen, history.transfers)
