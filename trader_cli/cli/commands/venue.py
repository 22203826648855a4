"""`trader venue`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path  # noqa: TC003 (typer reads it)
from typing import Annotated

import typer

from trader_cli.cli import options as o
from trader_cli.cli.show import print_facts, print_json, utc
from trader_cli.core.errors import ExitCode, Finished, Terminated

app = typer.Typer(no_args_is_help=True, help="Serve a simulated Binance, or wind its time back.")


@app.command()
def serve(
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port on 127.0.0.1; 0 picks a free one.")
    ] = 8787,
    clock: Annotated[
        str,
        typer.Option(
            "--clock",
            help="wall: the tape is played now; xN: its own time, N times as fast (to trade, x10 at most);"
            " driven: as fast as its clients let it.",
        ),
    ] = "wall",
    faults: Annotated[
        Path | None,
        typer.Option("--faults", help="A file of faults (YAML or JSON): slow, lagging and failing answers."),
    ] = None,
    profile: o.Profile = "sim",
    config: o.Config = None,
    tape: o.Tape = None,
    json: o.Json = False,
) -> None:
    """Serve the market of the sim settings to other processes until interrupted. Loopback only.

    It answers programs that name it 127.0.0.1, localhost or [::1] with its port, and no web page of another site.
    """
    from trader_cli.pipelines.venue_service import serve as run

    def announce(url: str, label: str, now_ms: int) -> None:
        follow = "" if clock == "wall" else " TRADER_BINANCE_EXCHANGE__CLOCK=venue"
        environment = f"TRADER_BINANCE_EXCHANGE__BASE_URL={url}{follow}"
        if json:
            print_json({"url": url, "market": label, "now_ms": now_ms, "environment": environment})
        else:
            facts = {"market": label, "time": utc(now_ms), "clients": environment, "keys": "sim-key, sim-secret"}
            print_facts(f"serving on {url} until Ctrl-C", facts)

    try:
        run(o.workspace_from(profile, config, tape), port, clock, announce, faults)
    except KeyboardInterrupt:
        raise Finished(ExitCode.INTERRUPTED) from None
    except Terminated as leaving:
        raise Finished(leaving.exit_code) from None


@app.command()
def status(profile: o.Profile = "sim", config: o.Config = None, tape: o.Tape = None, json: o.Json = False) -> None:
    """Show where the tape of the sim settings stands."""
    from trader_cli.pipelines.venue_service import tape_status

    done = tape_status(o.workspace_from(profile, config, tape))
    if json:
        print_json(done)
        return
    now = "not begun" if done["now_ms"] is None else utc(done["now_ms"])
    print_facts(
        str(done["label"]),
        {"market": done["source"], "span": f"{utc(done['start_ms'])} to {utc(done['end_ms'])}", "time": now},
    )


@app.command()
def reset(profile: o.Profile = "sim", config: o.Config = None, tape: o.Tape = None, json: o.Json = False) -> None:
    """Wind the tape of the sim settings back to its start: accounts begin anew, their ledgers are set aside.

    Artifacts stay.
    """
    from trader_cli.pipelines.venue_service import reset_tape

    done = reset_tape(o.workspace_from(profile, config, tape))
    if json:
        print_json(asdict(done))
        return
    print_facts(
        "wound back" if done.was_played else "was not played yet",
        {
            "market": done.source,
            "forgotten": f"open positions: {', '.join(done.forgotten)}" if done.forgotten else None,
            "ledger kept as": "\n".join(done.set_aside) or None,
        },
    )
