"""A price between ticks is shown to two digits more than the tick, never with an exponent or 28 digits."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trader_cli.cli.commands.analyze import _facts
from trader_cli.core.money.averages import average_price, places, readable
from trader_cli.core.types import Analysis, Signal
from trader_cli.pipelines.stages.stage_results import Analysed

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
)
def test_a_price_is_read_by_a_person(price: str, on_ticks: tuple[str, ...], shown: str) -> None:
    assert f"{readable(Decimal(price), *map(Decimal, on_ticks)):f}" == shown


def test_of_nothing_there_is_no_average() -> None:
    assert average_price([]) is None


@pytest.mark.parametrize(
    ("price", "target", "stop", "said"),
    [
        (123456.7, 125691.47265412, 121222.52734588, ("123456.7", "125691.473", "121222.527")),
        (0.2113, 0.21512345678, 0.20747654321, ("0.2113", "0.215123", "0.207477")),
        (1.234e-05, 1.2561234567e-05, 1.2118765432e-05, ("0.00001234", "0.0000125612", "0.0000121188")),
        (2345678.0, 2400000.123456, 2300000.987654, ("2345678", "2400000.12", "2300000.99")),
    ],
)
def test_an_analysis_is_shown_with_the_digits_of_its_market(
    price: float, target: float, stop: float, said: tuple[str, str, str]
) -> None:
    signal = Signal("long", 0.6, 0.5, 12.0, target, stop, 8)
    analysis = Analysis("X", "15m", 0, price, signal, levels={"support": stop}, digests={"analysis_input": ""})
    shown = _facts(Analysed(analysis, "here", cached=False))
    assert shown["price"] == said[0]
    assert f"take profit {said[1]}, stop {said[2]}," in shown["barriers"]
    assert shown["levels"] == f"support {said[2]}"
