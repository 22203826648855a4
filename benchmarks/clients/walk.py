"""`python -m benchmarks.clients.walk`: every client in turn. `make .bench/clients` installs them."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from benchmarks.children import EXTRAS
from benchmarks.versions import ROOT
from trader_cli.venue.clocks import WallClock
from trader_cli.venue.server.server import VenueServer
from trader_cli.venue.simulated_market.synthetic import synthetic_tape

CLIENTS = ("python_binance", "official_connector", "official_sdk")
_SECONDS = 90


async def walked(client: str, url: str) -> bool:
    """Whether a client's script came to its end, its own words on the way."""
    path = f"{EXTRAS / 'clients'}{os.pathsep}{ROOT}"
    script = Path(__file__).with_name(f"walk_{client}.py")
    ran = await asyncio.create_subprocess_exec(sys.executable, script, url, env={**os.environ, "PYTHONPATH": path})
    try:
        code = await asyncio.wait_for(ran.wait(), _SECONDS)
    except TimeoutError:
        ran.kill()
        code = 1
    print(f"{client}: {'as far as it goes' if code == 0 else 'FAILED'}", flush=True)
    return code == 0


async def main() -> int:
    """Serve a tape that is played now, and let them walk, one after the other."""
    tape = synthetic_tape(("ETHUSDT", "BTCUSDT"), 3, 0.0, 1)
    playing = tape.shifted(tape.shift_to(WallClock().now_ms(), 0.75))
    async with VenueServer(playing, WallClock()) as venue:
        done = [await walked(client, venue.url) for client in sys.argv[1:] or CLIENTS]
    return 0 if all(done) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
