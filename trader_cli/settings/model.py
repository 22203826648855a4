"""Every configuration key, with its type, range and meaning. The defaults live in `defaults/default.yaml`.

The guide's keys keep the guide's names and places. A key's `description` is what docs/configuration.md prints.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from trader_cli.core.identity.digests import digest_value
from trader_cli.settings.analyst_section import AnalystSettings  # noqa: TC001 — pydantic reads it
from trader_cli.settings.section import Count, Fraction, NotNegative, Positive, Section

Mode = Literal["paper", "sim", "demo", "live"]
FetchKind = Literal["mark", "index", "spot", "funding", "open-interest", "trades", "depth", "info"]


class BinanceExchangeSettings(Section):
    """Where the exchange is and how it is spoken to."""

    api_key: SecretStr = Field(description="API key; from the environment only, never in a file")
    api_secret: SecretStr = Field(
        description="HMAC secret, or the text of a PEM private key (Ed25519, RSA); from the environment only"
    )
    use_testnet: bool = Field(description="speak to the exchange's demo trading instead of the real exchange")
    timeout: Positive = Field(description="seconds until an unanswered request is given up")
    max_retries: int = Field(ge=0, le=20, description="how often a failed read is tried again; orders never are")
    base_url: str | None = Field(description="scheme://host:port of any Binance-compatible host; null: Binance")
    archive_url: str | None = Field(
        description="scheme://host:port of the bulk archive; null: that of base_url, else of Binance"
    )
    streams: bool = Field(
        description="hear of fills and stops by the account's stream, and look at once; looks go on without it"
    )
    clock: Literal["wall", "venue"] = Field(description="wall: this machine's; venue: that of `trader venue serve`")
    max_clock_skew: Positive = Field(description="seconds this machine's clock may differ from the exchange's")
    weight_fraction: Annotated[float, Field(gt=0, le=1)] = Field(
        description="share of the exchange's request weight per minute that may be used"
    )

    @field_validator("api_key")
    @classmethod
    def _is_one_line(cls, value: SecretStr) -> SecretStr:
        """Without the blanks and quotes that files of variables leave around it."""
        return SecretStr(value.get_secret_value().strip().strip("\"'").strip())

    @field_validator("base_url", "archive_url")
    @classmethod
    def _is_a_url(cls, value: str | None) -> str | None:
        url = urlsplit(value or "http://unset")
        if url.scheme not in {"http", "https"} or not url.hostname or url.username is not None:
            raise ValueError("write it as http(s)://host[:port], without a user")
        return value


class WaveletCacheSettings(Section):
    """The block cache of wavelet features."""

    cache_enabled: bool = Field(description="keep computed wavelet blocks")
    cache_dir: str | None = Field(
        description="folder of the wavelet block cache; null: `wavelet` in the artifacts' root"
    )


class FeatureSettings(Section):
    """Which features are built, and with what parameters."""

    enable_advanced_features: bool = Field(
        description="wavelets, higher frames, sessions, levels, order flow, derivatives; fitted: regimes, fracdiff"
    )
    enable_autoencoder_features: bool = Field(description="bottleneck and reconstruction error, fitted in training")
    autoencoder_bottleneck: int = Field(ge=1, le=32, description="numbers an autoencoder squeezes a row into")
    enable_legacy_features: bool = Field(description="technical indicators")
    wavelet_cache: WaveletCacheSettings
    wavelets: tuple[str, ...] = Field(min_length=1, description="orthogonal wavelets by PyWavelets name")
    wavelet_levels: int = Field(ge=1, le=8, description="decomposition levels")
    wavelet_window: int = Field(ge=4, le=4096, description="bars over which an energy is averaged")
    higher_timeframes: tuple[str, ...] | None = Field(description="higher frames; null: two chosen by time frame")
    user_families: tuple[str, ...] = Field(
        description="own feature families: Python files, or entry points of the group trader.feature_families"
    )
    live_budget_ms: Positive = Field(
        description="CPU milliseconds one new bar's features may take before `run` refuses"
    )


class RuleSettings(Section):
    """A rule of one's own that decides in place of the trained models."""

    name: str | None = Field(
        description="`sma_cross`, `channel_breakout`, my_rule.py:MyRule, or an entry point of the group trader.rules;"
        " null: the trained models decide"
    )
    parameters: dict[str, bool | int | float] = Field(description="the rule's parameters; the others as by default")
    time_limit: Positive = Field(description="seconds its certification may take in a process of its own")


class CostSettings(Section):
    """What trading costs."""

    taker_fee_bps: NotNegative = Field(description="taker fee, basis points of notional")
    slippage_bps: NotNegative = Field(description="slippage of a market order, basis points of notional")
    funding_bps: NotNegative = Field(
        description="funding assumed against us where the symbol's own rates are not known, basis points per 8 hours"
    )

    @property
    def digest(self) -> str:
        """Names these costs: an analysis after others is not acted on."""
        return digest_value(self.model_dump(mode="json"))


