"""Serving the simulated market to other processes, and its remembered time."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from trader_cli.core.errors import ConfigurationError, DataStale, UsageError
from trader_cli.execution.shutdown import run_supervised
from trader_cli.pipelines.market_access import sim_tape
from trader_cli.storage.ledger import Ledger
from trader_cli.storage.ledger_books import books_of
from trader_cli.storage.state import VenueState
from trader_cli.venue.clocks import DrivenClock, WallClock
from trader_cli.venue.engine.venue_journal import last_command_ms
from trader_cli.venue.server.faults import FaultPlan
from trader_cli.venue.server.server import VenueServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trader_cli.settings import Workspace
    from trader_cli.venue.clocks import ServedClock
    from trader_cli.venue.simulated_market.tape import Tape


def serve(
    workspace: Workspace,
    port: int,
    clock_name: str,
    announce: Callable[[str, str, int], None],
    faults: Path | None = None,
) -> None:
    """Serve until cancelled. `clock_name` is wall, xN (N > 0) or driven. Accounts are kept, by kind of clock.

    `faults` names a file of faults (`venue.server.faults`); its times count from the start of the serving.
    """
    state = VenueState(workspace.state_dir)
    tape, clock = _played(state, sim_tape(workspace), workspace.settings.sim.start, clock_name)
    folder = state.accounts(tape.source, clock_name)
    plan = None if faults is None else FaultPlan.load(faults, clock.now_ms())
    balance = Decimal(str(workspace.settings.sim.balance))
    server = VenueServer(tape, clock, port=port, balance=balance, folder=folder, faults=plan)
    run_supervised(
        _serve(server, port, lambda: announce(server.url, tape.label, clock.now_ms())), asyncio.new_event_loop
    )


async def _serve(server: VenueServer, port: int, announce: Callable[[], None]) -> None:
    try:
        async with server:
            announce()
            await asyncio.Event().wait()
    except OSError as error:
        raise ConfigurationError(
            f"Cannot listen on 127.0.0.1:{port}: {error.strerror}.", hint="Choose another --port."
        ) from error


def _played(state: VenueState, tape: Tape, start: float, clock_name: str) -> tuple[Tape, ServedClock]:
    """The tape and its clock. By the wall clock the tape is moved in time, so that its start is now."""
    begin = max(tape.at(start), last_command_ms(state.accounts(tape.source, clock_name)))
    if clock_name == "driven":
        return tape, DrivenClock(begin)
    if clock_name == "wall":
        return _moved_to_now(state, tape, start), WallClock()
    scaled = re.fullmatch(r"x(\d+(?:\.\d+)?)", clock_name)
    if scaled is None or float(scaled.group(1)) <= 0:
        raise UsageError(f"--clock is wall, driven or xN such as x10; found {clock_name!r}.")
    return tape, WallClock(float(scaled.group(1)), begin)


def _moved_to_now(state: VenueState, tape: Tape, start: float) -> Tape:
    """The tape where it was first played, so that the accounts on it go on. Raises `DataStale` once it has ended."""
    now, shift = WallClock().now_ms(), state.shift(tape.source)
    if shift is None:
        shift = tape.shift_to(now, start)
        state.save_shift(tape.source, shift)
    moved = tape.shifted(shift)
    if moved.end_ms <= now:
        raise DataStale("This tape has been played to its end.", hint="Run `trader venue reset` to start over.")
    return moved


def tape_status(workspace: Workspace) -> dict[str, Any]:
    """Label, source, span and remembered time of the sim settings' tape."""
    tape = sim_tape(workspace)
    now = VenueState(workspace.state_dir).time(tape.source)
    return {"label": tape.label, "source": tape.source, "start_ms": tape.start_ms, "end_ms": tape.end_ms, "now_ms": now}


@dataclass(frozen=True)
class Reset:
    """A tape that was wound back: whether there was anything to forget, what was open, and the ledgers set aside."""

    source: str
    was_played: bool
    forgotten: tuple[str, ...]
    set_aside: tuple[str, ...]


def reset_tape(workspace: Workspace) -> Reset:
    """Forget the tape's time and accounts. Their ledgers are kept, under another name."""
    source, forgotten, aside = workspace.source, [], []
    folder = workspace.state_dir / "ledgers" / source
    for path in sorted(folder.glob("*-sim.sqlite")):
        with Ledger.opened(path) as ledger:  # nobody else may be using it
            held = books_of(ledger).held
        number = len(list(folder.glob(f"{path.name}.before-reset-*")))
        aside.append(str(path.rename(path.with_name(f"{path.name}.before-reset-{number + 1}"))))
        forgotten += [f"{symbol} {amount:f}" for symbol, amount in held.items()]
    was_played = VenueState(workspace.state_dir).reset(source)
    return Reset(source, was_played, tuple(forgotten), tuple(aside))
