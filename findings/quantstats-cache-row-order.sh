#!/usr/bin/env bash
# quantstats 0.0.86: once rows have been seen in the wrong order, the same rows in the right order get the wrong figures.
#
# What quantstats makes of the series it is given is kept in the process, under a key made of the sum of one hash per
# row. A sum does not know the order of its parts: prices as many exchanges send them, newest first, and the same prices
# after sort_index() have one key. Whoever looks at the figures, sees that they cannot be, sorts the rows and asks again
# gets the figures of the unsorted rows again; a fresh process gives the right ones. It works the other way round as well:
# after a sorted series the unsorted one looks right, so a test that runs second passes and the program alone is wrong.
#
# Six daily prices, 100 to 140: +40 % and a Sharpe ratio of 6.2, or -29 % and -2.9, for equal input. The drawdown is made
# from prices without that memory and is right in both, so the figures of one report contradict each other.
#
# Seen with quantstats 0.0.86, pandas 3.0.6 on Python 3.11; the output is compared below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check quantstats==0.0.86 pandas==3.0.6
"$folder/venv/bin/python" - > "$folder/seen" <<'PY'
from multiprocessing import get_context

import pandas as pd
import quantstats

days = pd.date_range("2026-01-01", periods=6)
prices = pd.Series([100.0, 120.0, 90.0, 110.0, 105.0, 140.0], index=days)
newest_first = prices[::-1]
orders = {"newest first": newest_first, "sorted": newest_first.sort_index()}
assert orders["sorted"].equals(prices)


def figures(*told):
    for order in told:
        rows = orders[order]
        gained = 100 * quantstats.stats.comp(quantstats.utils.to_returns(rows))
        print(f"  {order}: return {gained:.1f} %, Sharpe {quantstats.stats.sharpe(rows):.2f}, "
              f"drawdown {100 * quantstats.stats.max_drawdown(rows):.1f} %")


for told in (("sorted",), ("newest first", "sorted"), ("sorted", "newest first")):
    print("a fresh process, which is asked for", ", then ".join(told), flush=True)
    process = get_context("fork").Process(target=figures, args=told)
    process.start()
    process.join()
PY
cat "$folder/seen"
diff "$folder/seen" - <<'SEEN'
a fresh process, which is asked for sorted
  sorted: return 40.0 %, Sharpe 6.19, drawdown -25.0 %
a fresh process, which is asked for newest first, then sorted
  newest first: return -28.6 %, Sharpe -2.90, drawdown -25.0 %
  sorted: return -28.6 %, Sharpe -2.90, drawdown -25.0 %
a fresh process, which is asked for sorted, then newest first
  sorted: return 40.0 %, Sharpe 6.19, drawdown -25.0 %
  newest first: return 40.0 %, Sharpe 6.19, drawdown -25.0 %
SEEN
