"""Which symbols are traded: the largest by what had been traded by then, and nothing that came later."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.commands.in_process import Inside

from trader_cli.cli.options import named_symbols
from trader_cli.core.errors import DataMissing, UsageError
from trader_cli.core.market.schemas import TIME
from trader_cli.core.market.timeframes import DAY_MS, HOUR_MS, Timeframe
from trader_cli.pipelines.backtests.backtest_request import WALK_FORWARD, BacktestRequest
from trader_cli.pipelines.backtests.declared_listing import ListingProof, proof_of
from trader_cli.pipelines.backtests.universe import VOLUME_DAYS, largest, membership, symbols_in

HOUR = Timeframe.parse("1h")
NAMES = ("AAAUSDT", "BBBUSDT", "CCCUSDT", "DDDUSDT")


def traded(volumes: np.ndarray, first_ms: int = 0) -> pl.DataFrame:
    """Hours of so much quote volume."""
    times = first_ms + HOUR_MS * np.arange(len(volumes))
    ones = np.ones(len(volumes))
    columns = {"open_time": pl.Series(times).cast(TIME), "close": ones, "volume": volumes}
    return pl.DataFrame({**columns, "quote_volume": pl.Series(volumes, dtype=pl.Float64)})


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_members_are_the_largest_of_what_had_closed_and_the_future_changes_none(seed: int, count: int) -> None:
    dice = np.random.default_rng(seed)
    volumes = {name: dice.uniform(0, 1, 24 * 90) * dice.choice([1, 5, 20], 24 * 90) for name in NAMES}
    cuts = [day * DAY_MS for day in (20, 45, 60, 80)]
    universe = largest({name: traded(v) for name, v in volumes.items()}, HOUR, cuts, count)
    for cut, members in zip(cuts, universe.members, strict=True):
        first, stop = max(0, cut // HOUR_MS - 24 * VOLUME_DAYS), cut // HOUR_MS
        sums = {name: float(v[first:stop].sum()) for name, v in volumes.items()}
        assert members == set(sorted(NAMES, key=lambda name: -sums[name])[:count])
    changed = {name: np.concatenate([v[: 24 * 45], dice.uniform(0, 99, 24 * 45)]) for name, v in volumes.items()}
    again = largest({name: traded(v) for name, v in changed.items()}, HOUR, cuts[:2], count)
    assert again.members == universe.members[:2]
    for name in NAMES:
        for first_ms, last_ms in universe.spans(name, cuts[-1]):
            assert name in universe.members[universe.cuts.index(first_ms)]
            assert last_ms in {*cuts, cuts[-1] + 1}


def test_who_has_not_begun_is_no_member_yet() -> None:
    bars = {"AAAUSDT": traded(np.ones(24 * 60)), "BBBUSDT": traded(np.full(24 * 20, 50.0), 40 * DAY_MS)}
    universe = largest(bars, HOUR, [30 * DAY_MS, 50 * DAY_MS], 1)
    assert universe.members == ({"AAAUSDT"}, {"BBBUSDT"})
    with pytest.raises(DataMissing):
        largest({"BBBUSDT": bars["BBBUSDT"]}, HOUR, [30 * DAY_MS], 1)


def test_who_was_listed_within_the_span_is_a_member_from_where_it_enters_on() -> None:
    bars = {"AAAUSDT": traded(np.ones(24 * 60)), "BBBUSDT": traded(np.full(24 * 40, 50.0), 20 * DAY_MS)}
    cuts, entered = [day * DAY_MS for day in (10, 30, 50)], {"BBBUSDT": 50 * DAY_MS}
    universe = largest(bars, HOUR, cuts, 1, entered)
    assert universe.members == ({"AAAUSDT"}, {"AAAUSDT"}, {"BBBUSDT"}), "it takes no place before"
    span = (10 * DAY_MS, 59 * DAY_MS)
    everyone = BacktestRequest(tuple(bars), HOUR, *span, WALK_FORWARD, 20 * DAY_MS, survivors=True)
    assert membership(bars, everyone, span, {"BBBUSDT": 30 * DAY_MS}) == {
        "AAAUSDT": None,
        "BBBUSDT": ((30 * DAY_MS, 50 * DAY_MS), (50 * DAY_MS, 59 * DAY_MS + 1)),
    }


def test_a_file_of_symbols_is_read_and_one_without_is_refused(tmp_path: Path) -> None:
    (tmp_path / "some").write_text("# mine\nETHUSDT\n\nBTCUSDT # the big one\nETHUSDT\n")
    assert symbols_in(tmp_path / "some") == (["ETHUSDT", "BTCUSDT"], ())
    (tmp_path / "none").write_text("# nothing\n")
    for name in ("none", "absent"):
        with pytest.raises(UsageError):
            symbols_in(tmp_path / name)


def test_a_list_with_days_says_what_was_tradable_when(tmp_path: Path) -> None:
    file = tmp_path / "listed"
    file.write_text("AAAUSDT 2020-01-01\nBBBUSDT 2020-01-01 2020-03-01 # ended\nCCCUSDT 2020-02-01\n")
    names, listed = symbols_in(file)
    assert names == ["AAAUSDT", "BBBUSDT", "CCCUSDT"]
    day = DAY_MS
    first = listed[0].from_ms
    assert [one.holds(first) for one in listed] == [True, True, False]
    assert listed[1].holds(first + 60 * day + day // 2)
    assert not listed[1].holds(first + 61 * day)
    span = (first + 20 * day, first + 100 * day)
    whole = {"AAAUSDT": (first, span[1]), "BBBUSDT": (first + day, first + 60 * day + 5)}
    assert proof_of(listed, whole, span).absent == ()
    assert proof_of(listed, whole, span).tradable == 2, "what is listed later is no part of it"
    for lacking in (
        {"AAAUSDT": whole["AAAUSDT"]},
        {**whole, "BBBUSDT": (first, first + 59 * day)},
        {**whole, "BBBUSDT": (span[0] + 1, first + 61 * day)},
    ):
        assert proof_of(listed, lacking, span).absent == ("BBBUSDT",)
    proof = proof_of(listed, {}, span)
    assert (proof.absent, ListingProof.from_dict(proof.as_dict())) == (("AAAUSDT", "BBBUSDT"), proof)
    with pytest.raises(UsageError, match="no symbol was tradable"):
        proof_of(listed, whole, (0, 1))


@pytest.mark.parametrize("line", ["AAAUSDT", "AAAUSDT soon", "AAAUSDT 2020-02-01 2020-01-01", "AA 2020-01-01 2 3"])
def test_a_line_that_names_no_days_beside_others_that_do_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "mixed").write_text(f"BBBUSDT 2020-01-01\n{line}\n")
    with pytest.raises(UsageError, match=r"mixed, line 2: '.*' is no line such as"):
        symbols_in(tmp_path / "mixed")


def test_what_is_wrong_in_a_file_of_symbols_is_told_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    for text in (
        "# mine\nethusdt\n\nBTC/USDT\n",
        "ETHUSDT\r\rBTCUSDT\rBTC/USDT",
        "AA 2020-01-01\n\n\nBTC/USDT 2020-01-01",
    ):
        file.write_text(text)
        with pytest.raises(UsageError, match=r"mine.txt, line 4: 'BTC/USDT' is not a symbol"):
            symbols_in(file)
    file.write_text("ETHUSDT, BTCUSDT\n\n\nBNBUSDT BTC/USDT")
    with pytest.raises(UsageError, match=r"mine.txt, line 4: 'BTC/USDT' is not a symbol"):
        named_symbols(None, file, 0)


def test_symbols_of_a_file_that_are_not_stored_are_told_with_their_lines(tmp_path: Path) -> None:
    listed = [f"X{number}USDT" for number in range(9)]
    (tmp_path / "mine").write_text("\n".join(["# mine", *listed, listed[0]]))
    ran = Inside(tmp_path, ("--profile", "sim")).run("backtest", "--symbols-file", "mine", "-t", "15m")
    told = (
        "mine, line 2: no 15m bars of X0USDT are stored in profile sim, nor of X1USDT (line 3), X2USDT (line 4),"
        " X3USDT (line 5), X4USDT (line 6), X5USDT (line 7), 3 more. Run `trader fetch --symbols-file mine --timeframe"
        " 15m --profile sim` and `trader features --all --timeframe 15m --profile sim`.\n"
    )
    assert (ran.code, ran.err) == (4, told)
