"""`trader config`."""

from __future__ import annotations

import typer

from trader_cli.cli import options as o
from trader_cli.cli.show import print_json

app = typer.Typer()


@app.command()
def config(profile: o.Profile = None, config: o.Config = None, tape: o.Tape = None, json: o.Json = False) -> None:
    """Show the settings in force, and the environment variable that changes each."""
    from trader_cli.settings.load import environment_name, key_paths

    tree = o.settings_from(profile, config, tape).model_dump(mode="json")
    if json:
        print_json(tree)
        return
    print("# every setting in force, and the environment variable that changes it")
    for path in key_paths():
        value = tree
        for part in path:
            value = value[part]
        print(f"{'.'.join(path)}: {'null' if value is None else value}  # {environment_name(path)}")
