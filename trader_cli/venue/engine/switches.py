"""What is not known of the real exchange, as switches of this one. Safety properties must hold under every answer."""

from __future__ import annotations

import itertools
import random
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Literal, get_args, get_type_hints

from trader_cli.core.json_values import built

if TYPE_CHECKING:
    from collections.abc import Iterator

OUR_PREFIX = "td-"
"""How client ids of this trader begin: `foreign_close_stop` tells ours from others by it."""


@dataclass(frozen=True)
class Switches:
    """Answers to open questions; the first named is the default.

    reduce_above_position: a reduce-only order larger than the position; stop_above_position: the order that a
    triggered quantity stop becomes, likewise. reduce_beside_cover: a reduce-only order while resting reduce-only orders
    cover the position already (take-profits count as `take_profits` says, stops never). close_stop_while_flat: a
    close-position stop without a position (−4509). foreign_close_stop: whether one that is not ours keeps ours away
    (−4130). used_id: a client id whose order has ended (−4116). quantity_stops_when_flat: what becomes of them.
    """

    reduce_above_position: Literal["trimmed", "refused"] = "trimmed"
    stop_above_position: Literal["trimmed", "refused"] = "trimmed"
    reduce_beside_cover: Literal["accepted", "-2022", "-4118"] = "accepted"
    take_profits: Literal["no cover", "cover"] = "no cover"
    close_stop_while_flat: Literal["refused", "accepted"] = "refused"
    foreign_close_stop: Literal["blocks", "ignored"] = "blocks"
    used_id: Literal["accepted", "refused"] = "accepted"
    quantity_stops_when_flat: Literal["rest", "expire"] = "rest"

    def as_dict(self) -> dict[str, str]:
        """As JSON and YAML hold it."""
        return asdict(self)


def choices() -> dict[str, tuple[str, ...]]:
    """Every switch with its answers."""
    hints = get_type_hints(Switches)
    return {f.name: get_args(hints[f.name]) for f in fields(Switches)}


def every_combination() -> Iterator[Switches]:
    """All of them, the defaults first."""
    names = choices()
    for answers in itertools.product(*names.values()):
        yield built(Switches, dict(zip(names, answers, strict=True)))


def sampled(seed: int, count: int) -> list[Switches]:
    """`count` different combinations (all, if there are fewer), seeded; the defaults and single switches come first."""
    everything = list(every_combination())
    plain = Switches()
    near = [s for s in everything if sum(getattr(s, n) != getattr(plain, n) for n in choices()) <= 1]
    others = [s for s in everything if s not in near]
    random.Random(seed).shuffle(others)
    return [*near, *others][:count]
