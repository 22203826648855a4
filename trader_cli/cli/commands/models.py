"""`trader models`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trader_cli.cli import options as o
from trader_cli.cli.show import print_facts, print_json, print_table, progress_bar, rounded, utc

if TYPE_CHECKING:
    from trader_cli.analyst.model_card import ModelCard
    from trader_cli.analyst.model_comparison import Contender
    from trader_cli.cli.show import Facts
    from trader_cli.pipelines.stages.model_life import ListedModel

app = typer.Typer(no_args_is_help=True, help="Trained models: list, show, compare, promote, retire, export.")

_COLUMNS = ("model", "series", "state", "claim", "Sharpe per bar", "learned up to", "valid until")
Bundle = Annotated[
    str, typer.Argument(metavar="MODEL", help="A bundle's digest, how it begins, or what `models export` wrote.")
]
NewPlace = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="A new folder, or an archive where it ends in .zip; default: a folder here named by the model.",
        show_default=False,
    ),
]


@app.command("list")
def list_models(profile: o.Profile = None, config: o.Config = None, tape: o.Tape = None, json: o.Json = False) -> None:
    """Show every model there is, what it claims, until when it may open, and which is current.

    A loose one is named by nothing in this profile: `trader cache gc` frees it unless something else does.
    """
    from trader_cli.pipelines.stages.model_life import listed

    found = listed(o.workspace_from(profile, config, tape))
    if json:
        print_json({"models": [_body(one) for one in found]})
        return
    if not found:
        print_facts("no models yet", {"begin with": "trader train"})
        return
    print_table("", _COLUMNS, [_row(one) for one in found])


@app.command()
def show(
    bundle: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL | SYMBOL]",
            help="A bundle's digest, how it begins, or what `models export` wrote; or the symbol whose current model is"
            " meant; default: that of the series fetched last.",
            show_default=False,
        ),
    ] = None,
    timeframe: o.MaybeTimeframe = None,
    profile: o.Profile = None,
    config: o.Config = None,
    tape: o.Tape = None,
    json: o.Json = False,
) -> None:
    """Show the card of a model: what it learned from, how good it was on what it had not seen, what it claims."""
    from trader_cli.pipelines.stages.model_life import card_of, current_model, find_model

    workspace = o.workspace_from(profile, config, tape)
    if bundle is None or bundle.isupper():
        digest = current_model(workspace, *o.series(workspace, bundle, timeframe))
    else:
        digest = find_model(workspace, bundle)
    card = card_of(workspace, digest)
    if json:
        print_json(card.as_dict())
    else:
        print_facts(f"model {card.bundle}", card_facts(card))


@app.command()
def compare(
    champion: Annotated[str, typer.Argument(metavar="A", help="A model, as for `show`: the champion.")],
    challenger: Annotated[str, typer.Argument(metavar="B", help="Another one of the same series: the challenger.")],
    profile: o.Profile = None,
    config: o.Config = None,
    tape: o.Tape = None,
    json: o.Json = False,
) -> None:
    """Trade two models on the stored bars after both trainings, each one position at a time, as if both claims held.

    B is better where paired blocks of the two books, drawn again, gain no more with it in fewer than 5 of 100. Each
    counts as a trial (`trader trials`): the best of many is the luckiest as well.
    """
    from trader_cli.pipelines.stages.compared_models import compare_models
    from trader_cli.pipelines.stages.model_life import find_model

    workspace = o.workspace_from(profile, config, tape)
    ours, theirs = (find_model(workspace, one) for one in (champion, challenger))
    with progress_bar() as progress:
        progress("comparing", 0, 0)
        found = compare_models(workspace, ours, theirs)
    if json:
        print_json({"a": ours, "b": theirs, **found.as_dict()})
        return
    print_facts(
        f"B is {'better' if found.better else 'not shown to be better'}",
        {
            f"A {ours[:12]}": _contender(found.champion),
            f"B {theirs[:12]}": _contender(found.challenger),
            "difference": f"{found.mean_difference_bps:+.3f} bps a bar, {found.low_bps:+.3f} to {found.high_bps:+.3f}"
            " in nine of ten resamples",
            "no better in": f"{found.chance_no_better:.1%} of them",
            "alike": f"at {found.alike:.0%} of bars they held the same",
            "span": f"{utc(found.first_ms)} to {utc(found.last_ms)}, {found.bars} bars that neither has learned from",
        },
    )


def _contender(one: Contender) -> str:
    return (
        f"{one.gain:+.2%} after costs in {one.trades} trades, Sharpe per bar {one.sharpe_per_bar:.4f}; Brier score"
        f" {one.brier:.4f}, base rates {one.brier_base_rates:.4f}"
    )


@app.command()
def promote(
    bundle: Bundle,
    symbol: o.MaybeSymbol = None,
    timeframe: o.MaybeTimeframe = None,
    profile: o.Profile = None,
    config: o.Config = None,
    tape: o.Tape = None,
    json: o.Json = False,
) -> None:
    """Make a model the current one of its series, from the next analysis on.

    Refused for one of another symbol, time frame, market or version. The one that was current stays known as former.
    """
    from trader_cli.pipelines.stages.model_life import find_model
    from trader_cli.pipelines.stages.model_life import promote as run

    workspace = o.workspace_from(profile, config, tape)
    series, digest = o.series(workspace, symbol, timeframe), find_model(workspace, bundle)
    former = run(workspace, digest, *series)
    if json:
        print_json({"symbol": series[0], "timeframe": series[1].name, "current": digest, "former": former})
    else:
        print_facts(f"{series[0]} {series[1]}: the current model is {digest}", {"former": former})


@app.command()
def retire(
    symbol: o.MaybeSymbol = None,
    timeframe: o.MaybeTimeframe = None,
    profile: o.Profile = None,
    config: o.Config = None,
    tape: o.Tape = None,
    json: o.Json = False,
) -> None:
    """Take the current model of a series away: nothing opens until one is trained or promoted.

    What is open is cared for with its stops and the last opinion, which fades.
    """
    from trader_cli.pipelines.stages.model_life import retire as run

    workspace = o.workspace_from(profile, config, tape)
    series = o.series(workspace, symbol, timeframe)
    digest = run(workspace, *series)
    if json:
        print_json({"symbol": series[0], "timeframe": series[1].name, "retired": digest})
    else:
        back = f"trader models promote {digest[:12]} {series[0]} --timeframe {series[1]}"
        print_facts(f"{series[0]} {series[1]}: the model {digest} is retired", {"back by": back})


@app.command()
def export(
    bundle: Bundle,
    out: NewPlace = None,
    profile: o.Profile = None,
    config: o.Config = None,
    json: o.Json = False,
) -> None:
    """Write a model and its card outside of the store, where `--model` and the other commands here can read it."""
    from trader_cli.pipelines.stages.model_life import export as run
    from trader_cli.pipelines.stages.model_life import find_model

    workspace = o.workspace_from(profile, config)
    digest = find_model(workspace, bundle)
    place = run(workspace, digest, out)
    if json:
        print_json({"model": digest, "out": str(place)})
    else:
        print_facts(f"model {digest}", {"written to": place})


def _body(one: ListedModel) -> dict[str, object]:
    card = None if one.card is None else one.card.as_dict()
    return {
        "bundle": one.digest,
        "state": one.state,
        "written_ms": one.written_ms,
        "problem": one.problem,
        "card": card,
    }


def _row(one: ListedModel) -> tuple[str, ...]:
    card = one.card
    if card is None:
        return one.digest[:12], "?", one.state, f"cannot be read: {one.problem}", "", "", ""
    claim = ("edge" if card.edge else "no edge") + (f", made by {card.outdated}" if card.outdated else "")
    until = utc(card.valid_until_ms)
    series = f"{card.symbol} {card.timeframe}" + ("" if card.rule is None else f", rule {card.rule['name']}")
    return one.digest[:12], series, one.state, claim, f"{_number(card.claim, 'sharpe_per_bar')}", _day(card), until


def _day(card: ModelCard) -> str:
    return utc(card.learned_to_ms)


def _number(part: dict[str, object], name: str, digits: int = 4) -> str | None:
    value = part.get(name)
    return f"{value:.{digits}f}" if isinstance(value, int | float) else None


def card_facts(card: ModelCard) -> Facts:
    """A card for people."""
    claim, metrics = card.claim, card.metrics
    trials = claim.get("trials")
    dropped = None if card.act is None else card.act.get("dropped")
    costs = card.made_with.get("costs")
    return {
        "series": f"{card.symbol} {card.timeframe}, {card.source}",
        "rule": None if card.rule is None else card.rule.get("name"),
        "claim": f"{'edge' if card.edge else 'no edge'}: {claim.get('reason')}",
        "Sharpe per bar": f"{_number(claim, 'sharpe_per_bar')} after costs,"
        f" {_number(claim, 'doubled_cost_sharpe_per_bar')} at doubled costs",
        "out of sample": f"{claim.get('bars')} bars, {claim.get('trades')} trades one at a time,"
        f" {rounded(trials) if isinstance(trials, int | float) else '?'} tries counted",
        "learned from": f"{utc(card.learned_from_ms)} to {utc(card.learned_to_ms)}",
        "valid until": utc(card.valid_until_ms),
        "made by": card.producer + (f": {card.outdated}, refused for opening" if card.outdated else ""),
        "libraries": _listed(card.made_with.get("libraries")),
        "costs": _listed(costs),
        "labels": _listed(card.labels),
        "Brier score": _beside(metrics, "brier"),
        "log loss": _beside(metrics, "log_loss"),
        "calibration": None
        if "slope" not in metrics
        else f"slope {_number(metrics, 'slope', 2)}, error {_number(metrics, 'ece', 3)} (right ones would show"
        f" {_number(metrics, 'ece_floor', 3)}); AUC of up {_number(metrics, 'auc', 3)}",
        "act model": None if card.act is None else "decides" if dropped is None else f"dropped ({dropped})",
        "features": len(card.features),
        **{f"data: {name}": digest for name, digest in card.data.items()},
    }


def _beside(metrics: dict[str, object], name: str) -> str | None:
    found = _number(metrics, name)
    return None if found is None else f"{found}, base rates {_number(metrics, f'{name}_base_rates')}"


def _listed(part: object) -> str | None:
    return ", ".join(f"{name} {value}" for name, value in part.items()) if isinstance(part, dict) else None
