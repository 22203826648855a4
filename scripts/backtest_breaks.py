"""What `break_verify` breaks of the backtest at two speeds: each place where a fast path goes wrong, and who must see it."""

from __future__ import annotations

from breaks import Break

SAME = "test_two_speeds.py::test_both_speeds_trade_the_same"
SEVERAL = "test_two_speeds.py::test_both_speeds_trade_several_symbols_on_one_account_the_same"
AHEAD = "test_looking_ahead.py::test_an_engine_that_looks_ahead_does_what_one_that_looks_at_each_step_does"
TOGETHER = "test_prepared_analyses.py::test_closes_decided_together_say_what_each_alone_says"
HAND = "test_skips_by_hand.py::"
FAST, NEXT, LOSS = "backtest/fast_backtest.py", "backtest/next_moment.py", "backtest/loss_record.py"

BOOK = "test_bar_book.py::"
WALK = "backtest/bar_walk.py"

FAST_BREAKS = (
    Break(
        "a stop of the claim's book that a gap passes is filled at its level",
        (),
        (f"{BOOK}test_a_gap_beyond_the_stop_is_filled_at_the_open_and_one_beyond_the_drift_is_not_entered",),
        ((WALK, "self._ended(row, price, at_open=True)", "self._ended(row, self._stop_at, at_open=True)"),),
    ),
    Break(
        "the claim's book is entered at the close it was decided at",
        (),
        (f"{BOOK}test_it_is_entered_at_the_next_open_and_left_at_the_open_behind_its_horizon",),
        (
            (
                "backtest/bar_book.py",
                "market.close[row], market.way[row + 1][0]",
                "market.close[row], market.close[row]",
            ),
        ),
    ),
    Break(
        "an opinion is not heard by the claim's book",
        (),
        (f"{BOOK}test_the_book_trades_as_the_fast_engine_on_an_ideal_market",),
        ((WALK, "return least <= _EVEN or told", "return least <= 0 and told"),),
    ),
    Break(
        "prices that are off their tick by rounding move stops of the claim's book",
        (),
        (f"{BOOK}test_the_book_trades_as_the_fast_engine_on_an_ideal_market",),
        ((WALK, "(np.round(prices, places) for prices in", "(prices for prices in"),),
    ),
    Break(
        "a tightened stop of the claim's book lies a tick too far",
        (),
        (f"{BOOK}test_the_book_trades_as_the_fast_engine_on_an_ideal_market",),
        ((WALK, "rules.price_up(price) if sign > 0", "rules.price_down(price) if sign > 0"),),
    ),
    Break(
        "a level passed only by more than itself",
        (),
        (f"{HAND}test_a_level_is_reached_where_it_is_touched",),
        ((NEXT, '_BESIDE = Decimal("0.51")', '_BESIDE = Decimal("-0.51")'),),
    ),
    Break(
        "a rung one tick late",
        (),
        (f"{HAND}test_the_next_rung_is_the_first_price_at_which_the_trail_moves",),
        (
            (
                NEXT,
                "        price += sign * unit\n    return price",
                "        price += sign * unit\n    return price + sign * unit",
            ),
        ),
    ),
    Break(
        "a rung that waits is forgotten",
        (),
        (f"{HAND}test_a_rung_reached_at_the_look_of_a_scale_down_is_not_forgotten",),
        ((NEXT, "if beyond >= 0 or (beyond > -unit and moves(one, best)):", "if False:"),),
    ),
    Break(
        "a rung at a bar's last point is left to the bar",
        (),
        (f"{HAND}test_a_rung_at_the_last_point_of_a_bar_is_seen_by_the_first_look_of_the_next",),
        (
            (
                "backtest/schedule.py",
                "max(0, -((self.next_ms - time_ms) // self.every_ms))",
                "max(0, -((self.next_ms - time_ms) // self.every_ms) + (time_ms % 60_000 >= 50_500))",
            ),
        ),
    ),
    Break(
        "a look later than it could be",
        (),
        (SAME,),
        (
            (
                "backtest/schedule.py",
                "max(0, -((self.next_ms - time_ms) // self.every_ms))",
                "(max(0, -((self.next_ms - time_ms) // self.every_ms)) + 1)",
            ),
        ),
    ),
    Break(
        "the open before its time",
        (),
        ("test_many_moments.py::test_prices_and_turnover_of_many_moments_are_those_of_each", SAME),
        (
            (
                "venue/simulated_market/many_moments.py",
                "before[where] = np.where(seen > 0, last, before[where])",
                "before[where] = last",
            ),
        ),
    ),
    Break(
        "funding leaves the liquidation price where it was",
        (),
        (AHEAD, "test_looking_ahead.py::test_funding_alone_can_liquidate"),
        (
            (
                "venue/engine/engine.py",
                "fund(self, self._book, self.now_ms, FUNDING_INTERVAL_MS)\n                self.changed()\n",
                "fund(self, self._book, self.now_ms, FUNDING_INTERVAL_MS)\n                _ = [w(self) for w in self.on_change]\n",
            ),
            (
                "venue/engine/look_ahead.py",
                "until_ms = max(ahead_ms, upto_ms)",
                "until_ms = upto_ms + FUNDING_INTERVAL_MS",
            ),
        ),
    ),
    Break(
        "of two triggers passed the older comes first",
        (),
        ("test_venue_trading.py::test_of_two_stops_that_one_step_of_the_price_passes_the_nearer_closes",),
        (
            (
                "venue/engine/triggers.py",
                "    return max(way if algo.triggers_below else -way, 0.0)",
                "    return way * 0",
            ),
        ),
    ),
    Break(
        "what a look's own millisecond booked is counted on top of the wallet it saw",
        (),
        ("test_limits.py::test_what_is_booked_in_the_millisecond_of_a_look_counts_once_before_it_or_after_it",),
        (
            (
                "core/money/loss_limits.py",
                "best = min(range(first, last + 1), key=lambda count: abs(missing + self._flow_sums[count]))",
                "best = min(range(first, last + 1), key=lambda count: abs(missing * 0))",
            ),
        ),
    ),
    Break(
        "no entry right after an exit",
        (),
        (SAME,),
        (
            (
                FAST,
                'at = int(signals.searchsorted(closed_ms, side="right"))',
                'at = int(signals.searchsorted(closed_ms, side="right")) + 1',
            ),
        ),
    ),
    Break(
        "a refusal that outlives the rules it came from",
        (),
        ("test_two_speeds.py::test_both_speeds_try_what_is_refused_the_same",),
        (("backtest/standing_refusals.py", "min(until_ms, ends, ahead.until_ms)", "min(until_ms, ends)"),),
    ),
    Break(
        "brackets that change, and what that liquidates, not looked at",
        (),
        ("test_two_speeds.py::test_both_speeds_try_what_is_refused_the_same",),
        (
            (
                FAST,
                "until_ms, account.venue.engine.rules_known_until_ms",
                "until_ms, account.venue.engine.next_funding_ms",
            ),
        ),
    ),
    Break(
        "no second try",
        (),
        (SAME,),
        (
            (
                FAST,
                "[close_ms, *tries] if tries",
                "[close_ms] if tries",
            ),
        ),
    ),
    Break(
        "no time exit",
        (),
        (SAME,),
        ((FAST, "moments += [one.plan.exit_by_ms for one in account.held.values()]", "moments += []"),),
    ),
    Break(
        "only a grave opinion is heard",
        (),
        (SAME,),
        (
            (
                FAST,
                "least = rules.high_risk if held.scaled_down else min(rules.high_risk, rules.medium_risk)",
                "least = rules.high_risk",
            ),
        ),
    ),
    Break(
        "an opinion of long ago",
        (),
        ("test_two_speeds.py::test_both_speeds_trade_the_same_where_opinions_are_rare",),
        (
            (
                FAST,
                "if self._heard_ms >= unheard_ms:",
                "if False:",
            ),
        ),
    ),
    Break(
        "a price is remembered as not being there",
        (),
        ("test_path_runs.py::test_what_was_looked_for_before_changes_no_answer",),
        (
            (
                "venue/simulated_market/price_path.py",
                "return self.until_ms - 1 if knows else after_ms",
                "return self.until_ms if knows else after_ms",
            ),
        ),
    ),
    Break(
        "what is not watched yet is calm",
        (),
        (AHEAD,),
        (("venue/engine/look_ahead.py", "if symbol not in self._calm:", "if False:"),),
    ),
    Break(
        "loss limits are no levels",
        (),
        (SAME,),
        ((NEXT, "if floor is None or equity - self._lost(marks, stops) > floor:", "if True:"),),
    ),
    Break(
        "each symbol may lose all that is left",
        (),
        (SEVERAL,),
        ((NEXT, "slack / len(held), _unit", "slack, _unit"),),
    ),
    Break(
        "what looks would have seen is not made up for",
        (),
        (SAME,),
        (
            (
                "backtest/skipped_looks.py",
                "at, about = 0, self._about() if self.highest > levels.new_high else None",
                "at, about = 0, None",
            ),
        ),
    ),
    Break(
        "a late look is passed over",
        (),
        (SEVERAL,),
        ((FAST, "is_late = bool(self._account.held) and self._looks.next_ms <= now", "is_late = False"),),
    ),
    Break(
        "a close stands as it does after it",
        (),
        (SAME,),
        (("backtest/standing_rows.py", "while self.due and self.due[0] + SETTLE_MS < engine.now_ms:", "while False:"),),
    ),
    Break(
        "a look hears of a bar before it has settled",
        (),
        (SAME,),
        (
            (
                "backtest/faithful_backtest.py",
                "closed = self._schedule.closed_by(self._account.venue.now_ms)",
                "closed = self._schedule.timeframe.floor(self._account.venue.now_ms)",
            ),
        ),
    ),
    Break(
        "a position shown before an exit is believed",
        (),
        ("test_rule_trading.py::test_a_backtest_trades_as_the_run_does[turns]",),
        (("execution/symbol_queries.py", '            self.at_once("positions")\n', "            pass\n"),),
    ),
    Break(
        "a rule that fails beside the loop ends the look",
        (),
        ("test_rule_trading.py::test_a_run_goes_on_where_a_rule_raises_crashes_or_hangs",),
        (
            (
                "analyst/stored_word.py",
                "        if process is None:\n            raise",
                "        if True:\n            raise",
            ),
        ),
    ),
    Break(
        "a file beside a rule may change under its claim",
        (),
        ("test_user_rules.py::test_what_it_imports_from_beside_it_is_part_of_its_source",),
        (
            (
                "analyst/user_code.py",
                "beside = [file.read_bytes() for file in imported_files(path, source)]",
                "beside = list[bytes]()",
            ),
        ),
    ),
    Break(
        "a note of a session fails an entry that is done",
        (),
        ("test_session_manifest.py::test_an_entry_that_is_done_is_done_whatever_its_note_fails_by",),
        (
            (
                "pipelines/trading/session_manifest.py",
                "        except Exception as error:  # noqa: BLE001 - supervises",
                "        except OSError as error:  # supervises",
            ),
        ),
    ),
    Break(
        "doubts of the bars to come",
        (),
        ("test_many_moments.py::test_doubts_by_row_are_those_of_each_row",),
        (
            (
                "core/market/doubtful_rows.py",
                "bars[max(0, row + 1 - window) : row + 1]",
                "bars[max(0, row + 1 - window) : row + 2]",
            ),
        ),
    ),
    Break(
        "health of another window",
        (),
        (TOGETHER + "[as stored]",),
        (("analyst/health.py", "whole, window - span)", "whole, window - span + 30)"),),
    ),
)
