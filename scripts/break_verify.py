"""Does `trader verify` see what is broken? Breaks a copy of the product in one way at a time and asks it.

`python scripts/break_verify.py [NAME…] [--sample N --seed S]`. A break survives where verify does not leave with exit
code 10 and name the checks that were meant to see it; then this leaves with 1. `make breaks` runs all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "trader_cli"
FAILED = 10
CRASHES = (
    "NameError",
    "TypeError",
    "AttributeError",
    "ImportError",
    "SyntaxError",
    "IndentationError",
    "ModuleNotFound",
)
"""What a check raises where the copy was broken too clumsily to run: that proves nothing."""


@dataclass(frozen=True)
class Break:
    """Replacements (file, text, other text), each text once in its file, and the checks that must see them."""

    name: str
    seen_by: tuple[str, ...]
    replacements: tuple[tuple[str, str, str], ...]


BREAKS = (
    Break("wavelet looks ahead", ("wavelets_recomputed", "no_look_ahead"), (
        ("features/modwt.py", "    return np.concatenate([np.full(n - len(values), np.nan), values])\n", "    return np.concatenate([np.full(n - len(values) - 1, np.nan), values, values[-1:]])\n"),)),
    Break("energy off by a factor", ("wavelets_recomputed",), (
        ("features/families/wavelet.py", "band_scale**2 / window", "band_scale**2 / (window - 1)"),)),
    Break("higher frame before its close", ("no_look_ahead",), (
        ("features/build.py", "decided, closed = rows_ms + base.ms, bars.open_ms + frame.ms\n", "decided, closed = rows_ms + base.ms, bars.open_ms\n"),)),
    Break("unfinished bar shown", ("only_closed_bars",), (
        ("exchange/klines.py", "timeframe.floor(self._connection.server_now_ms()) - timeframe.ms", "timeframe.floor(self._connection.server_now_ms())"),
        ("exchange/klines.py", 'frame.filter(pl.col("close_time").to_physical() < self.connection.server_now_ms())', "frame"))),
    Break("garbage read as no bars", ("a_bad_answer_is_never_data",), (
        ("exchange/lane.py", "        if not isinstance(reply, (dict, list)) or reply == {}:\n", "        if not isinstance(reply, (dict, list)):\n            return []\n        if reply == {}:\n"),)),
    Break("claim gate ignored", ("claim_obeys_its_numbers",), (
        ("analyst/analysis.py", "    if not model.claim.edge:\n", "    if False:\n"),)),
    Break("edge always claimed", ("claim_obeys_its_numbers", "null_market_is_silent"), (
        ("analyst/claim.py", "edge=reason is None", "edge=True"),)),
    Break("barriers half as wide", ("barriers_as_stated",), (
        ("analyst/analysis.py", "close * float(np.exp(distance)), close", "close * float(np.exp(distance / 2)), close"),)),
    Break("stale bars accepted", ("stale_bars_abstain",), (
        ("analyst/analysis.py", "if given.bar_age_ms > allowed_ms:", "if given.bar_age_ms > 100 * allowed_ms:"),)),
    Break("size rounded up", ("size_is_the_smallest_cap",), (
        ("core/orders.py", "(quantity / self.step).to_integral_value(rounding=ROUND_DOWN) * self.step", '(quantity / self.step).to_integral_value(rounding="ROUND_UP") * self.step'),)),
    Break("risk cap ignored", ("risk_within_budget",), (
        ("core/sizing.py", "equity * limits.risk_per_trade / loss", "math.inf"),)),
    Break("a request raises the leverage", ("requests_only_lower",), (
        ("tactician/planning.py", "min(most, request.leverage or most)", "request.leverage or most"),
        ("core/sizing.py", "    value = max(1, math.ceil(notional / margin)) if margin > 0 else 1\n", "    value = limits.max_leverage\n"))),
    Break("same decision, another plan", ("same_decision_same_plan",), (
        ("tactician/tactician.py", "            return too_late(made.plan, request) or made\n", "            pass\n"),
        ("core/plans.py", "self.decision_ms, self.side, self.tranche)", "self.created_ms, self.side, self.tranche)"))),
    Break("second order on a repeated enter", ("one_order_per_intent",), (
        ("execution/executor.py", "if known is not None and self.ledger.status(known.client_id) is not None:", "if False:"),)),
    Break("order sent again after a lost reply", ("one_order_after_a_lost_reply",), (
        ("execution/courier.py", '            if self.status(intent) == "sending":\n', '            if intent.purpose == "entry":\n                await self._submit(__import__("dataclasses").replace(intent, client_id=intent.client_id[:-1] + "z"))\n            if self.status(intent) == "sending":\n'),)),
    Break("backstop not placed", ("backstop_closes_everything",), (
        ("core/guarding.py", "if not s.backstop and not s.foreign and not s.backstop_taken and", "if False and"),
        ("execution/guarding.py", 's.backstop or beside or self._was_tried("backstop", 2)', "True"))),
    Break("stop not reduce-only", ("stop_covers_the_position",), (
        ("exchange/private.py", 'f"{stop.quantity:f}", "reduceOnly": "true"}', 'f"{stop.quantity:f}"}'),)),
    Break("stop by last price", ("stops_trigger_by_mark_price",), (
        ("exchange/private.py", '"workingType": "MARK_PRICE"', '"workingType": "CONTRACT_PRICE"'),)),
    Break("stop for half the position", ("stop_covers_the_position",), (
        ("core/guarding.py", "if s.held > s.stopped and stop.unknown", "if not s.stopped and stop.unknown"),
        ("execution/sending.py", 'plan, "stop", level, step.quantity)', 'plan, "stop", level, step.quantity / 2)'),
        ("execution/guarding.py", 's.stopped >= s.held or self._was_tried("stop", 2)', "s.stopped > 0"))),
    Break("unprotected position kept", ("unprotected_is_closed",), (
        ("core/guarding.py", "late = not s.is_covered and now_ms - s.bare_since_ms >= deadline_ms", "late = False"),)),
    Break("key that can withdraw accepted", ("dangerous_accounts_are_refused",), (
        ("exchange/opening.py", "if rights.can_withdraw:", "if False:"),)),
    Break("stop loosened when trailing", ("stop_only_tightens",), (
        ("tactician/managing.py", "best_price=max(best, mark) if plan.sign > 0 else min(best, mark)", "best_price=mark"),
        ("core/exits.py", "    return max(level, held.stop_price) if held.sign > 0 else min(level, held.stop_price)\n", "    return level\n"),
        ("core/exits.py", "(trailed - held.stop_price) * held.sign > 0 and", "trailed != held.stop_price and"),
        ("execution/protection.py", "[s for s in cover.stops if (level - s.trigger_price) * plan.sign > 0]", "list(cover.stops)"),
        ("execution/protection.py", "(level - cover.stop_price) * plan.sign <= 0\n", "False\n"))),
    Break("old stop cancelled before the new one rests", ("stop_only_tightens",), (
        ("execution/protection.py", "        placed = await self.courier.deliver(self.next_intent(plan, purpose, level, cover.quantity))\n", "        for stop in old:\n            await self.remove(stop)\n        await self.courier.clock.sleep(1)\n        placed = await self.courier.deliver(self.next_intent(plan, purpose, level, cover.quantity))\n"),)),
    Break("failed query read as flat", ("silence_is_not_flat",), (
        ("execution/reconcile.py", '        found, asked_ms = await courier.looks.ask(\n            "positions", courier.private.positions, since_ms=since_ms, share_ms=share_ms\n        )\n', '        try:\n            found, asked_ms = await courier.looks.ask(\n                "positions", courier.private.positions, since_ms=since_ms, share_ms=share_ms\n            )\n        except Exception:\n            found, asked_ms = [], courier.now_ms()\n'),
        ("execution/reconcile.py", "return self.expected == 0\n", "return self.expected == 0 or self.is_missing\n"))),
    Break("the model's opinion ignored", ("high_risk_closes",), (
        ("core/exits.py", "if loss >= rules.high_risk:", "if False:"),)),
    Break("time exit forgotten", ("time_exit_closes",), (
        ("core/exits.py", "if now_ms >= held.exit_by_ms:", "if False:"),)),
    Break("orders left after flat", ("flat_leaves_no_order",), (
        ("execution/executor.py", "if ended.view.expected * plan.sign <= 0 and self.reconciler.waiting_entry(plan.symbol) is None:", "if False:"),)),
    Break("closes outside not booked", ("closed_outside_is_booked",), (
        ("execution/booking.py", "if reduced and known is None:", "if False:"),)),
    Break("halt forgotten", ("halt_stops_entries", "loss_limit_halts"), (
        ("storage/ledger_reading.py", 'return "; ".join(said) if said else None', "return None"),)),
    Break("fees left out of the ledger", ("ledger_equals_account",), (
        ("storage/ledger_money.py", "flows.append(Flow(int(time_ms), -decimal_of(fee), str(fee_asset or margin), margin))", "pass"),)),
    Break("funding left out of the ledger", ("ledger_equals_account",), (
        ("execution/booking.py", "if row.kind in _OF_THE_ACCOUNT or (row.kind not in _IN_TRADES and row.symbol in traded):", "if False:"),)),
    Break("wall time in the journal", ("same_market_same_journal",), (
        ("tactician/managing.py", "ledger.assess(plan.symbol, action.kind, body, now_ms)", "ledger.assess(plan.symbol, action.kind, body, now_ms + __import__('time').time_ns() % 977)"),)),
    Break("secret written into the ledger", ("secrets_stay_secret",), (
        ("tactician/tactician.py", '"plan", made.as_dict(), now)', '"plan", {**made.as_dict(), "account_of": self.settings.binance_exchange.api_secret.get_secret_value()}, now)'),)),
    Break("key in the debug log", ("secrets_stay_secret",), (
        ("exchange/client.py", "    client.logger = _without_requests()\n", ""),)),
    Break("trades counted for the bar before", ("inputs_by_their_time",), (
        ("features/inputs.py", 'opened = (pl.col("time").to_physical() // timeframe.ms * timeframe.ms).cast(TIME)', 'opened = (pl.col("time").to_physical() // timeframe.ms * timeframe.ms - timeframe.ms).cast(TIME)'),)),
    Break("inputs known a bar early", ("inputs_by_their_time",), (
        ("features/inputs.py", ".to_numpy().astype(np.int64) + timeframe.ms\n", ".to_numpy().astype(np.int64) + 2 * timeframe.ms\n"),)),
    Break("open interest known before it is published", ("inputs_by_their_time",), (
        ("features/inputs.py", "_Stamps(times + OPEN_INTEREST_LAG_MS, lasts)", "_Stamps(times, lasts)"),)),
    Break("mark price known as its bar opens", ("inputs_by_their_time",), (
        ("features/inputs.py", '_times(klines, "open_time"), _times(klines, "close_time") + 1\n', '_times(klines, "open_time"), _times(klines, "open_time")\n'),)),
    Break("training rows a bar early", ("rows_by_hand",), (
        ("analyst/training.py", "return Dataset(x[rows], labels.outcome[rows]", "return Dataset(x[np.minimum(rows + 1, len(x) - 1)], labels.outcome[rows]"),)),
    Break("unfit bars trained on", ("rows_by_hand",), (
        ("analyst/training.py", "if unfit is None else unfit | unfit[labels.end]", "if unfit is None else unfit & False"),)),
    Break("fee earned by the claim's book", ("book_by_hand",), (
        ("analyst/walk_forward.py", "exposure * bar_returns - turned * costs.per_side", "exposure * bar_returns + turned * costs.per_side"),)),
    Break("fee earned by a side", ("costs_by_hand",), (
        ("analyst/decision.py", "return TradeCosts(2 * self.per_side + long, 2 * self.per_side + short)", "return TradeCosts(-2 * self.per_side + long, -2 * self.per_side + short)"),)),
    Break("funding earned by the claim's book", ("book_by_hand",), (
        ("analyst/walk_forward.py", "- costs.of_holding(exposure)", "+ costs.of_holding(exposure)"),)),
    Break("funding earned by shorts only in the book", ("book_by_hand",), (
        ("analyst/decision.py", "usual = np.abs(exposure) * self.per_bar", "usual = exposure * self.per_bar"),)),
    Break("the book's funding with its sign turned", ("funding_by_hand",), (
        ("analyst/decision.py", "charged = exposure * self.funding.due", "charged = -exposure * self.funding.due"),)),
    Break("funding to be received taken for a gain", ("funding_by_hand",), (
        ("analyst/decision.py", "short = np.where(known, np.maximum(-paid, 0.0), usual)", "short = np.where(known, -paid, usual)"),)),
    Break("funding known before its stamp", ("funding_by_hand",), (
        ("analyst/funding.py", 'last = np.searchsorted(known_ms, close_ms, side="right") - 1', 'last = np.searchsorted(known_ms, close_ms + 8 * HOUR_MS, side="right") - 1'),)),
    Break("every funding interval eight hours", ("funding_by_hand",), (
        ("analyst/funding.py", "hours = np.clip(np.round(np.diff(stamps) / HOUR_MS), 1, USUAL_HOURS)", "hours = np.full(len(stamps) - 1, USUAL_HOURS)"),)),
    Break("funding paid to the payer", ("funding_by_its_sign",), (
        ("venue/engine.py", "paid = cents(-position.amount *", "paid = cents(position.amount *"),)),
    Break("both barriers a gain", ("labels_by_hand",), (
        ("analyst/labels.py", "gain_long = np.where(both, down, gain)\n    gain_short = np.where(both, -up, -gain)", "gain_long = np.where(both, up, gain)\n    gain_short = np.where(both, -down, -gain)"),)),
    Break("labels from their own bar", ("labels_by_hand",), (
        ("analyst/labels.py", "for ahead in range(1, horizon + 1):", "for ahead in range(horizon + 1):"),)),
    Break("labels a bar short", ("labels_by_hand",), (
        ("analyst/labels.py", "for ahead in range(1, horizon + 1):", "for ahead in range(1, horizon):"),)),
    Break("act labels without their cost", ("act_labels_by_hand",), (
        ("analyst/walk_forward.py", "classes = (gain > costs.of(choice.side))", "classes = (gain > 0)"),)),
    Break("act labels of longs alone", ("act_labels_by_hand",), (
        ("analyst/walk_forward.py", "gain = np.where(choice.side > 0, self.gain_long, self.gain_short)", "gain = self.gain_long"),)),
    Break("learned from what overlaps the prediction", ("folds_by_hand",), (
        ("analyst/walk_forward.py", "before = data.end < data.start[first]\n", "before = data.start < data.start[first]\n"),)),
    Break("doubled costs not doubled", ("claims_pay_their_costs",), (
        ("analyst/training.py", "given.costs(settings, 2.0)", "given.costs(settings)"),)),
    Break("tries not counted", ("claim_by_hand",), (
        ("analyst/claim.py", "bar = expected_best_sharpe(trial_sharpes, len(gains))", "bar = 0.0"),)),
    Break("holding called skill", ("claim_by_hand",), (
        ("analyst/claim.py", "probabilistic_sharpe(excess, bar)", "probabilistic_sharpe(gains, bar)"),)),
    Break("daily loss limit forgotten", ("loss_limits_by_hand", "loss_limit_halts"), (
        ("core/limits.py", "if opened > 0 and opened - equity >= opened * Decimal(str(limits.daily)):", "if False:"),)),
    Break("daily loss counted from the first day", ("loss_limits_by_hand",), (
        ("core/limits.py", "if time_ms < max(now_ms // DAY_MS * DAY_MS, since_ms):", "if time_ms < since_ms:"),)),
    Break("open losses left out of the limits", ("loss_limits_by_hand", "loss_limit_halts"), (
        ("core/limits.py", "equity = wallet + unrealized\n", "equity = wallet\n"),)),
    Break("target's distance taken for the stop's", ("sizes_by_hand", "plans_by_hand"), (
        ("core/sizing.py", "equity, loss = setting.equity, setting.stop_distance + setting.cost", "equity, loss = setting.equity, setting.target_distance + setting.cost"),)),
    Break("stop and target exchanged in planning", ("plans_by_hand",), (
        ("tactician/planning.py", "side=signal.side, price=mark, stop_distance=stop, target_distance=target, cost=cost,", "side=signal.side, price=mark, stop_distance=target, target_distance=stop, cost=cost,"),)),
    Break("the chance itself instead of its lower bound", ("sizes_by_hand",), (
        ("core/sizing.py", "    p = lower_probability(setting.probability, setting.trades, limits.confidence)\n", "    p = setting.probability\n"),)),
    Break("what is held left out of the exposure", ("sizes_by_hand",), (
        ("core/sizing.py", "equity * limits.max_exposure - setting.others,", "equity * limits.max_exposure,"),)),
    Break("backstop inside the stop", ("plans_by_hand",), (
        ("tactician/planning.py", "distance * Decimal(str(options.backstop_distance)))", "distance / Decimal(str(options.backstop_distance)))"),)),
    Break("liquidation of shorts where longs have theirs", ("liquidation_by_hand",), (
        ("core/liquidation.py", 'sign = 1.0 if side == "long" else -1.0', "sign = 1.0"),)),
    Break("stop of shorts looked for below", ("exits_by_hand",), (
        ("core/exits.py", "if (mark - held.stop_price) * held.sign <= 0:", "if mark - held.stop_price <= 0:"),)),
    Break("opinions that never age", ("exits_by_hand",), (
        ("core/exits.py", "weight = math.exp2(-max(0, now_ms - self.at_ms) / half_life_ms)", "weight = 1.0"),)),
    Break("taker flow with its sign turned", ("columns_by_definition",), (
        ("features/families/order_flow.py", "volume, signed = bars.volume, 2.0 * bars[\"taker_buy_base\"] - bars.volume", "volume, signed = bars.volume, bars.volume - 2.0 * bars[\"taker_buy_base\"]"),)),
    Break("funding of any interval taken for 8 hours", ("futures_columns_by_definition",), (
        ("features/families/derivatives.py", "rate * (_USUAL_MS / interval)", "rate * 1.0"),)),
    Break("sessions an hour late", ("columns_by_definition",), (
        ("features/families/session.py", "minute = bars.open_ms // MINUTE_MS\n", "minute = bars.open_ms // MINUTE_MS - 60\n"),)),
    Break("a column of the bar before", ("columns_by_definition",), (
        ("features/families/technical.py", '"body_1": lambda b: (b.c - b.o) / b.height,', '"body_1": lambda b: np.roll((b.c - b.o) / b.height, 1),'),)),
    Break("higher bars shifted by one", ("columns_by_definition",), (
        ("features/build.py", 'at = np.searchsorted(closed, decided, side="right") - 1\n        fresh', 'at = np.searchsorted(closed, decided, side="right") - 2\n        fresh'),)),
    Break("a shipped folder that cannot be written", ("folders_take_what_is_written",), (
        ("settings/defaults/default.yaml", "cache_dir: cache            ", "cache_dir: /proc/nowhere "),)),
    Break("risk management off as shipped", ("risk_management_is_on",), (
        ("settings/defaults/default.yaml", "  enable_risk_management: true\n", "  enable_risk_management: false\n"),)),
    Break("bars read with columns exchanged", ("klines_by_hand",), (
        ("exchange/replies.py", '"volume", "close_time", "quote_volume", "trades", "taker_buy_base",\n    "taker_buy_quote", "unused",', '"volume", "close_time", "taker_buy_quote", "trades", "taker_buy_base",\n    "quote_volume", "unused",'),)),
    Break("a chunk read without its digest", ("damage_is_refused",), (
        ("storage/artifacts.py", "if digest_bytes(content) != chunk.content:", "if False:"),)),
    Break("shorts read as longs", ("account_by_hand",), (
        ("exchange/account_replies.py", 'amount=decimal(body["positionAmt"]), entry', 'amount=abs(decimal(body["positionAmt"])), entry'),)),
    Break("fee and profit of a fill exchanged", ("account_by_hand",), (
        ("exchange/account_replies.py", 'commission=decimal(body["commission"])', 'commission=decimal(body["realizedPnl"])'),
        ("exchange/account_replies.py", 'realized_profit=decimal(body["realizedPnl"]),\n        maker', 'realized_profit=decimal(body["commission"]),\n        maker'))),
    Break("income read with its sign turned", ("account_by_hand",), (
        ("exchange/account_replies.py", 'amount=decimal(body["income"])', 'amount=-decimal(body["income"])'),)),
    Break("loss limits not looked at while holding", ("loss_limit_halts",), (
        ("tactician/losses.py", "        if not fresh:\n", "        if True:\n"),)),
    Break("target never placed", ("flat_leaves_no_order",), (
        ("core/guarding.py", "if settled and s.held > s.targeted and", "if False and"),
        ("execution/guarding.py", 's.targeted >= s.held or self._was_tried("take_profit", 1)', "True"))),
    Break("claims taken for any costs", ("claim_is_bound",), (
        ("analyst/analyst.py", "        if changed is not None:\n", "        if False:\n"),)),
    Break("a moved reference followed", ("damage_is_refused",), (
        ("storage/artifacts.py", "        if named != asdict(key):\n", "        if False:\n"),
        ("storage/artifacts.py", "if (manifest.symbol, manifest.timeframe, manifest.stage) != (key.symbol, key.timeframe, key.stage):", "if False:"))),
    Break("a model read without its digest", ("damaged_model_is_refused",), (
        ("storage/bundles.py", "if digest_bytes(files[name]) != wanted:", "if False:"),)),
)  # fmt: skip


def broken_copy(one: Break, folder: Path) -> None:
    """The package in `folder`, broken. Raises `ValueError` for a text that is not there just once."""
    shutil.copytree(PACKAGE, folder / PACKAGE.name)
    for name, text, other in one.replacements:
        path = folder / PACKAGE.name / name
        source = path.read_text("utf-8")
        if source.count(text) != 1:
            raise ValueError(f"{one.name}: {source.count(text)} times in {name}, not once: {text!r}")
        path.write_text(source.replace(text, other), "utf-8")


def verified(folder: Path, only: tuple[str, ...]) -> tuple[int, set[str]]:
    """(exit code, names of the checks that failed) of a verification with the package in `folder`."""
    words = [word for name in only for word in ("--only", name)]
    environment = {name: value for name, value in os.environ.items() if not name.upper().startswith("TRADER_")}
    environment |= {"PYTHONPATH": str(folder), "TRADER_STATE_DIR": str(folder / "state")}
    ran = subprocess.run(
        [sys.executable, "-m", "trader_cli", "verify", "--json", *words], cwd=folder, env=environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    try:
        results = json.loads(ran.stdout)["results"]
    except (ValueError, KeyError):
        return ran.returncode, {f"no report: {ran.stderr.strip().splitlines()[-1:]}"}
    crashed = [r["error"] for r in results if str(r["error"]).startswith(CRASHES)]
    if crashed:
        return ran.returncode, {f"a crash: {crashed[0]}"}
    return ran.returncode, {result["name"] for result in results if not result["passed"]}


def survives(one: Break) -> bool:
    """Break, verify, print a line; whether verify did not see it."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="trader-break-") as name:
        broken_copy(one, Path(name))
        code, failed = verified(Path(name), one.seen_by)
    survived = code != FAILED or not set(one.seen_by) <= failed
    seen = ", ".join(sorted(failed)) or "nothing"
    print(
        f"{'SURVIVED' if survived else 'seen':9} {one.name:46} {time.perf_counter() - began:5.1f} s  by {seen}",
        flush=True,
    )
    return survived


def chosen(arguments: argparse.Namespace) -> list[Break]:
    """The breaks named, or a seeded sample, or all."""
    known = {one.name: one for one in BREAKS}
    picked = [known[name] for name in arguments.names] if arguments.names else list(BREAKS)
    return random.Random(arguments.seed).sample(picked, arguments.sample) if arguments.sample else picked


def main() -> int:
    """1 if a break survives, or if verify fails where nothing is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[*(one.name for one in BREAKS), []])
    parser.add_argument("--sample", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    breaks = chosen(parser.parse_args())
    whole = Break("nothing", tuple(dict.fromkeys(name for one in breaks for name in one.seen_by)), ())
    with tempfile.TemporaryDirectory(prefix="trader-break-") as name:
        broken_copy(whole, Path(name))
        code, failed = verified(Path(name), whole.seen_by)
    if code != 0:
        print(f"verify fails where nothing is broken: exit code {code}, {sorted(failed)}")
        return 1
    survivors = [one.name for one in breaks if survives(one)]
    print(f"{len(breaks) - len(survivors)} of {len(breaks)} breaks seen")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
