"""Serving the simulated market to other processes, and its remembered time."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

from trader_cli.core.errors import ConfigurationError, UsageError
from trader_cli.pipelines.market import market_source, run_supervised, sim_tape
from trader_cli.storage.state import SimTime, state_root
from trader_cli.venue.clocks import DrivenClock, WallClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from trader_cli.settings import Settings
    from trader_cli.venue.clocks import ServedClock
    from trader_cli.venue.tape import Tape


def serve(settings: Settings, port: int, clock_name: str, announce: Callable[[str, str, int], None]) -> None:
    """Serve until cancelled. `clock_name` is wall, xN (N > 0) or driven."""
    tape, clock = _played(sim_tape(settings), settings.sim.start, clock_name)
    run_supervised(_serve(tape, clock, port, announce), asyncio.new_event_loop)


async def _serve(tape: Tape, clock: ServedClock, port: int, announce: Callable[[str, str, int], None]) -> None:
    from trader_cli.venue.server import VenueServer

    try:
        async with VenueServer(tape, clock, port=port) as venue:
            announce(venue.url, tape.label, clock.now_ms())
            await asyncio.Event().wait()
    except OSError as error:
        raise ConfigurationError(
            f"Cannot listen on 127.0.0.1:{port}: {error.strerror}.", mend="Choose another --port."
        ) from error


def _played(tape: Tape, start: float, clock_name: str) -> tuple[Tape, ServedClock]:
    """The tape and its clock. By the wall clock the tape is moved in time, so that its start is now."""
    if clock_name == "driven":
        return tape, DrivenClock(tape.at(start))
    if clock_name == "wall":
        wall = WallClock()
        return tape.played_at(wall.now_ms(), start), wall
    scaled = re.fullmatch(r"x(\d+(?:\.\d+)?)", clock_name)
    if scaled is None or float(scaled.group(1)) <= 0:
        raise UsageError(f"--clock is wall, driven or xN such as x60; found {clock_name!r}.")
    return tape, WallClock(float(scaled.group(1)), tape.at(start))


def tape_status(settings: Settings) -> dict[str, Any]:
    """Label, source, span and remembered time of the sim settings' tape."""
    tape = sim_tape(settings)
    now = SimTime(state_root(settings)).load(tape.source)
    return {"label": tape.label, "source": tape.source, "start_ms": tape.start_ms, "end_ms": tape.end_ms, "now_ms": now}


def reset_tape(settings: Settings) -> tuple[str, bool]:
    """Forget the tape's time; (its source, whether there was a time to forget)."""
    source = market_source(settings)
    return source, SimTime(state_root(settings)).reset(source)
