"""Client order ids: digests of what they identify, so that the same decision can never make a second order."""

from __future__ import annotations

from typing import Literal

from trader_cli.core.identity.digests import digest_value

Purpose = Literal["entry", "backstop", "stop", "take_profit", "exit", "external", "settled"]
_LETTERS: dict[Purpose, str] = {
    "entry": "e",
    "backstop": "b",
    "stop": "s",
    "take_profit": "p",
    "exit": "x",
    "external": "o",
    "settled": "t",
}


def purpose_of(name: str) -> Purpose | None:
    """What an order of ours is for, from its client id; `None` for an id that is not ours."""
    for purpose, letter in _LETTERS.items():
        if name.startswith(f"td-{letter}-"):
            return purpose
    return None


def is_a_purpose(name: str) -> bool:
    """Whether this names what an order can be for."""
    return name in _LETTERS


def is_ours(name: str) -> bool:
    """Whether an order carries an id of our kind, whichever trader of whichever version made it."""
    return name.startswith("td-")


_FORCED = {"autoclose-": "liquidation", "adl_": "auto-deleveraging", "settlement_": "settlement"}


def forced_kind(name: str) -> str | None:
    """What the exchange itself closed a position for, by the client id it gave the order; `None` for any other."""
    return next((kind for prefix, kind in _FORCED.items() if name.startswith(prefix)), None)


def plan_id(account: str, symbol: str, lineage: str, decision_ms: int, side: str, tranche: int) -> str:
    """What identifies a decision to open."""
    return digest_value(["plan", account, symbol, lineage, decision_ms, side, tranche])


def client_id(plan: str, purpose: Purpose, generation: int = 0) -> str:
    """The client id of one order of a plan: at most 36 of the characters the exchange takes."""
    return f"td-{_LETTERS[purpose]}-{digest_value(['order', plan, purpose, generation])[:28]}"


def exit_id_without_ledger(account: str, symbol: str, at_ms: int, number: int) -> str:
    """The client id of an exit that is sent without a ledger; no plan's order can have it."""
    return f"td-{_LETTERS['exit']}-{digest_value(['bare', account, symbol, at_ms, number])[:28]}"


def foreign_exit_id(account: str, symbol: str, at_ms: int, number: int) -> str:
    """The client id of an order that closes what is not ours because a person said so; not one of our ids."""
    return f"by-hand-{digest_value(['foreign', account, symbol, at_ms, number])[:28]}"
