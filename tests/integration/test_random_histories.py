"""Whatever happens to an account, its ledger equals it in every asset, and a loss limit breaks when it says so."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import pytest
from support.trading.margin_assets import TAPE, TRADED, Place, at_exchange, nets

from trader_cli.core.market.timeframes import DAY_MS, HOUR_MS
from trader_cli.core.money.assets import margin_asset_of
from trader_cli.execution.executor import Executor
from trader_cli.tactician.loss_watch import LossWatch
from trader_cli.venue.engine.books import Income
from trader_cli.venue.simulated_market.rule_changes import RuleChange

pytestmark = pytest.mark.slow
D = Decimal
LIMIT = D("0.01")
_NEAR = D("0.02")
"""How far from its limit a loss may lie before both answers are right: prices of fees are a minute old at most."""
_MONEY = {"USDT": ("-50", "75"), "USDC": ("-50", "75"), "BTC": ("-0.001", "0.002"), "BNB": ("-0.05", "0.2")}


def chosen_changes(dice: random.Random) -> tuple[RuleChange, ...]:
    """Intervals that change on the way."""
    return tuple(
        RuleChange(symbol, TAPE.start_ms + dice.randrange(60) * HOUR_MS, funding_interval_h=dice.choice((1, 2, 4, 8)))
        for symbol in TRADED
        for _ in range(3)
    )


def in_bnb(place: Place, asset: str) -> Decimal:
    """What contracts of a margin asset have cost in BNB, at its price now."""
    bnb = place.engine.mark("BNBUSDT") / (place.engine.mark("BTCUSDT") if asset == "BTC" else 1)
    bnb = place.engine.mark("BNBUSDC") if asset == "USDC" else bnb
    return sum((i.amount * bnb for i in place.books.income if i.asset == "BNB" and _margin(i) == asset), D(0))


def lost(place: Place, asset: str, since_ms: int) -> tuple[Decimal, Decimal]:
    """(what was lost this day, of how much) in a margin asset, by the exchange's own books alone."""
    engine, now = place.engine, place.clock.now_ms()
    first = max(now // DAY_MS * DAY_MS, since_ms)
    bnb = engine.mark("BNBUSDT") / (engine.mark("BTCUSDT") if asset == "BTC" else 1)
    if asset == "USDC":
        bnb = engine.mark("BNBUSDC")
    mine = [i for i in place.books.income if i.kind != "TRANSFER" and _margin(i) == asset]
    amounts = [(i.time_ms, i.amount * (bnb if i.asset == "BNB" else 1)) for i in mine]
    elsewhere = sum((amount for i, (_, amount) in zip(mine, amounts, strict=True) if i.asset == "BNB"), D(0))
    today = sum((amount for at, amount in amounts if at >= first), D(0))
    wallet = place.books.balance(asset) + elsewhere
    return -today - (engine.equity(asset) - place.books.balance(asset)), wallet - today


def _margin(income: Income) -> str:
    return margin_asset_of(income.symbol) if income.symbol else income.asset


@dataclass
class History:
    """What may happen to an account, by dice."""

    place: Place
    dice: random.Random
    executor: Executor
    watch: LossWatch
    broke: set[str] = field(default_factory=set)
    since_ms: int = 0
    halts: int = 0
    seen: dict[str, list[tuple[int, Decimal]]] = field(default_factory=dict)

    async def act(self) -> None:
        """One thing of many."""
        place, dice = self.place, self.dice
        symbol, act = dice.choice(TRADED), dice.random()
        margin, held = margin_asset_of(symbol), place.books.position(symbol).amount
        if act < 0.1:
            asset = dice.choice(tuple(_MONEY))
            place.earn("TRANSFER", dice.choice(_MONEY[asset]), asset)
        elif act < 0.15 and place.ledger.symbols():
            asset = dice.choice((margin, "BNB"))
            place.earn(dice.choice(("COMMISSION_REBATE", "REFERRAL_KICKBACK")), _MONEY[asset][1], asset)
        elif act < 0.25:
            place.books.fees_in_bnb = not place.books.fees_in_bnb
        elif act < 0.35:
            place.books.taker_fee = D(dice.choice(("-0.0001", "0", "0.0005")))
        elif act < 0.5 and held:
            self.suffer(symbol, D(dice.choice(("0.002", "0.004", "0.011"))))
        elif held == 0:
            await place.enter(symbol, side=dice.choice(("long", "short")), quantity=dice.choice(("0.3", "1", "2.7")))
        else:
            part = held * D(dice.choice(("0.5", "1")))
            await self.executor.close(symbol, "by_hand", quantity=abs(part).quantize(D("0.1")))

    def suffer(self, symbol: str, share: Decimal) -> None:
        """Funding as nobody wants it."""
        place, asset = self.place, margin_asset_of(symbol)
        amount = -(place.engine.equity(asset) * share).quantize(D("1e-8"))
        place.books.earn(Income("FUNDING_FEE", symbol, amount, place.clock.now_ms(), asset=asset))

    async def look(self) -> None:
        """As the monitor looks: positions first, then limits. What is broken is what the exchange's books say."""
        place = self.place
        for symbol in TRADED:
            await self.executor.view(symbol)
        await self.watch.broken(self.executor)
        told, reason = place.ledger.halted(), []
        for asset in sorted({margin_asset_of(symbol) for symbol in place.ledger.symbols()}):
            booked, whole = lost(place, asset, self.since_ms)
            amounts = [booked, *self._fallen(asset)]  # profits open as the day began: counted, or not
            if min(amounts) >= whole * LIMIT * (1 + _NEAR):
                reason.append(asset)
            elif max(amounts) >= whole * LIMIT * (1 - _NEAR):
                self.broke.add(asset)  # it may have been told
        self.broke |= set(reason)
        if self.broke:
            assert told is not None or not reason, reason
        else:
            assert told is None, told
        if told is not None and self.dice.random() < 0.5:
            self.halts += 1
            await place.clock.sleep(1)
            place.ledger.clear_halt("a person looked", place.clock.now_ms())
            self.since_ms, self.broke = place.clock.now_ms(), set()

    def _fallen(self, asset: str) -> list[Decimal]:
        """By how much equity is below that of a look beside the day's beginning, transfers left out of both."""
        place, now = self.place, self.place.clock.now_ms()
        paid = sum((i.amount for i in place.books.income if i.kind == "TRANSFER" and i.asset == asset), D(0))
        equity = place.engine.equity(asset) - paid + in_bnb(place, asset)
        first, looks = max(now // DAY_MS * DAY_MS, self.since_ms), self.seen.setdefault(asset, [])
        before = [level for at, level in looks if first - HOUR_MS <= at < first]
        after = [level for at, level in looks if first <= at < first + HOUR_MS]
        looks.append((now, equity))
        return [level - equity for level in (*before[-1:], *after)]


@pytest.mark.parametrize("seed", range(200))
def test_ledger_and_limits_are_those_of_the_account_in_every_asset(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)

    async def work(place: Place) -> None:
        place.earn("TRANSFER", "1", "BNB")
        executor = place.executor
        history = History(place, dice, executor, LossWatch(place.settings.tactician))
        await history.look()
        for _ in range(dice.randint(5, 12)):
            await history.act()
            await place.clock.sleep(place.settings.position_monitoring_interval)
            await history.look()
            await place.clock.sleep(dice.choice((30, 900, 3600, 3 * 3600)))
            await history.look()
        for symbol in TRADED:
            if place.ledger.holding(symbol).amount:
                await executor.close(symbol, "by_hand")
        await place.clock.sleep(300)
        for symbol in place.ledger.symbols():
            await executor.view(symbol)
        assert nets(place) == place.moved()
        assert all(place.books.position(symbol).amount == place.ledger.holding(symbol).amount == 0 for symbol in TRADED)

    limits = {"max_daily_loss": float(LIMIT), "max_drawdown": 1.0, "close_on_halt": False}
    at_exchange(work, tmp_path, changes=chosen_changes(dice), tactician=limits)
