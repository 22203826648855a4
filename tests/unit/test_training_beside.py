"""Training beside care: the loop turns while a model is fitted, and nobody waits for one that nobody wants any more."""

from __future__ import annotations

import asyncio
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from trader_cli.core.market.timeframes import Timeframe
from trader_cli.pipelines.trading import iterations

M15 = Timeframe.parse("15m")


class Training:
    """Ten steps of 50 ms, told one by one."""

    def __init__(self) -> None:
        self.steps = 0
        self.thread: threading.Thread | None = None
        self.over = threading.Event()

    def __call__(self, _settings: object, _symbol: str, _timeframe: object, progress: Any) -> None:
        """As the stage does: a step, then how far it has come."""
        self.thread = threading.current_thread()
        try:
            for step in range(10):
                time.sleep(0.05)
                self.steps += 1
                progress("walk-forward", step + 1, 10)
        finally:
            self.over.set()


def trader(*, threads: bool) -> Any:
    made = object.__new__(iterations.Trader)
    vars(made).update(
        workspace=None,
        market=SimpleNamespace(threads=threads, exchange=SimpleNamespace(server_now_ms=lambda: 0)),
        sink=iterations.EventSink(),
    )
    return made


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> Training:
    made = Training()
    monkeypatch.setattr(iterations, "train", made)
    monkeypatch.setattr(iterations, "has_model", lambda *_: False)
    return made


def test_the_loop_turns_while_a_model_is_trained(training: Training) -> None:
    async def life() -> int:
        turns, task = 0, asyncio.ensure_future(trader(threads=True).train_beside("ETHUSDT", M15))
        while not task.done():
            await asyncio.sleep(0.01)
            turns += 1
        await task
        return turns

    assert asyncio.run(life()) > 5
    assert (training.steps, training.thread is threading.main_thread()) == (10, False)


def test_a_training_that_nobody_waits_for_ends_at_its_next_step(training: Training) -> None:
    async def life() -> None:
        task = asyncio.ensure_future(trader(threads=True).train_beside("ETHUSDT", M15))
        await asyncio.sleep(0.12)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(life())
    assert training.over.wait(5)
    assert training.steps < 10


def test_where_time_is_virtual_nothing_happens_in_threads(training: Training) -> None:
    asyncio.run(trader(threads=False).train_beside("ETHUSDT", M15))
    assert (training.steps, training.thread) == (10, threading.main_thread())


def test_a_model_that_is_there_is_not_trained_again(training: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iterations, "has_model", lambda *_: True)
    asyncio.run(trader(threads=True).train_beside("ETHUSDT", M15))
    assert training.steps == 0
