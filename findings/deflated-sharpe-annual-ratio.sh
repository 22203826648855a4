#!/usr/bin/env bash
# deflated-sharpe 0.1.0: the gate against lucky backtests lets nearly every lucky backtest through.
#
# The deflated Sharpe ratio compares a ratio per observation with a spread per observation, 1/√(T-1). Here the ratio is
# asked for as a yearly one (so says the docstring, and the README's example is a Sharpe ratio of 2 with 252 days), while
# the spread and the best of the trials stay per observation: for daily bars the ratio is 19 times too large against what
# it is compared with, for hourly ones 94 times. The p-value of nearly anything is then 0.
#
# Tried on what it is for: 1,000 rules without any skill over 365 days (returns drawn from a normal distribution with mean
# 0), of which the best is put to the gate. p < 0.05 should come in about one search in twenty; it comes in all of 200.
# With the ratio given per observation, against the docstring, it comes in none. min_backtest_length asks for 10 days to
# trust a yearly Sharpe ratio of 2 that was found in 1,000 tries; with the same ratio per observation it is 2,074.
#
# The project of this name shares its import name with deflated-sharpe-metrics 0.1.0, whose function of the same name takes
# returns; with both installed the one installed last answers.
#
# Seen with deflated-sharpe 0.1.0, numpy 2.4.6 on Python 3.11; the output is compared below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check deflated-sharpe==0.1.0 numpy==2.4.6
"$folder/venv/bin/python" - > "$folder/seen" <<'PY'
import numpy as np
from deflated_sharpe import deflated_sharpe_ratio, min_backtest_length

DAYS, RULES, SEARCHES = 365, 1000, 200
luck = np.random.default_rng(1)
passed = {"yearly": 0, "per observation": 0}
yearly_ratios = []
for _ in range(SEARCHES):
    returns = luck.normal(0.0, 0.02, (DAYS, RULES))
    best = float((returns.mean(axis=0) / returns.std(axis=0, ddof=1)).max())
    yearly_ratios.append(best * DAYS**0.5)
    passed["yearly"] += deflated_sharpe_ratio(best * DAYS**0.5, RULES, DAYS)[1] < 0.05
    passed["per observation"] += deflated_sharpe_ratio(best, RULES, DAYS)[1] < 0.05
print(f"best of {RULES} rules without skill, {DAYS} days: a yearly Sharpe ratio of {np.mean(yearly_ratios):.1f} on average")
for ratio, searches in passed.items():
    print(f"ratio given {ratio}: p < 0.05 in {searches} of {SEARCHES} searches")
for name, ratio in (("a year", 2.0), ("an observation", 2.0 / DAYS**0.5)):
    print(f"days asked for at a Sharpe ratio of {ratio:.3f} {name}: {min_backtest_length(ratio, RULES)}")
PY
cat "$folder/seen"
diff "$folder/seen" - <<'SEEN'
best of 1000 rules without skill, 365 days: a yearly Sharpe ratio of 3.3 on average
ratio given yearly: p < 0.05 in 200 of 200 searches
ratio given per observation: p < 0.05 in 0 of 200 searches
days asked for at a Sharpe ratio of 2.000 a year: 10
days asked for at a Sharpe ratio of 0.105 an observation: 2074
SEEN
