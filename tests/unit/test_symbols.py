"""Names of symbols, of the files and markets that belong to them, and days and times as people write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.market.bars import random_bars

from trader_cli.cli.options import time_of
from trader_cli.core.errors import DataInvalid, UsageError
from trader_cli.core.market.symbols import delivery_ms_of, is_symbol, pair_of, spot_markets, symbol_in, symbol_of
from trader_cli.venue.server.archive_routes import ArchiveFile
from trader_cli.venue.server.public_routes import PublicRoutes, VenueRejection
from trader_cli.venue.simulated_market.synthetic import synthetic_tape
from trader_cli.venue.simulated_market.tape_loading import load_tape

NAMES = {
    "BTCUSDT_260327-15m-2026.parquet": "BTCUSDT_260327",
    "BTCUSDT_260327.parquet": "BTCUSDT_260327",
    "BTCUSDT_260327_1m.parquet": "BTCUSDT_260327",
    "ETHBTC_260626-1h.parquet": "ETHBTC_260626",
    "BTCUSD_PERP-1m.parquet": "BTCUSD_PERP",
    "BTCUSDT-15m-2026.parquet": "BTCUSDT",
    "BTCUSDT_15m.parquet": "BTCUSDT",
    "BTCUSDT_20240101.parquet": "BTCUSDT",
    "1000SHIBUSDT-1m.parquet": "1000SHIBUSDT",
    "币安人生USDT-1h.parquet": "币安人生USDT",
    "bars.parquet": None,
    "btcusdt-1h.parquet": None,
    "..-1h.parquet": None,
}


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_bars_names_its_own_symbol(name: str) -> None:
    assert symbol_in(name) == NAMES[name]


def test_a_tape_tells_a_delivery_contract_from_the_perpetual(tmp_path: Path) -> None:
    for seed, name in enumerate(("BTCUSDT", "BTCUSDT_260327", "BTCUSDT_260626")):
        random_bars(50, seed=seed).write_parquet(tmp_path / f"{name}-15m-2026.parquet")
    tape = load_tape(tmp_path, 1)
    assert set(tape.symbols) == {"BTCUSDT", "BTCUSDT_260327", "BTCUSDT_260626"}
    assert len({float(one.close[-1]) for one in tape.symbols.values()}) == 3
    assert set(load_tape(tmp_path / "BTCUSDT_260327-15m-2026.parquet", 1).symbols) == {"BTCUSDT_260327"}


@pytest.mark.parametrize("name", ["..", "../x", "a/b", "", "x" * 41])
def test_a_column_of_symbols_holds_symbols(tmp_path: Path, name: str) -> None:
    random_bars(5).with_columns(symbol=pl.lit(name)).write_parquet(tmp_path / "bars.parquet")
    with pytest.raises(DataInvalid, match="is not a symbol"):
        load_tape(tmp_path / "bars.parquet", 1)


@given(st.text(max_size=50))
def test_whatever_passes_for_a_symbol_is_one_part_of_a_path(text: str) -> None:
    try:
        symbol = symbol_of(text)
    except UsageError:
        assert not is_symbol(text.upper())
        return
    assert Path(symbol).parts == (symbol,)
    assert Path("root", symbol, "file").resolve().parent.parent == Path("root").resolve()
    assert symbol not in {".", ".."}
    assert len(f"{symbol}.json".encode()) < 255


def test_the_pair_and_the_day_of_a_contract() -> None:
    assert [pair_of(name) for name in ("BTCUSDT_260327", "BTCUSDT", "BTCUSD_PERP")] == [
        "BTCUSDT",
        "BTCUSDT",
        "BTCUSD_PERP",
    ]
    assert delivery_ms_of("BTCUSDT_260327") == datetime(2026, 3, 27, 8, tzinfo=UTC).timestamp() * 1000
    assert delivery_ms_of("BTCUSDT") is delivery_ms_of("BTCUSDT_261399") is None


def test_the_spot_markets_of_many_coins() -> None:
    assert spot_markets("1000SHIBUSDT") == (("1000SHIBUSDT", 1), ("SHIBUSDT", 1000))
    assert spot_markets("1000000MOGUSDT") == (("1000000MOGUSDT", 1), ("MOGUSDT", 1_000_000))
    assert spot_markets("BTCUSDT_260327") == (("BTCUSDT", 1),)
    assert spot_markets("1MBABYDOGEUSDT") == (("1MBABYDOGEUSDT", 1),)
    assert spot_markets("ETHUSDT") == (("ETHUSDT", 1),)


@pytest.mark.parametrize("symbol", ["BTCUSDT_260327", "币安人生USDT", "1000SHIBUSDT"])
def test_the_archive_knows_every_symbol_by_its_name(symbol: str) -> None:
    found = ArchiveFile.parse(f"/data/futures/um/monthly/klines/{symbol}/1h/{symbol}-1h-2024-01.zip.CHECKSUM")
    assert found is not None
    assert (found[0].symbol, found[1]) == (symbol, True)


def test_the_simulated_exchange_lists_a_contract_with_its_day() -> None:
    routes = PublicRoutes(synthetic_tape(("ETHUSDT", "ETHUSDT_991231"), 3, 0.0, 1))
    perpetual, quarter = routes.table["/fapi/v1/exchangeInfo"]({}, 0)["symbols"]
    assert (perpetual["contractType"], perpetual["pair"]) == ("PERPETUAL", "ETHUSDT")
    assert (quarter["contractType"], quarter["pair"], quarter["baseAsset"]) == ("CURRENT_QUARTER", "ETHUSDT", "ETH")
    index, query = routes.table["/fapi/v1/indexPriceKlines"], {"interval": "1h", "limit": "1"}
    assert index({**query, "pair": "ETHUSDT"}, routes.tape.end_ms)
    with pytest.raises(VenueRejection):
        index({**query, "pair": "ETHUSDT_991231"}, routes.tape.end_ms)
    assert quarter["deliveryDate"] == delivery_ms_of("ETHUSDT_991231") < perpetual["deliveryDate"]


# days and times

DAY = datetime(2026, 1, 31, tzinfo=UTC)
NOON = DAY + timedelta(hours=12)
SPELLED = {
    "2026-01-31": None,
    "20260131": None,
    "2026-W05-6": None,
    "2026W056": None,
    "2026-01-31T12": NOON,
    "2026-01-31T12:00": NOON,
    "2026-01-31 12:00": NOON,
    "20260131T1200": NOON,
    "20260131T120000Z": NOON,
    "2026-01-31t12:00:00.000z": NOON,
    "2026-01-31T13:00+01:00": NOON,
    "2026-01-31T13:00:00,000+0100": NOON,
    "2026W056T12": NOON,
    "20260131 120000": NOON,
}


@pytest.mark.parametrize("text", SPELLED)
def test_every_spelling_of_a_day_or_time_means_what_it_says(text: str) -> None:
    at = SPELLED[text]
    first, last = time_of(text, "--since"), time_of(text, "--until", end=True)
    if at is None:
        assert (first, last) == (int(DAY.timestamp() * 1000), int(DAY.timestamp() * 1000) + 86_400_000 - 1)
    else:
        assert first == last == int(at.timestamp() * 1000)


@pytest.mark.parametrize(
    "text",
    [
        "1769817600",
        "1769817600000",
        "1712011200000",
        "17120112000",
        "2026",
        "2026-01",
        "202601",
        "2026-W05",
        "2026W05",
        "2026-031",
        "2026031",
        "2026-1-31",
        "2026-02-30",
        "20260230",
        " 2026-01-31",
        "2026-01-31 ",
        "2026-01-31T",
        "2026-01-31x12:00",
        "2026-01-31T25:00",
        "2026-01-31+01:00",
        "31.01.2026",
        "01/31/2026",
        "yesterday",
        "",
        "nan",
        "２０２６-01-31",
    ],
)
@pytest.mark.parametrize("end", [False, True])
def test_what_could_mean_something_else_is_refused(text: str, *, end: bool) -> None:
    with pytest.raises(UsageError, match="wants a day or a time"):
        time_of(text, "--until", end=end)


@given(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)), st.integers(-840, 840))  # noqa: DTZ001
def test_a_time_is_exact_to_the_millisecond_in_every_zone(moment: datetime, minutes: int) -> None:
    at = moment.replace(microsecond=moment.microsecond // 1000 * 1000, tzinfo=timezone(timedelta(minutes=minutes)))
    expected = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    for spelled in (at.isoformat(), at.isoformat(" ", "milliseconds")):
        assert time_of(spelled, "--since") == expected
