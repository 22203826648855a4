"""Comfort is only said where it is proved: proofs fall with each piece of their evidence, and are made in one module."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.source_trees import parsed

import trader_cli
from trader_cli.core.money.orders import OrderState, PositionState, StopState
from trader_cli.core.proofs import assurance, doubts
from trader_cli.core.proofs.assurance import (
    Absent,
    AllFlat,
    Closed,
    Doubt,
    Flat,
    NotSent,
    Protected,
    Recorded,
    Unproved,
    WalkAway,
    last_known,
    prove_absent,
    prove_all_flat,
    prove_closed,
    prove_flat,
    prove_protected,
    prove_recorded,
    prove_walk_away,
    standing,
    unprotected,
)
from trader_cli.core.proofs.evidence import (
    AccountSnapshot,
    Books,
    LedgerOrder,
    NoBooks,
    Traces,
    explained,
    foreign,
    orphans,
)

PACKAGE = Path(trader_cli.__file__).parent
ETH, BTC = "ETHUSDT", "BTCUSDT"
ONE = Decimal(1)


def position(amount: Any = 1, symbol: str = ETH, profit: Any = "-3.5") -> PositionState:
    """A position as the exchange shows it."""
    price = Decimal(2000)
    return PositionState(symbol, Decimal(amount), price, price, None, Decimal(profit), Decimal(0), 1)


def stop(
    name: str = "td-b-1", side: Any = "SELL", quantity: Any = None, symbol: str = ETH, **changes: Any
) -> StopState:
    """A stop that rests; without a quantity it closes the whole position."""
    made = StopState(
        "1",
        name,
        symbol,
        side,
        "stop",
        "NEW",
        Decimal(1900),
        Decimal(quantity or 0),
        quantity is None,
        quantity is not None,
        True,
        None,
        1,
    )
    return replace(made, **changes)


def order(name: str, symbol: str = ETH, status: str = "NEW", filled: Any = 0, side: Any = "BUY") -> OrderState:
    """An order at the engine."""
    return OrderState("7", name, symbol, side, status, ONE, Decimal(filled), None, reduce_only=False, update_ms=1)


HELD = Books({ETH: ONE}, {"td-e-1", "td-b-1", "td-s-1"})
COVERED = AccountSnapshot(1, (position(),), (stop(),), ())
EMPTY, NOTHING = Books({}, ()), AccountSnapshot(1, (), (), ())
FRESH = NoBooks("there is no ledger at x", "if one was lost, run `trader ledger rebuild`", fresh=True)
DAMAGED = NoBooks("the ledger x cannot be read", "run `trader ledger rebuild`")
MOVING = LedgerOrder(ETH, "td-e-2", "entry", "unknown")

# Each line: what is taken from a good account or put into it, the look, the ledger, and words of the doubt.
TROUBLES: list[tuple[str, AccountSnapshot, Books | NoBooks, str]] = [
    ("positions did not answer", replace(COVERED, positions=None), HELD, "has not shown its positions"),
    ("stops did not answer", replace(COVERED, stops=None), HELD, "has not shown its stops"),
    ("orders did not answer", replace(COVERED, orders=None), HELD, "has not shown its orders"),
    ("one symbol was asked", replace(COVERED, symbols=frozenset({ETH})), HELD, "asked about ETHUSDT only"),
    ("an empty list against a ledger", replace(COVERED, positions=()), HELD, "holds 1, the exchange shows none"),
    ("a part is gone", replace(COVERED, positions=(position("0.4"),)), HELD, "holds 1, the exchange shows 0.4"),
    ("more than ours", replace(COVERED, positions=(position("1.5"),)), HELD, "0.5 of it is not ours"),
    ("turned by hand", replace(COVERED, positions=(position(-2),)), HELD, "-2 (short, profit -3.5)"),
    ("no stop", replace(COVERED, stops=()), HELD, "NO stop of ours for 1 of 1"),
    ("a stop on the wrong side", replace(COVERED, stops=(stop(side="BUY"),)), HELD, "NO stop of ours"),
    ("a stop by last price", replace(COVERED, stops=(stop(by_mark_price=False),)), HELD, "NO stop of ours"),
    ("a stop that opens", replace(COVERED, stops=(stop(quantity=1, reduce_only=False),)), HELD, "NO stop of ours"),
    ("a stop that has fired", replace(COVERED, stops=(stop(status="TRIGGERED"),)), HELD, "NO stop of ours"),
    ("a take-profit only", replace(COVERED, stops=(stop(kind="take_profit"),)), HELD, "NO stop of ours"),
    ("a stop of somebody", replace(COVERED, stops=(stop("hand"),)), HELD, "NO stop of ours"),
    ("a stop of another symbol", replace(COVERED, stops=(stop(symbol=BTC),)), HELD, "NO stop of ours"),
    ("a stop for a part", replace(COVERED, stops=(stop("td-s-1", quantity="0.6"),)), HELD, "0.4 of 1"),
    ("an entry of unknown end", COVERED, replace(HELD, moving=(MOVING,)), "what became of ETHUSDT entry td-e-2"),
    ("a fill that is not booked", COVERED, replace(HELD, unbooked={ETH: ONE}), "1 filled and is not booked"),
    ("an unknown entry, flat", NOTHING, replace(EMPTY, moving=(MOVING,)), "what became of ETHUSDT entry td-e-2"),
    ("a stop left when flat", replace(NOTHING, stops=(stop(),)), replace(EMPTY, known={"td-b-1"}), "still rests"),
    ("an order left when flat", replace(NOTHING, orders=(order("td-x-1"),)), replace(EMPTY, known={"td-x-1"}), "still"),
    ("a stop nobody wrote down", replace(NOTHING, stops=(stop("td-b-9"),)), EMPTY, "a second trader"),
    ("an order nobody wrote down", replace(COVERED, orders=(order("td-e-9", BTC),)), HELD, "a second trader"),
    ("a past order nobody wrote down", replace(COVERED, past=(order("td-e-9", status="FILLED"),)), HELD, "a second"),
    ("another profile's", NOTHING, replace(EMPTY, others=("profile live holds ETHUSDT 1",)), "profile live holds"),
    ("hedge mode", replace(COVERED, positions=(position(), position())), HELD, "hedge mode"),
    ("a damaged ledger, flat", NOTHING, DAMAGED, "cannot be read; run `trader ledger rebuild`"),
    ("no ledger over a stop of ours", replace(NOTHING, stops=(stop(),)), FRESH, "1 order(s) with our ids"),
    ("no ledger over a position", replace(NOTHING, positions=(position(),)), FRESH, "holds ETHUSDT 1"),
    ("no ledger and no answer", replace(NOTHING, positions=None), FRESH, "has not shown"),
]


@pytest.mark.parametrize(("snapshot", "books", "words"), [t[1:] for t in TROUBLES], ids=[t[0] for t in TROUBLES])
def test_each_trouble_makes_it_no_and_says_what_to_run(
    snapshot: AccountSnapshot, books: Books | NoBooks, words: str
) -> None:
    found = prove_walk_away(snapshot, books)
    assert isinstance(found, Doubt)
    assert words in found.sentence
    assert found.sentence.startswith("NO: ")
    assert "`trader " in found.sentence or "look yourself" in found.sentence or "profile" in found.sentence
    with pytest.raises(Unproved):
        WalkAway(snapshot, books)


def test_what_is_proved_is_said() -> None:
    assert prove_walk_away(COVERED, HELD).sentence.startswith("yes: each position has its stop resting")
    assert prove_walk_away(NOTHING, EMPTY).sentence == "yes: no position of ours is open."
    assert prove_walk_away(NOTHING, FRESH).sentence.startswith("yes: no ledger is here, and the exchange shows")
    foreign = replace(NOTHING, positions=(position("0.5", BTC),))
    assert prove_walk_away(foreign, EMPTY).sentence.endswith("Not ours and left alone: BTCUSDT 0.5.")
    assert prove_flat(ETH, NOTHING, EMPTY).sentence.startswith("ETHUSDT: no position of ours is open")
    assert prove_closed(ETH, ONE, NOTHING, EMPTY).sentence.startswith("ETHUSDT: 1 closed; no position of ours")
    assert prove_all_flat(NOTHING, EMPTY).sentence == "flat: no position of ours is open."
    assert standing(ETH, COVERED, HELD) == (
        "ETHUSDT: long 1 is open, protected by a stop at 1900 resting at the exchange."
    )
    assert "0.5 beside it is not ours" in standing(ETH, replace(COVERED, positions=(position("1.5"),)), HELD)
    assert "NO stop of ours" in standing(ETH, replace(COVERED, stops=()), HELD)
    assert unprotected(ETH, -ONE) == "ETHUSDT: short 1 is open and NOTHING protects it."
    known = replace(HELD, resting=(LedgerOrder(ETH, "td-b-1", "backstop", "open", Decimal(1900)),))
    assert last_known(ETH, known) == "ETHUSDT: 1 is booked; stops were last seen resting at 1900."
    assert "NO stop of ours is known to rest" in last_known(BTC, known)


def test_an_account_that_lives_with_us_is_known_by_the_ledger_and_says_so() -> None:
    resting = replace(HELD, resting=(LedgerOrder(ETH, "td-b-1", "backstop", "open", Decimal(1900)),))
    assert "by the ledger" in prove_recorded(resting).sentence
    assert "by the ledger" in prove_recorded(EMPTY).sentence
    assert isinstance(prove_recorded(FRESH), Recorded)
    for doubtful in (
        DAMAGED,
        HELD,
        replace(resting, moving=(MOVING,)),
        replace(resting, held={}),
        replace(resting, held={ETH: ONE, BTC: ONE}),
    ):
        assert isinstance(prove_recorded(doubtful), Doubt), doubtful
        with pytest.raises(Unproved):
            Recorded(doubtful)


def test_an_entry_is_absent_only_when_everything_agrees_for_long_enough() -> None:
    gone = Traces(ETH, "td-e-1", ordered=False, traded=Decimal(0), before=ONE, after=ONE, waited_ms=90, enough_ms=90)
    assert "nothing was opened" in prove_absent(gone).sentence
    for change in (
        {"ordered": True},
        {"ordered": None},
        {"traded": ONE},
        {"traded": None},
        {"before": None},
        {"after": None},
        {"after": Decimal(2)},
        {"waited_ms": 89},
    ):
        assert isinstance(prove_absent(replace(gone, **change)), Doubt), change
        with pytest.raises(Unproved):
            Absent(replace(gone, **change))


def test_no_proof_can_be_built_by_hand() -> None:
    for build in (
        lambda: Flat(ETH, COVERED, HELD),
        lambda: Protected(ETH, NOTHING, EMPTY),
        lambda: AllFlat(COVERED, HELD),
        lambda: Flat(ETH, replace(NOTHING, positions=None), EMPTY),
        lambda: Closed(Flat(ETH, NOTHING, EMPTY), Decimal(0)),
        lambda: NotSent("td-e-1", "sending"),
        lambda: Doubt(()),
    ):
        with pytest.raises(Unproved):
            build()


def test_what_our_ids_explain_without_a_ledger() -> None:
    past = (
        order("td-e-1", status="FILLED", filled=1),
        order("td-x-1", status="FILLED", filled="0.4", side="SELL"),
        order("hand", status="FILLED", filled=5),
    )
    shown = replace(COVERED, positions=(position(3), position(1, BTC)))
    assert explained(replace(shown, past=past)) == {ETH: Decimal("0.6"), BTC: 0}
    assert explained(replace(shown, stops=(stop("td-s-1", quantity="0.7"),))) == {ETH: Decimal("0.7"), BTC: 0}
    assert explained(replace(shown, positions=(position(-3),), past=past)) == {ETH: 0}
    assert orphans(past, {"td-e-1"}) == ("td-x-1",)


# --- a property: an oracle of its own ---

_names = st.sampled_from(["td-e-1", "td-b-1", "td-s-1", "td-b-9", "hand"])
_symbols = st.sampled_from([ETH, BTC])
_amounts = st.sampled_from([Decimal(x) for x in ("-1", "-0.5", "0.5", "1")])
_stops = st.lists(
    st.builds(
        stop,
        _names,
        st.sampled_from(["BUY", "SELL"]),
        st.sampled_from([None, "0.5", "1"]),
        _symbols,
        status=st.sampled_from(["NEW", "CANCELED"]),
        by_mark_price=st.booleans(),
    ),
    max_size=3,
)
_positions = st.lists(st.builds(position, _amounts, _symbols), max_size=2, unique_by=lambda p: p.symbol)
_orders = st.lists(st.builds(order, _names, _symbols, st.sampled_from(["NEW", "FILLED"])), max_size=1)
_looks = st.builds(
    lambda p, s, o: AccountSnapshot(
        1, None if p is None else tuple(p), None if s is None else tuple(s), None if o is None else tuple(o)
    ),
    st.none() | _positions,
    st.none() | _stops,
    st.none() | _orders,
)
_books = st.builds(
    Books,
    st.dictionaries(_symbols, _amounts, max_size=2),
    st.frozensets(_names, max_size=4),
    st.sampled_from([(), (), (MOVING,)]),
    st.sampled_from([{}, {}, {ETH: ONE}]),
)


def fine(snapshot: AccountSnapshot, books: Books) -> bool:
    """Whether a person may walk away, said once more and in another way."""
    if (
        snapshot.positions is None
        or snapshot.stops is None
        or snapshot.orders is None
        or books.moving
        or books.unbooked
    ):
        return False
    shown = {p.symbol: p.amount for p in snapshot.positions}
    for symbol, held in books.held.items():
        wanted, room = "SELL" if held > 0 else "BUY", abs(held)
        for s in snapshot.stops:
            if (
                (s.symbol, s.side, s.status) == (symbol, wanted, "NEW")
                and s.by_mark_price
                and s.client_id in books.known
            ):
                room -= s.quantity if not s.close_position else room
        if shown.get(symbol) != held or room > 0:
            return False
    for o in [*snapshot.stops, *snapshot.orders]:
        ours, known = o.client_id.startswith("td-"), o.client_id in books.known
        if o.status == "NEW" and ((ours and not known) or (known and o.symbol not in books.held)):
            return False
    return True


@settings(max_examples=600, deadline=None)
@given(_looks, _books)
def test_yes_is_said_exactly_where_everything_agrees(snapshot: AccountSnapshot, books: Books) -> None:
    found = prove_walk_away(snapshot, books)
    assert isinstance(found, WalkAway) == fine(snapshot, books), found
    assert found.sentence.startswith("yes") == isinstance(found, WalkAway)
    for symbol in (ETH, BTC):
        if isinstance(prove_protected(symbol, snapshot, books), Protected):
            assert snapshot.amount(symbol) * books.held[symbol] > 0
            assert abs(snapshot.amount(symbol)) >= abs(books.held[symbol])
        if isinstance(prove_flat(symbol, snapshot, books), Flat):
            assert symbol not in books.held
            assert snapshot.positions is not None
    if isinstance(found, WalkAway):
        for silent in ("positions", "stops", "orders"):
            assert isinstance(prove_walk_away(replace(snapshot, **{silent: None}), books), Doubt)


# --- the words, in one module only ---

WORDS = re.compile(r"\b(yes|flat|closed|nothing|protected|walk away|no position of ours is open)\b", re.IGNORECASE)
HOME = "core/proofs/assurance.py"
CODES = frozenset({"flat", "closed", "--yes", " --yes"})
"""Stored actions, keys of JSON and options: no sentences."""
NOT_ABOUT_THE_ACCOUNT = re.compile(
    r"bar (that )?(has )?closed|closed (\{|$|bar)|^P\(up, down, flat\)$|last closed | has closed since"
)
"""Bars close, and a probability has the name flat."""
OTHERWISE = {
    "analyst/rule_decision.py": "what a rule says of a bar, a stored word",
    "backtest/untraded.py": "about a backtest that opened no position",
    "cli/backtest_facts.py": "whether a backtest claims an edge, and traded",
    "cli/commands/stress.py": "whether a backtest still makes money",
    "core/types.py": "what a rule says of a bar, a stored word",
    "pipelines/backtests/backtest_comparison.py": "about two backtests",
    "pipelines/backtests/backtest_recipe.py": "about a backtest",
    "pipelines/backtests/resampled_market.py": "about days to draw from",
    "pipelines/backtests/universe.py": "about volumes that are stored",
    "report/ledger_report.py": "about lines of the ledger",
    "report/money_panels.py": "about trades of the past, on a page",
    "report/page.py": "about trades of the past, on a page",
    "report/trust_panels.py": "about signals of the past, on a page",
    "report/verdict.py": "about a run of the past, on a page",
    "cli/commands/analyze.py": "help of an option",
    "cli/commands/cache.py": "about files of the cache",
    "cli/commands/features.py": "what the command builds",
    "cli/commands/fetch.py": "how many findings of data quality",
    "cli/commands/status.py": "about series that were fetched",
    "cli/main.py": "one line of help for each command",
    "cli/options.py": "help of options",
    "core/money/exits.py": "the reason of an assessment, a stored word",
    "exchange/archive/download.py": "a connection that was ended",
    "exchange/binance.py": "a part that is not installed",
    "exchange/connection/connection.py": "a connection that was ended",
    "exchange/connection/request_lane.py": "a connection that was ended",
    "exchange/account/paper_connection.py": "a connection that was ended",
    "exchange/connection/replies.py": "an answer without content",
    "settings/model.py": "the meaning of a setting",
    "storage/files.py": "about a file",
    "storage/inventory.py": "about files of the cache",
    "venue/engine/order_intake.py": "what the simulated exchange says of a symbol",
}
"""Files whose sentences with these words are not about the account, and what they are about."""


def sentences(source: str) -> Iterator[tuple[int, str]]:
    """Every string that can be shown, those within f-strings, too; docstrings left out."""
    tree = parsed(source)
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
            yield node.lineno, node.value


def comforting(source: str) -> list[tuple[int, str]]:
    return [
        (line, text)
        for line, text in sentences(source)
        if WORDS.search(text) and text not in CODES and not NOT_ABOUT_THE_ACCOUNT.search(text)
    ]


def test_comfort_is_worded_in_one_module_only() -> None:
    found = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        name = file.relative_to(PACKAGE).as_posix()
        if name != HOME and not name.startswith("pipelines/verification/") and name not in OTHERWISE:
            found[name] = comforting(file.read_text())
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_comfort_elsewhere_would_be_found() -> None:
    assert comforting("print(f'{symbol}: Nothing is open.')")
    assert comforting("x = {'walk away?': 'yes'}")
    assert comforting("y = 'it is protected by ' + z")
    assert not comforting("def f():\n    '''Nothing is open.'''\n    return 'flat'")
    assert not comforting("x = 'the last closed bar'")


def test_every_comforting_sentence_of_the_module_stands_in_a_proof() -> None:
    """The module itself: outside of the proofs' own `sentence` and `brief`, it has only an alarm and a question."""
    tree = parsed((PACKAGE / HOME).read_text())
    proofs = {node.name for node in tree.body if isinstance(node, ast.ClassDef)} - {"Unproved", "Doubt"}
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name in proofs:
            assert any(isinstance(f, ast.FunctionDef) and f.name == "__post_init__" for f in node.body), node.name
            assert "frozen=True" in ast.unparse(node.decorator_list[0]), node.name
        elif not isinstance(node, ast.ClassDef):
            worded = [text for _, text in comforting(ast.unparse(node))]
            assert set(worded) <= {" and NOTHING protects it.", assurance.QUESTION}, worded
    assert comforting((PACKAGE / "core" / "proofs" / "doubts.py").read_text()) == []
    assert doubts.second_trader(()) is None


@pytest.mark.parametrize(
    ("amount", "books", "found"),
    [
        (1, HELD, ()),
        ("1.5", HELD, ("ETHUSDT 0.5",)),
        ("0.4", HELD, ("ETHUSDT -0.6",)),
        (-2, HELD, ("ETHUSDT -3",)),
        (1, EMPTY, ("ETHUSDT 1",)),
        (1, DAMAGED, ("ETHUSDT 1",)),
    ],
)
def test_foreign_is_what_is_shown_beyond_ours(amount: Any, books: Books | NoBooks, found: tuple[str, ...]) -> None:
    assert foreign(replace(COVERED, positions=(position(amount),)), books) == found