class FetchSettings(Section):
    """How much is fetched, and what is accepted."""

    history_bars: Count = Field(description="bars fetched where no limit is given")
    kinds: tuple[FetchKind, ...] = Field(description="what is fetched besides bars and the market's state")
    allow_gaps: bool = Field(description="go on where bars are missing; features bridge up to 12 of them")


class TacticianSettings(Section):
    """How large a position may be, and with what leverage. Shares are of the account's equity."""

    tactics_interval: Positive = Field(description="seconds between two looks at the tactics of a pending signal")
    max_history: Count = Field(description="tactics results kept in memory")
    enable_position_sizing: bool = Field(description="size by edge, risk and every limit; off: the smallest order")
    enable_leverage_optimization: bool = Field(description="leverage from liquidation probability; off: 1")
    enable_risk_management: bool = Field(description="stops, limits and refusals; cannot be off in live")
    kelly_fraction: Annotated[float, Field(gt=0, le=0.5)] = Field(description="share of the Kelly bet that is taken")
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = Field(
        description="one-sided confidence of the lower bound of the win rate"
    )
    risk_per_trade: Annotated[float, Field(gt=0, le=0.1)] = Field(description="loss at the stop, share of equity")
    target_volatility: Positive = Field(description="volatility a position may add, per year, share of equity")
    max_exposure: Positive = Field(description="notional of all positions together, share of equity")
    max_same_side: Positive = Field(description="notional of all positions on one side, share of equity")
    max_book_share: Annotated[float, Field(gt=0, le=1)] = Field(description="share of the visible book to take")
    max_volume_share: Annotated[float, Field(gt=0, le=1)] = Field(description="share of a mean bar's volume to take")
    max_leverage: int = Field(ge=1, le=125, description="leverage never exceeded")
    max_liquidation_probability: Fraction = Field(
        description="probability that mark touches liquidation within the horizon, the stop left out of account"
    )
    margin_share: Annotated[float, Field(gt=0, le=1)] = Field(description="share of the available balance for margin")
    capital_cap: Positive | None = Field(
        description="notional of all positions in dollars; a USDC is one, other assets by their mark; live needs one"
    )
    plan_validity: Positive = Field(description="bars until a plan expires")
    max_price_drift: Positive = Field(description="how far price may have moved, as a share of the stop's distance")
    backstop_distance: Annotated[float, Field(gt=1, le=5)] = Field(
        description="distance of the backstop, in distances of the stop"
    )
    max_daily_loss: Annotated[float, Field(gt=0, le=1)] = Field(
        description="loss of a UTC day that halts, of equity, whatever took it"
    )
    max_drawdown: Annotated[float, Field(gt=0, le=1)] = Field(
        description="loss from the highest equity seen, open profit included, that halts"
    )
    close_on_halt: bool = Field(description="a halt by loss limits closes open positions")


class ExecutionSettings(Section):
    """How orders are carried out."""

    protection_deadline: Positive = Field(description="seconds after the first fill until a position must be covered")
    persistence: Positive = Field(
        description="seconds `enter` and `flatten` wait to learn what became of what is covered; while bare they go on"
    )
    request_budget: Positive = Field(description="seconds one answer is waited for while a position needs care")
    absence_after: Positive = Field(
        description="seconds for which order, trades and position must agree before what was sent counts as absent"
    )
    max_entries_per_hour: Count = Field(description="entries of one symbol within an hour; one more latches the symbol")
    max_entries_per_day: Count = Field(description="entries of the account within 24 hours; one more halts")
    max_price_spread: Annotated[float, Field(gt=0, le=0.5)] = Field(
        description="how far mark, index and last price may lie apart for an entry, as a share of the mark price"
    )
    without_demo_verification: bool = Field(
        description="open in live although `verify` tier 2 has not passed on demo trading with this version"
    )


class MonitorSettings(Section):
    """How an open position is cared for. R is the distance from entry to the first stop."""

    trail_distance: Positive = Field(description="distance of the trailing stop from the best price, in R")
    trail_step: Positive = Field(description="step in which the stop follows, in R")
    confidence_half_life: Positive = Field(description="bars after which an opinion without news counts half")
    min_dwell: NotNegative = Field(description="bars between two acts of opinion on one position")


class PaperSettings(Section):
    """The account of the `paper` profile."""

    balance: Positive = Field(description="USDT a paper account opens with")
    assets: tuple[Annotated[str, Field(pattern="^[A-Z0-9]+$")], ...] = Field(
        description="further margin assets it holds, paper.balance dollars' worth of each at the mark price, once"
    )


