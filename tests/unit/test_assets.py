"""Money is kept by asset, and added only at a price that is named."""

from __future__ import annotations

import sqlite3
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trader_cli.core.market.timeframes import DAY_MS
from trader_cli.core.money.assets import QUOTE, Flow, amounts_text, by_asset, margin_asset_of, valued
from trader_cli.core.money.loss_limits import EquityHistory, EquityPoint, LossLimits, breaches, breaches_by_asset
from trader_cli.core.money.orders import AccountState, TradeState
from trader_cli.exchange.account.account_replies import account_state
from trader_cli.pipelines.trading.run_values import Money
from trader_cli.storage.ledger import Ledger
from trader_cli.storage.ledger_reading import LedgerReading
from trader_cli.storage.ledger_rows import Intent

EXAMPLES = settings(max_examples=80, deadline=None)
D = Decimal
LIMITS = LossLimits(0.03, 0.1)
NOW = 20 * DAY_MS + 3_600_000
ZERO = D(0)
ASSETS = ("USDT", "USDC", "BTC")


@pytest.mark.parametrize(
    ("symbol", "asset"),
    [
        ("ETHUSDT", "USDT"),
        ("ETHUSDC", "USDC"),
        ("ETHBTC", "BTC"),
        ("BTCUSDT_260327", "USDT"),
        ("USDCUSDT", "USDT"),
        ("BTCDOMUSDT", "USDT"),
        ("1000PEPEUSDC", "USDC"),
        ("E", "USDT"),
        ("", "USDT"),
        ("BTCUSDC_261225", "USDC"),
        ("币安人生USDT", "USDT"),
    ],
)
def test_a_name_tells_its_margin_asset(symbol: str, asset: str) -> None:
    assert margin_asset_of(symbol) == asset


def fill(number: int, symbol: str, realized: str, fee: str, asset: str) -> TradeState:
    return TradeState(number, "1", symbol, "BUY", D(100), D(1), D(fee), asset, D(realized), maker=False, time_ms=number)


def test_a_ledger_keeps_each_asset_by_itself(tmp_path: Path) -> None:
    with Ledger.opened(tmp_path / "l.sqlite") as ledger:
        for symbol in ("ETHUSDT", "ETHUSDC"):
            ledger.intend(Intent(symbol, "d", symbol, "entry", "BUY", D(1), 1))
        ledger.fill("ETHUSDT", fill(1, "ETHUSDT", "5", "0.001", "BNB"))
        ledger.fill("ETHUSDC", fill(2, "ETHUSDC", "-3", "0.25", "USDC"))
        ledger.fill("ETHUSDC", fill(3, "ETHUSDC", "0", "-0.1", "USDC"))
        ledger.receive("a", "FUNDING_FEE", "ETHUSDC", D("0.5"), 4, "USDC")
        ledger.receive("b", "REFERRAL_KICKBACK", "", D("0.0001"), 5, "BNB")
        assert ledger.nets() == {"USDT": D(5), "USDC": D("-2.65"), "BNB": D("-0.0009")}
        assert [ledger.net_income(asset) for asset in ("USDT", "USDC", "BTC")] == [D(5), D("-2.65"), ZERO]


