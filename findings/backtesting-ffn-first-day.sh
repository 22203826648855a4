#!/usr/bin/env bash
# backtesting 0.6.6 and ffn 1.4.1: on bars shorter than a day, what happens on the first day is in half of the figures.
#
# Both turn the equity into one value per calendar day, the last one, and take the changes from day to day. The first day
# has no day before it, so its result is in no change: it is gone from all that is built on them, while the total return
# beside them is taken from the first bar. With daily bars nothing is lost but the first bar's own move; with 15-minute
# bars a whole trading day is.
#
# 90 days of 15-minute bars, held throughout: 30 % lost on the first day, then a slow rise that wins back a third of it.
# backtesting: a return of -20 % stands beside an annual return of +73 % and a Sharpe ratio of 2.9; only CAGR and the
# drawdown know of the loss (and Calmar divides the one kind by the other). ffn: total return -20 %, but CAGR +73 %, a
# maximum drawdown of 3 %, and +4 % for January in the table of months, which lost 27 %.
#
# An optimiser that maximises the Sharpe ratio does not see what is lost on the first day. Short walk-forward windows are
# hit most: of a week it is a seventh. A way out: begin the bars a day earlier, without a position.
#
# Seen with backtesting 0.6.6, ffn 1.4.1, pandas 3.0.6 on Python 3.11; the output is compared below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check backtesting==0.6.6 ffn==1.4.1 pandas==3.0.6
"$folder/venv/bin/python" - > "$folder/seen" 2> "$folder/progress" <<'PY'
import ffn
import numpy as np
import pandas as pd
from backtesting import Backtest, Strategy

DAY, DAYS = 96, 90
later = np.arange(1, DAY * (DAYS - 1) + 1)
close = np.concatenate([np.linspace(100, 70, DAY), 70 * np.exp(0.00157 * later / DAY + 0.02 * np.sin(later / 180))])
bars = pd.DataFrame({"Open": np.concatenate([[100], close[:-1]]), "Close": close})
bars["High"], bars["Low"] = bars.max(axis=1), bars.min(axis=1)
bars.index = pd.date_range("2026-01-01", periods=len(bars), freq="15min")


class Hold(Strategy):
    def init(self):
        pass

    def next(self):
        if not self.position:
            self.buy(size=0.999)


stats = Backtest(bars, Hold, cash=1_000_000, finalize_trades=True).run()
print("backtesting")
for name in ("Return [%]", "CAGR [%]", "Return (Ann.) [%]", "Sharpe Ratio", "Calmar Ratio", "Max. Drawdown [%]"):
    print(f"  {name}: {stats[name]:.1f}")
equity = stats["_equity_curve"]["Equity"]
told = ffn.calc_stats(equity)
print("ffn, of the same equity")
for name in ("total_return", "cagr", "max_drawdown"):
    print(f"  {name}: {100 * getattr(told, name):.1f} %")
print(f"  daily_sharpe: {told.daily_sharpe:.1f}")
print(f"  table of months, January: {100 * told.return_table.loc[2026, 'Jan']:.1f} %")
january = equity[:"2026-01-31"].iloc[-1] / equity.iloc[0] - 1
print(f"  what January brought: {100 * january:.1f} %")
PY
cat "$folder/seen"
diff "$folder/seen" - <<'SEEN'
backtesting
  Return [%]: -19.8
  CAGR [%]: -59.1
  Return (Ann.) [%]: 72.5
  Sharpe Ratio: 2.9
  Calmar Ratio: 2.4
  Max. Drawdown [%]: -30.2
ffn, of the same equity
  total_return: -19.8 %
  cagr: 72.5 %
  max_drawdown: -3.0 %
  daily_sharpe: 3.2
  table of months, January: 4.2 %
  what January brought: -26.8 %
SEEN
