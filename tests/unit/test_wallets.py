"""Income is asked for where a wallet has moved by what the ledger does not know: soon, again for a while, never often."""

from __future__ import annotations

from decimal import Decimal

import pytest

from trader_cli.tactician.loss_watch import _Wallets


def asked(movements: dict[int, str], seconds: int) -> list[int]:
    """At which seconds it was asked, looking once a second while the wallet moves as told."""
    wallets, wallet, found = _Wallets(), Decimal(1000), []
    for second in range(seconds):
        wallet += Decimal(movements.get(second, "0"))
        if wallets.moved({"USDT": wallet}, second * 1000):
            found.append(second)
    return found


def test_a_movement_is_asked_about_at_once_and_again_while_nothing_explains_it() -> None:
    seconds = asked({5: "-1.5"}, 3 * 86_400)
    assert seconds[:6] == [5, 15, 25, 45, 85, 165]
    pauses = [later - earlier for earlier, later in zip(seconds, seconds[1:], strict=False)]
    assert max(pauses) == 900
    assert seconds[-1] == pytest.approx(5 + 86_400, abs=900), "after a day no row comes any more"


def test_what_is_explained_is_asked_about_no_more() -> None:
    assert asked({5: "-1.5", 100: "1.5"}, 3000) == [5, 15, 25, 45, 85]


def test_a_wallet_at_rest_is_never_asked_about() -> None:
    assert asked({}, 300) == []


def test_many_movements_are_asked_about_every_ten_seconds_at_most() -> None:
    seconds = asked(dict.fromkeys(range(1, 120), "-1"), 120)
    assert seconds[0] == 1
    assert min(later - earlier for earlier, later in zip(seconds, seconds[1:], strict=False)) >= 10
    assert len(seconds) >= 10
