"""What a tape makes when it is asked for is what it would have made beforehand, and the rest is not made."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trader_cli.core.market.bars import PRICES, with_close_time
from trader_cli.core.market.schemas import TIME
from trader_cli.core.market.timeframes import MINUTE_MS, Timeframe
from trader_cli.venue.server.public_routes import PublicRoutes
from trader_cli.venue.simulated_market.base_bars import BaseBars
from trader_cli.venue.simulated_market.number_format import View
from trader_cli.venue.simulated_market.synthetic import synthetic_tape
from trader_cli.venue.simulated_market.tape import FLOWS, SymbolTape, TapeBars
from trader_cli.venue.simulated_market.tape_loading import make_symbol_tape

VIEWS: tuple[View, ...] = ("last", "mark", "index", "premium")
DAYS = 4
TAPE = synthetic_tape(("ETHUSDT",), DAYS, 0.5, 3).symbols["ETHUSDT"]
WITH_GAPS = TAPE.playing(
    TapeBars(**{name: getattr(TAPE, name)[np.arange(DAYS * 1440) % 97 > 9] for name in ("open_ms", *PRICES, "volume")})
)


def as_frame(tape: SymbolTape) -> pl.DataFrame:
    times = pl.Series("open_time", tape.open_ms).cast(TIME)
    frame = pl.DataFrame({"open_time": times, **{name: getattr(tape, name) for name in (*PRICES, "volume")}})
    return with_close_time(frame, tape.timeframe)


@pytest.mark.parametrize("symbol", ["BTCUSDT", "ETHUSDT", "SOLUSDT", "ETHBTC"])
@pytest.mark.parametrize(("days", "lead", "seed"), [(1, 0.0, 1), (3, 0.5, 7), (30, 2.0, 11)])
def test_what_a_synthetic_tape_says_beforehand_is_what_its_bars_show(
    symbol: str, days: int, lead: float, seed: int
) -> None:
    told = synthetic_tape((symbol,), days, lead, seed).symbols[symbol]
    beforehand = replace(told, make=lambda: pytest.fail("made"))
    measured = make_symbol_tape(symbol, Timeframe.parse("1m"), as_frame(told), seed, {})
    for name in ("symbol", "timeframe", "seed", "tick", "step", "start_ms", "end_ms"):
        assert getattr(beforehand, name) == getattr(measured, name)


@settings(deadline=None, max_examples=60)
@given(
    spans=st.lists(st.tuples(st.integers(0, DAYS * 1440), st.integers(0, 700)), min_size=1, max_size=4),
    interval=st.sampled_from([1, 15, 60, 1440]),
    view=st.sampled_from(VIEWS),
    tape=st.sampled_from([TAPE, WITH_GAPS]),
)
def test_bars_made_where_they_are_asked_for_are_those_of_the_whole(
    spans: list[tuple[int, int]], interval: int, view: View, tape: SymbolTape
) -> None:
    interval_ms, part, whole = interval * MINUTE_MS, BaseBars(tape), BaseBars(tape)
    opened, table = whole.grouped(view, interval_ms)
    everything = table.between(0, len(opened))
    assert everything["open_ms"].tolist() == opened.tolist()
    for first, bars in spans:
        shown = slice(first * len(opened) // (DAYS * 1440), min(len(opened), first + bars))
        found = part.grouped(view, interval_ms)[1].between(shown.start, shown.stop)
        assert list(found) == list(everything)
        for name, column in found.items():
            assert column.tobytes() == everything[name][shown].tobytes(), name


@pytest.mark.parametrize("first", [0, 17, DAYS * 96])
def test_no_bars_are_columns_without_rows(first: int) -> None:
    _, table = BaseBars(TAPE).grouped("last", 15 * MINUTE_MS)
    assert {len(column) for column in table.between(first, first).values()} == {0}


def test_recorded_flows_are_shown_as_they_were_recorded() -> None:
    known = dict.fromkeys(FLOWS, np.arange(DAYS * 1440, dtype=np.float64))
    recorded, some = (
        BaseBars(TAPE.playing(replace(TAPE.bars, recorded=flows))) for flows in (known, {"trades": known["trades"]})
    )
    assert all(recorded.between(1000, 1100)[name].tolist() == list(range(1000, 1100)) for name in FLOWS)
    assert some.between(1000, 1100)["trades"].tolist() == list(range(1000, 1100))
    assert (
        some.between(1000, 1100)["quote_volume"].tobytes()
        == BaseBars(TAPE).between(1000, 1100)["quote_volume"].tobytes()
    )


def test_a_tape_moved_in_time_is_moved_before_its_bars_are_made() -> None:
    moved = TAPE.shifted(5 * MINUTE_MS)
    assert (moved.start_ms, moved.end_ms) == (TAPE.start_ms + 5 * MINUTE_MS, TAPE.end_ms + 5 * MINUTE_MS)
    assert moved.open_ms.tolist() == (TAPE.open_ms + 5 * MINUTE_MS).tolist()
    assert moved.close is TAPE.close


def test_symbols_nobody_asks_for_are_not_made() -> None:
    made = synthetic_tape(("ETHUSDT", "BTCUSDT"), 2, 0.0, 5)
    closed = replace(made.symbols["BTCUSDT"], make=lambda: pytest.fail("made"))
    routes = PublicRoutes(replace(made, symbols={**made.symbols, "BTCUSDT": closed}))
    now = made.at(0.5)
    listed = routes.table["/fapi/v1/exchangeInfo"]({}, now)
    assert [row["symbol"] for row in listed["symbols"]] == ["ETHUSDT", "BTCUSDT"]
    assert len(routes.table["/fapi/v1/klines"]({"symbol": "ETHUSDT", "interval": "1m"}, now)) == 500
