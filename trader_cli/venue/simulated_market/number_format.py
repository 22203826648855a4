"""How the exchange writes numbers: plain decimals with just the places of tick and step, many at a time.

One function writes them for the routes and for the archive, so the two show the same text.
"""

from __future__ import annotations

from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import polars as pl
    from numpy.typing import NDArray

    from trader_cli.venue.simulated_market.market_values import Trade
    from trader_cli.venue.simulated_market.tape import SymbolTape

    Floats = NDArray[np.float64]

View = Literal["last", "mark", "index", "premium"]
"""Which price a bar is made of."""

DERIVED_PLACES = 8
"""Places of index prices, premiums, rates and ratios, as on the exchange."""
_EIGHT_PLACES = Decimal("0.00000001")
KLINE_FIELDS = (
    "open_time",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "close_time",
    "quote_volume",
    "count",
    "taker_buy_volume",
    "taker_buy_quote_volume",
    "ignore",
)
_PRICES = ("open", "high", "low", "close")


@cache
def decimals(step: float) -> int:
    """Decimals of a power-of-ten step: 0.001 → 3."""
    return max(0, len(f"{step:.8f}".rstrip("0").partition(".")[2]))


def formatters(tape: SymbolTape) -> tuple[Callable[[float], str], Callable[[float], str], Callable[[float], str]]:
    """How single prices, quantities and their products are written: with just the decimals of tick and step."""
    price, quantity = decimals(tape.tick), decimals(tape.step)
    return (
        lambda value: format_one(value, price),
        lambda value: format_one(value, quantity),
        lambda value: format_one(value, price + quantity),
    )


def format_one(value: float, places: int) -> str:
    """A finite number with `places` decimals, rounded as `formatted` rounds: halves to the even last place."""
    return f"{Decimal(round(value * 10.0**places)).scaleb(-places):f}"


def as_read(value: float, places: int) -> float:
    """What is read of a number that was written by `format_one`."""
    return float(round(value * 10.0**places) / 10**places)


def decimal_text(value: Decimal) -> str:
    """A decimal as private routes and streams write it: plain, at most eight places."""
    shown = f"{value.quantize(_EIGHT_PLACES):f}"
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


def formatted(columns: Sequence[Floats], places: int) -> list[pl.Series]:
    """Columns of shape (n,) as text with `places` decimals, halves of the last place to the even. NaN becomes null."""
    import polars as pl

    joined = pl.Series(np.concatenate(columns), nan_to_null=True)
    text = joined.cast(pl.Decimal(38, places)).cast(pl.String)
    ends = np.cumsum([len(column) for column in columns]).tolist()
    return [text.slice(end - len(column), len(column)) for end, column in zip(ends, columns, strict=True)]


def kline_columns(bars: Mapping[str, Floats], view: View, tape: SymbolTape, interval_ms: int) -> list[pl.Series]:
    """The twelve columns of klines (`KLINE_FIELDS`) from n bars: times in ms, prices and sums as text.

    Mark, index and premium are traded by nobody: their bars carry a count but no volume.
    """
    import polars as pl

    price, quantity = decimals(tape.tick), decimals(tape.step)
    opened = bars["open_ms"].astype(np.int64)
    prices = formatted([bars[name] for name in _PRICES], price if view in {"last", "mark"} else DERIVED_PLACES)
    count = pl.Series(np.rint(bars["trades"]).astype(np.int64))
    nothing = pl.Series(["0"]).new_from_index(0, len(opened))
    volume = bought = value = bought_value = nothing
    if view == "last":
        volume, bought = formatted([bars["volume"], bars["taker_buy_base"]], quantity)
        value, bought_value = formatted([bars["quote_volume"], bars["taker_buy_quote"]], price + quantity)
    closed = pl.Series(opened + (interval_ms - 1))
    return [pl.Series(opened), *prices, volume, closed, value, count, bought, bought_value, nothing]


def rows(columns: Sequence[pl.Series]) -> list[list[str | int]]:
    """Columns turned into rows."""
    return [list(row) for row in zip(*(column.to_list() for column in columns), strict=True)]


def agg_trade_rows(tape: SymbolTape, trades: Iterable[Trade]) -> list[dict[str, object]]:
    """Aggregate trades as the exchange lists them; on the path each is of a single trade."""
    price, quantity, _ = formatters(tape)
    return [
        {
            "a": t.trade_id,
            "p": price(t.price),
            "q": quantity(t.quantity),
            "f": t.trade_id,
            "l": t.trade_id,
            "T": t.time_ms,
            "m": t.buyer_is_maker,
        }
        for t in trades
    ]
