"""`trader cache`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from trader_cli.cli import options as o
from trader_cli.cli.show import print_facts, print_json, print_table, progress_bar, say

if TYPE_CHECKING:
    from trader_cli.pipelines.stages.cache_use import CacheStats

app = typer.Typer(no_args_is_help=True, help="What the cache folder holds; free what nothing refers to.")


@app.command()
def stats(profile: o.Profile = None, config: o.Config = None, json: o.Json = False) -> None:
    """Show what lies in the cache folder, by kind and by series, and how much of it nothing refers to."""
    from trader_cli.pipelines.stages.cache_use import cache_stats

    done = cache_stats(o.settings_from(profile, config))
    if json:
        print_json({**asdict(done), "bytes": done.bytes, "unreferenced_bytes": done.unreferenced_bytes})
        return
    _show(done)
    for problem in done.problems:
        say(f"! {problem}")


@app.command()
def gc(
    older_than: Annotated[
        str, typer.Option("--older-than", help="Leave what is younger than this: 0s, 30m, 2h, 3d.")
    ] = "1h",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be freed, and free nothing.")] = False,
    profile: o.Profile = None,
    config: o.Config = None,
    json: o.Json = False,
) -> None:
    """Free what no reference of any profile leads to: chunks, manifests, documents, models, half-written files.

    Never touched: what is current, what a killed fetch can go on from (for a week), recordings, and what lies outside.
    The wavelet block cache is brought down to its size limit, wherever it lies; the usual one goes if it is not used.
    Where a reference or manifest is damaged, nothing it might refer to is freed. Fetches and other stages at work are
    not disturbed.
    """
    from trader_cli.pipelines.stages.cache_use import free_cache

    seconds = o.duration(older_than, "--older-than", or_zero=True) or 0.0
    settings = o.settings_from(profile, config)
    with progress_bar() as progress:
        done = free_cache(settings, seconds, dry_run=dry_run, progress=progress)
    if json:
        freed = {kind: {"files": files, "bytes": size} for kind, (files, size) in done.freed.items()}
        young = {"files": done.young[0], "bytes": done.young[1]}
        print_json({**asdict(done), "freed": freed, "young": young, "bytes": done.bytes})
    else:
        facts: dict[str, object] = {kind: f"{files} files, {_size(size)}" for kind, (files, size) in done.freed.items()}
        left = f"{done.young[0]} files, {_size(done.young[1])}, younger than {older_than} or than a stage at work"
        what = "would be freed" if dry_run else "freed"
        print_facts(f"{_size(done.bytes)} {what}", {**facts, "left": left if done.young[0] else None})
    for problem in done.problems:
        say(f"! {problem}")


def _show(done: CacheStats) -> None:
    rows = [
        (name, str(kind.files), _size(kind.bytes), _size(kind.unreferenced_bytes) if kind.unreferenced_files else "–")
        for name, kind in done.kinds.items()
        if kind.files
    ]
    rows.append(
        ("total", str(sum(k.files for k in done.kinds.values())), _size(done.bytes), _size(done.unreferenced_bytes))
    )
    print_table(done.cache_dir, ("kind", "files", "size", "nothing refers to"), rows)
    if done.series:
        named = [(s.profile, f"{s.symbol} {s.timeframe}", _size(s.bytes)) for s in done.series]
        print_table("", ("profile", "series", "size of what is current"), named)


def _size(count: int) -> str:
    """`512 B`, `1.5 kB`, `23.0 MB`: powers of 1000."""
    size, units = float(count), ["B", "kB", "MB", "GB"]
    while size >= 1000 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{size:.0f} B" if units[0] == "B" else f"{size:,.1f} {units[0]}"
