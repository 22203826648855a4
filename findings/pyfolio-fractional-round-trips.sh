#!/usr/bin/env bash
# pyfolio-reloaded 0.10.1: round trips of fractions of a coin are cut to whole coins, which can turn gains into losses.
#
# extract_round_trips rebuilds the position unit by unit and cuts each day's amount to a whole number first, without a word.
# 1.9 BTC are told as 1, and 0.9 as none: such a trade is missing from the profit, the win rate and the count. The
# cut is made per day and side, so a position bought in parts and sold at once leaves a remainder that was never held:
# three days of 0.9 add up to nothing, the sale of 2.7 is taken for a short of 2, and the next purchase "closes" it.
#
# Below: 2.7 BTC bought in three parts and sold with a gain, then 2 bought and sold with a gain. The report has one
# round trip, a short with a loss of 6,000, in place of two long ones which gained 25,400.
# A coin whose trades are all below 1 leaves no row at all; only if there is no other, a KeyError is raised. A way out is to
# give amounts in the step that is traded, 0.001 BTC say, and prices of one such step.
#
# Seen with pyfolio-reloaded 0.10.1, empyrical-reloaded 0.7.1, pandas 3.0.6 on Python 3.11; the output is compared below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check --no-deps \
    pyfolio-reloaded==0.10.1 empyrical-reloaded==0.7.1 ipython==9.18.1 traitlets==5.16.1 pygments
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    pandas==3.0.6 scipy matplotlib seaborn scikit-learn pytz bottleneck
"$folder/venv/bin/python" -W ignore - > "$folder/seen" <<'PY'
import pandas as pd
from pyfolio.round_trips import extract_round_trips


def told(name, trades):
    days, amounts, prices = zip(*trades, strict=True)
    frame = pd.DataFrame({"amount": amounts, "price": prices, "symbol": "BTC"}, index=pd.to_datetime(days, utc=True))
    made = -(frame.amount * frame.price).sum()
    trips = extract_round_trips(frame)
    print(f"{name}: gained {made:,.0f}, told {trips.pnl.sum():,.0f}")
    for trip in trips.itertuples():
        print(f"  {'long' if trip.long else 'short'} {trip.open_dt:%d %b} to {trip.close_dt:%d %b}: {trip.pnl:,.0f}")


told("1.9 bought and sold", [("2026-03-01", 1.9, 60_000.0), ("2026-03-05", -1.9, 66_000.0)])
told("bought in parts", [
    ("2026-03-01", 0.9, 60_000.0), ("2026-03-02", 0.9, 61_000.0), ("2026-03-03", 0.9, 62_000.0),
    ("2026-03-06", -2.7, 68_000.0),
    ("2026-03-10", 2.0, 71_000.0), ("2026-03-12", -2.0, 74_250.0),
])
PY
cat "$folder/seen"
diff "$folder/seen" - <<'SEEN'
1.9 bought and sold: gained 11,400, told 6,000
  long 01 Mar to 05 Mar: 6,000
bought in parts: gained 25,400, told -6,000
  short 06 Mar to 10 Mar: -6,000
SEEN
