"""A command whose first subcommand need not be named: `trader backtest ETHUSDT` is `trader backtest run ETHUSDT`."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from typer.core import TyperGroup

from trader_cli.core.errors import UsageError

if TYPE_CHECKING:
    from typer._click import Context, HelpFormatter


class RunByDefault(TyperGroup):
    """`trader backtest ETHUSDT` is `trader backtest run ETHUSDT`."""

    def _refuse_misspelt(self, args: list[str]) -> None:
        """Raises `UsageError` for what is near the name of a subcommand: symbols are written in capitals."""
        near = get_close_matches(args[0], self.commands, n=1) if args and args[0].islower() else []
        if near:
            meant = " ".join(["trader backtest", near[0], *args[1:]])
            raise UsageError(f"`backtest` has no subcommand {args[0]!r}.", hint=f"Did you mean `{meant}`?")

    def format_help(self, ctx: Context, formatter: HelpFormatter) -> None:
        """What `run` takes stands below the subcommands, since it need not be named."""
        super().format_help(ctx, formatter)
        run = self.commands["run"]
        run.format_help(type(ctx)(run, info_name="run", parent=ctx), formatter)

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        if args[:1] not in (["--help"], ["-h"]) and (not args or args[0] not in self.commands):
            self._refuse_misspelt(args)
            args = ["run", *args]
        return super().parse_args(ctx, args)
