"""The word of a certified rule at the last stored bar, from as many stored bars and features as it depends on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.analyst.rule_certificates import require_certified_rule
from trader_cli.analyst.rule_decision import RuleWord
from trader_cli.core.errors import ConfigurationError, DataInvalid, DataStale
from trader_cli.core.market.schemas import milliseconds
from trader_cli.core.types import RULE_FAILED, Abstention
from trader_cli.features.rule_series import rule_bars, rule_frame, rule_signals, rule_start

if TYPE_CHECKING:
    from trader_cli.analyst.rule_process import RuleProcess
    from trader_cli.analyst.trained_rule import TrainedRule
    from trader_cli.core.identity.manifests import Manifest
    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.settings.room_options import RuleOptions
    from trader_cli.storage.artifacts import ArtifactStore


def stored_word(
    store: ArtifactStore,
    options: RuleOptions,
    judged: TrainedRule,
    bars: Manifest,
    features: Manifest,
    timeframe: Timeframe,
    process: RuleProcess | None = None,
) -> RuleWord | Abstention:
    """What the configured rule says, which must be the one that was judged, and certified.

    Asked in `process`, what fails there or does not end is an abstention. Raises `DataStale` for another rule,
    `DataMissing` or `VerificationFailed` for one that is not certified, without `process` what the rule raises.
    """
    try:
        return _word(store, options, judged, bars, features, timeframe, process)
    except (ConfigurationError, DataInvalid) as error:
        if process is None:
            raise
        return Abstention(RULE_FAILED, f"The rule gave no word: {error.sentence}")


def _word(
    store: ArtifactStore,
    options: RuleOptions,
    judged: TrainedRule,
    bars: Manifest,
    features: Manifest,
    timeframe: Timeframe,
    process: RuleProcess | None,
) -> RuleWord:
    command = f"train {bars.symbol} --timeframe {timeframe}"
    named = require_certified_rule(store, options, timeframe, command, process)
    other = judged.differs_from(named)
    if other is not None:
        raise DataStale(f"The stored claim does not hold: {other}.", hint=f"Run `trader {command}`.")
    last_two = milliseconds(store.read(bars.tail(2)).tail(2)["open_time"])
    begin = rule_start(named, timeframe, int(last_two[0]))
    count = (int(last_two[-1]) - begin) // timeframe.ms + 1
    recent, beside = (store.read(made.tail(count)).tail(count) for made in (bars, features))
    seen = rule_bars(rule_frame(named, recent, beside), named.rule.inputs)
    said = rule_signals(named, seen, timeframe, int(last_two[0]))
    return RuleWord.at(said, len(seen) - 1)