def test_income_of_before_its_asset_was_written_is_of_the_margin_asset(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    with Ledger.opened(path) as ledger:
        ledger.receive("new", "FUNDING_FEE", "ETHUSDC", D(1), 1, "USDC")
    with sqlite3.connect(path) as db:  # as the version before wrote it
        db.executescript(
            "ALTER TABLE income DROP COLUMN asset; DROP TABLE levels; DROP TABLE transfers; DROP TABLE identity; PRAGMA user_version=3;"
        )
    with LedgerReading.shown(path) as shown:
        assert shown is not None and shown.nets() == {"USDC": D(1)}
    with Ledger.opened(path) as ledger:
        ledger.receive("old", "FUNDING_FEE", "ETHUSDT", D(2), 2)
        assert ledger.nets() == {"USDT": D(2), "USDC": D(1)}


def test_an_account_shows_every_asset_and_needs_none() -> None:
    def row(asset: str, wallet: str) -> dict[str, str]:
        return {"asset": asset, "walletBalance": wallet, "availableBalance": wallet, "unrealizedProfit": "0"}

    both = account_state({"assets": [row("BNB", "1"), row("USDT", "10"), row("BTC", "0")]})
    assert both.wallets == {"USDT": D(10), "BNB": D(1)}
    credit = account_state({"assets": [row("BNFCR", "7")]})
    assert (credit.wallet, credit.of("BNFCR").wallet, credit.of("USDC").equity) == (ZERO, D(7), ZERO)


def test_money_that_moved_in_two_assets_is_two_amounts() -> None:
    booked = ({"USDT": D(1)}, {"USDT": D(3), "BNB": D("-0.5")})
    shown = ({"USDT": D(100), "BNB": D(1)}, {"USDT": D(102), "BNB": D("0.4")})
    money = Money.between(booked, shown)
    assert (money.ledger, money.account, money.asset) == (D(2), D(2), QUOTE)
    assert [(other.asset, other.ledger, other.account) for other in money.others] == [("BNB", D("-0.5"), D("-0.6"))]
    assert money.difference == pytest.approx(D(1) / 6)
    only = Money.between(({}, {"USDC": D(4)}), ({"USDT": D(1)}, {"USDT": D(1), "USDC": D(4)}))
    assert (only.asset, only.ledger, only.others) == ("USDC", D(4), ())
    assert amounts_text(by_asset([Flow(1, D(2), "BNB", "USDT"), Flow(1, D(1), "USDT", "USDT")])) == "1 USDT, 2 BNB"


amounts = st.integers(-900, 900).map(D)
contracts = st.sampled_from(ASSETS)
histories = st.lists(
    st.builds(
        lambda at, amount, margin, is_bnb: Flow(
            at, amount / 100 if is_bnb else amount, "BNB" if is_bnb else margin, margin
        ),
        st.integers(0, NOW),
        amounts,
        contracts,
        st.booleans(),
    ),
    max_size=25,
).map(lambda flows: sorted(flows, key=lambda flow: flow.time_ms))


def account_after(flows: list[Flow]) -> AccountState:
    """An account that began with 10,000 of each margin asset."""
    rows = [
        AccountState(10_000 + sum((f.amount for f in flows if f.asset == asset), ZERO), ZERO, ZERO, asset)
        for asset in (*ASSETS, "BNB")
    ]
    return AccountState(rows[0].wallet, ZERO, ZERO, QUOTE, tuple(rows[1:]))


@EXAMPLES
@given(histories)
def test_fees_in_another_asset_break_a_limit_as_if_paid_in_the_margin_asset(flows: list[Flow]) -> None:
    prices = {asset: {"BNB": D(600)} for asset in ASSETS}
    found = breaches_by_asset(flows, account_after(flows), prices, LIMITS, NOW)
    for margin in ASSETS:
        mine = valued(flows, margin, prices[margin])
        wallet = 10_000 + sum((amount for _, amount in mine), ZERO)
        expected = breaches(mine, wallet, ZERO, LIMITS, NOW)
        tail = "" if margin == QUOTE else f" {margin}"
        names = {n.removesuffix(tail) for n in found if n.endswith(tail) and (tail or n.split()[-1] not in ASSETS)}
        assert names == set(expected)


@pytest.mark.parametrize("asset", ASSETS)
def test_what_is_lost_while_nothing_was_paid_counts_too(asset: str) -> None:
    """An entry without a fee moves no wallet: the position is at work all the same."""
    rows = [AccountState(D(1000), D(0), D(-40) if name == asset else ZERO, name) for name in ASSETS]
    found = breaches_by_asset([], AccountState(*_of(rows[0]), QUOTE, tuple(rows[1:])), {}, LIMITS, NOW)
    assert len(found) == 1
    assert "40" in next(iter(found.values()))


def _of(row: AccountState) -> tuple[Decimal, Decimal, Decimal]:
    return row.wallet, row.available, row.unrealized_profit


@EXAMPLES
@given(histories)
def test_what_is_lost_of_all_together_was_lost_of_one(flows: list[Flow]) -> None:
    """At any prices: weights of the assets, the fees counted in each."""
    prices = {asset: {"BNB": D(600)} for asset in ASSETS}
    worth = dict(zip(ASSETS, (D(1), D(1), D(90_000)), strict=True))
    counted = [(f.time_ms, f.amount * (600 if f.asset == "BNB" else 1) * worth[f.margin_asset]) for f in flows]
    start = sum((10_000 * price for price in worth.values()), ZERO)
    together = breaches(counted, start + sum((amount for _, amount in counted), ZERO), ZERO, LIMITS, NOW)
    if together:
        assert breaches_by_asset(flows, account_after(flows), prices, LIMITS, NOW)


def test_an_asset_that_only_fees_are_paid_in_has_no_limit_of_its_own() -> None:
    """A rebate in BNB, and a tenth of the BNB gone in fees: no contract is margined in it."""
    flows = [Flow(NOW - 2, D("0.01"), "BNB", "BNB"), Flow(NOW - 1, D("-0.1"), "BNB", "USDT")]
    account = AccountState(D(10_000), D(10_000), ZERO, QUOTE, (AccountState(D("0.9"), D("0.9"), ZERO, "BNB"),))
    prices, seen = {"USDT": {"BNB": D(600)}}, {"BNB": EquityHistory((EquityPoint(NOW - DAY_MS, D(1), D(1)),))}
    told = {"limits": LIMITS, "now_ms": NOW, "histories": seen}
    assert breaches_by_asset(flows, account, prices, **told, traded={"USDT"}) == {}  # type: ignore[arg-type]
    assert breaches_by_asset(flows, account, prices, **told, traded={"USDT", "BNB"})  # type: ignore[arg-type]
