"""The models behind a run: what each learned, how good it was on bars that it had not seen, what it claims."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from trader_cli.analyst.model_card import model_card
from trader_cli.core.errors import DataError
from trader_cli.core.json_values import items_of, number_of
from trader_cli.report.drawings import Reliability, reliability_drawing
from trader_cli.report.written import day, lines, number, percent, signed_percent, text
from trader_cli.storage.bundles import BundleStore

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trader_cli.analyst.model_card import ModelCard
    from trader_cli.report.run_report import RunReport
    from trader_cli.storage.artifacts import ArtifactStore

_MOST = 24
"""Models that are listed, the newest."""
_Z = 1.959964


def cards_of(store: ArtifactStore, digests: Iterable[str], max_model_age_days: float) -> tuple[ModelCard, ...]:
    """Of the bundles that are stored still and can be read, each once, by when they learned last."""
    bundles, found = BundleStore(store.root / "models"), []
    for digest in dict.fromkeys(digests):
        try:
            files, description = bundles.load(digest)
            found.append(model_card(digest, description, files, max_model_age_days))
        except (DataError, KeyError, TypeError, ValueError):
            continue
    return tuple(sorted(found, key=lambda card: (card.learned_to_ms, card.symbol)))


def model_panel(run: RunReport) -> str:
    """A line a model, and the reliability of the one that learned last, out of sample."""
    if not run.models:
        inside = '<p class="empty">No model that is stored still is named by this run.</p>'
    else:
        rows = lines(map(_row, run.models[-_MOST:]))
        more = len(run.models) - _MOST
        left = f'<p class="hint">And {more} earlier ones.</p>' if more > 0 else ""
        inside = f"""<table class="ledger"><thead><tr><th scope="col">model</th><th scope="col">learned</th>
<th scope="col">valid until</th><th scope="col">claim</th><th scope="col">Brier, beside base rates</th>
<th scope="col">slope</th><th scope="col">error (floor)</th><th scope="col">AUC</th></tr></thead>
<tbody>{rows}</tbody></table>{left}{_last_reliability(run.models)}"""
    return f"""<section id="models"><h2>Models</h2>
<p class="note">How good each was on bars that it had not seen when it was trained; `trader models show` has the whole
card. Below base rates means better; a slope of 1 and an error no larger than its floor are right.</p>
{inside}</section>"""


def _row(card: ModelCard) -> str:
    m = {name: value for name, value in card.metrics.items() if isinstance(value, int | float)}
    better = 1 - m["brier"] / m["brier_base_rates"] if m.get("brier_base_rates") else None
    claim = f"{'edge' if card.edge else 'no edge'}: {card.claim.get('reason')}"
    cells = (
        f"<code>{text(card.bundle[:12])}</code> {text(card.symbol)} {text(card.timeframe)}",
        f"{day(card.learned_from_ms)} to {day(card.learned_to_ms)}",
        day(card.valid_until_ms) if card.valid_until_ms > card.learned_to_ms else "–",
        text(claim),
        f"{number(m.get('brier'), 4)} ({signed_percent(better)})",
        number(m.get("slope")),
        f"{number(m.get('ece'), 3)} ({number(m.get('ece_floor'), 3)})",
        number(m.get("auc"), 3),
    )
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _last_reliability(models: tuple[ModelCard, ...]) -> str:
    told = next((card for card in reversed(models) if card.reliability), None)
    if told is None:
        return ""
    groups = [_group(*(number_of(value) for value in items_of(one))) for one in told.reliability]
    drawing = reliability_drawing(groups, "Stated probability of up against the share that rose")
    rows = lines(
        f"<tr><td>{percent(g.said, 1)}</td><td>{percent(g.won, 1)}</td><td>{g.count}</td></tr>" for g in groups
    )
    return f"""<div class="columns"><div>{drawing}</div><div>
<table class="ledger"><thead><tr><th scope="col">said up</th><th scope="col">rose</th><th scope="col">bars</th></tr>
</thead><tbody>{rows}</tbody></table>
<p class="hint">Reliability of {text(told.bundle[:12])}, out of sample. Whiskers take bars for independent; labels of
{text(told.labels.get("horizon_bars"))} bars overlap, so that they are wider in truth.</p></div></div>"""


def _group(said: float, rose: float, rows: float) -> Reliability:
    """With Wilson's interval."""
    middle = (rose + _Z**2 / (2 * rows)) / (1 + _Z**2 / rows)
    half = _Z / (1 + _Z**2 / rows) * math.sqrt(rose * (1 - rose) / rows + _Z**2 / (4 * rows**2))
    return Reliability(said, rose, middle - half, middle + half, round(rows))
