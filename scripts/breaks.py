"""What `break_verify` breaks, one way at a time: text of the package, what stands there instead, and who must see it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Break:
    """Replacements (file, text, other text), each text once in its file; the checks of `trader verify` and the tests
    (file, or file::test; of a file by its own name alone) that must see them, every one."""

    name: str
    seen_by: tuple[str, ...]
    tests: tuple[str, ...]
    replacements: tuple[tuple[str, str, str], ...]


BREAKS = (
    Break(
        "wavelet looks ahead",
        ("wavelets_recomputed", "no_look_ahead"),
        ("test_features.py::test_modwt_is_pywavelets_rolled_to_causal",),
        (
            (
                "features/modwt.py",
                "    return np.concatenate([np.full(n - len(values), np.nan), values])\n",
                "    return np.concatenate([np.full(n - len(values) - 1, np.nan), values, values[-1:]])\n",
            ),
        ),
    ),
    Break(
        "energy off by a factor",
        ("wavelets_recomputed",),
        ("test_own_bar.py::test_returns_that_alternate_lie_in_the_first_band_with_their_own_square",),
        (("features/families/wavelet.py", "band_scale**2 / window", "band_scale**2 / (window - 1)"),),
    ),
    Break(
        "higher frame before its close",
        ("no_look_ahead",),
        ("test_features.py::test_higher_columns_are_those_of_the_last_closed_bar",),
        (
            (
                "features/build.py",
                "decided, closed = rows_ms + base.ms, bars.open_ms + frame.ms\n",
                "decided, closed = rows_ms + base.ms, bars.open_ms\n",
            ),
        ),
    ),
    Break(
        "unfinished bar shown",
        ("only_closed_bars",),
        ("test_exchange.py::test_the_unfinished_bar_is_dropped_even_when_it_comes_last",),
        (
            (
                "exchange/market_data/klines.py",
                "timeframe.floor(self._connection.server_now_ms()) - timeframe.ms",
                "timeframe.floor(self._connection.server_now_ms())",
            ),
            (
                "exchange/market_data/klines.py",
                'frame.filter(pl.col("close_time").to_physical() < self.connection.server_now_ms())',
                "frame",
            ),
        ),
    ),
    Break(
        "garbage read as no bars",
        ("a_bad_answer_is_never_data",),
        ("test_exchange.py::test_a_garbled_answer_is_an_error_and_never_data",),
        (
            (
                "exchange/connection/request_lane.py",
                "        if not isinstance(reply, (dict, list)) or reply == {}:\n",
                "        if not isinstance(reply, (dict, list)):\n            return []\n        if reply == {}:\n",
            ),
        ),
    ),
    Break(
        "claim gate ignored",
        ("claim_obeys_its_numbers",),
        ("test_analyst.py::test_every_abstention_has_its_code_and_a_sentence",),
        (("analyst/outcomes.py", "    if trained.claim.edge:\n", "    if True:\n"),),
    ),
    Break(
        "edge always claimed",
        ("claim_obeys_its_numbers", "null_market_is_silent"),
        ("test_analyst.py::test_a_claim_needs_every_condition",),
        (("analyst/claim.py", "edge=reason is None", "edge=True"),),
    ),
    Break(
        "barriers half as wide",
        ("barriers_as_stated",),
        ("test_analyst.py::test_live_levels_are_the_barriers_that_labels_have",),
        (
            (
                "analyst/outcomes.py",
                "close * float(np.exp(distance)), close",
                "close * float(np.exp(distance / 2)), close",
            ),
        ),
    ),
    Break(
        "stale bars accepted",
        ("stale_bars_abstain",),
        ("test_analyst.py::test_every_abstention_has_its_code_and_a_sentence",),
        (("analyst/outcomes.py", "if given.bar_age_ms > allowed_ms:", "if given.bar_age_ms > 100 * allowed_ms:"),),
    ),
    Break(
        "size rounded up",
        ("size_is_the_smallest_cap",),
        ("test_planning.py::test_a_plan_keeps_every_limit_and_is_rounded_down",),
        (
            (
                "core/money/orders.py",
                "(quantity / self.step).to_integral_value(rounding=ROUND_DOWN) * self.step",
                '(quantity / self.step).to_integral_value(rounding="ROUND_UP") * self.step',
            ),
        ),
    ),
    Break(
        "risk cap ignored",
        ("risk_within_budget",),
        ("test_trading_keys.py::test_each_limit_binds_when_it_is_the_smallest",),
        (("core/money/sizing.py", "equity * limits.risk_per_trade / loss", "math.inf"),),
    ),
    Break(
        "a request raises the leverage",
        ("requests_only_lower",),
        ("test_planning.py::test_a_request_never_raises_the_leverage_that_a_size_needs",),
        (
            ("tactician/planning.py", "min(most, request.leverage or most)", "request.leverage or most"),
            (
                "core/money/sizing.py",
                "    value = max(1, math.ceil(notional / margin)) if margin > 0 else 1\n",
                "    value = limits.max_leverage\n",
            ),
        ),
    ),
    Break(
        "same decision, another plan",
        ("same_decision_same_plan",),
        ("test_planning.py::test_the_same_decision_has_the_same_id_and_ids",),
        (
            (
                "tactician/tactician.py",
                "            return too_late(made.plan, request) or made\n",
                "            pass\n",
            ),
            (
                "core/money/plans.py",
                "self.decision_ms, self.side, self.tranche)",
                "self.created_ms, self.side, self.tranche)",
            ),
        ),
    ),
    Break(
        "second order on a repeated enter",
        ("one_order_per_intent",),
        ("test_entering_again.py::test_entering_again_sends_nothing_while_open_and_after_the_close",),
        (
            (
                "execution/executor.py",
                "if known is not None and self.ledger.status(known.client_id) is not None:",
                "if False:",
            ),
        ),
    ),
    Break(
        "order sent again after a lost reply",
        ("one_order_after_a_lost_reply",),
        ("test_executor.py::test_a_lost_reply_makes_no_second_order",),
        (
            (
                "execution/order_submitter.py",
                '            if self.status(intent) == "sending":\n',
                '            if intent.purpose == "entry":\n                await self._submit(__import__("dataclasses").replace(intent, client_id=intent.client_id[:-1] + "z"))\n            if self.status(intent) == "sending":\n',
            ),
        ),
    ),
    Break(
        "backstop not placed",
        ("backstop_closes_everything",),
        ("test_executor.py::test_an_entry_is_one_order_with_its_stops_resting",),
        (
            (
                "core/money/protection_step.py",
                "if not s.backstop and not s.foreign and not s.backstop_taken and",
                "if False and",
            ),
            ("execution/protection_loop.py", 's.backstop or beside or self._was_tried("backstop", 2)', "True"),
        ),
    ),
    Break(
        "stop not reduce-only",
        ("stop_covers_the_position",),
        ("test_executor.py::test_an_entry_is_one_order_with_its_stops_resting",),
        (("exchange/account/broker.py", 'f"{stop.quantity:f}", "reduceOnly": "true"}', 'f"{stop.quantity:f}"}'),),
    ),
    Break(
        "stop by last price",
        ("stops_trigger_by_mark_price",),
        ("test_executor.py::test_an_entry_is_one_order_with_its_stops_resting",),
        (("exchange/account/broker.py", '"workingType": "MARK_PRICE"', '"workingType": "CONTRACT_PRICE"'),),
    ),
    Break(
        "stop for half the position",
        ("stop_covers_the_position",),
        ("test_executor.py::test_an_entry_is_one_order_with_its_stops_resting",),
        (
            (
                "core/money/protection_step.py",
                "if s.held > s.stopped and stop.unknown",
                "if not s.stopped and stop.unknown",
            ),
            (
                "execution/protection_orders.py",
                'plan, "stop", level, step.quantity)',
                'plan, "stop", level, step.quantity / 2)',
            ),
            ("execution/protection_loop.py", 's.stopped >= s.held or self._was_tried("stop", 2)', "s.stopped > 0"),
        ),
    ),
    Break(
        "unprotected position kept",
        ("unprotected_is_closed",),
        ("test_executor.py::test_without_stops_for_too_long_it_is_closed",),
        (
            (
                "core/money/protection_step.py",
                "late = not s.is_covered and now_ms - s.unprotected_since_ms >= deadline_ms",
                "late = False",
            ),
        ),
    ),
    Break(
        "key that can withdraw accepted",
        ("dangerous_accounts_are_refused",),
        ("test_signing.py::test_nothing_is_opened_with_a_key_that_can_withdraw_or_of_which_nothing_is_known",),
        (("core/money/key_rights.py", "if rights.can_withdraw:", "if False:"),),
    ),
    Break(
        "stop loosened when trailing",
        ("stop_only_tightens",),
        ("test_exits.py::test_a_stop_tighter_than_the_trail_stays_where_it_is",),
        (
            (
                "tactician/position_management.py",
                "best_price=max(best, mark) if plan.sign > 0 else min(best, mark)",
                "best_price=mark",
            ),
            (
                "core/money/exits.py",
                "    return max(level, stop) if sign > 0 else min(level, stop)\n",
                "    return level\n",
            ),
            (
                "core/money/exits.py",
                "(trailed - position.stop_price) * position.sign > 0 and",
                "trailed != position.stop_price and",
            ),
            (
                "execution/protection.py",
                "[s for s in cover.stops if (level - s.trigger_price) * plan.sign > 0]",
                "list(cover.stops)",
            ),
            ("execution/protection.py", "(level - cover.stop_price) * plan.sign <= 0\n", "False\n"),
        ),
    ),
    Break(
        "old stop cancelled before the new one rests",
        ("stop_only_tightens",),
        ("test_executor.py::test_tightening_never_leaves_less_than_full_cover",),
        (
            (
                "execution/protection.py",
                "        placed = await self.submitter.deliver(self.next_intent(plan, purpose, level, cover.quantity))\n",
                "        for stop in old:\n            await self.remove(stop)\n        await self.submitter.clock.sleep(1)\n        placed = await self.submitter.deliver(self.next_intent(plan, purpose, level, cover.quantity))\n",
            ),
        ),
    ),
    Break(
        "failed query read as flat",
        ("silence_is_not_flat",),
        ("test_stale_answers.py::test_a_position_that_is_not_shown_for_a_moment_keeps_its_stops",),
        (
            (
                "execution/reconciliation.py",
                '        found, requested_ms = await submitter.queries.ask(\n            "positions", submitter.broker.positions, since_ms=since_ms, share_ms=share_ms\n        )\n',
                '        try:\n            found, requested_ms = await submitter.queries.ask(\n                "positions", submitter.broker.positions, since_ms=since_ms, share_ms=share_ms\n            )\n        except Exception:\n            found, requested_ms = [], submitter.now_ms()\n',
            ),
            (
                "execution/symbol_view.py",
                "return self.expected == 0\n",
                "return self.expected == 0 or self.is_missing\n",
            ),
        ),
    ),
    Break(
        "the model's opinion ignored",
        ("high_risk_closes",),
        ("test_exits.py::test_opinions_wait_for_the_dwell_and_scale_down_once",),
        (("core/money/exits.py", "if loss >= rules.high_risk:", "if False:"),),
    ),
    Break(
        "time exit forgotten",
        ("time_exit_closes",),
        ("test_exits.py::test_time_and_target_close",),
        (("core/money/exits.py", "if now_ms >= position.exit_by_ms:", "if False:"),),
    ),
    Break(
        "orders left after flat",
        ("flat_leaves_no_order",),
        ("test_executor.py::test_a_position_closed_by_hand_is_booked_as_external",),
        (
            (
                "execution/executor.py",
                "if ended.view.expected * plan.sign <= 0 and self.reconciler.waiting_entry(plan.symbol) is None:",
                "if False:",
            ),
        ),
    ),
    Break(
        "closes outside not booked",
        ("closed_outside_is_booked",),
        ("test_executor.py::test_a_position_closed_by_hand_is_booked_as_external",),
        (("execution/fill_booking.py", "if reduced and known is None:", "if False:"),),
    ),
    Break(
        "halt forgotten",
        ("halt_stops_entries", "loss_limit_halts"),
        ("test_ledger.py::test_what_was_written_is_there_after_a_restart",),
        (("storage/ledger_decisions.py", 'return "; ".join(said) if said else None', "return None"),),
    ),
    Break(
        "fees left out of the ledger",
        ("ledger_equals_account",),
        ("test_assets.py::test_a_ledger_keeps_each_asset_by_itself",),
        (
            (
                "storage/ledger_money.py",
                "flows.append(Flow(int(time_ms), -decimal_of(fee), str(fee_asset or margin), margin))",
                "pass",
            ),
        ),
    ),
    Break(
        "funding left out of the ledger",
        ("ledger_equals_account",),
        ("test_assets_of_accounts.py::test_funding_is_in_the_ledger_minutes_after_each_stamp",),
        (
            (
                "execution/income.py",
                "elif row.kind in _OF_THE_ACCOUNT or (row.kind not in _IN_TRADES and _is_of_ours(ledger, row)):",
                "elif False:",
            ),
        ),
    ),
    Break(
        "wall time in the journal",
        ("same_market_same_journal",),
        ("test_sim_session.py::test_the_golden_journal",),
        (
            (
                "tactician/position_management.py",
                "ledger.assess(plan.symbol, action.kind, look.as_dict(), now_ms)",
                "ledger.assess(plan.symbol, action.kind, look.as_dict(), now_ms + __import__('time').time_ns() % 977)",
            ),
        ),
    ),
    Break(
        "secret written into the ledger",
        ("secrets_stay_secret",),
        ("test_kept_secrets.py",),
        (
            (
                "tactician/tactician.py",
                '"plan", made.as_dict(), now)',
                '"plan", {**made.as_dict(), "account_of": self.settings.binance_exchange.api_secret.get_secret_value()}, now)',
            ),
        ),
    ),
    Break(
        "key in the debug log",
        ("secrets_stay_secret",),
        ("test_kept_secrets.py",),
        (("exchange/connection/client.py", "    client.logger = _without_requests()\n", ""),),
    ),
    Break(
        "trades counted for the bar before",
        ("inputs_by_their_time",),
        ("test_inputs.py::test_flows_are_those_of_a_plain_loop_over_each_bars_trades",),
        (
            (
                "features/inputs.py",
                'opened = (pl.col("time").to_physical() // timeframe.ms * timeframe.ms).cast(TIME)',
                'opened = (pl.col("time").to_physical() // timeframe.ms * timeframe.ms - timeframe.ms).cast(TIME)',
            ),
        ),
    ),
    Break(
        "inputs known a bar early",
        ("inputs_by_their_time",),
        ("test_inputs.py::test_a_kline_that_closes_later_is_not_used_and_an_old_one_neither",),
        (
            (
                "features/inputs.py",
                ".to_numpy().astype(np.int64) + timeframe.ms\n",
                ".to_numpy().astype(np.int64) + 2 * timeframe.ms\n",
            ),
        ),
    ),
    Break(
        "open interest known before it is published",
        ("inputs_by_their_time",),
        ("test_inputs.py::test_open_interest_is_known_five_minutes_after_its_stamp",),
        (("features/inputs.py", "_Stamps(times + OPEN_INTEREST_LAG_MS, lasts)", "_Stamps(times, lasts)"),),
    ),
    Break(
        "mark price known as its bar opens",
        ("inputs_by_their_time",),
        ("test_inputs.py::test_a_kline_that_closes_later_is_not_used_and_an_old_one_neither",),
        (
            (
                "features/inputs.py",
                '_times(klines, "open_time"), _times(klines, "close_time") + 1\n',
                '_times(klines, "open_time"), _times(klines, "open_time")\n',
            ),
        ),
    ),
    Break(
        "training rows a bar early",
        ("rows_by_hand",),
        ("test_learned_from.py::test_a_training_row_is_of_the_bar_that_its_label_is_of",),
        (
            (
                "analyst/training.py",
                "return labelled(x, rows, labels, left_out), names",
                "return labelled(np.roll(x, -1, axis=0), rows, labels, left_out), names",
            ),
        ),
    ),
    Break(
        "unfit bars trained on",
        ("rows_by_hand",),
        ("test_quality_in_stages.py::test_just_the_rows_on_or_ending_on_unfit_bars_are_left_out",),
        (
            (
                "analyst/training.py",
                "if unfit is None else unfit | unfit[labels.end]",
                "if unfit is None else unfit & False",
            ),
        ),
    ),
    Break(
        "fee earned by the claim's book",
        ("book_by_hand",),
        ("test_analyst.py::test_the_book_holds_one_position_at_a_time_and_doubling_costs_never_helps",),
        (
            (
                "analyst/book.py",
                "gains -= turned * costs.per_side",
                "gains -= -turned * costs.per_side",
            ),
        ),
    ),
    Break(
        "fee earned by a side",
        ("costs_by_hand",),
        ("test_keys.py::test_costs_lower_the_expected_value",),
        (
            (
                "analyst/decision.py",
                "return TradeCosts(2 * self.per_side + long, 2 * self.per_side + short)",
                "return TradeCosts(-2 * self.per_side + long, -2 * self.per_side + short)",
            ),
        ),
    ),
    Break(
        "funding earned by the claim's book",
        ("book_by_hand",),
        ("test_learned_from.py::test_a_claim_at_doubled_costs_is_worse_just_where_there_are_costs",),
        (("analyst/book.py", "+ costs.of_holding(exposure)", "- costs.of_holding(exposure)"),),
    ),
    Break(
        "funding earned by shorts only in the book",
        ("book_by_hand",),
        ("test_funding_costs.py::test_without_recent_payments_both_sides_are_assumed_to_pay",),
        (("analyst/decision.py", "usual = np.abs(exposure) * self.per_bar", "usual = exposure * self.per_bar"),),
    ),
    Break(
        "the book's funding with its sign turned",
        ("funding_by_hand",),
        ("test_funding_costs.py",),
        (("analyst/decision.py", "charged = exposure * self.funding.due", "charged = -exposure * self.funding.due"),),
    ),
    Break(
        "funding to be received taken for a gain",
        ("funding_by_hand",),
        ("test_funding_costs.py",),
        (
            (
                "analyst/decision.py",
                "short = np.where(known, np.maximum(-paid, 0.0), usual)",
                "short = np.where(known, -paid, usual)",
            ),
        ),
    ),
    Break(
        "funding known before its stamp",
        ("funding_by_hand",),
        ("test_funding_costs.py",),
        (
            (
                "analyst/funding_cost.py",
                'last = np.searchsorted(known_ms, close_ms, side="right") - 1',
                'last = np.searchsorted(known_ms, close_ms + 8 * HOUR_MS, side="right") - 1',
            ),
        ),
    ),
    Break(
        "every funding interval eight hours",
        ("funding_by_hand",),
        ("test_funding_costs.py",),
        (
            (
                "analyst/funding_cost.py",
                "hours = np.clip(np.round(np.diff(stamps) / HOUR_MS), 1, USUAL_HOURS)",
                "hours = np.full(len(stamps) - 1, USUAL_HOURS)",
            ),
        ),
    ),
    Break(
        "funding paid to the payer",
        ("funding_by_its_sign",),
        ("test_venue_trading.py::test_funding_is_paid_by_the_side_that_owes_it",),
        (("venue/engine/funding.py", "paid = cents(-held.amount *", "paid = cents(held.amount *"),),
    ),
    Break(
        "both barriers a gain",
        ("labels_by_hand",),
        ("test_analyst.py::test_labels_equal_those_read_bar_by_bar",),
        (
            (
                "analyst/labels.py",
                "gain_long = np.where(both, down, gain)\n    gain_short = np.where(both, -up, -gain)",
                "gain_long = np.where(both, up, gain)\n    gain_short = np.where(both, -down, -gain)",
            ),
        ),
    ),
    Break(
        "labels from their own bar",
        ("labels_by_hand",),
        ("test_analyst.py::test_labels_equal_those_read_bar_by_bar",),
        (("analyst/labels.py", "for ahead in range(1, horizon + 1):", "for ahead in range(horizon + 1):"),),
    ),
    Break(
        "labels a bar short",
        ("labels_by_hand",),
        ("test_analyst.py::test_labels_equal_those_read_bar_by_bar",),
        (("analyst/labels.py", "for ahead in range(1, horizon + 1):", "for ahead in range(1, horizon):"),),
    ),
    Break(
        "act labels without their cost",
        ("act_labels_by_hand",),
        ("test_learned_from.py::test_the_act_model_learns_what_is_left_after_costs_whichever_the_side",),
        (
            (
                "analyst/act_model.py",
                "(learner.data.gain(out.side) > learner.costs.of(out.side))",
                "(learner.data.gain(out.side) > 0)",
            ),
        ),
    ),
    Break(
        "act labels of longs alone",
        ("act_labels_by_hand",),
        ("test_learned_from.py::test_the_act_model_learns_what_is_left_after_costs_whichever_the_side",),
        (
            (
                "analyst/walk_forward.py",
                "return np.where(side > 0, self.gain_long, self.gain_short)",
                "return self.gain_long",
            ),
        ),
    ),
    Break(
        "learned from what overlaps the prediction",
        ("folds_by_hand",),
        ("test_fitted.py::test_folds_learn_only_from_labels_that_ended_an_embargo_before_them",),
        (
            (
                "analyst/walk_forward.py",
                "before = data.end + embargo < data.start[first]\n",
                "before = data.start < data.start[first]\n",
            ),
        ),
    ),
    Break(
        "doubled costs not doubled",
        ("claims_pay_their_costs",),
        ("test_learned_from.py::test_a_claim_at_doubled_costs_is_worse_just_where_there_are_costs",),
        (("analyst/training.py", "given.costs(config.costs, 2.0)", "given.costs(config.costs)"),),
    ),
    Break(
        "tries not counted",
        ("claim_by_hand",),
        ("test_analyst.py::test_a_claim_needs_every_condition",),
        (("analyst/claim.py", "bar = expected_best_sharpe(tries.number, bars)", "bar = 0.0"),),
    ),
    Break(
        "holding called skill",
        ("claim_by_hand",),
        ("test_analyst.py::test_a_claim_needs_every_condition",),
        (("analyst/claim.py", "probabilistic_sharpe(excess, bar)", "probabilistic_sharpe(gains, bar)"),),
    ),
    Break(
        "daily loss limit forgotten",
        ("loss_limits_by_hand", "loss_limit_halts"),
        ("test_limits.py::test_limits_are_met_exactly",),
        (
            (
                "core/money/loss_limits.py",
                "if opened > 0 and opened - equity >= opened * Decimal(str(limits.daily)):",
                "if False:",
            ),
        ),
    ),
    Break(
        "daily loss counted from the first day",
        ("loss_limits_by_hand",),
        ("test_limits.py::test_limits_are_met_exactly",),
        (
            (
                "core/money/loss_limits.py",
                "past.opened(max(now_ms // DAY_MS * DAY_MS, since_ms))",
                "past.opened(since_ms)",
            ),
        ),
    ),
    Break(
        "open losses left out of the limits",
        ("loss_limits_by_hand", "loss_limit_halts"),
        ("test_limits.py::test_limits_are_met_exactly",),
        (("core/money/loss_limits.py", "peak, wallet + unrealized, limits", "peak, wallet, limits"),),
    ),
    Break(
        "target's distance taken for the stop's",
        ("sizes_by_hand", "plans_by_hand"),
        ("test_sizing.py::test_the_risk_cap_loses_its_share_of_equity_at_the_stop_costs_included",),
        (
            (
                "core/money/sizing.py",
                "equity, loss = setting.equity, setting.stop_distance + setting.cost",
                "equity, loss = setting.equity, setting.target_distance + setting.cost",
            ),
        ),
    ),
    Break(
        "stop and target exchanged in planning",
        ("plans_by_hand",),
        ("test_planning.py::test_a_far_target_beside_a_near_stop_changes_nothing_of_what_may_be_lost",),
        (
            (
                "tactician/planning.py",
                "        stop_distance=stop,\n        target_distance=target,\n",
                "        stop_distance=target,\n        target_distance=stop,\n",
            ),
        ),
    ),
    Break(
        "the chance itself instead of its lower bound",
        ("sizes_by_hand",),
        ("test_sizing.py::test_the_same_win_rate_over_more_trades_is_worth_more",),
        (
            (
                "core/money/sizing.py",
                "    p = lower_probability(setting.probability, setting.trades, limits.confidence)\n",
                "    p = setting.probability\n",
            ),
        ),
    ),
    Break(
        "what is held left out of the exposure",
        ("sizes_by_hand",),
        ("test_sizing.py::test_what_is_held_already_leaves_so_much_less",),
        (("core/money/sizing.py", "equity * limits.max_exposure - setting.others,", "equity * limits.max_exposure,"),),
    ),
    Break(
        "backstop inside the stop",
        ("plans_by_hand",),
        ("test_trading_keys.py::test_validity_drift_and_backstop_are_as_set",),
        (
            (
                "tactician/plan_levels.py",
                "abs(price - stop) * Decimal(str(backstop)))",
                "abs(price - stop) / Decimal(str(backstop)))",
            ),
        ),
    ),
    Break(
        "liquidation of shorts where longs have theirs",
        ("liquidation_by_hand",),
        ("test_core.py::test_at_the_liquidation_price_margin_is_the_maintenance_margin",),
        (("core/money/liquidation.py", 'sign = 1 if side == "long" else -1', "sign = 1"),),
    ),
    Break(
        "stop of shorts looked for below",
        ("exits_by_hand",),
        ("test_exits.py::test_long_and_short_are_mirrors",),
        (
            (
                "core/money/exits.py",
                "if (mark - position.stop_price) * position.sign <= 0:",
                "if mark - position.stop_price <= 0:",
            ),
        ),
    ),
    Break(
        "opinions that never age",
        ("exits_by_hand",),
        ("test_exits.py::test_without_news_an_opinion_decays_to_one_half",),
        (("core/money/exits.py", "weight = math.exp2(-max(0, now_ms - self.at_ms) / half_life_ms)", "weight = 1.0"),),
    ),
    Break(
        "taker flow with its sign turned",
        ("columns_by_definition",),
        ("test_families.py::test_order_flow_is_what_its_formulas_say",),
        (
            (
                "features/families/order_flow.py",
                'volume, signed = bars.volume, 2.0 * bars["taker_buy_base"] - bars.volume',
                'volume, signed = bars.volume, bars.volume - 2.0 * bars["taker_buy_base"]',
            ),
        ),
    ),
    Break(
        "funding of any interval taken for 8 hours",
        ("futures_columns_by_definition",),
        ("test_families.py::test_the_same_rate_an_hour_is_the_same_in_eight_hours_at_any_interval",),
        (("features/families/derivatives.py", "rate * (_USUAL_MS / interval)", "rate * 1.0"),),
    ),
    Break(
        "sessions an hour late",
        ("columns_by_definition",),
        ("test_own_bar.py::test_time_of_day_and_week_are_the_calendars",),
        (
            (
                "features/families/session.py",
                "minute = bars.open_ms // MINUTE_MS\n",
                "minute = bars.open_ms // MINUTE_MS - 60\n",
            ),
        ),
    ),
    Break(
        "a column of the bar before",
        ("columns_by_definition",),
        ("test_own_bar.py::test_the_shape_of_a_bar_is_told_by_that_bar_alone",),
        (
            (
                "features/families/technical.py",
                '"body_1": lambda b: (b.c - b.o) / b.height,',
                '"body_1": lambda b: np.roll((b.c - b.o) / b.height, 1),',
            ),
        ),
    ),
    Break(
        "higher bars shifted by one",
        ("columns_by_definition",),
        ("test_worked_examples.py::test_columns_of_random_bars_are_what_their_definitions_say",),
        (
            (
                "features/build.py",
                'at = np.searchsorted(closed, decided, side="right") - 1\n        fresh',
                'at = np.searchsorted(closed, decided, side="right") - 2\n        fresh',
            ),
        ),
    ),
    Break(
        "a shipped folder that cannot be written",
        ("folders_take_what_is_written",),
        ("test_worked_examples.py::test_as_shipped_everything_can_be_written_and_risk_management_is_on",),
        (("settings/defaults/default.yaml", "cache_dir: cache            ", "cache_dir: /proc/nowhere "),),
    ),
    Break(
        "risk management off as shipped",
        ("risk_management_is_on",),
        ("test_worked_examples.py::test_as_shipped_everything_can_be_written_and_risk_management_is_on",),
        (("settings/defaults/default.yaml", "  enable_risk_management: true\n", "  enable_risk_management: false\n"),),
    ),
    Break(
        "bars read with columns exchanged",
        ("klines_by_hand",),
        ("test_worked_examples.py::test_the_worked_example_holds[klines_by_hand]",),
        (
            (
                "exchange/market_data/reply_frames.py",
                '    "quote_volume",\n    "trades",\n    "taker_buy_base",\n    "taker_buy_quote",\n    "unused",\n',
                '    "taker_buy_quote",\n    "trades",\n    "taker_buy_base",\n    "quote_volume",\n    "unused",\n',
            ),
        ),
    ),
    Break(
        "a chunk read without its digest",
        ("damage_is_refused",),
        ("test_storage.py::test_a_damaged_chunk_is_noticed",),
        (("storage/chunk_store.py", "if digest_bytes(content) != chunk.content:", "if False:"),),
    ),
    Break(
        "shorts read as longs",
        ("account_by_hand",),
        ("test_paper_fills.py::test_what_the_exchange_writes_of_fills_income_and_positions_is_read_as_it_was",),
        (
            (
                "exchange/account/account_replies.py",
                'amount=decimal(body["positionAmt"]),',
                'amount=abs(decimal(body["positionAmt"])),',
            ),
        ),
    ),
    Break(
        "fee and profit of a fill exchanged",
        ("account_by_hand",),
        ("test_paper_fills.py::test_what_the_exchange_writes_of_fills_income_and_positions_is_read_as_it_was",),
        (
            (
                "exchange/account/account_replies.py",
                'commission=decimal(body["commission"])',
                'commission=decimal(body["realizedPnl"])',
            ),
            (
                "exchange/account/account_replies.py",
                'realized_profit=decimal(body["realizedPnl"]),\n        maker',
                'realized_profit=decimal(body["commission"]),\n        maker',
            ),
        ),
    ),
    Break(
        "income read with its sign turned",
        ("account_by_hand",),
        ("test_paper_fills.py::test_what_the_exchange_writes_of_fills_income_and_positions_is_read_as_it_was",),
        (("exchange/account/account_replies.py", 'amount=decimal(body["income"])', 'amount=-decimal(body["income"])'),),
    ),
    Break(
        "loss limits not looked at while holding",
        ("loss_limit_halts",),
        ("test_assets_of_accounts.py::test_a_loss_limit_breaks_at_the_first_look_after_the_account_says_so",),
        (("tactician/loss_watch.py", "        if not fresh:\n", "        if True:\n"),),
    ),
    Break(
        "target never placed",
        ("flat_leaves_no_order",),
        ("test_executor.py::test_an_entry_is_one_order_with_its_stops_resting",),
        (
            ("core/money/protection_step.py", "if settled and s.held > s.targeted and", "if False and"),
            ("execution/protection_loop.py", 's.targeted >= s.held or self._was_tried("take_profit", 1)', "True"),
        ),
    ),
    Break(
        "claims taken for any costs",
        ("claim_is_bound",),
        ("test_own_bar.py::test_a_model_is_taken_only_under_the_costs_of_its_claim",),
        (("analyst/model_terms.py", "    if changed is not None:\n", "    if False:\n"),),
    ),
    Break(
        "a moved reference followed",
        ("damage_is_refused",),
        ("test_stored_identity.py::test_a_reference_that_was_moved_is_refused_and_its_command_mends_it",),
        (
            ("storage/artifacts.py", "        if named != expected:\n", "        if False:\n"),
            (
                "storage/artifacts.py",
                "if (manifest.symbol, manifest.timeframe, manifest.stage) != (key.symbol, key.timeframe, key.stage):",
                "if False:",
            ),
        ),
    ),
    Break(
        "a model read without its digest",
        ("damaged_model_is_refused",),
        ("test_storage.py::test_a_bundle_with_a_changed_byte_is_refused",),
        (("storage/bundles.py", "if digest_bytes(files[name]) != wanted:", "if False:"),),
    ),
    Break(
        "levels known before their time",
        ("inputs_by_their_time",),
        ("test_inputs.py::test_a_level_counts_from_the_moment_it_became_known",),
        (
            (
                "features/sr_levels.py",
                'known = levels["known_time"].to_physical().to_numpy()\n',
                'known = levels["known_time"].to_physical().to_numpy() - 60_000\n',
            ),
        ),
    ),
    Break(
        "funding known before it is paid",
        ("inputs_by_their_time",),
        ("test_inputs.py::test_a_payment_just_past_the_hour_is_not_known_to_the_bar_that_closes_on_the_hour",),
        (
            (
                "features/inputs.py",
                "rows = _Stamps(times, _lasts(intervals",
                "rows = _Stamps(times - 30, _lasts(intervals",
            ),
        ),
    ),
    Break(
        "trades to the close's own millisecond",
        ("inputs_by_their_time",),
        (
            "test_inputs.py::test_a_trade_on_the_stroke_is_the_first_of_its_bar_and_one_a_millisecond_before_the_last_of_the_one_before",
        ),
        (
            (
                "features/inputs.py",
                'opened = (pl.col("time").to_physical() // timeframe.ms * timeframe.ms).cast(TIME)',
                'opened = ((pl.col("time").to_physical() - 1) // timeframe.ms * timeframe.ms).cast(TIME)',
            ),
        ),
    ),
    Break(
        "index price of another moment than the mark's",
        ("unknown_inputs_are_empty",),
        ("test_inputs.py::test_the_index_price_is_of_the_same_moment_as_the_mark_price",),
        (
            (
                "features/inputs.py",
                'return frame if mark is None else frame.filter(pl.col("close_time").is_in(mark["close_time"].to_list()))',
                "return frame",
            ),
        ),
    ),
    Break(
        "inputs that never go stale",
        ("unknown_inputs_are_empty",),
        ("test_inputs.py::test_funding_is_stale_after_two_of_its_own_intervals_and_a_day_at_most",),
        (
            (
                "features/inputs.py",
                "fresh = decided_ms - self.known_ms[at] <= self.lasts_ms[at]\n",
                "fresh = decided_ms >= self.known_ms[at]\n",
            ),
        ),
    ),
    Break(
        "a bar's trades in part taken for the whole",
        ("unknown_inputs_are_empty",),
        ("test_inputs.py::test_a_bar_that_trades_cover_in_part_has_no_flow",),
        (
            (
                "features/inputs.py",
                'pl.when(missing <= _COVERED * pl.col("volume"))',
                'pl.when(missing <= pl.col("volume"))',
            ),
        ),
    ),
    Break(
        "makers' side taken for the takers'",
        ("inputs_by_their_time",),
        ("test_inputs.py::test_flows_are_those_of_a_plain_loop_over_each_bars_trades",),
        (
            (
                "features/inputs.py",
                'quantity.filter(~sold).sum().alias("flow_buy"),\n        quantity.filter(sold).sum()',
                'quantity.filter(sold).sum().alias("flow_buy"),\n        quantity.filter(~sold).sum()',
            ),
        ),
    ),
    Break(
        "live features of the bar before",
        ("probabilities_sum_to_one",),
        ("test_own_bar.py::test_the_analyst_decides_by_the_row_of_the_last_bar",),
        (
            (
                "analyst/analyst.py",
                "self.store.read(features.tail()).tail(1).row(0, named=True)",
                "self.store.read(features.tail()).tail(2).row(0, named=True)",
            ),
        ),
    ),
    Break(
        "live barriers of the bar before",
        ("barriers_as_stated",),
        ("test_analyst.py::test_live_levels_are_the_barriers_that_labels_have",),
        (
            (
                "analyst/analysis.py",
                "    x = row_of(given, model)\n    sigma = trailing_volatility(given.bars.close, model.volatility_span)[-1:]\n",
                "    x = row_of(given, model)\n    sigma = trailing_volatility(given.bars.close, model.volatility_span)[-2:-1]\n",
            ),
        ),
    ),
    Break(
        "volatility that knows the next bar",
        ("labels_by_hand",),
        ("test_analyst.py::test_volatility_is_trailing_and_restartable",),
        (
            (
                "analyst/labels.py",
                "returns[1:] = np.log(close[1:] / close[:-1])\n",
                "returns[:-1] = np.log(close[1:] / close[:-1])\n",
            ),
        ),
    ),
    Break(
        "barriers touched by closes alone",
        ("labels_by_hand",),
        ("test_analyst.py::test_labels_equal_those_read_bar_by_bar",),
        (
            (
                "analyst/labels.py",
                "bars.high[rows] >= upper[open_rows], bars.low[rows] <= lower[open_rows]",
                "bars.close[rows] >= upper[open_rows], bars.close[rows] <= lower[open_rows]",
            ),
        ),
    ),
    Break(
        "the lower barrier's loss taken for the upper's",
        ("labels_by_hand",),
        ("test_analyst.py::test_labels_equal_those_read_bar_by_bar",),
        (
            (
                "analyst/labels.py",
                "up, down = np.expm1(barrier), np.expm1(-barrier)",
                "up, down = np.expm1(barrier), -np.expm1(barrier)",
            ),
        ),
    ),
    Break(
        "out a bar after the horizon",
        ("labels_by_hand",),
        ("test_analyst.py::test_labels_equal_those_read_bar_by_bar",),
        (
            (
                "analyst/labels.py",
                "bars.close[np.minimum(end[valid], n - 1)]",
                "bars.close[np.minimum(end[valid] + 1, n - 1)]",
            ),
        ),
    ),
    Break(
        "uniqueness that counts its own bar",
        ("labels_by_hand",),
        ("test_analyst.py::test_uniqueness_counts_the_labels_alive",),
        (("analyst/labels.py", "np.add.at(change, start + 1, 1.0)", "np.add.at(change, start, 1.0)"),),
    ),
    Break(
        "touches counted for the side they lost",
        ("labels_by_hand",),
        ("test_analyst.py::test_labels_equal_those_read_bar_by_bar",),
        (
            (
                "analyst/labels.py",
                "outcome[open_rows[high & ~low]] = 1\n        outcome[open_rows[low & ~high]] = -1",
                "outcome[open_rows[high & ~low]] = -1\n        outcome[open_rows[low & ~high]] = 1",
            ),
        ),
    ),
    Break(
        "labels over a gap",
        ("gaps_have_no_labels",),
        ("test_analyst.py::test_no_label_crosses_a_gap",),
        (
            (
                "analyst/labels.py",
                "whole[inside] = bars.open_ms[last[inside]] - bars.open_ms[: n - horizon][inside[: n - horizon]] == horizon * step_ms",
                "whole[inside] = True",
            ),
        ),
    ),
    Break(
        "learned from labels that reach into what is said",
        ("calibration_by_hand",),
        ("test_learned_from.py::test_what_is_said_of_a_segment_rests_on_nothing_that_reaches_within_an_embargo_of_it",),
        (
            (
                "analyst/walk_forward.py",
                "ends = self.data.end[:rows] + self.options.embargo",
                "ends = self.data.start[:rows]",
            ),
        ),
    ),
    Break(
        "not calibrated",
        ("calibration_by_hand",),
        ("test_learned_from.py::test_probabilities_are_calibrated_on_what_was_said_of_rows_that_were_not_known",),
        (
            (
                "analyst/walk_forward.py",
                "calibrated = replace(booster, base=base, slope=reliability.slope)",
                "calibrated = replace(booster, base=base, slope=1.0)",
            ),
        ),
    ),
    Break(
        "fees earned at the simulated exchange",
        ("fees_by_their_sign",),
        ("test_paper_fills.py::test_fees_are_the_accounts_own_and_a_rebate_is_received",),
        (
            (
                "venue/engine/engine.py",
                'Income("COMMISSION", order.symbol, -fee,',
                'Income("COMMISSION", order.symbol, fee,',
            ),
        ),
    ),
    Break(
        "fees earned in the ledger",
        ("ledger_equals_account",),
        ("test_assets.py::test_a_ledger_keeps_each_asset_by_itself",),
        (("storage/ledger_money.py", "-decimal_of(fee)", "decimal_of(fee)"),),
    ),
    Break(
        "rebates paid",
        ("fees_by_their_sign",),
        ("test_paper_fills.py::test_fees_are_the_accounts_own_and_a_rebate_is_received",),
        (
            (
                "venue/engine/fees.py",
                "fee, margin = cents(notional * rate_of(engine, maker=maker)), margin_asset_of(symbol)",
                "fee, margin = abs(cents(notional * rate_of(engine, maker=maker))), margin_asset_of(symbol)",
            ),
        ),
    ),
    Break(
        "makers pay as takers",
        ("fees_by_their_sign",),
        ("test_paper_fills.py::test_fees_are_the_accounts_own_and_a_rebate_is_received",),
        (
            (
                "venue/engine/fees.py",
                "(engine.account.maker_fee, MAKER_FEE) if maker else",
                "(engine.account.taker_fee, engine.fills.taker_fee) if maker else",
            ),
        ),
    ),
    Break(
        "fees of before the exchange raised them",
        ("fees_by_their_sign",),
        ("test_paper_fills.py::test_a_target_passed_in_a_minute_is_filled_below_it_and_not_at_the_minutes_high",),
        (("venue/engine/margin.py", 'TAKER_FEE = Decimal("0.0005")', 'TAKER_FEE = Decimal("0.0004")'),),
    ),
    Break(
        "funding at eight hours whatever the interval",
        ("funding_at_its_interval",),
        ("test_venue_world.py::test_another_funding_interval_is_shown_and_paid",),
        (
            (
                "venue/simulated_market/rule_changes.py",
                "(self.at(symbol, time_ms - 1).funding_interval_ms or usual_ms)",
                "usual_ms",
            ),
        ),
    ),
    Break(
        "paper's funding an hour late",
        ("funding_at_its_interval",),
        ("test_observed.py::test_a_gap_of_a_day_pays_every_funding_and_triggers_in_its_minute",),
        (
            (
                "venue/paper/observed_market.py",
                "first, last = time_ms - HOUR_MS + MINUTE_MS, time_ms + MINUTE_MS",
                "first, last = time_ms - 2 * HOUR_MS + MINUTE_MS, time_ms - HOUR_MS + MINUTE_MS",
            ),
        ),
    ),
    Break(
        "paper's funding earned",
        ("funding_at_its_interval",),
        ("test_observed.py::test_the_engine_on_what_was_seen_is_the_engine_on_the_tape",),
        (("venue/paper/observed_market.py", "return sum(rate for at, rate", "return -sum(rate for at, rate"),),
    ),
    Break(
        "drawdown limit forgotten",
        ("loss_limits_by_hand",),
        ("test_limits.py::test_limits_are_met_exactly",),
        (
            (
                "core/money/loss_limits.py",
                "if peak > 0 and peak - equity >= peak * Decimal(str(limits.drawdown)):",
                "if False:",
            ),
        ),
    ),
    Break(
        "drawdown from what the account began with",
        ("loss_limits_by_hand",),
        ("test_limits.py::test_limits_are_met_exactly",),
        (
            (
                "core/money/loss_limits.py",
                "return max(*booked, *(point.equity for point in self._points))",
                "return booked[0]",
            ),
        ),
    ),
    Break(
        "fees in another asset left out of the limits",
        ("loss_limits_by_asset",),
        ("test_assets.py::test_fees_in_another_asset_break_a_limit_as_if_paid_in_the_margin_asset",),
        (
            (
                "core/money/loss_limits.py",
                "wallet = state.wallet + sum((amount for _, amount in elsewhere), Decimal(0))  #",
                "wallet = state.wallet  #",
            ),
        ),
    ),
    Break(
        "loss limits of one asset alone",
        ("loss_limits_by_asset",),
        ("test_assets.py::test_fees_in_another_asset_break_a_limit_as_if_paid_in_the_margin_asset",),
        (
            (
                "core/money/loss_limits.py",
                "return {margin: account.of(margin) for margin in sorted(margins)}",
                "return {margin: account.of(margin) for margin in [QUOTE]}",
            ),
        ),
    ),
    Break(
        "Kelly with target and stop exchanged",
        ("sizes_by_hand",),
        ("test_sizing.py::test_at_or_below_break_even_the_size_is_exactly_zero",),
        (
            (
                "core/money/sizing.py",
                "win, loss = gain - setting.cost, lost + setting.cost\n",
                "win, loss = lost - setting.cost, gain + setting.cost\n",
            ),
        ),
    ),
    Break(
        "costs make a win larger",
        ("sizes_by_hand",),
        ("test_sizing.py::test_at_or_below_break_even_the_size_is_exactly_zero",),
        (
            (
                "core/money/sizing.py",
                "win, loss = gain - setting.cost, lost",
                "win, loss = gain + setting.cost, lost",
            ),
        ),
    ),
    Break(
        "costs make a loss smaller",
        ("sizes_by_hand",),
        ("test_sizing.py::test_the_risk_cap_loses_its_share_of_equity_at_the_stop_costs_included",),
        (
            (
                "core/money/sizing.py",
                "equity, loss = setting.equity, setting.stop_distance + setting.cost",
                "equity, loss = setting.equity, setting.stop_distance - setting.cost",
            ),
        ),
    ),
    Break(
        "other dollars left out of the capital cap",
        ("sizes_by_hand",),
        ("test_planning.py::test_refusals_have_their_codes",),
        (("core/money/sizing.py", "cap - setting.others - elsewhere", "cap - setting.others"),),
    ),
    Break(
        "longs counted against shorts",
        ("caps_of_a_plan_by_hand",),
        ("test_planning.py::test_refusals_have_their_codes",),
        (
            (
                "tactician/planning.py",
                "held = now.long_notional if up else now.short_notional",
                "held = now.short_notional if up else now.long_notional",
            ),
        ),
    ),
    Break(
        "the book of the other side",
        ("caps_of_a_plan_by_hand",),
        ("test_planning.py::test_refusals_have_their_codes",),
        (
            (
                "tactician/planning.py",
                'depth.asks if signal.side == "long" else depth.bids',
                'depth.bids if signal.side == "long" else depth.asks',
            ),
        ),
    ),
    Break(
        "a day's volume taken for a bar's",
        ("caps_of_a_plan_by_hand",),
        ("test_planning.py::test_limits_are_of_the_frame_that_is_traded",),
        (
            (
                "tactician/planning.py",
                "depth.day_volume * timeframe.ms / DAY_MS",
                "depth.day_volume",
            ),
        ),
    ),
    Break(
        "volatility of the horizon taken for the year's",
        ("caps_of_a_plan_by_hand",),
        ("test_planning.py::test_limits_are_of_the_frame_that_is_traded",),
        (("tactician/planning.py", "sigma_year=sigma / math.sqrt(years)", "sigma_year=sigma"),),
    ),
    Break(
        "leverage rounded down",
        ("sizes_by_hand",),
        ("test_sizing.py::test_leverage_is_the_lowest_whole_one_that_funds_the_size",),
        (
            (
                "core/money/sizing.py",
                "value = max(1, math.ceil(notional / margin))",
                "value = max(1, math.floor(notional / margin))",
            ),
        ),
    ),
    Break(
        "maintenance offset of the wrong sign",
        ("liquidation_by_hand",),
        ("test_core.py::test_at_the_liquidation_price_margin_is_the_maintenance_margin",),
        (
            (
                "core/money/liquidation.py",
                "entry / leverage + cumulative, sign",
                "entry / leverage - cumulative, sign",
            ),
        ),
    ),
    Break(
        "stop rounded away from the price",
        ("caps_of_a_plan_by_hand",),
        ("test_planning.py::test_on_ticks_no_level_is_further_away_than_the_signal_says",),
        (
            (
                "tactician/plan_levels.py",
                "stop, target = _on_tick(barriers[0], rules, up=is_long)",
                "stop, target = _on_tick(barriers[0], rules, up=not is_long)",
            ),
        ),
    ),
    Break(
        "requested risk ignored",
        ("requests_only_lower",),
        ("test_planning.py::test_a_lower_risk_is_that_share_of_what_may_be_lost",),
        (("tactician/planning.py", 'scale = _RISK_LEVELS.get(request.risk_level or "high", 1.0)', "scale = 1.0"),),
    ),
    Break(
        "stops of paper by the last price",
        ("exits_of_paper_by_hand",),
        ("test_paper_fills.py::test_a_wick_in_the_last_price_alone_triggers_only_what_names_it",),
        (("venue/engine/books.py", 'return self.working_type == "MARK_PRICE"', "return False"),),
    ),
    Break(
        "filled at the minute's extreme",
        ("exits_of_paper_by_hand",),
        ("test_paper_fills.py::test_a_stop_passed_by_a_minute_that_opens_beyond_it_is_filled_from_there",),
        (
            (
                "venue/engine/triggers.py",
                '    worse = min if algo.side == "SELL" else max\n',
                '    worse = max if algo.side == "SELL" else min\n',
            ),
        ),
    ),
    Break(
        "triggered orders without half the spread",
        ("exits_of_paper_by_hand",),
        ("test_paper_fills.py::test_a_target_passed_in_a_minute_is_filled_below_it_and_not_at_the_minutes_high",),
        (
            (
                "venue/engine/triggers.py",
                "sign * (half + at * engine.fills.slippage)",
                "sign * (at * engine.fills.slippage)",
            ),
        ),
    ),
    Break(
        "triggered orders that gain by slippage",
        ("exits_of_paper_by_hand",),
        ("test_paper_fills.py::test_a_target_passed_in_a_minute_is_filled_below_it_and_not_at_the_minutes_high",),
        (
            (
                "venue/engine/triggers.py",
                "(at + sign * (half + at * engine.fills.slippage))",
                "(at - sign * (half + at * engine.fills.slippage))",
            ),
        ),
    ),
    Break(
        "limits filled where they are touched",
        ("exits_of_paper_by_hand",),
        ("test_paper_fills.py::test_a_resting_limit_is_filled_at_its_own_price_and_only_when_traded_through",),
        (
            (
                "venue/engine/engine.py",
                "if (order.price - price) * order.sign > 0:",
                "if (order.price - price) * order.sign >= 0:",
            ),
            ("venue/engine/triggers.py", ".append(order.price - order.sign * tick)", ".append(order.price)"),
        ),
    ),
    Break(
        "limits filled at the price that came through",
        ("exits_of_paper_by_hand",),
        ("test_paper_fills.py::test_a_resting_limit_is_filled_at_its_own_price_and_only_when_traded_through",),
        (
            (
                "venue/engine/engine.py",
                "self._fill(order, order.price, quantity, maker=True)",
                "self._fill(order, price, quantity, maker=True)",
            ),
        ),
    ),
    Break(
        "targets before stops",
        ("exits_of_paper_by_hand",),
        ("test_paper_fills.py::test_stop_and_target_within_one_minute_end_at_the_stop",),
        (
            (
                "venue/engine/triggers.py",
                "(stops_first and not found[0].is_stop, ",
                "(stops_first and found[0].is_stop, ",
            ),
        ),
    ),
    Break(
        "targets alone where a look shows both",
        ("exits_of_paper_by_hand",),
        ("test_paper_fills.py::test_stop_and_target_within_one_minute_end_at_the_stop",),
        (
            (
                "venue/engine/triggers.py",
                "stops = [algo for algo in waiting if algo.is_stop and algo.algo_id not in reached]",
                "stops = []",
            ),
        ),
    ),
    Break(
        "liquidated later than the margin allows",
        ("exits_of_paper_by_hand",),
        ("test_paper_fills.py::test_a_position_is_liquidated_at_its_liquidation_price_and_a_tick_before_it_is_not",),
        (
            (
                "venue/engine/engine.py",
                "(mark <= level if position.amount > 0 else mark >= level)",
                "(mark <= level * Decimal('0.99') if position.amount > 0 else mark >= level * Decimal('1.01'))",
            ),
        ),
    ),
    Break(
        "profit of shorts with its sign turned",
        ("exits_of_paper_by_hand",),
        ("test_paper_fills.py::test_what_the_exchange_writes_of_fills_income_and_positions_is_read_as_it_was",),
        (
            (
                "venue/engine/margin.py",
                "return position.amount * (mark - position.entry)",
                "return abs(position.amount) * (mark - position.entry)",
            ),
        ),
    ),
    Break(
        "library versions left out of a claim",
        ("claim_is_bound",),
        ("test_stored_identity.py::test_a_library_of_another_version_is_named",),
        (("analyst/claim_basis.py", '        "libraries": dict(library_versions()),\n', ""),),
    ),
    Break(
        "loss limit of everything as shipped",
        ("risk_management_is_on",),
        ("test_worked_examples.py::test_as_shipped_everything_can_be_written_and_risk_management_is_on",),
        (("settings/defaults/default.yaml", "max_daily_loss: 0.03 ", "max_daily_loss: 1.00 "),),
    ),
    Break(
        "multi-assets mode not refused",
        ("accounts_that_are_refused",),
        ("test_assets_of_accounts.py::test_an_account_that_we_do_not_trade_is_refused_and_what_is_open_is_closed",),
        (("core/money/trading_rules.py", "    if multi_assets:\n", "    if False:\n"),),
    ),
    Break(
        "credits account not refused",
        ("accounts_that_are_refused",),
        ("test_assets_of_accounts.py::test_an_account_that_we_do_not_trade_is_refused_and_what_is_open_is_closed",),
        (("core/money/trading_rules.py", "    if CREDITS in account.wallets:\n", "    if False:\n"),),
    ),
    Break(
        "delisting not looked at",
        ("symbols_that_are_refused",),
        ("test_openable.py::test_rules_that_changed_under_a_plan",),
        (
            (
                "core/money/trading_rules.py",
                "    if rules.delivery_ms is None or exit_by_ms",
                "    if True or exit_by_ms",
            ),
        ),
    ),
    Break(
        "settling symbol opened",
        ("symbols_that_are_refused",),
        ("test_openable.py::test_rules_that_changed_under_a_plan",),
        (("core/money/trading_rules.py", '    if rules.status != "TRADING" or', "    if False or"),),
    ),
    Break(
        "prices apart trusted",
        ("prices_that_are_refused",),
        ("test_openable.py::test_prices_apart_or_stale_open_nothing",),
        (
            (
                "core/money/trading_rules.py",
                "    if min(seen) <= 0 or max(seen)",
                "    if min(seen) <= 0 or False and max(seen)",
            ),
        ),
    ),
    Break(
        "caps of all together ignored before an entry",
        ("caps_before_an_entry",),
        ("test_assets_of_accounts.py::test_the_capital_cap_counts_every_dollar",),
        (
            (
                "execution/preflight.py",
                "    if limits.capital_cap is not None and whole > Decimal(str(limits.capital_cap)) * _SLACK:",
                "    if False:",
            ),
        ),
    ),
    Break(
        "rebates not booked",
        ("rebates_are_booked",),
        ("test_random_histories.py::test_ledger_and_limits_are_those_of_the_account_in_every_asset",),
        (("execution/income.py", "elif row.kind in _OF_THE_ACCOUNT or (", "elif ("),),
    ),
    Break(
        "verify blind to folders that cannot be written",
        (),
        ("test_worked_examples.py::test_a_folder_that_cannot_be_written_fails_and_is_named",),
        (
            (
                "pipelines/verification/own_settings.py",
                '        return f"{at}: {error.strerror}"\n    return ""\n',
                '        return ""\n    return ""\n',
            ),
        ),
    ),
    Break(
        "verify blind to risk management that is off",
        (),
        ("test_worked_examples.py::test_risk_management_that_is_off_fails",),
        (
            (
                "pipelines/verification/own_settings.py",
                'yield holds("tactician.enable_risk_management", tactician.enable_risk_management)',
                'yield holds("tactician.enable_risk_management", True)',
            ),
        ),
    ),
    Break(
        "a rule that sees the future is used",
        (),
        ("test_user_rules.py::test_a_rule_that_peeks_is_refused_by_name_and_stays_so",),
        (("analyst/rule_certificates.py", "    require_causal(found.columns[0].family, found)\n", ""),),
    ),
    Break(
        "a rule's certificate holds for other parameters",
        (),
        ("test_user_rules.py::test_an_honest_rule_is_certified_once",),
        (("analyst/rule_certificates.py", "rule.name, source, rule.parameters,", "rule.name, source,"),),
    ),
    Break(
        "a rule is tried twice with the same hashes",
        (),
        ("test_user_rules.py::test_what_a_rule_does_wrong_is_told",),
        (("analyst/isolated_rule.py", 'hash_seed="2"', 'hash_seed="1"'),),
    ),
    Break(
        "a claim holds for a rule whose source has changed",
        (),
        ("test_rule_trading.py::test_a_changed_source_has_no_claim",),
        (("analyst/stored_word.py", "    if other is not None:\n", "    if False:\n"),),
    ),
    Break(
        "a rule without an edge signals",
        (),
        ("test_rule_claims.py::test_why_a_word_is_no_signal",),
        (("analyst/rule_decision.py", "if unclaimed is not None and not unproven:", "if False:"),),
    ),
    Break(
        "a stop that is jumped over fills at its level",
        (),
        ("test_rule_claims.py::test_its_trades_are_those_of_a_plain_loop",),
        (("analyst/rule_trades.py", "min(-stop, opened) if lost[first]", "-stop if lost[first]"),),
    ),
    Break(
        "a side that stood when a span began is traded",
        (),
        ("test_rule_on_bars.py::test_a_side_that_stood_when_the_span_began_opens_nothing",),
        (
            (
                "pipelines/backtests/bar_backtest.py",
                "    if rows.start and side[0] == said.side[rows.start - 1]:",
                "    if False:",
            ),
        ),
    ),
)
