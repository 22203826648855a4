"""A command whose first subcommand need not be named: `trader backtest ETHUSDT` is `trader backtest run ETHUSDT`."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from typer.core import TyperGroup

from trader_cli.core.errors import UsageError


class RunByDefault(TyperGroup):
    """`trader backtest ETHUSDT` is `trader backtest run ETHUSDT`."""

    def _refuse_misspelt(self, args: list[str]) -> None:
        """Raises `UsageError` for what is near the name of a subcommand: symbols are written in capitals."""
        near = get_close_matches(args[0], self.commands, n=1) if args and args[0].islower() else []
        if near:
            meant = " ".join(["trader backtest", near[0], *args[1:]])
            raise UsageError(f"`backtest` has no subcommand {args[0]!r}.", hint=f"Did you mean `{meant}`?")

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args[:1] not in (["--help"], ["-h"]) and (not args or args[0] not in self.commands):
            self._refuse_misspelt(args)
            args = ["run", *args]
        return super().parse_args(ctx, args)
