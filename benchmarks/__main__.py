"""`make bench`: all quick benchmarks; `python -m benchmarks claims` runs the long campaign instead."""

from __future__ import annotations

import sys

from benchmarks import claims, features, fetch, start

CAMPAIGNS = {"start": start.run, "features": features.run, "fetch": fetch.run}


def main() -> None:
    """Run the named campaigns, or all quick ones."""
    for name in sys.argv[1:] or CAMPAIGNS:
        (claims.run if name == "claims" else CAMPAIGNS[name])()


if __name__ == "__main__":
    main()