Fee = Annotated[float, Field(ge=-10, le=100)]
"""Basis points of notional; negative: a rebate."""


class FeeTierSettings(Section):
    """Fees by tier as the exchange listed them: those of tier n stand at place n, the first being tier 0."""

    source: str = Field(description="where the fees by tier are from")
    as_of: str = Field(description="when they were listed so")
    taker_bps: tuple[Fee, ...] = Field(min_length=1, description="taker fees from tier 0 on, basis points of notional")
    maker_bps: tuple[Fee, ...] = Field(min_length=1, description="maker fees from tier 0 on, basis points of notional")


class BacktestSettings(Section):
    """What a backtest assumes besides what it finds stored."""

    maker_fee_bps: Fee = Field(
        description="maker fee of the account on a real market, basis points of notional; negative: a rebate"
    )
    fee_tier: Annotated[int, Field(ge=0)] | None = Field(
        description="fee tier of the account on a real market, a row of backtest.fee_tiers; null: it pays"
        " costs.taker_fee_bps and backtest.maker_fee_bps"
    )
    fee_tiers: FeeTierSettings
    latency_ms: NotNegative | None = Field(
        description="median of the milliseconds from a command until the exchange carries it out; null: 100 on a real"
        " market, none on a simulated one, which answers at once"
    )
    latency_spread: NotNegative = Field(description="standard deviation of the latency's logarithm")
    brackets: str | None = Field(
        description="JSON file of leverage brackets as the exchange answers them (leverage and maintenance margin by"
        " notional), for a real market; null: as an account was last told them there, else the simulated exchange's"
    )

    @model_validator(mode="after")
    def _has_tier(self) -> Self:
        rows = min(len(self.fee_tiers.taker_bps), len(self.fee_tiers.maker_bps))
        if self.fee_tier is not None and self.fee_tier >= rows:
            told = {"key": "fee_tier", "found": self.fee_tier, "last": rows - 1}
            raise PydanticCustomError("tier", "a row of backtest.fee_tiers is wanted, 0 to {last}", told)
        return self

    def fees_bps(self, own_taker_bps: float) -> tuple[float, float]:
        """(Taker, maker) fee of the account, basis points of notional: of its tier, else its own."""
        if self.fee_tier is None:
            return own_taker_bps, self.maker_fee_bps
        return self.fee_tiers.taker_bps[self.fee_tier], self.fee_tiers.maker_bps[self.fee_tier]


class SimSettings(Section):
    """The embedded venue of the `sim` profile."""

    tape: str | None = Field(description="Parquet file of bars, or a folder of them; null: the synthetic market")
    symbols: tuple[str, ...] = Field(min_length=1, description="symbols of the synthetic market")
    days: int = Field(ge=5, le=3000, description="days of synthetic market")
    balance: Positive = Field(description="USDT an account of the simulated exchange opens with")
    planted_lead: NotNegative = Field(description="strength of the lead planted in the synthetic market; 0: none")
    start: Fraction = Field(description="where on the tape virtual time begins, as a share of its length")


class Settings(BaseSettings):
    """The whole configuration. Frozen; built by `load_settings` or `as_settings`."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        env_prefix="TRADER_",
        env_nested_delimiter="__",
        env_parse_none_str="null",
        env_ignore_empty=True,
    )

    mode: Mode = Field(description="which market and whose fills")
    seed: int = Field(ge=0, description="seed of everything random: tapes, training")
    cache_dir: str = Field(description="root of the artifacts")
    record: bool = Field(description="write down what the exchange shows, as a tape under cache_dir/recordings")
    state_dir: str | None = Field(description="ledger, trials and virtual time; null: the user's state directory")
    binance_exchange: BinanceExchangeSettings
    feature_engineering_orchestrator: FeatureSettings
    analyst: AnalystSettings
    rule: RuleSettings
    tactician: TacticianSettings
    execution: ExecutionSettings
    monitor: MonitorSettings
    position_monitoring_interval: Positive = Field(description="seconds between two looks at a position")
    max_assessment_history: Count = Field(description="assessments kept in memory per position")
    high_risk_threshold: Fraction = Field(description="calibrated loss probability that counts as high risk")
    medium_risk_threshold: Fraction = Field(description="calibrated loss probability that counts as medium risk")
    low_risk_threshold: Fraction = Field(description="calibrated loss probability that counts as low risk")
    costs: CostSettings
    fetch: FetchSettings
    paper: PaperSettings
    sim: SimSettings
    backtest: BacktestSettings

    @property
    def wavelet_folder(self) -> str:
        """Where the wavelet block cache lies: as set, else with the artifacts."""
        return self.feature_engineering_orchestrator.wavelet_cache.cache_dir or f"{self.cache_dir}/wavelet"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `load` passes in counts: it has merged files, environment and overrides already."""
        return (init_settings,)
