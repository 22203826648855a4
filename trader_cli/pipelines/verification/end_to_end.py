"""Complete end-to-end flow: from fetch to flat in virtual time, booked to the last digit, and twice the same."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from pydantic import SecretStr

from trader_cli.core.errors import ConfigurationError
from trader_cli.execution.entry_result import EntryResult
from trader_cli.pipelines.live_trading_pipeline import LiveTradingPipeline
from trader_cli.pipelines.verification.checks import LINES, Check, Finding, at_least, at_most, equal, holds
from trader_cli.pipelines.verification.lab import KEY, SECRET, SYMBOL
from trader_cli.pipelines.verification.whole_flow import Flow, flow_once
from trader_cli.pipelines.verification.worlds import BALANCE, in_world, scripted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trader_cli.pipelines.verification.lab import Lab
    from trader_cli.pipelines.verification.worlds import World

_CENTS = Decimal("1e-8")


def _first(lab: Lab) -> Flow:
    return lab.once("first pass", lambda: flow_once(lab))


def one_iteration_to_flat(lab: Lab) -> Iterator[Finding]:
    """Fetch, features, analysis, plan, entry, care, exit."""
    flow = _first(lab)
    done = flow.done
    signal = done.analysis.signal if done.analysis else None
    yield equal("a signal, a plan of its side", signal.side if signal else "a signal", flow.plan.side)
    yield holds("an entry", isinstance(done.entered, EntryResult))
    yield equal(
        "quantity entered", flow.plan.quantity, done.entered.quantity if isinstance(done.entered, EntryResult) else 0
    )
    yield equal("position at the exchange, in the end", Decimal(0), flow.held)
    yield equal("orders left at the exchange", 0, flow.resting)
    known = {"stop", "take_profit", "backstop", "time", "high_risk", "target_passed", "stop_passed"}
    yield equal(
        "a known reason for the exit", flow.exit_reason if flow.exit_reason in known else "one", flow.exit_reason
    )
    yield at_least("fills: in and out", 2, len(flow.exchange_fills))


def ledger_equals_account(lab: Lab) -> Iterator[Finding]:
    """Fill by fill, and the sum to 1e-8: of the pass, and of a position held over a funding time."""
    flow = _first(lab)
    yield equal("fills: id, price, quantity, fee, profit", flow.exchange_fills, flow.ledger_fills)
    yield at_most("profit by the ledger against the account, the pass", _CENTS, abs(flow.booked - flow.earned))

    async def funded(world: World) -> tuple[Decimal, Decimal, list[Decimal], list[Decimal]]:
        await world.enter(await world.plan(hold_minutes=30))
        await world.monitor().start_monitoring(3600)
        paid = [income.amount for income in world.account.income if income.kind == "FUNDING_FEE"]
        booked = [amount for kind, _, amount, _ in world.ledger.incomes(SYMBOL) if kind == "FUNDING_FEE"]
        return world.account.wallet - BALANCE, world.ledger.net_income(), paid, booked

    earned, booked, paid, received = in_world(lab, scripted(), funded)
    yield equal("funding times crossed", 1, len(paid))
    yield equal("funding by the ledger", paid, received)
    yield at_most("profit by the ledger against the account, with funding", _CENTS, abs(booked - earned))


def every_order_has_its_intent(lab: Lab) -> Iterator[Finding]:
    """Nothing is at the exchange that was not journalled first."""
    flow = _first(lab)
    yield equal("orders at the exchange without an intent in the ledger", [], flow.unjournalled)
    yield equal("orders that open: just the plan's", [flow.plan.client_id("entry")], flow.entries)


def decisions_can_be_traced(lab: Lab) -> Iterator[Finding]:
    """The plan names the artifacts it rests on, and they are there."""
    flow = _first(lab)
    digests, cache = flow.plan.digests, flow.folder / "cache"
    for stage in ("bars", "features"):
        named = cache / "manifests" / f"{digests.get(stage, 'none')}.json"
        yield holds(f"the {stage} the plan names", named.is_file())
    yield equal("the model the plan names: the one that was trained", lab.study.trained.digest, digests.get("model"))
    yield equal("lineage", flow.plan.lineage, digests.get("model"))


def same_market_same_journal(lab: Lab) -> Iterator[Finding]:
    """The whole pass again, with a new account and a new ledger."""
    first, second = _first(lab), flow_once(lab)
    yield equal("journal of decisions, intents and assessments", first.journal, second.journal)
    yield equal("fills", first.exchange_fills, second.exchange_fills)
    yield equal("profit", first.earned, second.earned)


def secrets_stay_secret(lab: Lab) -> Iterator[Finding]:
    """Files of a pass (ledger, artifacts), all it printed and logged, and the words about a wrong secret."""
    flow = _first(lab)
    files = [path for path in flow.folder.rglob("*") if path.is_file()]
    yield at_least("files looked through", 10, len(files))
    yield holds("a ledger among them", any(path.suffix == ".sqlite" for path in files))
    for name, word in (("key", KEY), ("secret", SECRET)):
        holding = [path.name for path in files if word.encode() in path.read_bytes()]
        yield equal(f"files that hold the {name}", [], holding)
        yield holds(f"the {name} not in what was printed and logged", word not in flow.told)
    yield at_least("characters printed and logged", 1000, len(flow.told))
    plain = lab.settings(lab.folder())
    wrong = plain.binance_exchange.model_copy(update={"api_secret": SecretStr("not-the-one")})

    async def refused(world: World) -> str:
        try:
            await world.exchange.private.account()
        except ConfigurationError as error:
            return str(error)
        return "accepted"

    said = in_world(lab, scripted(), refused, settings=plain.model_copy(update={"binance_exchange": wrong}))
    yield equal(
        "a wrong secret: refused without naming it", (False, False), (said == "accepted", "not-the-one" in said)
    )


def old_market_data_abstain(lab: Lab) -> Iterator[Finding]:
    """The guide's `execute_trading` with data seen two hours ago."""

    async def work(world: World) -> tuple[bool, str, int]:
        pipeline = LiveTradingPipeline(world.settings, exchange=world.exchange, ledger=world.ledger)
        seen = world.clock.now_ms() - 2 * 3_600_000
        answer = await pipeline.execute_trading({"symbol": SYMBOL, "price": 100.0, "timestamp": seen})
        return bool(answer), str(answer["code"]), len(world.account.orders)

    given, code, orders = in_world(lab, scripted(), work)
    yield holds("it did not trade", not given)
    yield equal("why not", "market_data_stale", code)
    yield equal("orders at the exchange", 0, orders)


