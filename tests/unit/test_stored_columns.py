"""Columns that are read when they are asked for: once, until they are let go of."""

from __future__ import annotations

import polars as pl

from trader_cli.storage.stored_columns import StoredColumns


def test_they_are_read_when_asked_for_and_again_once_let_go() -> None:
    read: list[int] = []

    def reading() -> pl.DataFrame:
        read.append(1)
        return pl.DataFrame({"one": [1.0], "two": [2.0]})

    stored = StoredColumns(reading)
    assert not read
    assert stored.columns == ["one", "two"]
    assert stored.get_column("two").to_list() == stored.frame()["two"].to_list() == [2.0]
    assert len(read) == 1
    stored.let_go()
    assert stored.get_column("one").to_list() == [1.0]
    assert len(read) == 2


def test_those_of_a_frame_stay() -> None:
    frame = pl.DataFrame({"one": [1.0]})
    stored = StoredColumns.of(frame)
    stored.let_go()
    assert stored.frame() is frame
