"""A pair as one bundle: a slow model that permits, a fast one that times, what both come to, and the pair's one claim.

Each half is kept whole and named by its digest. What a half claims of itself is told and licenses nothing.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING

from trader_cli.analyst.decision import Payoffs
from trader_cli.analyst.permission import fast_bars_in
from trader_cli.analyst.timing import Timing
from trader_cli.analyst.trained_basis import TrainedBasis
from trader_cli.analyst.trained_model import TrainedModel
from trader_cli.core.errors import DataInvalid, UsageError
from trader_cli.core.identity.digests import canonical_json, digest_bytes, digest_value
from trader_cli.core.identity.manifests import another_version
from trader_cli.core.json_values import built, object_of
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.core.model_validity import LEARNED_TO, PAIR_KIND

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trader_cli.analyst.act_model import ActModel
    from trader_cli.core.json_values import JsonObject
    from trader_cli.core.types import Claim

PAIR_SCHEMA = 1
_HALVES = ("slow", "fast")


@dataclass(frozen=True, kw_only=True)
class TrainedPair(TrainedBasis):
    """Symbol, horizon, labels and features are those of `slow`, claim and tries of the pair's book.

    `fast` and `timing` are None where too little was permitted to learn from: such a pair abstains. `halves` are the
    digests of each half's files and description.
    """

    slow: TrainedModel
    fast: TrainedModel | None
    timing: Timing | None
    fast_timeframe: str
    halves: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        slow: TrainedModel,
        fast: TrainedModel | None,
        timing: Timing | None,
        fast_timeframe: str,
        claim: Claim,
        figures: Mapping[str, float],
    ) -> TrainedPair:
        """Both halves under the claim of their book; `figures` beside those of the slow half."""
        basis = {one.name: getattr(slow, one.name) for one in fields(TrainedBasis)}
        last = slow.last_ms if fast is None else max(slow.last_ms, fast.last_ms)
        told = {**slow.metrics, **figures, "slow_sharpe_per_bar": slow.claim.sharpe_per_bar}
        made = cls(
            **{**basis, "claim": claim, "last_ms": last, "metrics": told},
            slow=slow,
            fast=fast if timing is not None else None,
            timing=timing,
            fast_timeframe=fast_timeframe,
        )
        files = made.files()
        return replace(made, halves={name: _digest_of(name, files) for name in made._models()})

    @property
    def learned_to_ms(self) -> int:
        """The close of the last bar that the older half has learned from, UTC ms; `last_ms` is the last that either
        has seen."""
        return min(half.learned_to_ms for half in self._models().values())

    @property
    def seen_to_ms(self) -> int:
        """As of any model, of both halves: the last bar that either has seen may be a fast one."""
        _, fast = self.frames
        return max(self.last_ms + fast.ms, *(half.learned_to_ms for half in self._models().values()))

    @property
    def act(self) -> ActModel | None:
        """That of the slow half, which is told and decides nothing: timing does."""
        return self.slow.act

    @property
    def base_features(self) -> tuple[str, ...]:
        """The columns of the slow features that are read, in order."""
        return self.slow.base_features

    @property
    def frames(self) -> tuple[Timeframe, Timeframe]:
        """(slow, fast)."""
        return Timeframe.parse(self.timeframe), Timeframe.parse(self.fast_timeframe)

    @property
    def fast_horizon(self) -> int:
        """How long its trades are held at most, in fast bars."""
        slow, fast = self.frames
        return self.horizon_bars * (slow.ms // fast.ms)

    def files(self) -> dict[str, bytes]:
        """The files of each half, and its description, under the half's name."""
        found: dict[str, bytes] = {}
        for name, half in self._models().items():
            found |= {f"{name}_{file}": content for file, content in half.files().items()}
            found[f"{name}_bundle.json"] = canonical_json(half.description(self.producer))
        return found

    def description(self, producer: str) -> JsonObject:
        """What `bundle.json` says besides the files' digests."""
        return {
            **self.basis(producer),
            "kind": PAIR_KIND,
            "schema": PAIR_SCHEMA,
            "halves": self.halves,
            "fast_timeframe": self.fast_timeframe,
            LEARNED_TO: self.learned_to_ms,
            "timing": None if self.timing is None else asdict(self.timing),
        }

    def _models(self) -> dict[str, TrainedModel]:
        return {"slow": self.slow} if self.fast is None else {"slow": self.slow, "fast": self.fast}

    @classmethod
    def from_bundle(cls, files: Mapping[str, bytes], description: Mapping[str, object]) -> TrainedPair:
        """The inverse. Raises `DataInvalid` for one of another schema, or of halves that are not a pair."""
        if description.get("schema") != PAIR_SCHEMA:
            raise DataInvalid(
                f"The bundle of a pair was made by {another_version(description.get('schema'), PAIR_SCHEMA)}.",
                hint=_AGAIN,
            )
        known, halves = cls.basis_of(description), object_of(description["halves"])
        models = {name: _half_of(name, files, str(digest)) for name, digest in halves.items()}
        told, fast = description["timing"], models.get("fast")
        timing = None
        if told is not None:
            numbers = object_of(told)
            timing = built(Timing, {**numbers, "payoffs": built(Payoffs, object_of(numbers["payoffs"]))})
        own = {"slow": models["slow"], "fast": fast, "timing": timing, "halves": dict(halves)}
        pair = built(cls, {**known, **own, "fast_timeframe": description["fast_timeframe"]})
        _refuse_no_pair(pair)
        return pair


_AGAIN = "Run `trader train` again."


def _digest_of(name: str, files: Mapping[str, bytes]) -> str:
    own = {file: digest_bytes(content) for file, content in files.items() if file.startswith(f"{name}_")}
    return digest_value(dict(sorted(own.items())))


def _half_of(name: str, files: Mapping[str, bytes], digest: str) -> TrainedModel:
    """One half. Raises `DataInvalid` where it is none, or not the one that is named."""
    if name not in _HALVES or f"{name}_bundle.json" not in files:
        raise DataInvalid(f"The bundle of a pair has no {name} half.", hint=_AGAIN)
    if _digest_of(name, files) != digest:
        raise DataInvalid(f"The {name} half of the pair is not the one its bundle names.", hint=_AGAIN)
    own = {file.removeprefix(f"{name}_"): content for file, content in files.items() if file.startswith(f"{name}_")}
    return TrainedModel.from_bundle(own, dict(json.loads(own.pop("bundle.json"))))


def _refuse_no_pair(pair: TrainedPair) -> None:
    """Raises `DataInvalid` for halves of other symbols, markets or frames than the pair's."""
    slow, fast = pair.slow, pair.fast
    own = pair.symbol, pair.source, pair.timeframe
    if (slow.symbol, slow.source, slow.timeframe) != own:
        raise DataInvalid(
            f"The pair is of {pair.symbol} {pair.timeframe}, its slow half of {slow.symbol} {slow.timeframe}.",
            hint=_AGAIN,
        )
    if fast is not None and (fast.symbol, fast.source, fast.timeframe) != (*own[:2], pair.fast_timeframe):
        raise DataInvalid(
            f"The pair is of {pair.symbol} and times in {pair.fast_timeframe}; its fast half is of {fast.symbol}"
            f" {fast.timeframe}.",
            hint=_AGAIN,
        )
    if (fast is None) != (pair.timing is None):
        raise DataInvalid("The bundle of a pair has one of fast half and timing without the other.", hint=_AGAIN)
    try:
        fast_bars_in(*pair.frames)
    except UsageError as error:
        raise DataInvalid(f"The bundle is of no pair: {error.sentence}", hint=_AGAIN) from error