_FLOW = "Run the stages one by one: `trader fetch`, `features`, `train`, `analyze`, `tactics`, `enter`, `monitor`."
CHECKS = (
    Check(
        "one_pass_to_flat",
        LINES[5],
        "one pass goes from bars to a closed position and leaves nothing open",
        _FLOW,
        one_iteration_to_flat,
    ),
    Check(
        "ledger_equals_account",
        LINES[5],
        "the ledger's profit is the account's to 1e-8, fees and funding included",
        "Run `trader monitor`: it reconciles the ledger with the exchange.",
        ledger_equals_account,
    ),
    Check(
        "every_order_has_its_intent",
        LINES[5],
        "whatever is at the exchange was journalled first",
        "Keep the ledger: it knows what was sent.",
        every_order_has_its_intent,
    ),
    Check(
        "decisions_can_be_traced",
        LINES[5],
        "a plan names the bars, features and model it rests on",
        _FLOW,
        decisions_can_be_traced,
    ),
    Check(
        "same_market_same_journal",
        LINES[5],
        "the same market gives the same decisions, to the digest",
        "Install the locked versions: requirements.lock.",
        same_market_same_journal,
    ),
    Check(
        "secrets_stay_secret",
        LINES[5],
        "no key or secret is in the ledger, the artifacts or the output",
        "Give keys by the environment only, and change those that were told.",
        secrets_stay_secret,
    ),
    Check(
        "old_market_data_abstain",
        LINES[5],
        "market data that are too old are not acted on",
        "Give the time the data were seen.",
        old_market_data_abstain,
    ),
)
