"""`analysis_type` and `include_…` choose the sections of an analysis, and change nothing of what it decides."""

from __future__ import annotations

from typing import Any

import pytest
import test_analyst

from trader_cli.analyst.analysis import analyse
from trader_cli.analyst.sections import ANALYSIS_TYPES, SECTIONS, sections_of
from trader_cli.core.errors import UsageError
from trader_cli.core.types import Analysis
from trader_cli.settings import as_settings
from trader_cli.settings.room_options import AnalysisOptions

SHOWN: dict[str, Any] = {
    "indicators": lambda a: a.technical,
    "patterns": lambda a: a.patterns,
    "levels": lambda a: a.levels,
    "health": lambda a: a.health,
    "regime": lambda a: a.regime and a.regime_held,
    "liquidation": lambda a: a.liquidation_probability,
    "interval": lambda a: a.return_interval,
    "explanation": lambda a: a.explanation,
}
ROW = {"a": 2.0, "b": 1.0, "c": 0.0, "rsi_14": 60.0}
WITH_A_PATTERN = 1008
"""So many bars: the last of them is a candle of some kind."""


def made(**asked: object) -> Analysis:
    bars = test_analyst.BARS.cut(0, WITH_A_PATTERN)
    given = test_analyst.given_input(bars=bars, features=ROW, sections=sections_of(asked))
    return analyse(given, AnalysisOptions.of(as_settings({})))


def shown(analysis: Analysis) -> set[str]:
    return {name for name, part in SHOWN.items() if part(analysis)}


def test_a_kind_of_analysis_has_its_sections_and_decides_as_every_other() -> None:
    whole = made()
    assert shown(whole) == SECTIONS == ANALYSIS_TYPES["full"]
    for kind, sections in ANALYSIS_TYPES.items():
        one = made(analysis_type=kind)
        assert shown(one) == sections
        assert (one.outcome, one.probabilities, one.claim) == (whole.outcome, whole.probabilities, whole.claim)


@pytest.mark.parametrize("section", sorted(SECTIONS))
def test_each_section_can_be_left_out_and_added(section: str) -> None:
    assert shown(made(**{f"include_{section}": False})) == SECTIONS - {section}
    assert shown(made(analysis_type="signal", **{f"include_{section}": True})) == {section}


def test_an_unhealthy_market_vetoes_where_health_is_not_shown() -> None:
    given = test_analyst.given_input(snapshot=None, book_age_ms=None, sections=sections_of({"analysis_type": "signal"}))
    analysis = analyse(given, AnalysisOptions.of(as_settings({})))
    assert (analysis.health, analysis.signal) == (None, None)
    assert analysis.as_dict()["abstention"]["code"] == "unhealthy_market"


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"analysis_type": "fundamental"}, "full, technical, risk, signal"),
        ({"include_patern": True}, "include_patterns"),
        ({"include_patterns": "false"}, "found 'false'"),
    ],
)
def test_what_is_not_known_is_refused(asked: dict[str, object], named: str) -> None:
    with pytest.raises(UsageError) as refused:
        sections_of(asked)
    assert named in f"{refused.value} {refused.value.hint}"
