"""What the exchange lists: what counts as a change, what is remembered, and what a damaged memory does."""

from __future__ import annotations

import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.hosts.recording_host import FILTERS, SYMBOL, listed

from trader_cli.core.errors import ExchangeUnavailable
from trader_cli.core.market.symbols import delivery_ms_of
from trader_cli.exchange.account.account_replies import symbol_rules
from trader_cli.exchange.market_data.symbol_book import SymbolBook


def told(**changes: Any) -> dict[str, Any]:
    return {"symbols": [listed(**changes)]}


def test_the_rules_hold_bands_orders_status_and_the_end() -> None:
    book = SymbolBook()
    assert book.learn(told(), 0)
    rules = book.rules(SYMBOL)
    assert rules is not None
    assert (rules.band_up, rules.band_down) == (Decimal("1.05"), Decimal("0.95"))
    assert (rules.max_orders, rules.max_stop_orders) == (200, 10)
    assert (rules.status, rules.contract_type, rules.delivery_ms) == ("TRADING", "PERPETUAL", None)
    assert book.learn(told(deliveryDate=1_900_000_000_000, status="SETTLING", filters=FILTERS[:4]), 0)
    rules = book.rules(SYMBOL)
    assert rules is not None
    assert (rules.status, rules.delivery_ms) == ("SETTLING", 1_900_000_000_000)
    assert (rules.band_up, rules.max_orders) == (None, None)
    assert book.rules("BTCUSDT") is None


@pytest.mark.parametrize("announced", [None, 0, 4_133_404_800_000, 1_900_000_000_000, 1_700_000_000_000])
def test_a_delivery_contract_ends_at_the_day_in_its_name_or_sooner(announced: int | None) -> None:
    name = "ETHUSDT_260327"
    body = listed(symbol=name, deliveryDate=announced, contractType="CURRENT_QUARTER")
    rules = symbol_rules({key: value for key, value in body.items() if value is not None})
    named = delivery_ms_of(name)
    assert named is not None
    assert rules.delivery_ms == min(named, announced or named)


@pytest.mark.parametrize(
    ("changes", "counts"),
    [
        ({}, False),
        ({"underlyingSubType": ["new"]}, False),
        ({"status": "BREAK"}, True),
        ({"deliveryDate": 1_900_000_000_000}, True),
        ({"contractType": "CURRENT_QUARTER"}, True),
        ({"filters": [*FILTERS[:1], {**FILTERS[1], "stepSize": "0.01"}, *FILTERS[2:]]}, True),
    ],
)
def test_a_change_of_what_matters_is_told(changes: dict[str, Any], counts: bool) -> None:
    book = SymbolBook()
    book.learn(told(), 0)
    assert book.learn(told(**changes), 1) == counts


def test_a_symbol_that_comes_or_goes_is_a_change() -> None:
    book = SymbolBook()
    book.learn(told(), 0)
    assert book.learn({"symbols": [listed(), listed(symbol="BTCUSDT")]}, 0)
    assert book.learn(told(), 0)
    for nothing in ({"symbols": []}, {}, [], {"symbols": [{}]}):
        with pytest.raises(ExchangeUnavailable):
            book.learn(nothing, 0)
    assert book.rules(SYMBOL) is not None


def test_what_has_not_changed_is_written_once_an_hour(tmp_path: Path) -> None:
    path = tmp_path / "symbols.json"
    book = SymbolBook(path)
    for at_ms, written in ((0, True), (3_600_000, False), (3_600_001, True)):
        path.unlink(missing_ok=True)
        book.learn(told(), at_ms)
        assert path.exists() == written
    path.unlink()
    book.learn(told(status="BREAK"), 3_600_002)
    assert path.exists()


def test_what_was_read_is_remembered_with_its_age(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "symbols.json"
    book = SymbolBook(path)
    assert math.isinf(book.age_s(5))
    book.learn(told(), 1_000_000)
    again = SymbolBook(path)
    assert again.recall()
    assert again.rules(SYMBOL) == book.rules(SYMBOL)
    assert again.age_s(1_060_000) == 60
    assert [file.name for file in path.parent.iterdir()] == ["symbols.json"]


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b'{"read_ms": 1}', b'{"read_ms":1,"symbols":[{}]}', b"\xff\x00", None]
)
def test_a_damaged_memory_is_none(tmp_path: Path, damage: bytes | None) -> None:
    path = tmp_path / "symbols.json"
    if damage is None:
        path.mkdir()
    else:
        path.write_bytes(damage)
    book = SymbolBook(path)
    assert not book.recall()
    assert book.rules(SYMBOL) is None
    book.learn(told(), 0)  # also where the file cannot be written
    assert book.rules(SYMBOL) is not None
    assert not list(tmp_path.glob(".part-*"))
