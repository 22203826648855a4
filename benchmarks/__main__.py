"""`make bench`: all quick benchmarks; `python -m benchmarks claims` or `week` runs a long campaign instead."""

from __future__ import annotations

import sys

from benchmarks import (
    archive,
    backtest,
    bars,
    care,
    claims,
    features,
    fetch,
    fitted,
    nothing_to_do,
    run_before,
    start,
    symbol_years,
    training,
    week,
)

CAMPAIGNS = {
    "start": start.run,
    "nothing": nothing_to_do.run,
    "features": features.run,
    "fitted": fitted.run,
    "fetch": fetch.run,
    "archive": archive.run,
    "care": care.run,
    "bars": bars.run,
    "backtest": backtest.run,
}
LONG = {
    "claims": claims.run,
    "week": week.run,
    "archive-full": archive.full,
    "years": symbol_years.run,
    "training": training.run,
    "run-before": run_before.run,
}


def main() -> None:
    """Run the named campaigns, or all quick ones."""
    for name in sys.argv[1:] or CAMPAIGNS:
        {**CAMPAIGNS, **LONG}[name]()


if __name__ == "__main__":
    main()
