"""No model trades a close that lies before the end of what it has seen."""

from __future__ import annotations

from dataclasses import replace

import pytest
import test_analyst
from support.training.pairs import FAST, SLOW, usual

from trader_cli.backtest.model_spans import ModelSpan
from trader_cli.core.errors import UsageError
from trader_cli.core.market.timeframes import Timeframe


def test_a_bar_that_was_learned_from_ends_at_its_close() -> None:
    model, quarter_ms = replace(test_analyst.MODEL, last_ms=9_000_000), Timeframe.parse("15m").ms
    ModelSpan(model, 9_000_000 + quarter_ms, "digest")
    for from_ms in (9_000_001, 9_000_000 + quarter_ms - 1):
        with pytest.raises(UsageError, match="has seen"):
            ModelSpan(model, from_ms, "digest")


def test_a_pair_has_seen_what_either_half_has() -> None:
    pair = usual()
    end = pair.slow.last_ms + SLOW.ms
    seen = max(end, pair.last_ms + FAST.ms)
    assert pair.seen_to_ms == seen
    ModelSpan(pair, seen, "digest")
    with pytest.raises(UsageError, match="has seen"):
        ModelSpan(pair, seen - 1, "digest")
    assert pair.learned_to_ms <= pair.seen_to_ms
