"""Worked examples of loss limits, exits and funding: the numbers by hand beside what the rules say."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.market.timeframes import DAY_MS
from trader_cli.core.money.assets import Flow
from trader_cli.core.money.exits import Assessment, ExitRules, OpenPosition, assess
from trader_cli.core.money.loss_limits import LossLimits, breaches, breaches_by_asset
from trader_cli.core.money.orders import AccountState
from trader_cli.pipelines.verification.checks import Finding, equal, near
from trader_cli.pipelines.verification.lab import SYMBOL
from trader_cli.pipelines.verification.worlds import in_world, scripted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trader_cli.pipelines.verification.lab import Lab
    from trader_cli.pipelines.verification.worlds import World


_NOW = 20 * DAY_MS + 3_600_000


_LOSSES: tuple[tuple[str, tuple[tuple[int, str], ...], str, int, list[str]], ...] = (
    ("299.99 today", ((_NOW - 1, "-299.99"),), "0", 0, []),
    ("300 today", ((_NOW - 1, "-300"),), "0", 0, ["day 20"]),
    ("300 today, of them 100 still open", ((_NOW - 1, "-200"),), "-100", 0, ["day 20"]),
    ("300 today, all of it open", (), "-300", 0, ["day 20"]),
    ("400 today, and 101 of open profit", ((_NOW - 1, "-400"),), "101", 0, []),
    ("a profit of 400", ((_NOW - 1, "400"),), "0", 0, []),
    ("300 since midnight", ((20 * DAY_MS, "-300"),), "0", 0, ["day 20"]),
    ("300 a millisecond before midnight", ((20 * DAY_MS - 1, "-300"),), "0", 0, []),
    ("1,000 yesterday", ((19 * DAY_MS, "-1000"),), "0", 0, ["drawdown"]),
    ("1,500 of 15,000 that it once was", ((1, "5000"), (2, "-1500")), "0", 0, ["drawdown"]),
    ("1,499 of 15,000 that it once was", ((1, "5000"), (2, "-1499")), "0", 0, []),
    ("300 today, looked at since", ((_NOW - 2, "-300"),), "0", _NOW - 1, []),
    ("1,000 today", ((_NOW - 1, "-1000"),), "0", 0, ["day 20", "drawdown"]),
)
"""What was booked when, what is open, since when losses count; of 10,000 with limits of 3 % and 10 %."""


def loss_limits_by_hand(lab: Lab) -> Iterator[Finding]:  # noqa: ARG001
    """Losses on either side of a limit: of the day, and from the highest equity."""
    for what, booked, still_open, since, wanted in _LOSSES:
        flows = [(at, Decimal(amount)) for at, amount in booked]
        wallet = 10_000 + sum((amount for _, amount in flows), Decimal(0))
        found = breaches(flows, wallet, Decimal(still_open), LossLimits(0.03, 0.1), _NOW, since_ms=since)
        yield equal(f"limits broken: {what}", wanted, sorted(found))


_LOSSES_BY_ASSET: tuple[tuple[str, tuple[tuple[str, str, str], ...], list[str]], ...] = (
    ("30 USDC", (("USDC", "USDC", "-30"),), ["day 20 USDC"]),
    ("29.99 USDC", (("USDC", "USDC", "-29.99"),), []),
    ("300 USDT, of them half a BNB", (("USDT", "USDT", "0"), ("USDT", "BNB", "-0.5")), ["day 20"]),
    ("0.49 BNB of fees", (("USDT", "BNB", "-0.49"),), []),
    ("0.05 BNB of fees of USDC contracts", (("USDC", "BNB", "-0.05"),), ["day 20 USDC"]),
    ("100 USDC", (("USDC", "USDC", "-100"),), ["day 20 USDC", "drawdown USDC"]),
)


def loss_limits_by_asset(lab: Lab) -> Iterator[Finding]:  # noqa: ARG001
    """10,000 USDT, 1,000 USDC and 1 BNB at 600: each margin asset by itself, fees in BNB at their price."""
    prices = {margin: {"BNB": Decimal(600)} for margin in ("USDT", "USDC")}
    for what, lost, wanted in _LOSSES_BY_ASSET:
        flows = [Flow(_NOW - 1, Decimal(amount), asset, margin) for margin, asset, amount in lost]
        left = {asset: Decimal(had) for asset, had in (("USDT", 10_000), ("USDC", 1_000), ("BNB", 1))}
        for flow in flows:
            left[flow.asset] += flow.amount
        usdt, *others = (AccountState(wallet, wallet, Decimal(0), asset) for asset, wallet in left.items())
        found = breaches_by_asset(flows, replace(usdt, others=tuple(others)), prices, LossLimits(0.03, 0.1), _NOW)
        yield equal(f"limits broken: {what}", wanted, sorted(found))


_TO_FUNDING_S = 25 * 60
"""From where worlds begin to after 08:00, when funding falls due."""


_EXITS = ExitRules(trail_distance=1.0, trail_step=0.5, high_risk=0.7, medium_risk=0.55, half_life_ms=60_000, dwell_ms=0)


def _held(sign: int, best: int) -> OpenPosition:
    """A position entered at 2000: stop 20 away, target 60 away, and the best price so far."""
    at = [Decimal(2000 + sign * x) for x in (-20, 60, best)]
    return OpenPosition(
        "long" if sign > 0 else "short",
        Decimal(1),
        Decimal(2000),
        at[0],
        at[0],
        at[1],
        at[2],
        exit_by_ms=1_000_000,
        opened_ms=0,
        last_act_ms=-1_000_000,
        scaled_down=False,
    )


def exits_by_hand(lab: Lab) -> Iterator[Finding]:  # noqa: ARG001
    """Prices and opinions on either side of each rule, of a long and of a short."""
    for sign, side in ((1, "long"), (-1, "short")):
        cases = (
            ("at the stop", -20, 0, None, 0, "close", "stop_passed"),
            ("just inside", -19, 0, None, 0, "stay", None),
            ("at the target", 60, 0, None, 0, "take_profit", "target_passed"),
            ("before it", 59, 0, None, 0, "stay", None),
            ("its time is up", 5, 0, None, 1_000_000, "close", "time"),
            ("a millisecond earlier", 5, 0, None, 999_999, "stay", None),
            ("a likely loss", 5, 0, 0.7, 0, "close", "high_risk"),
            ("a possible loss", 5, 0, 0.6, 0, "scale_down", None),
            ("a likely win", 5, 0, 0.4, 0, "stay", None),
            ("an old opinion", 5, 0, 0.7, 60_000, "scale_down", None),
            ("price has gone 40 our way", 35, 40, None, 0, "tighten", "trail"),
        )
        for what, at, best, loss, now, kind, reason in cases:
            assessment = None if loss is None else Assessment(loss, 0)
            action = assess(_held(sign, best), Decimal(2000 + sign * at), assessment, _EXITS, now)
            yield equal(f"{side}, {what}", (kind, reason or action.reason), (action.kind, action.reason))
        trail = assess(_held(sign, 40), Decimal(2000 + sign * 35), None, _EXITS, 0).price
        yield equal(f"{side}, best price 40 away: the stop follows 20 behind", Decimal(2000 + sign * 20), trail)


def funding_by_its_sign(lab: Lab) -> Iterator[Finding]:
    """A position of each side held over a funding time: who pays, and what the ledger makes of it."""
    for side, sign in (("long", 1), ("short", -1)):

        async def work(world: World, side: str = side) -> tuple[list[Decimal], list[Decimal], Decimal, Decimal]:
            entered = await world.plan(side)  # type: ignore[arg-type]
            await world.enter(entered)
            await world.clock.sleep(_TO_FUNDING_S)
            await world.monitor().start_monitoring(30)
            rates = await world.exchange.get_funding_rates(SYMBOL, 1)
            paid = [income.amount for income in world.account.income if income.kind == "FUNDING_FEE"]
            booked = [amount for kind, _, amount, _ in world.ledger.incomes(SYMBOL) if kind == "FUNDING_FEE"]
            return paid, booked, Decimal(str(rates["funding_rate"][-1])), entered.price

        paid, booked, rate, price = in_world(lab, scripted(), work)
        wanted = -sign * Decimal("0.5") * price * rate
        yield equal(f"{side}: payments", 1, len(paid))
        yield near(f"{side}: paid (−) or received, half a unit at {rate}", float(wanted), float(sum(paid)), 1e-3)
        yield equal(f"{side}: booked in the ledger", paid, booked)
