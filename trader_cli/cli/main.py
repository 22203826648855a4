"""The root of the command line: commands by name, loaded when they are called."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

COMMANDS = {
    "fetch": "Fetch closed bars and the state of the market.",
    "features": "Build features from the fetched bars.",
    "train": "Train the models, and find out whether they have an edge.",
    "models": "Trained models: list, show, compare, promote, retire, export.",
    "analyze": "Look for a signal at the last closed bar.",
    "trials": "What was ever tried on these data: all of it counts against a claim.",
    "tactics": "Turn the last analysis into a plan, or a refusal.",
    "enter": "Carry out the plan: one order, protected.",
    "monitor": "Care for open positions until they are closed.",
    "new": "Write something to begin with: a rule of your own.",
    "backtest": "Trade what is stored, and show what would have come of it.",
    "stress": "Trade a backtest again under harder conditions: what survives?",
    "report": "One page of a backtest, a session or the account, with charts.",
    "run": "All stages in a row, once or for weeks.",
    "flatten": "Close every position of ours, now.",
    "halt": "Stop all entries until reset.",
    "reset": "Lift a halt.",
    "unlock": "Let entries of a symbol in again.",
    "status": "What do we hold, what protects it, can I walk away?",
    "ledger": "Show, back up, make again or settle the ledger of the account.",
    "cache": "What the cache folder holds; free what nothing refers to.",
    "verify": "Verify that everything works together, offline.",
    "config": "Show the settings in force, and where they can be changed.",
    "venue": "Serve a simulated Binance, or wind its time back.",
}


class _LazyGroup(TyperGroup):
    """Lists commands by name and summary; imports a command's module only when it is called."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {name: TyperCommand(name, help=summary) for name, summary in COMMANDS.items()}
        self._loaded: set[str] = set()

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name = args[0] if args else ""
        if name in COMMANDS and name not in self._loaded:
            module = import_module(f"trader_cli.cli.commands.{name}")
            command = typer.main.get_command(module.app)
            command.name = name
            self.commands[name] = command
            self._loaded.add(name)
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=_LazyGroup,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from trader_cli import __version__

        print(f"trader {__version__}")
        raise typer.Exit


@app.callback()
def root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """A toolkit for live crypto trading. Each command is one stage and leaves its result on disk for the next."""
