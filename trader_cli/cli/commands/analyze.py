"""`trader analyze`."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Annotated

import typer

from trader_cli.cli import options as o
from trader_cli.cli.show import print_facts, print_json, progress_bar, utc
from trader_cli.core.errors import ExitCode
from trader_cli.core.money.averages import readable
from trader_cli.core.types import Abstention

if TYPE_CHECKING:
    from trader_cli.cli.show import Facts
    from trader_cli.core.types import Analysis
    from trader_cli.pipelines.stages.stage_results import Analysed

app = typer.Typer()


@app.command()
def analyze(
    symbol: o.MaybeSymbol = None,
    timeframe: o.MaybeTimeframe = None,
    wait: Annotated[
        int,
        typer.Option("--wait", min=0, help="Analyse newly closed bars too, at most so many, until there is a signal."),
    ] = 0,
    allow_gaps: o.AllowGaps = False,
    allow_unproven: o.AllowUnproven = False,
    profile: o.Profile = None,
    config: o.Config = None,
    tape: o.Tape = None,
    json: o.Json = False,
) -> None:
    """Look for a signal at the last closed bar.

    Exit code 0: there is a signal. 4: the bars are stale. 8: the analyst abstains, and says why. Both are stored.
    """
    from trader_cli.pipelines.stages.signal_wait import analyze_until_signal as run

    overrides = {**o.gaps_allowed(allow_gaps), **o.unproven_allowed(allow_unproven)}
    workspace = o.workspace_from(profile, config, tape, overrides)
    name, parsed = o.series(workspace, symbol, timeframe)
    with progress_bar() as progress:
        done = run(workspace, name, parsed, wait, progress)
    if json:
        print_json({**done.analysis.as_dict(), "source": done.source, "cache_hit": done.cached})
    else:
        print_facts(_headline(done.analysis), _facts(done))
    if isinstance(done.analysis.outcome, Abstention):
        raise typer.Exit(o.code_of(done.analysis.outcome.code, ExitCode.ABSTAINED))


def _headline(analysis: Analysis) -> str:
    what = f"{analysis.symbol} {analysis.timeframe} at {utc(analysis.decision_time_ms)}"
    if analysis.signal is None:
        return f"{what}: abstains"
    return f"{what}: {analysis.signal.side}"


def _facts(done: Analysed) -> Facts:
    a = done.analysis
    return {
        **_outcome(a),
        "P(up, down, flat)": None
        if a.probabilities is None
        else f"{a.probabilities.up:.3f}, {a.probabilities.down:.3f}, {a.probabilities.flat:.3f}",
        "permission": _permission(a),
        "claim": None if a.claim is None else f"{'edge' if a.claim.edge else 'no edge'}: {a.claim.reason}",
        "health": _health(a),
        "regime": _regime(a),
        "at the horizon": _interval(a),
        "P(liquidation)": None
        if a.liquidation_probability is None
        else ", ".join(f"{name} {p:.4f}" for name, p in a.liquidation_probability.items()),
        "trend": a.technical.get("trend"),
        "momentum": a.technical.get("momentum"),
        "patterns": ", ".join(f"{name} {value:+d}" for name, value in a.patterns.items()) or None,
        "levels": _levels(a),
        "moved by": ", ".join(f"{name} {value:+.3f}" for name, value in a.explanation.items()) or None,
        "dual score": None if a.dual_score is None else f"{a.dual_score:.3f} (the lineage's A·T², no probability)",
        "market": done.source,
        "artifact": a.digests["analysis_input"] + (" (cache hit)" if done.cached else ""),
    }


def _permission(a: Analysis) -> str | None:
    """What a slow model permits now, where a fast one times entries."""
    if a.permission is None:
        return None
    told = a.permission
    return (
        f"{told.side} from {utc(told.from_ms)} to {utc(told.until_ms)}, P {told.probability:.3f}, at most"
        f" {told.budget:.2f} of equity"
    )


def _price(value: float, analysis: Analysis) -> str:
    """A price by the digits of the last close, which lies on a tick."""
    return f"{readable(Decimal(str(value).removesuffix('.0')), Decimal(str(analysis.price))):f}"


def _regime(a: Analysis) -> str | None:
    if a.regime is None:
        return None
    return f"{a.regime_held} ({', '.join(f'{name} {p:.2f}' for name, p in a.regime.items())})"


def _interval(a: Analysis) -> str | None:
    if a.return_interval is None:
        return None
    told = a.return_interval
    return f"{told['low']:+.2%} to {told['high']:+.2%}, {told['probability']:.0%} of the time"


def _levels(a: Analysis) -> str | None:
    return ", ".join(filter(None, (_level(a, side) for side in ("support", "resistance")))) or None


def _level(a: Analysis, side: str) -> str | None:
    price, strength = a.levels.get(side), a.levels.get(f"{side}_strength")
    if price is None:
        return None
    return f"{side} {_price(price, a)}" + ("" if strength is None else f" (strength {strength:.1f})")


def _health(a: Analysis) -> str | None:
    if a.health is None:
        return None
    return f"{a.health.score:.2f}, worst: {a.health.binding} {a.health.components[a.health.binding]:.2f}"


def _outcome(a: Analysis) -> Facts:
    if isinstance(a.outcome, Abstention):
        return {"because": f"{a.outcome.sentence} ({a.outcome.code})", "price": _price(a.price, a)}
    signal = a.outcome
    return {
        "price": _price(a.price, a),
        "barriers": f"take profit {_price(signal.take_profit_price, a)}, stop {_price(signal.stop_price, a)},"
        f" within {signal.horizon_bars} bars",
        "P(profit)": f"{signal.probability_act:.3f}, break-even {signal.break_even_probability:.3f}",
        "expected": f"{signal.expected_value_bps:.1f} bps after costs"
        + (" (UNPROVEN: the model claims no edge)" if signal.unproven else ""),
    }
