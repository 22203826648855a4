"""What the writer of a ledger remembers is what a reader finds in the file, whatever was written, failed or undone."""

from __future__ import annotations

import random
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from trader_cli.core.money.loss_limits import EquityPoint
from trader_cli.core.money.orders import IncomeState, TradeState
from trader_cli.storage.ledger import Ledger
from trader_cli.storage.ledger_reading import LedgerReading
from trader_cli.storage.ledger_rows import Intent

if TYPE_CHECKING:
    from collections.abc import Callable

SYMBOLS = ("ETHUSDT", "BTCUSDT")
PURPOSES = ("entry", "stop", "exit")


class Undone(Exception):
    """Something fails in the middle of what belongs together."""


def intent(number: int, dice: random.Random) -> Intent:
    purpose = PURPOSES[number % 3]
    side = "BUY" if purpose == "entry" else "SELL"
    return Intent(
        f"td-{number}",
        f"plan-{number // 20}",
        dice.choice(SYMBOLS),
        purpose,
        side,
        Decimal(2),
        number,  # type: ignore[arg-type]
        reduce_only=purpose != "entry",
    )


def trade(number: int, of: Intent) -> TradeState:
    return TradeState(
        symbol=of.symbol,
        trade_id=number,
        order_id=f"x{of.client_id}",
        side=of.side,
        price=Decimal(100),
        quantity=Decimal(1),
        commission=Decimal(0),
        commission_asset="USDT",
        realized_profit=Decimal(0),
        maker=False,
        time_ms=number,
    )


BESIDE: tuple[Callable[[Ledger, str, int], object], ...] = (
    lambda ledger, symbol, number: ledger.assess(
        symbol, ("stay", "tighten")[number % 2], {"plan": f"{number}"}, number
    ),
    lambda ledger, symbol, number: ledger.decide(f"plan-{number % 60}", symbol, number, "abstain", {}, number),
    lambda ledger, symbol, number: ledger.latch(symbol, "foreign", "", number),
    lambda ledger, symbol, number: ledger.unlatch(symbol, "", number),
    lambda ledger, symbol, number: ledger.clear_halt(symbol, number),
    lambda ledger, symbol, number: ledger.receive(f"i{number}", "FUNDING_FEE", symbol, Decimal(number), number),
    lambda ledger, _symbol, number: ledger.transfer(
        IncomeState(f"t{number}", "TRANSFER", "", Decimal(1), "USDT", number)
    ),
    lambda ledger, _symbol, number: ledger.see("USDT", EquityPoint(number, Decimal(1), Decimal(number))),
)
"""Lines of the other tables."""


def write(ledger: Ledger, number: int, dice: random.Random, known: list[Intent]) -> None:
    """One line of any kind."""
    kind = dice.choice(("intend", "note", "note", "fill", "beside"))
    if kind == "beside":
        dice.choice(BESIDE)(ledger, dice.choice(SYMBOLS), number)
        return
    if kind == "intend" or not known:
        made = intent(number, dice)
        ledger.intend(made)
        known.append(made)
        return
    of = dice.choice(known)
    ledger.intend(of)  # once more is no line, and changes nothing
    if kind == "note":
        status, words = dice.choice(
            (
                ("sending", ""),
                ("unknown", ""),
                ("open", "NEW"),
                ("open", "PARTIALLY_FILLED 1"),
                ("done", "FILLED 2"),
                ("refused", "-1"),
                ("absent", ""),
            )
        )
        ledger.note(of.client_id, status, number, exchange_id=f"x{of.client_id}", note=words)
    else:
        ledger.fill(of.client_id, trade(number, of))


def known_to(ledger: LedgerReading) -> tuple[object, ...]:
    return (
        [i.client_id for i in ledger.unsettled()],
        [(ledger.intent(f"td-{n}"), ledger.last_note(f"td-{n}")) for n in range(0, 1200, 7)],
        [ledger.intents_of(f"plan-{n}") for n in range(60)],
        [(s, ledger.unbooked(s), ledger.holding(s), [i.client_id for i in ledger.unsettled(s)]) for s in SYMBOLS],
        [(s, ledger.entries(s), ledger.incomes(s), ledger.latched(s), ledger.was_held(s, 100, 200)) for s in SYMBOLS],
        [(ledger.assessments(s, 50, ("stay",)), ledger.last_assessment(s, ("stay", "tighten"))) for s in SYMBOLS],
        [(ledger.decision(f"plan-{n}"), ledger.fills(decision_id=f"plan-{n}")) for n in range(0, 60, 9)],
        [(ledger.first_note(f"td-{n}", "open"), ledger.latest_note(f"td-{n}", "open")) for n in range(0, 1200, 97)],
        (ledger.flows(), ledger.levels(3), ledger.transfers("USDT"), ledger.fills(), ledger.symbols()),
        (ledger.cleared_ms(), ledger.latches(), ledger.money_since_ms(), ledger.last_income_ms()),
    )


@pytest.mark.parametrize("seed", range(12))
def test_the_writer_remembers_what_a_reader_finds(seed: int, tmp_path: Path) -> None:
    dice, path, known = random.Random(seed), tmp_path / "ledger.sqlite", list[Intent]()
    with Ledger.opened(path) as ledger:
        for number in range(120):
            before = list(known)
            with suppress(Undone), ledger.together():
                for line in range(dice.randint(1, 3)):
                    write(ledger, 10 * number + line, dice, known)
                    if dice.random() < 0.5:
                        known_to(ledger)  # fills what is remembered, in the middle too
                if dice.random() < 0.3:
                    known[:] = before
                    raise Undone
            with LedgerReading.shown(path) as reader:
                assert reader is not None
                assert known_to(ledger) == known_to(reader), number


@pytest.mark.parametrize("fails", [False, True])
def test_only_what_can_be_asked_again_may_wait_for_the_disk(fails: bool, tmp_path: Path) -> None:
    with Ledger.opened(tmp_path / "ledger.sqlite") as ledger:
        level = "PRAGMA synchronous"
        with suppress(Undone), ledger.together(synced=False):
            assert ledger._db.execute(level).fetchone()[0] == 1
            if fails:
                raise Undone
        assert ledger._db.execute(level).fetchone()[0] == 2
