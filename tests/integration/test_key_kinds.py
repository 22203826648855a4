"""RSA and Ed25519 keys work in every command as HMAC does: real signatures, checked by the venue with the public half."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.commands.command_line import CommandLine
from support.commands.in_process import Inside
from support.hosts.key_pairs import KINDS, pair_of, pem
from support.hosts.venue_process import Place, venue_process
from support.trading.desk import SYMBOL
from test_quick_look import KEY, PARTS, answers, honest, host, looking

from trader_cli.core.errors import ConfigurationError, ExitCode
from trader_cli.core.money.orders import MarginSettings, OrderRequest, Placed, StopRequest
from trader_cli.exchange.binance import BinanceExchange

pytestmark = pytest.mark.slow
FOREIGN = {"RSA": "Ed25519", "Ed25519": "RSA"}


@pytest.fixture(scope="module")
def venue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A venue that knows the public half of a key of each kind, the keys being named by them."""
    with venue_process(tmp_path_factory.mktemp("venue")) as place:
        for kind, key in KINDS.items():
            asked = {"key": name_of(kind), "public_key": pair_of(key()).public}
            place._asked("PUT", "/venue/keys", json.dumps(asked))
        yield place


def name_of(kind: str) -> str:
    return f"sim-key-{kind.lower()}"


async def everything(exchange: BinanceExchange) -> None:
    """Every kind of request that is signed: reads, orders in a body, cancels in a query."""
    side, rules = exchange.private, exchange.symbol_rules(SYMBOL)
    assert await side.set_margin_settings(SYMBOL, MarginSettings(3, isolated=True)) == MarginSettings(3, isolated=True)
    assert (await side.account()).wallet > 0
    assert await side.brackets(SYMBOL)
    assert (await side.key_rights()).can_trade_futures
    assert isinstance(await side.place(OrderRequest("in", SYMBOL, "BUY", Decimal("0.5"))), Placed)
    [position] = await side.positions()
    level = rules.price_down(position.entry_price / 2)
    assert isinstance(await side.place_stop(StopRequest("stop", SYMBOL, "SELL", "stop", level)), Placed)
    cancelled = await side.cancel_stop(SYMBOL, "stop")
    assert cancelled and cancelled.status == "CANCELED"
    assert isinstance(
        await exchange.protection.place(OrderRequest("out", SYMBOL, "SELL", Decimal("0.5"), reduce_only=True)), Placed
    )
    assert await exchange.protection.positions() == []


async def with_key(venue: Place, kind: str, secret: str) -> BinanceExchange:
    keys = {"base_url": venue.url, "api_key": name_of(kind), "api_secret": secret}
    exchange = BinanceExchange({"mode": "demo", "binance_exchange": keys})
    await exchange.initialize()
    return exchange


@pytest.mark.parametrize("kind", KINDS)
def test_a_private_key_signs_every_request(venue: Place, kind: str) -> None:
    import asyncio

    async def work() -> None:
        for secret in (pem(KINDS[kind]()), pem(KINDS[kind]()).replace("\n", "\r\n") + "\r\n" * 20):
            exchange = await with_key(venue, kind, secret)
            try:
                await everything(exchange)
            finally:
                await exchange.close()
        other = await with_key(venue, kind, pem(KINDS[FOREIGN[kind]]()))
        try:
            with pytest.raises(ConfigurationError, match="Signature for this request is not valid"):
                await other.private.account()
        finally:
            await other.close()

    asyncio.run(work())


@pytest.mark.parametrize("kind", KINDS)
def test_commands_take_a_private_key_from_the_environment(venue: Place, kind: str, tmp_path: Path) -> None:
    cli = Inside(tmp_path, ("--profile", "demo"))
    for secret in (pem(KINDS[kind]()), pem(KINDS[kind]()).replace("\n", "\\n")):
        there = venue.environment(name_of(kind), secret)
        said = cli.run("status", "--json", **there)
        assert said.code == 0, said.err
        assert said.json["account"]["seen"] == "the exchange, now"
        assert said.json["account"]["walk_away"] is True
        for words in (("flatten",), ("ledger", "rebuild"), ("monitor", "--for", "1s")):
            ran = cli.run(*words, **there)
            assert "ignature" not in ran.out + ran.err, ran.err
            assert ran.code not in {ExitCode.BUG, ExitCode.CONFIGURATION, ExitCode.UNAVAILABLE}, (words, ran.err)


@pytest.mark.parametrize("spoilt", ["cut", "a file"])
def test_a_secret_that_cannot_sign_ends_every_command_in_a_sentence(venue: Place, spoilt: str, tmp_path: Path) -> None:
    whole = pem(KINDS["Ed25519"]())
    secret = {"cut": whole[: len(whole) // 2], "a file": "/home/somebody/binance.pem"}[spoilt]
    cli = Inside(tmp_path, ("--profile", "demo"))
    there = venue.environment(name_of("Ed25519"), secret)
    before = len(venue.requests())
    for words in (("flatten",), ("monitor", "--for", "1s"), ("fetch", SYMBOL, "--timeframe", "1h")):
        ran = cli.run(*words, **there)
        assert ran.code == ExitCode.CONFIGURATION, (words, ran.err)
        assert "The API secret" in ran.err
        assert not any(line and line in ran.out + ran.err for line in secret.splitlines() if "BEGIN" not in line)
    said = cli.run("status", **there)
    assert said.code == 0, "status always answers"
    assert "The API secret" in " ".join(said.out.split())
    assert "NO" in said.out
    asked = [entry for entry in venue.requests()[before:] if entry["path"] != "/fapi/v1/time"]
    assert asked == [], "nothing was signed"


@pytest.mark.parametrize("kind", KINDS)
def test_a_quick_look_signs_with_a_private_key_and_stays_quick(kind: str) -> None:
    signatures: list[str] = []

    def noted(endpoint: Any, query: dict[str, str]) -> None:
        signatures.append(query["signature"])
        honest(endpoint, query)

    with host(dict.fromkeys(PARTS.values(), noted)) as (url, _):
        snapshot = looking(url, api_secret=pem(KINDS[kind]())).snapshot()
    assert (snapshot.positions, snapshot.problems) == ((), ())
    assert len(signatures) == 3 and all(len(signature) >= 88 for signature in signatures)


def test_an_unreadable_private_key_is_a_problem_of_the_look_and_nobody_is_asked() -> None:
    with host({PARTS["positions"]: answers([])}) as (url, asked):
        snapshot = looking(url, api_secret="-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----").snapshot()
        signed = [path for path, query in asked if "signature" in query]
    assert (snapshot.positions, snapshot.stops, snapshot.orders, signed) == (None, None, None, [])
    assert "cannot be read" in snapshot.problems[0]
    assert KEY not in snapshot.problems[0] and "AAAA" not in snapshot.problems[0]


def test_the_venue_takes_no_public_key_it_cannot_read(trader: CommandLine) -> None:
    with venue_process(trader.folder) as place, pytest.raises(AssertionError, match="no PEM public key"):
        place._asked("PUT", "/venue/keys", json.dumps({"key": "sim-key", "public_key": "none"}))
