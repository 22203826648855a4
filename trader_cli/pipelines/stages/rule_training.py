"""Training where a rule of one's own decides: nothing is fitted, the rule is certified and judged on what is stored."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from trader_cli import __version__
from trader_cli.analyst.claim_basis import library_versions
from trader_cli.analyst.rule_certificates import certified_rule
from trader_cli.analyst.rule_claim import judge_rule
from trader_cli.core.identity.digests import digest_value
from trader_cli.core.market.quality import UNFIT
from trader_cli.core.ports import silent
from trader_cli.features.rule_series import beside_bars, rule_bars, rule_frame, rule_signals
from trader_cli.pipelines.stages.training_inputs import count_tries, training_input
from trader_cli.settings.room_options import RuleOptions, TrainingOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from trader_cli.analyst.trained_rule import TrainedRule
    from trader_cli.core.ports import Progress
    from trader_cli.features.rule import BarSignals, NamedRule
    from trader_cli.pipelines.stages.training_inputs import TrainingData
    from trader_cli.settings import Workspace
    from trader_cli.storage.artifacts import ArtifactStore

_MATTERS = {"horizon_bars", "barrier_width", "volatility_span", "claim_probability"}


@dataclass(frozen=True)
class PreparedRule:
    """The configured rule, certified, and the series it is asked about."""

    workspace: Workspace
    named: NamedRule
    series: TrainingData

    @cached_property
    def signals(self) -> BarSignals:
        """What it says of each row of the series."""
        frame = rule_frame(self.named, self.series.bars, self.series.features)
        return rule_signals(self.named, rule_bars(frame, self.named.rule.inputs), self.series.timeframe)

    @property
    def key(self) -> str:
        """The digest of everything its judgement depends on."""
        series = (self.series.bars_manifest, self.series.features_manifest)
        return digest_value([*(made.digest for made in series), self.series.symbol, self._configuration])

    @property
    def _configuration(self) -> str:
        """The digest of what could be chosen: one trial, however often and on however many bars it is judged."""
        settings = self.workspace.settings
        matters = settings.analyst.model_dump(mode="json", include=_MATTERS)
        costs, of = settings.costs.model_dump(mode="json"), self.series.timeframe.name
        return digest_value(
            [__version__, "rule", of, self.named.identity(), matters, costs, library_versions(), [*UNFIT]]
        )

    def judged(self, workspace: Workspace, given: TrainingData, key: str) -> TrainedRule:
        """Its claim on the series, or on the beginning of it that is `given`."""
        said, rows = self.signals, slice(0, given.bars.height)
        known = type(said)(said.side[rows], said.stop[rows], said.target[rows])
        choice = rule_choice(self.named.identity(), self.series.timeframe.name)
        tries = count_tries(workspace, given, self._configuration, choice)
        options = TrainingOptions.of(workspace.settings)
        return judge_rule(training_input(given, key), self.named, known, options, tries)


def rule_choice(identity: Mapping[str, object], timeframe: str) -> str:
    """What its trials have in common by whichever means a rule is tried: its source, parameters, time frame."""
    return digest_value([dict(identity), timeframe])


def prepare_rule(
    workspace: Workspace, store: ArtifactStore, series: TrainingData, progress: Progress = silent
) -> PreparedRule:
    """The configured rule for a series, certified now if it was not before. Raises what `certified_rule` raises."""
    options, timeframe = RuleOptions.of(workspace.settings), series.timeframe

    def stored() -> pl.DataFrame:
        return beside_bars(series.bars, series.features)

    return PreparedRule(workspace, certified_rule(store, options, timeframe, progress, stored), series)
