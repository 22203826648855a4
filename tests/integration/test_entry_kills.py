"""`kill -9` between sending an entry and its cover, with slow endpoints: one order per intent, covered or closed in time.

A seeded slice here; `make entry-kills` makes 200 (TRADER_ENTRY_KILLS).
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.trading.entry_kills import campaign, summary

pytestmark = pytest.mark.slow

_ASKED = int(os.environ.get("TRADER_ENTRY_KILLS", "0"))
_SLICE = (0, 2, 3, 4, 5, 6)


def test_killed_between_an_entry_and_its_cover_a_new_process_goes_on(tmp_path: Path) -> None:
    if _ASKED:
        lanes = int(os.environ.get("TRADER_LANES", "5"))
        done = campaign(tmp_path, range(4 * _ASKED), lanes, lambda so_far: sum(s.between for s in so_far) >= _ASKED)
    else:
        done = campaign(tmp_path, _SLICE, 3)
    print(summary(done))
    for struck in done:
        assert not struck.wrong, struck
    assert sum(struck.between for struck in done) >= (_ASKED or 1)
