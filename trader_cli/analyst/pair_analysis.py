"""One analysis of a pair at a fast close: what the slow model permits now, and whether the fast one enters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.analyst.analysis import (
    explained,
    health_now,
    liquidation_by_leverage,
    row_of,
    state_of,
    view_of,
    with_sections,
)
from trader_cli.analyst.decision import DOWN, FLAT, UP
from trader_cli.analyst.labels import trailing_volatility
from trader_cli.analyst.model_age import expired
from trader_cli.analyst.outcomes import Assessed, veto_on_inputs
from trader_cli.analyst.pair_decision import FAST_ABSENT, PairSaid, pair_outcomes
from trader_cli.analyst.permission import COSTLESS
from trader_cli.analyst.trained_pair import TrainedPair
from trader_cli.core.types import Probabilities

if TYPE_CHECKING:
    from trader_cli.analyst.analysis import AnalysisInput
    from trader_cli.analyst.trained_model import TrainedModel
    from trader_cli.core.types import Analysis, Health
    from trader_cli.settings.room_options import AnalysisOptions


@dataclass(frozen=True)
class PairInput:
    """The slow series up to its last close, and the fast one up to its own: each with the pair, and the half of it."""

    slow: AnalysisInput
    fast: AnalysisInput

    @property
    def pair(self) -> TrainedPair:
        """What decides."""
        assert isinstance(self.slow.model, TrainedPair)
        return self.slow.model

    @property
    def decided_ms(self) -> int:
        """The fast close, UTC ms."""
        return int(self.fast.bars.open_ms[-1]) + self.fast.timeframe.ms


def analyse_pair(given: PairInput, config: AnalysisOptions) -> Analysis:
    """The analysis of the last fast bar. Raises `DataInvalid` if a half wants features that are not there."""
    decided, said = _decided(given, config)
    slow = given.slow
    health = _health(slow, config)
    view = with_sections(decided, slow, config, health)
    side = "long" if view.permission is None else view.permission.side
    view = replace(view, liquidation_probability=liquidation_by_leverage(slow, config, side))
    if said is None or view.permission is None:
        return view
    kind = UP if side == "long" else DOWN
    shares = explained(given.pair.slow, row_of(slow, given.pair.slow), kind) if "explanation" in slow.sections else {}
    return replace(view, explanation=shares, dual_score=view.permission.probability * float(said.probability[0]) ** 2)


def decide_pair(given: PairInput, config: AnalysisOptions) -> Analysis:
    """As `analyse_pair`, without what is only read."""
    return _decided(given, config)[0]


def _decided(given: PairInput, config: AnalysisOptions) -> tuple[Analysis, PairSaid | None]:
    """What is decided, and what both halves said where nothing was amiss before they were asked."""
    slow, fast, options = given.slow, given.fast, config.analyst
    view = replace(view_of(slow), decision_time_ms=given.decided_ms, price=float(fast.bars.close[-1]))
    veto = veto_on_inputs(state_of(slow), options, _health(slow, config))
    if veto is not None:
        return replace(view, outcome=veto), None
    pair, decided_ms, since_ms = given.pair, np.array([given.decided_ms]), slow.close_ms
    of_slow = _assessed(slow, pair.slow)
    up, down, flat = (float(of_slow.p[0, kind]) for kind in (UP, DOWN, FLAT))
    if given.decided_ms == since_ms:  # whatever the fast half says: what is held is assessed by it
        view = replace(view, probabilities=Probabilities(up, down, flat))
    veto = FAST_ABSENT if pair.fast is None else veto_on_inputs(state_of(fast), options, None)
    if veto is not None:
        return replace(view, outcome=veto), None
    assert pair.fast is not None
    assert pair.timing is not None
    said = PairSaid(
        pair=pair,
        timing=pair.timing,
        slow=of_slow,
        since_ms=np.array([since_ms]),
        fast=_assessed(fast, pair.fast),
        at_ms=decided_ms,
        costs=fast.costs(config.costs, pair.fast_horizon),
        allow_unproven=options.allow_unproven,
        lapsed=[slow.drifted or expired(pair, [given.decided_ms], options)[0]],
    )
    return replace(view, outcome=pair_outcomes(said, [view.price])[0], permission=said.permission(0)), said


def _health(given: AnalysisInput, config: AnalysisOptions) -> Health | None:
    """Health, where it is asked."""
    return health_now(given, config) if config.analyst.enable_market_health_analysis else None


def _assessed(given: AnalysisInput, half: TrainedModel) -> Assessed:
    """What a half says of the last bar, before costs."""
    p = half.side.predict(row_of(given, half))
    sigma = trailing_volatility(given.bars.close, half.volatility_span)[-1:]
    return Assessed(half, p, half.side.choose(p, sigma * np.sqrt(half.horizon_bars), COSTLESS), None, sigma, [None])
