"""A paper account is written down now and then: it opens from its last snapshot as if it had replayed everything."""

from __future__ import annotations

import json
from dataclasses import fields
from decimal import Decimal
from pathlib import Path

import pytest
from test_observed import ETH, RULES, START, opened, restarted_now_and_then, state, tell

from trader_cli.venue.engine.account_rows import Written, restore
from trader_cli.venue.engine.books import Account, Income, Owed, Position, SymbolOptions
from trader_cli.venue.engine.engine import Engine
from trader_cli.venue.engine.fill_rules import FILLS, OLD_FILLS, OLDEST_FIRST, fills_of
from trader_cli.venue.paper.observations import Observation, SeenBar
from trader_cli.venue.paper.paper_journal import PaperJournal


def test_an_account_opens_from_its_last_snapshot_and_goes_on_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trader_cli.venue.paper.paper_account._SNAPSHOT_EVERY", 3)
    cut = restarted_now_and_then(tmp_path, 5)
    cut.close()
    journal = PaperJournal(tmp_path)
    kept = journal.snapshots()
    journal.close()
    assert len(kept.parts) > 2
    written = [row[0] for part in kept.parts for row in part["engine"]["fills"]["rows"]]
    assert written == sorted(set(written)), "each fill is written once"


def test_opening_replays_no_more_than_what_is_new(tmp_path: Path) -> None:
    desk = opened(tmp_path)
    for step in range(150):
        side = "SELL" if step % 2 else "BUY"
        tell(desk, START + step * 20_000, "/fapi/v1/order", symbol=ETH, side=side, type="MARKET", quantity="0.1")
    before = state(desk.engine)
    desk.close()
    journal = PaperJournal(tmp_path)
    left, everything = len(list(journal.entries(journal.snapshots()))), len(list(journal.entries()))
    journal.close()
    assert everything == 300
    assert left <= 102
    again = opened(tmp_path)
    assert state(again.engine) == before
    again.close()


def test_what_an_account_did_under_older_rules_stays_as_it_was(tmp_path: Path) -> None:
    """An account of before the rules had a number is replayed as it traded, and trades by those of today from then on."""
    desk = opened(tmp_path)
    desk.engine.fills = OLD_FILLS
    tell(desk, START + 20_000, "/fapi/v1/order", symbol=ETH, side="BUY", type="MARKET", quantity="1")
    before = state(desk.engine)
    desk._journal._db.execute("DELETE FROM snapshots")
    desk.close()
    for _ in range(2):
        again = opened(tmp_path)
        assert state(again.engine) == before
        again.close()
    again = opened(tmp_path)
    tell(again, START + 40_000, "/fapi/v1/order", symbol=ETH, side="SELL", type="MARKET", quantity="1")
    first, *_, last = again.engine.account.fills
    assert [round(f.commission / (f.price * f.quantity), 6) for f in (first, last)] == [
        Decimal("0.000400"),
        Decimal("0.000500"),
    ]
    again.close()


def test_each_version_of_the_rules_is_replayed_as_itself() -> None:
    assert [fills_of(rules.version) for rules in (OLD_FILLS, OLDEST_FIRST, FILLS)] == [OLD_FILLS, OLDEST_FIRST, FILLS]


def test_mark_prices_are_journalled_with_what_was_seen(tmp_path: Path) -> None:
    bar = SeenBar(START, 100.0, 100.0, 100.0, 100.0, 1.0)
    mark = SeenBar(START, 100.5, 101.0, 100.0, 100.5, 0.0)
    seen = Observation(RULES[ETH], START + 10, START + 20, bar, (bar,), mark_before=mark, marks=(mark, mark))
    journal = PaperJournal(tmp_path)
    journal.write([seen], [seen.end()], None)
    assert (list(journal.entries()), journal.latest()) == ([seen], [seen.end()])
    journal.close()


def test_everything_of_an_account_comes_back_from_its_snapshot() -> None:
    """Also what paper accounts do not use today: whatever a record holds is written, or a restart would lose it."""
    account = Account(
        Decimal("99.5"),
        hedge_mode=True,
        others={"BNB": Decimal("0.25"), "USDC": Decimal(7)},
        fees_in_bnb=True,
        maker_fee=Decimal("-0.0001"),
        taker_fee=Decimal("0.0003"),
        multi_assets=True,
        credits_mode=True,
        positions={ETH: Position(ETH, Decimal(2), Decimal(1800))},
        options={ETH: SymbolOptions(7, isolated=True)},
        income=[Income("FUNDING_FEE", ETH, Decimal("-0.5"), START, None, "BNB")],
        owed=[Owed(ETH, START, Decimal(2), Decimal("1800.5"))],
        countdowns={ETH: START + 1},
    )
    tables = {"orders", "algos", "fills"}  # as they are traded: see above
    plain = Account(Decimal(0))
    compared = {f.name for f in fields(Account) if f.compare} - tables
    assert {name for name in compared if getattr(account, name) != getattr(plain, name)} == compared
    part = json.loads(json.dumps(Written().part(Engine({}, account, START))))
    again = Engine({}, plain, START)
    restore(again, [part])
    assert again.account == account
    assert again.rules_known_until_ms == START + 1, "what was due goes on to be"
