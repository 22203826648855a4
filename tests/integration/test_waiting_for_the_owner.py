"""Whoever waits for another process to flatten, and gives up, hears what is left; no ledger that is damaged is in the way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.trading.desk import SYMBOL, Desk, at_desk

from trader_cli.core.errors import HungUp, Terminated
from trader_cli.pipelines.trading.flatten_without_ledger import FlattenRequest
from trader_cli.pipelines.trading.risk_reduction import _naming_what_is_left

pytestmark = pytest.mark.slow
DAMAGES: dict[str, Callable[[Path], object]] = {
    "whole": lambda _path: None,
    "lost": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "beheaded": lambda path: path.write_bytes(b"\0" * 100 + path.read_bytes()[100:]),
}


def held(path: Path) -> Path:
    """A ledger with one position in it."""

    async def work(desk: Desk) -> Path:
        with desk.open() as (_, executor):
            await executor.enter(desk.approved())
        return desk.path

    found = at_desk(work, path)
    assert isinstance(found, Path)
    return found


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_ledger_that_cannot_be_read_keeps_nobody_from_waiting(kind: str, tmp_path: Path) -> None:
    path, said = held(tmp_path), list[str]()
    DAMAGES[kind](path)
    with _naming_what_is_left(path, FlattenRequest("flatten", say=said.append)):
        pass
    assert said == []
    for end in (KeyboardInterrupt, Terminated, HungUp):
        said.clear()
        with pytest.raises(end), _naming_what_is_left(path, FlattenRequest("flatten", say=said.append)):
            raise end
        assert "withdrawn" in said[0]
        assert [line.startswith(f"Left as it is: {SYMBOL}: ") for line in said[1:]] == [True] * (kind == "whole")
