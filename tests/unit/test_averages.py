"""A price between ticks is shown to two digits more than the tick, never with an exponent or 28 digits."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trader_cli.core.averages import average_price, places, readable

TICKS = st.integers(-8, 2).map(lambda exponent: Decimal(1).scaleb(exponent))
FILLS = st.lists(st.tuples(st.integers(1, 10**7), st.integers(1, 10**6)), min_size=1, max_size=9)


@given(TICKS, FILLS)
def test_an_average_has_two_digits_more_than_its_prices_and_lies_between_them(
    tick: Decimal, fills: list[tuple[int, int]]
) -> None:
    known = [(price * tick, Decimal(quantity) / 1000) for price, quantity in fills]
    average = average_price(known)
    assert average is not None
    exact = sum(p * q for p, q in known) / sum(q for _, q in known)
    prices = [price for price, _ in known]
    assert min(prices) <= average <= max(prices)
    assert abs(average - exact) <= Decimal(1).scaleb(-max(places(p) for p in prices) - 2) / 2
    text = f"{average:f}"
    assert "E" not in text
    assert len(text.partition(".")[2]) <= max(places(p) for p in prices) + 2


@pytest.mark.parametrize(
    ("price", "on_ticks", "shown"),
    [
        ("0.2113606222830462083400418612", ("0.2113", "0.21"), "0.211361"),
        ("2000.10", ("1900.00",), "2000.10"),
        ("2000.1000000000000000000000001", ("1900.05",), "2000.10"),
        ("67123.456789", ("67000.1", "0"), "67123.457"),
        ("0.00000123456789", ("0.00000120",), "0.00000123457"),
        ("1234567.891", ("1234560", "1200000"), "1234567.89"),
        ("0.0000012345678912345", (), "0.000001234568"),
        ("123456.78912345", (), "123456.79"),
        ("1E+5", (), "100000"),
    ],
)  # fmt: skip
def test_a_price_is_read_by_a_person(price: str, on_ticks: tuple[str, ...], shown: str) -> None:
    assert f"{readable(Decimal(price), *map(Decimal, on_ticks)):f}" == shown


def test_of_nothing_there_is_no_average() -> None:
    assert average_price([]) is None
