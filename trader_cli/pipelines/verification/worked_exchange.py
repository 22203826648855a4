"""Paper and the simulated exchange, worked examples: fees, funding, triggers and fills by numbers to check by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.json_values import built
from trader_cli.core.market.timeframes import HOUR_MS, MINUTE_MS
from trader_cli.core.money.orders import SymbolRules
from trader_cli.pipelines.verification.checks import LINES, Check, Finding, equal
from trader_cli.pipelines.verification.lab import SYMBOL
from trader_cli.venue.engine.books import Account
from trader_cli.venue.engine.engine import Engine
from trader_cli.venue.paper.observations import Observation, SeenBar, SeenBook
from trader_cli.venue.paper.observed_market import ObservedMarket
from trader_cli.venue.server.private_routes import COMMANDS
from trader_cli.venue.simulated_market.rule_changes import RuleBook, RuleChange

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trader_cli.pipelines.verification.lab import Lab

_START = 1_704_067_200_000
_OPENED = _START + MINUTE_MS - 1
"""The first minute, in which the price is 100, has just closed."""
_BOOK = SeenBook(((99.99, 50.0),), ((100.01, 50.0),))
_BALANCE = Decimal(10_000)
Prices = tuple[float, float, float, float]
"""Open, high, low and close of a minute."""


def _rules(symbol: str) -> SymbolRules:
    step = Decimal("0.001")
    return SymbolRules(symbol, Decimal("0.01"), step, step, Decimal(10_000), Decimal(5))


def _bar(minute: int, prices: Prices) -> SeenBar:
    return SeenBar(_START + minute * MINUTE_MS, *prices, 500.0)


_STILL = _bar(0, (100.0, 100.0, 100.0, 100.0))


@dataclass
class Desk:
    """An account of 10,000 USDT on markets that were looked at once, just as minute 0 had closed at 100."""

    account: Account = field(default_factory=lambda: Account(_BALANCE))
    book: RuleBook | None = None
    marks: bool = False
    others: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        symbols = (SYMBOL, *self.others)
        self.markets = {symbol: ObservedMarket(_rules(symbol)) for symbol in symbols}
        for symbol in symbols:
            self._see(symbol, _OPENED, ())
        self.engine = Engine(self.markets, self.account, _OPENED, book=self.book)

    def _see(self, symbol: str, upto_ms: int, bars: tuple[SeenBar, ...], marks: tuple[SeenBar, ...] = ()) -> None:
        before = _STILL if self.marks else None
        self.markets[symbol].take(
            Observation(_rules(symbol), _OPENED, upto_ms, _STILL, bars, _BOOK, mark_before=before, marks=marks)
        )

    def send(self, path: str, **parameters: object) -> None:
        """A command, its values as text."""
        text = {name: str(value) for name, value in parameters.items()}
        COMMANDS["POST", f"/fapi/v1/{path}"](self.engine, {"symbol": SYMBOL, **text})

    def market(self, side: str, quantity: int = 1) -> None:
        """A market order."""
        self.send("order", side=side, type="MARKET", quantity=quantity)

    def close_at(self, side: str, kind: str, trigger: float, working: str = "MARK_PRICE") -> None:
        """A conditional order that closes the position."""
        self.send(
            "algoOrder",
            side=side,
            type=kind,
            triggerPrice=trigger,
            workingType=working,
            closePosition="true",
            algoType="CONDITIONAL",
        )

    def look(self, *minutes: Prices, marks: tuple[Prices, ...] = ()) -> None:
        """One look that shows these minutes, and those of the mark price."""
        bars, marked = (tuple(_bar(n, prices) for n, prices in enumerate(all_, 1)) for all_ in (minutes, marks))
        upto_ms = _OPENED + len(minutes) * MINUTE_MS
        self._see(SYMBOL, upto_ms, bars, marked)
        self.engine.advance(upto_ms)

    @property
    def prices(self) -> list[Decimal]:
        """What fills were made at, after the first."""
        return [fill.price for fill in self.account.fills[1:]]


_EXITS: tuple[tuple[str, str, tuple[tuple[str, float], ...], tuple[Prices, ...], str], ...] = (
    ("a target passed within a minute", "BUY", (("TAKE_PROFIT_MARKET", 101),), ((100, 104, 100, 103),), "100.97"),
    ("a target that a minute opens beyond", "BUY", (("TAKE_PROFIT_MARKET", 101),), ((103, 104, 102, 103),), "100.97"),
    ("a stop passed within a minute", "BUY", (("STOP_MARKET", 99),), ((100, 100, 95, 96),), "98.98"),
    ("a stop that a minute opens beyond", "BUY", (("STOP_MARKET", 99),), ((97, 98, 96, 98),), "96.98"),
    ("a short's target", "SELL", (("TAKE_PROFIT_MARKET", 99),), ((100, 100, 95, 96),), "99.02"),
    ("a short's stop", "SELL", (("STOP_MARKET", 101),), ((100, 104, 100, 103),), "101.03"),
)
"""What, the entry's side, what waits, the minutes of one look, the price of the exit: half a spread of 0.02 and 1 bp
of slippage beyond the trigger, on a tick."""


def exits_of_paper_by_hand(lab: Lab) -> Iterator[Finding]:  # noqa: ARG001
    """A position of 1 from 100 and one look: where stops and targets end it."""
    for what, side, waiting, minutes, price in _EXITS:
        desk, other = Desk(), "SELL" if side == "BUY" else "BUY"
        desk.market(side)
        for kind, trigger in waiting:
            desk.close_at(other, kind, trigger)
        desk.look(*minutes)
        yield equal(f"{what}: price", [Decimal(price)], desk.prices)
    calm: Prices = (100, 100.2, 99.8, 100)
    for minute in range(1, 6):
        desk = Desk()
        desk.market("BUY")
        for kind, trigger in (("TAKE_PROFIT_MARKET", 101.0), ("STOP_MARKET", 99.0)):
            desk.close_at("SELL", kind, trigger)
        desk.look(*[calm] * (minute - 1), (100, 101.5, 98.5, 100))
        yield equal(f"stop and target in minute {minute}: price", [Decimal("98.98")], desk.prices)
    wick: Prices = (100, 100, 90, 100)
    for working, last, mark, fills in (
        ("MARK_PRICE", wick, calm, 0),
        ("MARK_PRICE", calm, wick, 1),
        ("CONTRACT_PRICE", wick, calm, 1),
        ("CONTRACT_PRICE", calm, wick, 0),
    ):
        desk = Desk(marks=True)
        desk.market("BUY")
        desk.close_at("SELL", "STOP_MARKET", 99, working)
        desk.look(last, marks=(mark,))
        yield equal(
            f"a wick in the {'last' if last is wick else 'mark'} price, stop by {working}: exits",
            fills,
            len(desk.prices),
        )
    yield from _limits()
    yield from _liquidations()


def _limits() -> Iterator[Finding]:
    for side, limit, reached, through in (("BUY", 99, 99.0, 98.99), ("SELL", 101, 101.0, 101.01)):
        for furthest, price in ((reached, []), (through, [Decimal(limit)]), (2 * through - 100, [Decimal(limit)])):
            desk = Desk()
            desk.send("order", side=side, type="LIMIT", price=limit, quantity=1, timeInForce="GTC")
            desk.look((100, max(100, furthest), min(100, furthest), 100))
            found = [fill.price for fill in desk.account.fills]
            yield equal(f"{side} limit at {limit}, price goes to {furthest:g}: fills", price, found)


def _liquidations() -> Iterator[Finding]:
    """At leverage 20 a long from 100.01 has 5.0005 behind it: gone at (5.0005 − 100.01) / (0.004 − 1) = 95.391."""
    for low, kinds in ((95.4, []), (95.39, ["INSURANCE_CLEAR"])):
        desk = Desk()
        desk.send("marginType", marginType="ISOLATED")
        desk.send("leverage", leverage=20)
        desk.market("BUY")
        desk.look((100, 100, low, 100))
        found = [income.kind for income in desk.account.income if income.kind == "INSURANCE_CLEAR"]
        yield equal(f"a long at leverage 20, price goes to {low}: liquidations", kinds, found)
    for side, sign in (("BUY", 1), ("SELL", -1)):
        desk = Desk()
        desk.market(side)
        desk.look((100, 102, 100, 102))
        entry = Decimal(100) + sign * Decimal("0.01")
        wanted = _BALANCE - entry * Decimal("0.0005") + sign * (102 - entry)
        yield equal(f"{side}, then 102: equity", wanted, desk.engine.equity())


def fees_by_their_sign(lab: Lab) -> Iterator[Finding]:  # noqa: ARG001
    """Taker 5 bps, maker 2 bps, a rebate of 1 bp, a tenth less in BNB: what wallet and income say."""
    bnb = Decimal(3)
    cases: tuple[tuple[str, dict[str, Decimal | bool], str, dict[str, str]], ...] = (
        ("as taker, 5 bps of 100.01", {}, "taker", {"USDT": "-0.050005"}),
        ("as maker, 2 bps of 99", {}, "maker", {"USDT": "-0.0198"}),
        ("as maker with a rebate of 1 bp", {"maker_fee": Decimal("-0.0001")}, "maker", {"USDT": "0.0099"}),
        ("as taker at 3 bps", {"taker_fee": Decimal("0.0003")}, "taker", {"USDT": "-0.030003"}),
        ("as taker in BNB, a tenth less, at 100", {"fees_in_bnb": True}, "taker", {"BNB": "-0.00045004"}),
        (
            "as maker with a rebate, fees in BNB",
            {"fees_in_bnb": True, "maker_fee": Decimal("-0.0001")},
            "maker",
            {"USDT": "0.0099"},
        ),
    )
    for what, options, role, wanted in cases:
        opened = built(Account, {"wallet": _BALANCE, "others": {"BNB": bnb}, **options})
        desk = Desk(opened, others=("BNBUSDT",))
        if role == "taker":
            desk.market("BUY")
        else:
            desk.send("order", side="BUY", type="LIMIT", price=99, quantity=1, timeInForce="GTC")
            desk.look((100, 100, 98, 100))
        moved = {"USDT": desk.account.wallet - _BALANCE, "BNB": desk.account.balance("BNB") - bnb}
        found = {asset: amount for asset, amount in moved.items() if amount}
        yield equal(f"{what}: wallets", {asset: Decimal(amount) for asset, amount in wanted.items()}, found)
        booked = [(i.asset, i.amount) for i in desk.account.income if i.kind == "COMMISSION"]
        yield equal(f"{what}: income", [(asset, Decimal(amount)) for asset, amount in wanted.items()], booked)
        fees = [(fill.commission_asset, -fill.commission) for fill in desk.account.fills]
        yield equal(f"{what}: the fill's fee", booked, fees)


def funding_at_its_interval(lab: Lab) -> Iterator[Finding]:  # noqa: ARG001
    """A position of 2 held over nine hours at 100, 1 bp the first hour, 2 the next: what is paid when."""
    rates = {hour: hour * 1e-4 for hour in range(1, 10)}
    cases: tuple[tuple[str, int | None, list[int]], ...] = (
        ("observed, each hour a rate", None, list(range(1, 10))),
        ("every hour", 1, list(range(1, 10))),
        ("every four hours", 4, [4, 8]),
        ("every eight hours", 8, [8]),
    )
    for what, interval, hours in cases:
        changes = () if interval is None else (RuleChange(SYMBOL, _START, funding_interval_h=interval),)
        for side, sign in (("BUY", 1), ("SELL", -1)):
            desk = Desk(book=RuleBook(changes, observed=interval is None))
            desk.market(side, 2)
            for hour, rate in rates.items():
                desk.markets[SYMBOL].show_rate(_START + hour * HOUR_MS, rate)
            desk.engine.advance(_START + 9 * HOUR_MS)
            paid = [(i.time_ms, i.amount) for i in desk.account.income if i.kind == "FUNDING_FEE"]
            wanted = [(_START + h * HOUR_MS, -sign * h * Decimal("0.02")) for h in hours]
            yield equal(f"{what}, {side}: paid (−) or received", wanted, paid)


_HINT = "Install the locked versions (requirements.lock); what paper and sim say of profit does not hold meanwhile."
CHECKS = (
    Check(
        "exits_of_paper_by_hand",
        LINES[4],
        "in paper and sim an exit is no better than its trigger less its costs",
        _HINT,
        exits_of_paper_by_hand,
    ),
    Check(
        "fees_by_their_sign",
        LINES[4],
        "in paper and sim fees are paid at their rate, and rebates received",
        _HINT,
        fees_by_their_sign,
    ),
    Check(
        "funding_at_its_interval",
        LINES[4],
        "in paper and sim funding is paid at the symbol's own stamps",
        _HINT,
        funding_at_its_interval,
    ),
)
