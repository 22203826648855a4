"""Tactician, worked examples of what is not opened: accounts, symbols, prices, caps, on both sides of each rule."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.money.assets import CREDITS, Dollars
from trader_cli.core.money.orders import AccountState, SymbolRules
from trader_cli.core.money.trading_rules import DELISTING_MARGIN_MS, Prices, funded, outlives, trading, trustworthy
from trader_cli.execution.preflight import Room, check_caps
from trader_cli.pipelines.verification.checks import LINES, Check, Finding, equal, near
from trader_cli.pipelines.verification.lab import SYMBOL
from trader_cli.pipelines.verification.worlds import in_world, scripted
from trader_cli.settings.load import shipped_settings
from trader_cli.venue.engine.books import Income

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trader_cli.core.money.plans import Refused
    from trader_cli.pipelines.verification.lab import Lab
    from trader_cli.pipelines.verification.worlds import World

_RULES = SymbolRules(SYMBOL, Decimal("0.01"), Decimal("0.001"), Decimal("0.001"), Decimal(10_000), Decimal(5))
_HELD = AccountState(Decimal(100), Decimal(100), Decimal(0))
_HOUR_MS = 3_600_000


def _code(refused: Refused | None) -> str:
    return "opened" if refused is None else refused.code


def accounts_that_are_refused(lab: Lab) -> Iterator[Finding]:  # noqa: ARG001
    """Multi-assets mode, credits mode, none of the margin asset: each alone."""
    credit = replace(_HELD, others=(AccountState(Decimal(50), Decimal(50), Decimal(0), CREDITS),))
    cases: tuple[tuple[str, AccountState, bool, str], ...] = (
        ("USDT and nothing else", _HELD, False, "opened"),
        ("multi-assets mode", _HELD, True, "multi_assets"),
        ("credits beside USDT", credit, False, "credits_account"),
        ("no USDT", replace(_HELD, wallet=Decimal(0)), False, "no_balance"),
    )
    for what, account, multi_assets, wanted in cases:
        yield equal(f"account with {what}", wanted, _code(funded(SYMBOL, "USDT", account, multi_assets=multi_assets)))
    other = funded(SYMBOL, "USDC", replace(_HELD, asset="USDC"), multi_assets=False)
    yield equal("a contract margined in what its name does not say", "margin_asset", _code(other))


def symbols_that_are_refused(lab: Lab) -> Iterator[Finding]:  # noqa: ARG001
    """Whatever does not trade, and whatever is settled by force before the position is over."""
    for status in ("PENDING_TRADING", "SETTLING", "PRE_SETTLE", "CLOSE", "BREAK"):
        yield equal(f"symbol that is {status}", "not_trading", _code(trading(replace(_RULES, status=status))))
    delivering = replace(_RULES, contract_type="PERPETUAL DELIVERING")
    yield equal("symbol that is being delivered", "not_trading", _code(trading(delivering)))
    yield equal("symbol that trades", "opened", _code(trading(_RULES)))
    ends = 1000 * _HOUR_MS
    for delivered, wanted in ((None, "opened"), (1, "opened"), (0, "delisting"), (-_HOUR_MS, "delisting")):
        at = None if delivered is None else ends + DELISTING_MARGIN_MS + delivered
        found = _code(outlives(replace(_RULES, delivery_ms=at), ends))
        yield equal(f"delivered {delivered} ms after the margin behind the position's end", wanted, found)


def prices_that_are_refused(lab: Lab) -> Iterator[Finding]:  # noqa: ARG001
    """Mark at 1000, a hundredth apart at most, a minute old at most."""
    good = Prices(Decimal(1000), Decimal(995), Decimal(1005), 60_000, 60_000)
    cases = (
        ("a hundredth apart", good, "opened"),
        ("last price further away", replace(good, last=Decimal("1005.1")), "prices_apart"),
        ("index further away", replace(good, index=Decimal("994.9")), "prices_apart"),
        ("no last price", replace(good, last=Decimal(0)), "prices_apart"),
        ("an old mark", replace(good, mark_age_ms=60_001), "stale_price"),
        ("an old last price", replace(good, last_age_ms=60_001), "stale_price"),
    )
    for what, prices, wanted in cases:
        yield equal(f"prices with {what}", wanted, _code(trustworthy(SYMBOL, prices, 0.01, 60_000)))


def caps_before_an_entry(lab: Lab) -> Iterator[Finding]:
    """A plan of 1,000 at 10,000 of equity: with what is held beside it, just inside and just beyond what is allowed."""
    shipped = shipped_settings()
    told = {"capital_cap": 5_000.0, "max_exposure": 0.4, "enable_risk_management": True}
    settings = shipped.model_copy(update={"tactician": shipped.tactician.model_copy(update=told)})

    async def work(world: World) -> list[str]:
        plan = replace(await world.plan(), quantity=Decimal(1), price=Decimal(1000))
        found = []
        for others, elsewhere in ((3_000, 1_000), (3_050, 0), (2_000, 2_100)):
            room = Room(
                Decimal(1000), Decimal(9_000), Decimal(10_000), Decimal(others), Decimal(elsewhere), "USDT", Dollars()
            )
            found.append(_code(check_caps(plan, settings.tactician, room)))
        return found

    wanted = ["opened", "exposure", "capital_cap"]
    yield equal(
        "4,000 held and 1,000 elsewhere; 4,050 held; 3,000 held and 2,100 elsewhere",
        wanted,
        in_world(lab, scripted(), work),
    )


def rebates_are_booked(lab: Lab) -> Iterator[Finding]:
    """Two rebates and a transfer after a trade of ours: the ledger has the rebates alone."""

    async def work(world: World) -> tuple[Decimal, Decimal]:
        await world.enter(await world.plan())
        await world.exchange.private.account()
        before = world.ledger.nets()["USDT"]
        for kind, amount in (("COMMISSION_REBATE", "1.25"), ("REFERRAL_KICKBACK", "0.5"), ("TRANSFER", "100")):
            world.venue.account(world.key).earn(Income(kind, "", Decimal(amount), world.clock.now_ms(), asset="USDT"))
        await world.clock.sleep(1)
        await world.executor.reconciler.booker.receive_income(at_once=True)
        return before, world.ledger.nets()["USDT"]

    before, after = in_world(lab, scripted(), work)
    yield near("rebates in the ledger", 1.75, float(after - before), 1e-12)


_HINT = "Install the locked versions (requirements.lock) and run this again; open nothing meanwhile."
CHECKS = (
    Check(
        "accounts_that_are_refused",
        LINES[3],
        "no position is opened on an account that cannot carry it as we trade",
        _HINT,
        accounts_that_are_refused,
    ),
    Check(
        "symbols_that_are_refused",
        LINES[3],
        "no position is opened on what does not trade, or not for long enough",
        _HINT,
        symbols_that_are_refused,
    ),
    Check(
        "prices_that_are_refused",
        LINES[3],
        "no position is opened on prices that are old or lie apart",
        _HINT,
        prices_that_are_refused,
    ),
    Check(
        "caps_before_an_entry",
        LINES[3],
        "all positions together stay within what may be at work",
        _HINT,
        caps_before_an_entry,
    ),
    Check(
        "rebates_are_booked",
        LINES[3],
        "what the account earns besides trades is in the ledger, transfers are not",
        _HINT,
        rebates_are_booked,
    ),
)
