"""Fixtures shared by all tests: real market data where it is there, and a hermetic command line."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from support.commands.command_line import SMALL_SIM, CommandLine
from support.commands.shared_folders import made_for_all

# No deadline: a machine that is busy makes no test fail. The same examples in every run; `make explore` tries others.
settings.register_profile("here", deadline=None, derandomize="TRADER_EXPLORE" not in os.environ)
settings.load_profile("here")


MEMORY = Path("/dev/shm")  # noqa: S108
ROOM = 4 * 2**30
"""Bytes: several runs with all that they leave."""


def pytest_configure() -> None:
    """Signals are heard, and temporary files lie in memory where there is room."""
    _hear_signals()
    _keep_files_in_memory()


def _hear_signals() -> None:
    """A run that was started in the background, or under nohup, ignores them; so would everything it starts."""
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


def _keep_files_in_memory() -> None:
    """What is synced after every line waits for no disk."""
    if "TMPDIR" not in os.environ and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM:
        os.environ["TMPDIR"] = str(MEMORY)
        tempfile.tempdir = None


@pytest.fixture(autouse=True)
def _hermetic(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the machine reaches a test."""
    for name in [name for name in os.environ if name.upper().startswith("TRADER_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def market_data() -> Path:
    """The folder of real market data; tests that need it are skipped where it is absent."""
    named = os.environ.get("MARKET_DATA_DIR")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    if not (folder / "klines").is_dir():
        pytest.skip(f"no market data at {folder}; set MARKET_DATA_DIR")
    return folder


@pytest.fixture(scope="session")
def eth_tape(market_data: Path) -> Path:
    """45 days of real ETHUSDT perpetual minute bars."""
    return market_data / "klines" / "um" / "ETHUSDT-1m-2023.parquet"


@pytest.fixture
def trader(tmp_path: Path) -> CommandLine:
    """The command line in an empty folder, default profile."""
    return CommandLine(tmp_path)


@pytest.fixture
def sim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """The command line on a small synthetic market."""
    for name, value in SMALL_SIM.items():
        monkeypatch.setenv(name, value)
    return CommandLine(tmp_path, ("--profile", "sim"))


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders in which fetch, features and train have run on the small market: to copy, not to use.

    What a stage said on stderr lies beside its folder, in STAGE.said.
    """

    def make(folder: Path) -> None:
        done: Path | None = None
        for words in (("fetch", "ETHUSDT", "--timeframe", "15m"), ("features",), ("train",)):
            here = folder / words[0]
            if done is not None:
                shutil.copytree(done, here)
            here.mkdir(exist_ok=True)
            ran = CommandLine(here, ("--profile", "sim")).run(*words, **SMALL_SIM)
            assert ran.code == 0, ran.err
            (folder / f"{words[0]}.said").write_text(ran.err)
            done = here

    folder, _ = made_for_all(tmp_path_factory, "stages", make)
    return {stage: folder / stage for stage in ("fetch", "features", "train")}


_MIDDLE_LAGS = [
    f"{which}-{lag}-{lost}"
    for which in ("orders", "all")
    for lag in (18.0, 30.0)
    for lost in ("empty", "timeout -1007", "503 unknown")
]

_ANSWERS_ELSEWHERE = [
    f"{kind}-{answer}"
    for number, kind in enumerate(("mark", "index", "spot", "funding", "open-interest", "trades", "depth", "info"))
    for turn, answer in enumerate(("refused", "out of order", "no JSON", "a firewall"))
    if turn != number % 3
]
"""Each kind of data meets one of three answers in every run, all four in a long one."""

_LONG_REFUSALS = [
    f"{failure}-{seconds}"
    for failure in ("503", "-2021", "timeout -1007 before")
    for seconds in (65, 120, 300)
    if (failure, seconds) != ("-2021", 65)
]

LONG = (
    "test_key_kinds.py::test_commands_take_a_private_key_from_the_environment[Ed25519]",
    "test_claims.py::test_no_edge_is_claimed_without_a_lead",
    "test_stages.py::test_a_claim_after_other_costs_gives_no_signal_and_names_the_training",
    "test_stages.py::test_the_same_inputs_and_seed_give_the_same_bytes",
    "test_stages.py::test_a_model_of_other_settings_is_refused",
    "test_stages.py::test_trials_count_whatever_the_tape_or_seed_is_called",
    "test_other_libraries.py::test_a_model_of_another_talib_is_refused_and_trained_again",
    "test_keys_of_commands.py::test_without_feature_engineering_the_analyst_wants_them_made",
    "test_any_exit_form.py::test_a_delisting_announced_while_held_is_said_and_left_in_time[short]",
    "test_keys_of_commands.py::test_sim_keys_change_the_market",
    "test_cache_command.py::test_in_any_order_what_is_current_reads_and_nothing_else_is_left[2]",
    "test_damaged_ledger.py::test_rebuild_moves_the_bad_file_aside_and_begins_halted[emptied]",
    "test_damaged_ledger.py::test_a_position_the_past_does_not_explain_leaves_the_old_file",
    "test_damaged_ledger.py::test_rebuild_moves_the_bad_file_aside_and_begins_halted[header overwritten]",
    "test_damaged_ledger.py::test_rebuild_moves_the_bad_file_aside_and_begins_halted[a folder in its place]",
    "test_fetch_again.py::test_any_sequence_of_fetches_of_other_kinds_ends_as_one_from_scratch",
    "test_fetch_kills.py::test_killed_features_end_as_undisturbed_ones",
    "test_fetch_kills.py::test_a_killed_fetch_ends_as_an_undisturbed_one[archive]",
    "test_hostile_over_http.py::test_an_alarm_of_who_cares_is_heard[monitor]",
    "test_hostile_over_http.py::test_who_cares_is_killed_while_a_stop_is_on_its_way[monitor-monitor]",
    "test_hostile_over_http.py::test_who_cares_is_killed_while_a_stop_is_on_its_way[monitor-run --forever]",
    "test_hostile_over_http.py::test_one_endpoint_alone_is_down[openAlgoOrders]",
    "test_leaving.py::test_training_ends_within_two_seconds_of_a_signal[15-143]",
    "test_leaving.py::test_training_ends_within_two_seconds_of_a_signal[1-129]",
    "test_output.py::test_every_end_of_the_output_gives_the_same_exit_code[fetch ETHUSDT --timeframe 15m --limit 100]",
    "test_output.py::test_every_end_of_the_output_gives_the_same_exit_code[flatten --json]",
    "test_output.py::test_every_end_of_the_output_gives_the_same_exit_code[halt]",
    "test_output.py::test_every_end_of_the_output_gives_the_same_exit_code[reset]",
    "test_paper_fills.py::test_over_every_tape_no_exit_is_better_than_its_trigger[10 s]",
    "test_paper_fills.py::test_over_every_tape_no_exit_is_better_than_its_trigger[1 min]",
    "test_paper_fills.py::test_over_every_tape_no_exit_is_better_than_its_trigger[15 min]",
    "test_paper_fills.py::test_over_every_tape_no_exit_is_better_than_its_trigger[6 h]",
    "test_stages.py::test_an_interrupted_stage_leaves_everything_whole[analyze-15]",
    "test_stages.py::test_an_interrupted_stage_leaves_everything_whole[features-15]",
    "test_stages.py::test_an_interrupted_stage_leaves_everything_whole[fetch-15]",
    "test_stages.py::test_an_interrupted_stage_leaves_everything_whole[train-15]",
    "test_cache_command.py::test_stages_at_work_are_not_disturbed_by_a_sweep_without_grace",
    "test_claims.py::test_an_always_long_market_is_not_an_edge",
    *(f"test_every_end_of_the_output_gives_the_same_exit_code[{call}]" for call in ("ledger", "config", "cache")),
    *(f"test_every_end_of_the_output_gives_the_same_exit_code[{call}]" for call in ("config --json", "--version")),
    "test_stages.py::test_an_interrupted_stage_leaves_everything_whole[train-2]",
    "test_stages.py::test_paper_reads_a_separately_served_venue",
    "test_stages.py::test_without_the_lead_no_edge_is_claimed",
    "test_symbols_of_every_kind.py::test_bars_that_are_not_told_any_more_come_from_the_archive[-1122]",
    "test_symbols_of_every_kind.py::test_bars_that_are_not_told_any_more_come_from_the_archive[-4108]",
    "test_symbols_of_every_kind.py::test_every_kind_of_symbol_goes_through_by_its_own_name[archive-1000SHIBUSDT]",
    "test_symbols_of_every_kind.py::test_every_kind_of_symbol_goes_through_by_its_own_name[archive-ETHUSDT_991231]",
    "test_symbols_of_every_kind.py::test_every_kind_of_symbol_goes_through_by_its_own_name[rest-XAUUSDT]",
    "test_symbols_of_every_kind.py::test_every_kind_of_symbol_goes_through_by_its_own_name[rest-1000SHIBUSDT]",
    "test_symbols_of_every_kind.py::test_every_kind_of_symbol_goes_through_by_its_own_name[archive-XAUUSDT]",
    "test_symbols_of_every_kind.py::test_every_kind_of_symbol_goes_through_by_its_own_name[rest-\\u5e01\\u5b89\\u4eba\\u751fUSDT]",
    "test_real_market_backtest.py::test_a_delisted_symbol_is_traded_to_its_end_and_settled_there[1]",
    "test_output.py::test_every_command_shows_its_help_to_a_closed_output",
    *(
        f"test_a_file_that_cannot_be_had_is_asked_by_rest_or_named[{how}]"
        for how in ("out of order", "another check sum")
    ),
    *(f"test_both_speeds_trade_the_same[{seed}]" for seed in (36, 47, 2020, 2036, 2432)),
    *(f"test_both_speeds_trade_several_symbols_on_one_account_the_same[{seed}]" for seed in (501, 503, 2063)),
    *(f"test_both_speeds_trade_the_same_by_mark_prices_of_their_own[{seed}]" for seed in (*range(605, 610), 2020)),
    "test_symbols_of_every_kind.py::test_the_history_of_a_delisted_coin_comes_from_the_archive[auto]",
    "test_sim_session.py::test_an_unproven_model_trades_only_when_asked_to",
    "test_sim_session.py::test_a_pending_signal_is_looked_at_again",
    "test_trading_on_a_host.py::test_an_interrupted_monitor_leaves_the_stops_and_names_them[15-143]",
    *(f"test_what_fails_beside_the_bars_does_not_take_them_away[{which}]" for which in _ANSWERS_ELSEWHERE),
    "test_certify_command.py::test_a_failed_certificate_stops_every_stage_and_certifying_anew_mends_it",
    "test_stages.py::test_real_bars_from_the_exchange_to_an_outcome_in_four_processes",
    "test_stages.py::test_folders_that_cannot_be_used_are_named",
    "test_threads.py::test_one_two_and_four_threads_make_the_same_digests",
    "test_assets_of_accounts.py::test_funding_is_in_the_ledger_minutes_after_each_stamp[1-2-1]",
    "test_venue_world.py::test_another_funding_interval_is_shown_and_paid[1]",
    *(f"test_ledger_caches.py::test_the_writer_remembers_what_a_reader_finds[{seed}]" for seed in range(3, 12)),
    *(f"test_many_moments.py::test_doubts_by_row_are_those_of_each_row[{seed}]" for seed in (1, 2)),
    *(f"test_certificates.py::test_all_own_columns_pass[{name}]" for name in ("1m", "4h", "1d")),
    *(f"test_slow_and_late.py::test_the_reply_is_lost_and_queries_lag[{which}]" for which in _MIDDLE_LAGS),
    *(f"test_twenty_bare_symbols_stay_under_four_fifths_of_the_limit[{which}]" for which in _LONG_REFUSALS),
    "test_claims.py::test_the_planted_lead_is_found_even_at_doubled_costs",
    "test_verify.py::test_breaks_of_the_product_are_seen",
    "test_crashes.py::test_killed_at_every_request_it_ends_as_intended[long-enter-protection]",
    "test_assets_of_accounts.py::test_funding_is_in_the_ledger_minutes_after_each_stamp[4-4-1]",
    *(f"test_ledger_and_limits_are_those_of_the_account_in_every_asset[{seed}]" for seed in range(12, 200)),
)
"""Tests of fifteen seconds to a minute with a sibling that is quicker: `make long` runs them."""


WALL = (
    "test_hostile_over_http.py",
    "test_leaving.py",
    "test_leaving_covered.py",
    "test_past_the_owner.py",
    "test_entry_kills.py",
)
"""Whether something came in time by a real clock is seen here: they run by themselves, so that the machine is quiet."""


WAITING = (
    "test_a_clock_that_is_off_keeps_nobody_from_leaving[-40]",
    "test_killed_between_an_entry_and_its_cover_a_new_process_goes_on",
    "test_training_ends_within_two_seconds_of_a_signal[2-130]",
    "test_one_endpoint_alone_is_down[userTrades]",
    "test_every_order_fails_for_a_while",
    "test_a_run_cares_for_what_is_open_with_the_clock_off",
    "test_flatten_says_that_it_is_still_at_it_and_what_it_leaves",
    "test_what_cares_covers_before_it_leaves[once]",
    "test_the_reply_is_lost_and_queries_lag",
    "test_over_a_ledger_that_cannot_be_used_ours_is_closed_and_the_rest_is_listed[all_lost]",
)
"""What takes ten seconds and more by the clock: one for each of ten workers."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Where only tests by the real clock are asked for, no other file is imported."""
    only = str(config.getoption("markexpr")).startswith("wall")
    return True if only and collection_path.suffix == ".py" and collection_path.name not in WALL else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what takes too long for every run, and what measures real time; that which waits longest begins first."""
    for item in items:
        if item.nodeid.endswith(LONG):
            item.add_marker(pytest.mark.long)
        if item.path.name in WALL:
            item.add_marker(pytest.mark.wall)
    if str(config.getoption("markexpr")).startswith("wall"):
        items[:] = _spread([item for item in items if not item.get_closest_marker("long")])


def _spread(items: list[pytest.Item]) -> list[pytest.Item]:
    """Each worker gets a share in this order: what waits long lies at the beginning of each share."""
    slow = [item for item in items if item.nodeid.endswith(WAITING)]
    rest, order = [item for item in items if item not in slow], list[pytest.Item]()
    share = max(1, len(items) // max(1, len(slow)))
    for number, item in enumerate(slow):
        order += [item, *rest[number * (share - 1) : (number + 1) * (share - 1)]]
    return order + rest[len(slow) * (share - 1) :]
