"""No key, no secret in what a process keeps or tells: a plan decided, entered and closed, with every log line on."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from support.trading.desk import Desk, at_desk, entered
from test_rules_again import decided, stored_signal

from trader_cli.core.money.plans import Approved

pytestmark = pytest.mark.slow


def test_neither_files_nor_log_lines_hold_a_key(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    words: list[str] = []

    async def work(desk: Desk) -> None:
        exchange = desk.settings.binance_exchange
        words.extend(value.get_secret_value() for value in (exchange.api_key, exchange.api_secret))
        await stored_signal(desk)
        outcome = await decided(desk)
        assert isinstance(outcome, Approved)
        await entered(desk, desk.approved())
        await desk.exchange.private.account()
        await desk.exchange.private.positions()

    with caplog.at_level(logging.DEBUG):
        at_desk(work, tmp_path, state_dir=str(tmp_path / "s"), cache_dir=str(tmp_path / "c"))
    assert len(words) == 2
    files = [path for path in tmp_path.rglob("*") if path.is_file() and "venue" not in path.parts]
    assert any(path.suffix == ".sqlite" for path in files)
    for word in words:
        assert word not in caplog.text
        assert [path.name for path in files if word.encode() in path.read_bytes()] == []
