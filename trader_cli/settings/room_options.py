"""What a room needs of several sections of the settings, as one frozen value for each purpose.

Where a room needs one section only, it takes that section.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from trader_cli.settings.analyst_section import AnalystSettings
    from trader_cli.settings.model import (
        CostSettings,
        ExecutionSettings,
        FeatureSettings,
        Mode,
        MonitorSettings,
        PaperSettings,
        RuleSettings,
        Settings,
        TacticianSettings,
    )
    from trader_cli.settings.workspace import AccountId, Workspace


@dataclass(frozen=True)
class PaperOptions:
    """The account of the paper profile, and how far prices may lie apart for one to count (share of the mark price)."""

    account: PaperSettings
    max_price_spread: float

    @classmethod
    def of(cls, settings: Settings) -> PaperOptions:
        """Those of these settings."""
        return cls(settings.paper, settings.execution.max_price_spread)


@dataclass(frozen=True)
class ExecutionOptions:
    """Whose orders are sent, how, and within which limits. `state_dir` holds what demo trading has verified.
    Under `cache_dir` is known which models are current.

    `is_demo_trading`: at the exchange's own demo host, which does not tell a key's rights.
    """

    account: AccountId
    orders: ExecutionSettings
    limits: TacticianSettings
    costs: CostSettings
    is_demo_trading: bool
    state_dir: Path
    cache_dir: Path

    @classmethod
    def of(cls, workspace: Workspace) -> ExecutionOptions:
        """Those of a workspace."""
        settings, host = workspace.settings, workspace.settings.binance_exchange
        demo = host.use_testnet and host.base_url is None
        folders = workspace.state_dir, workspace.cache_dir
        return cls(workspace.account, settings.execution, settings.tactician, settings.costs, demo, *folders)


@dataclass(frozen=True)
class PlanningOptions:
    """What plans are made by. `barrier_width` is the distance of the label's price barriers, in σ·√horizon."""

    mode: Mode
    limits: TacticianSettings
    barrier_width: float

    @classmethod
    def of(cls, settings: Settings) -> PlanningOptions:
        """Those of these settings."""
        return cls(settings.mode, settings.tactician, settings.analyst.barrier_width)


@dataclass(frozen=True)
class ManagementOptions:
    """How an open position is managed; the thresholds are calibrated probabilities of a loss."""

    monitor: MonitorSettings
    high_risk_threshold: float
    medium_risk_threshold: float
    low_risk_threshold: float

    @classmethod
    def of(cls, settings: Settings) -> ManagementOptions:
        """Those of these settings."""
        return cls(
            settings.monitor,
            settings.high_risk_threshold,
            settings.medium_risk_threshold,
            settings.low_risk_threshold,
        )


@dataclass(frozen=True)
class AnalysisOptions:
    """What an analysis contains and what vetoes it, and what trading costs."""

    analyst: AnalystSettings
    costs: CostSettings

    @classmethod
    def of(cls, settings: Settings) -> AnalysisOptions:
        """Those of these settings."""
        return cls(settings.analyst, settings.costs)


@dataclass(frozen=True)
class TrainingOptions:
    """How models are trained and claims are judged; `features` says which families are fitted in training."""

    analyst: AnalystSettings
    costs: CostSettings
    features: FeatureSettings
    seed: int

    @classmethod
    def of(cls, settings: Settings) -> TrainingOptions:
        """Those of these settings."""
        return cls(settings.analyst, settings.costs, settings.feature_engineering_orchestrator, settings.seed)


@dataclass(frozen=True)
class RuleOptions:
    """Which rule of one's own decides, if one does, and which features there are for it to read."""

    rule: RuleSettings
    features: FeatureSettings

    @classmethod
    def of(cls, settings: Settings) -> RuleOptions:
        """Those of these settings."""
        return cls(settings.rule, settings.feature_engineering_orchestrator)
