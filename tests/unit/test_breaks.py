"""The campaign that breaks the product on purpose stays current: what it breaks, and who must see it, is there."""

from __future__ import annotations

import importlib
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

from trader_cli.pipelines.live_trading_integration_verifier import CHECKS

SCRIPTS = Path(__file__).parents[2] / "scripts"
KINDS = 24


@pytest.fixture
def campaign(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    for name in ("breaks", "backtest_breaks", "break_verify"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("break_verify")


def test_every_break_finds_what_it_breaks(campaign: ModuleType) -> None:
    assert len({one.name for one in campaign.BREAKS}) == len(campaign.BREAKS) >= 10
    for one in campaign.BREAKS:
        for name, text, other in one.replacements:
            assert (campaign.PACKAGE / name).read_text("utf-8").count(text) == 1, f"{one.name}: {text!r} in {name}"
            assert text != other


def test_everybody_who_must_see_a_break_is_there(campaign: ModuleType) -> None:
    known = {check.name for check in CHECKS}
    for one in campaign.BREAKS:
        assert one.seen_by or one.tests, one.name
        assert set(one.seen_by) <= known, one.name
        for name in one.tests:
            file, _, test = campaign.node(campaign.ROOT, name).partition("::")
            assert f"def {test.partition('[')[0]}" in Path(file).read_text("utf-8"), f"{one.name}: {name}"
    assert sum(bool(one.seen_by and one.tests) for one in campaign.BREAKS) >= KINDS


EXITS = "test_exits.py::test_time_and_target_close"
FORGOTTEN = ("core/money/exits.py", "if now_ms >= position.exit_by_ms:", "if False:")
CLUMSY = ("core/money/exits.py", "if now_ms >= position.exit_by_ms:", "if nobody_knows_this:")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("replacement", "test", "unseen", "by"),
    [
        (FORGOTTEN, EXITS, False, EXITS),
        (CLUMSY, EXITS, True, "a crash"),
        (FORGOTTEN, "test_exits.py::test_the_trail_follows_in_whole_rungs", True, "nothing"),
    ],
)
def test_a_break_is_seen_where_a_test_fails_and_not_where_it_crashes_or_passes(
    campaign: ModuleType, tmp_path: Path, replacement: tuple[str, str, str], test: str, unseen: bool, by: str
) -> None:
    one = campaign.Break("time forgotten", (), (test,), (replacement,))
    campaign.broken_copy(one, tmp_path / "copy")
    found = campaign.unseen_by_tests(one, tmp_path / "copy")
    assert (found[0], by in found[1]) == (unseen, True), found


@pytest.mark.slow
def test_tests_that_look_at_another_package_than_the_copy_prove_nothing(campaign: ModuleType, tmp_path: Path) -> None:
    one = campaign.Break("nothing", (), (EXITS,), ())
    campaign.broken_copy(one, tmp_path / "copy")
    shutil.move(tmp_path / "copy" / "trader_cli", tmp_path / "elsewhere")
    with pytest.raises(RuntimeError, match="did not look at the copy"):
        campaign.tested(tmp_path / "copy", one.tests)
