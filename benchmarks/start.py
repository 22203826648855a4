"""`trader --help` against a minimal typer+rich app with as many commands; byte code compiled first."""

from __future__ import annotations

import compileall
import subprocess
import sys
import tempfile
from pathlib import Path

import trader_cli
from benchmarks.timing import median_seconds, report
from trader_cli.cli.main import COMMANDS

MINIMAL = """
import typer
app = typer.Typer()
{commands}
if __name__ == "__main__":
    app()
"""
COMMAND = '''
@app.command("{name}")
def {name}(x: str = typer.Option("a", help="An option.")) -> None:
    """{summary}"""
'''


def run() -> None:
    """Time both helps, whole processes."""
    compileall.compile_dir(Path(trader_cli.__file__).parent, quiet=1)
    commands = "".join(COMMAND.format(name=name, summary=summary) for name, summary in COMMANDS.items())
    with tempfile.TemporaryDirectory() as folder:
        minimal = Path(folder) / "minimal.py"
        minimal.write_text(MINIMAL.format(commands=commands))
        compileall.compile_file(str(minimal), quiet=1)

        def helped(*words: str) -> None:
            subprocess.run([sys.executable, *words, "--help"], stdout=subprocess.DEVNULL, check=True)

        ours, theirs = median_seconds(lambda: helped("-m", "trader_cli"), lambda: helped(str(minimal)), runs=15)
    report("trader --help, whole process", ours * 1e3, theirs * 1e3, "ms", "at most 1.2")
