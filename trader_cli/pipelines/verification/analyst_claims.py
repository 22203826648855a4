"""The claim of a model obeys its own numbers, and holds only under what it was made with."""

from __future__ import annotations

from dataclasses import replace
from statistics import NormalDist
from typing import TYPE_CHECKING

from trader_cli.analyst.analysis import analyse
from trader_cli.analyst.analyst import Analyst
from trader_cli.analyst.claim_basis import changed_since
from trader_cli.core.errors import DataStale
from trader_cli.core.json_values import object_of
from trader_cli.pipelines.verification.analysed_rows import (
    code_of,
    input_at,
    study_model,
)
from trader_cli.pipelines.verification.checks import (
    Finding,
    at_least,
    equal,
)
from trader_cli.pipelines.verification.lab import SYMBOL, TIMEFRAME
from trader_cli.settings.room_options import AnalysisOptions, TrainingOptions
from trader_cli.venue.clocks import FixedClock

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from trader_cli.core.types import Claim
    from trader_cli.pipelines.verification.lab import Lab


_MIN_TRADES, _FADED = 30, NormalDist().inv_cdf(0.01)


def claim_obeys_its_numbers(lab: Lab) -> Iterator[Finding]:
    """An edge is claimed just where every statistic says so, and without one there is no signal."""
    level = lab.study.settings.analyst.claim_probability
    for name, study in (("planted lead", lab.study), ("no lead", lab.null_study)):
        claim = study.trained.claim
        yield equal(f"edge claimed, {name}", _earned(claim, level), claim.edge)
        yield at_least(f"tries counted, {name}", 1, claim.trials)
    model = study_model(lab)
    without = replace(model, claim=replace(model.claim, edge=False, reason="taken away by the verification"))
    for back in (1, 2, 3):
        outcome = analyse(input_at(lab, back, without), AnalysisOptions.of(lab.study.settings)).outcome
        yield equal(f"outcome without a claim, {back} from the end", "no_edge", code_of(outcome))


def claim_is_bound(lab: Lab) -> Iterator[Finding]:
    """Analysed under other costs, seed or act model than those the claim was made with, and under its own."""
    study = lab.study
    costs, options = study.settings.costs, study.settings.analyst
    dearer = {"costs": costs.model_copy(update={"taker_fee_bps": costs.taker_fee_bps + 1})}
    level = {"claim_probability": (1 + options.claim_probability) / 2}
    act = {"enable_dual_model_system": not options.enable_dual_model_system}
    cases: tuple[tuple[str, Mapping[str, object], str], ...] = (
        ("its own", {}, "analysed"),
        ("a higher fee", dearer, "refused, train named"),
        ("another seed", {"seed": study.settings.seed + 1}, "refused, train named"),
        ("a higher level", {"analyst": options.model_copy(update=level)}, "refused, train named"),
        ("another act model", {"analyst": options.model_copy(update=act)}, "refused, train named"),
    )
    now_ms = int(study.bars["open_time"].to_physical()[-1]) + TIMEFRAME.ms
    for what, changes, wanted in cases:
        analyst = Analyst(study.settings.model_copy(update=changes), clock=FixedClock(now_ms))
        try:
            analyst.analyse(SYMBOL, TIMEFRAME)
            said = "analysed"
        except DataStale as error:
            said = "refused, train named" if f"trader train {SYMBOL}" in str(error) else str(error)
        yield equal(f"under {what}", wanted, said)

    model = study_model(lab)
    others = {**model.made_with, "libraries": {**object_of(model.made_with["libraries"]), "numpy": "0.0"}}
    for what, made, holds_not in (("its own", model.made_with, False), ("another numpy", others, True)):
        changed = changed_since(made, model.producer, TrainingOptions.of(study.settings))
        yield equal(f"made with {what}: does not hold", holds_not, changed is not None)


def _earned(claim: Claim, level: float) -> bool:
    return (
        claim.trades >= _MIN_TRADES
        and claim.deflated_sharpe_probability >= level
        and claim.excess_sharpe_probability >= level
        and claim.doubled_cost_sharpe_per_bar > 0
        and claim.fading >= _FADED
    )
