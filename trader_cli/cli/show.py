"""How results are shown: tables for people, one JSON object for programs, progress on stderr."""

from __future__ import annotations

import json
import os
import sys
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from rich.console import Console
    from rich.progress import Task, TaskID

    from trader_cli.core.errors import TraderError
    from trader_cli.core.ports import Progress

    Facts = Mapping[str, object]
    """What a person reads, by name; what is `None` is left out."""


_UNBROKEN = 10_000
"""Columns."""


def stdout() -> Console:
    """The console results go to. In a file or a pipe no line is broken: paths and tables stay whole."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else _UNBROKEN)


def _print(renderable: object) -> None:
    """Print without the blanks rich pads lines with."""
    console = stdout()
    with console.capture() as captured:
        console.print(renderable)
    for line in captured.get().rstrip("\n").splitlines():
        print(line.rstrip())


def rounded(count: float) -> str:
    """A number of tries, whole or with one digit."""
    return f"{count:,.1f}".removesuffix(".0")


def print_json(body: Mapping[str, object]) -> None:
    """One object, keys as given."""
    print(json.dumps(body, allow_nan=False, default=str))


def print_facts(title: str, facts: Facts) -> None:
    """A title line and aligned name–value lines; a value of `None` is left out."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in facts.items():
        if value is not None:
            table.add_row(Text(f"  {name}", style="dim"), Text(str(value)))
    _print(Text(title, style="bold"))
    if table.row_count:
        _print(table)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table with a title."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title, style="bold"), title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, style=None, header_style="dim", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    _print(table)


_SAID_EVERY_S = 10.0
_DRAWN_ANYWAY = ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE")
"""Set in the environment, rich may take for a terminal what is none."""


def progress_bar() -> AbstractContextManager[Progress]:
    """A rich progress bar on stderr, one line per piece of work; where that is no terminal, a sentence now and then."""
    drawn = sys.stderr.isatty() or any(name in os.environ for name in _DRAWN_ANYWAY)
    return _bars() if drawn else nullcontext(_without_bars())


def _without_bars(clock: Callable[[], float] = monotonic) -> Progress:
    """Says what is begun whose end cannot be told, and of other work every ten seconds how far it is."""
    begun, said_s = set[str](), clock()

    def report(what: str, done: int, total: int) -> None:
        nonlocal said_s
        is_new, now = what not in begun and total == 0, clock()
        begun.add(what)
        if not is_new and (total == 0 or now - said_s < _SAID_EVERY_S):
            return
        from rich.console import Console

        said_s = now
        Console(stderr=True).print(what if total == 0 else f"{what}: {done} of {total}", markup=False, highlight=False)

    return report


@contextmanager
def _bars() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars
    from rich.text import Text

    class Rate(ProgressColumn):
        """How many a second."""

        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:,.0f}/s", style="dim")

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    with Bars(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total or None)
                if total == 0 and not console.is_terminal:
                    console.print(what)
            bars.update(tasks[what], completed=done, total=total or None)

        yield report


def quality_line(bars_by_kind: Mapping[str, int], *, gaps: bool = True) -> str | None:
    """`3 bad print, 12 stuck`: bars by kind of data-quality finding; `None` where nothing was found."""
    shown = sorted((kind.replace("_", " "), bars) for kind, bars in bars_by_kind.items() if gaps or kind != "gap")
    return ", ".join(f"{bars} {kind}" for kind, bars in shown) or None


def say(line: str, *, quiet: bool = False) -> None:
    """A line of progress on stderr; a quiet one only where stderr is a terminal."""
    if not quiet or sys.stderr.isatty():
        print(line, file=sys.stderr)


def say_failures(failed: Mapping[str, TraderError]) -> None:
    """What went wrong with each symbol, then what mends it, each mend once."""
    for symbol, error in failed.items():
        say(f"{symbol}: {error.sentence}")
    for hint in dict.fromkeys(error.hint for error in failed.values() if error.hint):
        say(hint)


def failure_bodies(failed: Mapping[str, TraderError]) -> list[dict[str, str]]:
    """The same for JSON."""
    return [
        {"symbol": name, "code": type(error).__name__, "sentence": error.sentence} for name, error in failed.items()
    ]


def utc(time_ms: int) -> str:
    """`2023-08-06 08:15 UTC`."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def age(milliseconds: float) -> str:
    """A duration in the largest unit that keeps it readable: `42 s`, `13 min`, `5.2 h`, `3.1 d`."""
    seconds = milliseconds / 1000
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} d"
