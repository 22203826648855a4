"""One account traded at both speeds, on made-up markets with made-up opinions: as odd as either can be."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from support.trading.sim_folder import sim_settings

from trader_cli.backtest.backtest_account import AccountOptions, BacktestAccount
from trader_cli.backtest.faithful_backtest import FaithfulBacktest
from trader_cli.backtest.fast_backtest import FastBacktest
from trader_cli.backtest.prepared_analyses import PreparedAnalyses, PreparedSymbol
from trader_cli.backtest.schedule import Schedule
from trader_cli.core.market.timeframes import HOUR_MS, MINUTE_MS, SETTLE_MS, Timeframe
from trader_cli.core.types import Abstention, Analysis, Claim, Probabilities, Signal
from trader_cli.exchange.latency import Latency
from trader_cli.exchange.simulated_exchange import SimulatedExchange
from trader_cli.pipelines.backtests.stored_tape import real_market
from trader_cli.settings.room_options import ExecutionOptions, ManagementOptions, PlanningOptions
from trader_cli.settings.workspace import workspace_of
from trader_cli.venue.simulated_market.brackets import Bracket
from trader_cli.venue.simulated_market.many_moments import prices_at
from trader_cli.venue.simulated_market.rule_changes import FILTERS, RuleChange
from trader_cli.venue.simulated_market.tape import SymbolTape, Tape, TapeBars

MINUTE, ZERO = Timeframe.parse("1m"), Decimal(0)
BEGAN_MS = 1_704_067_200_000 - 3 * HOUR_MS
"""Three hours before a day begins."""
CLAIM = Claim(True, "made up", 1.0, 1.0, 0.1, 0.1, 1, 1000, 100_000, 0.0)


@dataclass(frozen=True)
class OddMarket:
    """A market, what is thought of its closes, its funding rates by stamp, and how an account is ruled on it."""

    tape: Tape
    symbols: dict[str, ScriptedSymbol]
    rates: float
    settings: dict[str, Any]
    schedule: Schedule
    until_ms: int
    latency: Latency | None = None


@dataclass(frozen=True)
class ScriptedSymbol(PreparedSymbol):
    """Outcomes and probabilities as written down, at the closes they are of."""

    timeframe: Timeframe = MINUTE

    def analysis(self, close_ms: int) -> Analysis:
        at = min(self.at(close_ms), len(self.outcomes) - 1)
        up, down, flat = self.probabilities[at].tolist()
        return Analysis(
            symbol=self.symbol,
            timeframe=self.timeframe.name,
            decision_time_ms=int(self.decided_ms[at]),
            price=float(self.price[at]),
            outcome=self.outcomes[at],
            probabilities=None if np.isnan(up) else Probabilities(up, down, flat),
            claim=CLAIM,
            digests={"model": "scripted"},
        )


@dataclass
class Scripted:
    """Says what is written down, whenever it is asked."""

    histories: dict[str, ScriptedSymbol]
    venue: SimulatedExchange
    asked: list[tuple[str, int]] = field(default_factory=list)

    def of(self, symbol: str, close_ms: int) -> Analysis:
        begins = close_ms == self.histories[symbol].first_ms  # a run that begins at a close hears of it at once
        assert begins or self.venue.now_ms >= close_ms + SETTLE_MS, "a bar was heard of before it had settled"
        return self.made(symbol, close_ms)

    def made(self, symbol: str, close_ms: int) -> Analysis:
        return self.histories[symbol].analysis(close_ms)


def walk(dice: np.random.Generator, minutes: int) -> np.ndarray:
    """Moves of a minute: quiet or wild, with jumps, jumps at quarter hours, or up and down like the teeth of a saw."""
    volatility = 10 ** dice.uniform(-4, -2.3)
    moves = dice.standard_normal(minutes) * volatility
    kind = dice.integers(0, 5)
    if kind == 1:
        moves += (dice.random(minutes) < 0.01) * dice.standard_normal(minutes) * 10 * volatility
    if kind == 2:
        moves[::15] += dice.standard_normal(len(moves[::15])) * 12 * volatility
    if kind == 3:
        period = int(dice.integers(7, 120))
        moves += np.where(np.arange(minutes) // period % 2, 1, -1) * volatility * 1.5
    return moves


def odd_tape(dice: np.random.Generator, symbol: str, minutes: int) -> SymbolTape:
    """Bars of a walk on a fine or a coarse grid; some open away from the close before, some end on their extreme."""
    tick = float(dice.choice([0.001, 0.01, 0.1]))
    moves, spread = walk(dice, minutes), 10 ** dice.uniform(-4.5, -3)
    close = 100 * np.exp(np.cumsum(moves))
    gaps = np.where(dice.random(minutes) < float(dice.choice([0, 0.1, 1])), dice.standard_normal(minutes) * spread, 0)
    opened = np.concatenate([[100.0], close[:-1]]) * np.exp(gaps)
    reach = np.abs(dice.standard_normal((2, minutes))) * spread * float(dice.choice([0, 1, 5]))
    grid = [np.maximum(np.round(prices / tick), 1) * tick for prices in (opened, close)]
    high = np.maximum(*grid) + np.round(np.maximum(*grid) * reach[0] / tick) * tick
    low = np.maximum(np.minimum(*grid) - np.round(np.minimum(*grid) * reach[1] / tick) * tick, tick)
    volume = np.round(dice.uniform(5, 5000, minutes), 3)
    kept = np.ones(minutes, dtype=np.bool_)
    for _ in range(int(dice.integers(0, 4))):
        at = int(dice.integers(200, minutes))
        kept[at : at + int(dice.integers(1, 40))] = False
    times = BEGAN_MS + np.arange(minutes, dtype=np.int64) * MINUTE_MS
    columns = (times, grid[0], high, low, grid[1], volume)
    bars = TapeBars(*(column[kept] for column in columns))
    return SymbolTape.of(symbol, MINUTE, int(dice.integers(2**31)), tick, 0.001, bars)


def leaping(tape: SymbolTape, seed: int) -> SymbolTape:
    """The same, with minutes that open far from the close before them: beyond every stop at once."""
    dice, bars = np.random.default_rng([seed, 2]), tape.bars
    leaps = (dice.random(len(bars.open_ms)) < 0.01) * dice.choice([-0.02, 0.02], len(bars.open_ms))
    columns = (bars.open, bars.high, bars.low, bars.close)
    prices = [np.maximum(np.round(c * np.exp(np.cumsum(leaps)) / tape.tick), 1) * tape.tick for c in columns]
    return tape.playing(TapeBars(bars.open_ms, *prices, bars.volume))


def thoughts(
    dice: np.random.Generator, tape: SymbolTape, timeframe: Timeframe, span: tuple[int, int]
) -> ScriptedSymbol:
    """Opinions and signals at closes, as likely as not, with stops and targets near and far."""
    closes = np.arange(span[0], span[1] + 1, timeframe.ms)
    price = prices_at(tape, closes)
    often = dice.choice([0.05, 0.2, 0.7])
    a_minute = float(np.median(np.abs(np.diff(np.log(tape.close))))) + tape.tick / 100
    near = min(max(1.5 * a_minute * np.sqrt(dice.choice([15, 90, 600])), 12 * tape.tick / 100), 0.12)
    silent = dice.choice([0.0, 0.1])
    shares = dice.dirichlet([1, 1, 0.3], len(closes))
    shares[dice.random(len(closes)) < silent] = np.nan
    outcomes: list[Signal | Abstention] = []
    bars = int(dice.choice([4, 24, 96]))
    for at in range(len(closes)):
        if dice.random() > often or np.isnan(shares[at, 0]):
            outcomes.append(Abstention("no_expected_value", f"made up {dice.integers(9)}"))
            continue
        long, distance, reward = bool(dice.random() < 0.5), near * dice.uniform(0.5, 1.5), dice.uniform(0.3, 4)
        sign = 1 if long else -1
        outcomes.append(
            Signal(
                side="long" if long else "short",
                probability_act=float(dice.uniform(0.6, 0.99)),
                break_even_probability=0.4,
                expected_value_bps=20.0,
                take_profit_price=float(price[at] * (1 + sign * distance * reward)),
                stop_price=float(price[at] * (1 - sign * distance)),
                horizon_bars=bars,
            )
        )
    marks = prices_at(tape, closes + SETTLE_MS)
    return ScriptedSymbol(
        tape.symbol,
        int(closes[0]),
        timeframe.ms,
        outcomes,
        shares,
        closes,
        price,
        marks,
        None,  # type: ignore[arg-type]
        timeframe=timeframe,
    )


def odd_rules(dice: np.random.Generator) -> dict[str, Any]:
    """Careful and careless; some halt soon, some never."""
    careless = bool(dice.random() < 0.6)
    return {
        "tactician": {
            "max_daily_loss": 1.0 if careless else float(dice.choice([0.004, 0.02])),
            "max_drawdown": 1.0 if careless else float(dice.choice([0.006, 0.03, 0.3])),
            "risk_per_trade": float(dice.choice([0.01, 0.05])),
            "target_volatility": 50.0,
            "max_volume_share": 1.0,
            "max_book_share": 1.0,
            "max_exposure": 5.0,
            "max_same_side": 5.0,
            "max_liquidation_probability": 1.0,
            "max_leverage": int(dice.choice([1, 5, 50])),
            "max_price_drift": 2.0,
            "backstop_distance": float(dice.choice([1.1, 1.5, 5.0])),
            "close_on_halt": bool(dice.random() < 0.7),
        },
        "monitor": {
            "trail_distance": float(dice.choice([0.3, 1.0, 1.7])),
            "trail_step": float(dice.choice([0.1, 0.25, 1.0])),
            "confidence_half_life": float(dice.choice([0.5, 4])),
            "min_dwell": float(dice.choice([0, 1, 3])),
        },
        "high_risk_threshold": float(dice.choice([0.8, 0.95])),
        "medium_risk_threshold": float(dice.choice([0.6, 0.75])),
        "execution": {"max_entries_per_hour": 60, "max_entries_per_day": int(dice.choice([8, 1000]))},
    }


def recorded(dice: np.random.Generator, tapes: dict[str, SymbolTape]) -> Tape:
    """The same with funding as recorded, its intervals changing, and filters coarser than the prices."""
    made, filters = {}, {}
    for name, tape in tapes.items():
        stamps = BEGAN_MS + HOUR_MS * np.cumsum(dice.choice([1, 1, 2, 4, 8], 60))
        rates = np.round(dice.normal(0, 1e-4, 60), 8)
        made[name] = replace(tape, funding=dict(zip(stamps.tolist(), rates.tolist(), strict=True)))
        step = Decimal("0.001") * int(dice.choice([1, 10]))
        values = (Decimal(f"{tape.tick:.3f}") * int(dice.choice([1, 2, 5])), step, step, Decimal(5))
        filters[name] = dict(zip(FILTERS, values, strict=True))
    return real_market("t", made, filters)


def odd_market(seed: int, symbols: int = 1, hours: int = 30, *, leaps: bool = False) -> OddMarket:
    dice = np.random.default_rng(seed)
    names = ("AAAUSDT", "BBBUSDT", "CCCUSDT", "DDDUSDT")[:symbols]
    tapes = {name: odd_tape(dice, name, hours * 60) for name in names}
    tapes = {name: leaping(tape, seed) for name, tape in tapes.items()} if leaps else tapes
    timeframe = Timeframe.parse(str(dice.choice(["5m", "15m"])))
    span = BEGAN_MS + 2 * HOUR_MS, BEGAN_MS + hours * HOUR_MS
    look_ms = int(dice.choice([10_000, 10_000, 30_000, 7_000]))
    return OddMarket(
        recorded(np.random.default_rng([seed, 1]), tapes) if seed % 3 == 0 else Tape("t", "t", tapes),
        {name: thoughts(dice, tape, timeframe, span) for name, tape in tapes.items()},
        float(dice.choice([1.0, 30.0, 300.0])),
        odd_rules(dice),
        Schedule(timeframe, look_ms, int(dice.choice([30_000, 150_000])), timeframe.ms),
        span[1] - int(dice.integers(0, HOUR_MS)),
        Latency(float(10 ** (1 + seed % 4 / 2)), 0.8, seed) if seed % 2 else None,
    )


def with_marks(market: OddMarket, seed: int) -> OddMarket:
    """The same market with mark prices of their own: near the last price or far, missing what it reaches for moments."""
    dice, tapes, symbols = np.random.default_rng([seed, 2]), {}, {}
    for name, tape in market.tape.symbols.items():
        wander = 10 ** dice.uniform(-5, -2.5)
        apart = np.exp(np.clip(np.cumsum(dice.standard_normal(len(tape.open_ms) + 1) * wander / 10), -0.02, 0.02))
        opened, closed = tape.open * apart[:-1], tape.close * apart[1:]
        part = float(dice.choice([0.0, 0.5, 1.0]))
        high = np.maximum(opened, closed) + part * (tape.high - np.maximum(tape.open, tape.close))
        low = np.minimum(opened, closed) - part * (np.minimum(tape.open, tape.close) - tape.low)
        marks = {"open": opened, "high": high, "low": low, "close": closed}
        tapes[name] = tape.playing(
            replace(tape.bars, mark={at: np.maximum(np.round(x, 8), tape.tick) for at, x in marks.items()})
        )
        one = market.symbols[name]
        closes = one.first_ms + one.bar_ms * np.arange(len(one.marks))
        symbols[name] = replace(one, marks=prices_at(tapes[name].mark_tape, closes + SETTLE_MS))
    return replace(market, tape=replace(market.tape, symbols=tapes), symbols=symbols)


def silenced(market: OddMarket, seed: int) -> OddMarket:
    """The same market, of half of whose closes nobody has an opinion: one before them is acted on long after."""
    dice, symbols = np.random.default_rng([seed, 3]), {}
    for name, one in market.symbols.items():
        shares = one.probabilities.copy()
        shares[dice.random(len(shares)) < 0.5] = np.nan
        symbols[name] = replace(one, probabilities=shares)
    monitor = {**market.settings["monitor"], "min_dwell": 6.0, "confidence_half_life": 100.0}
    careful = {"monitor": monitor, "medium_risk_threshold": 0.55, "high_risk_threshold": 0.6}
    return replace(market, symbols=symbols, settings={**market.settings, **careful})


def doubtful(market: OddMarket, seed: int) -> OddMarket:
    """The same market; most plans are refused for a while: by a hair, by the price, by what leverage risks.

    Brackets change on the way, and with them what leverage risks.
    """
    dice, symbols, changes = np.random.default_rng([seed, 4]), {}, list(market.tape.changes)
    for name, one in market.symbols.items():
        outcomes: list[Signal | Abstention] = []
        for price, said in zip(one.price.tolist(), one.outcomes, strict=True):
            if isinstance(said, Abstention):
                outcomes.append(said)
                continue
            win, loss = abs(said.take_profit_price - price), abs(said.stop_price - price)
            even = (loss / price + 0.0005) / ((win + loss) / price)
            likely = min(max(even + float(dice.uniform(-0.02, 0.02)), 0.01), 0.99)
            outcomes.append(replace(said, probability_act=likely, break_even_probability=min(even, 0.99)))
        symbols[name] = replace(one, outcomes=outcomes)
        for at_ms in dice.integers(one.first_ms, market.until_ms, 60).tolist():
            rate = Decimal(str(round(float(dice.choice([0.004, 0.3, 0.9])), 3)))
            changes.append(RuleChange(name, at_ms, brackets=(Bracket(1, 50, ZERO, Decimal(10**9), rate, ZERO),)))
    tactician = {
        **market.settings["tactician"],
        "max_price_drift": float(dice.choice([0.3, 2.0])),
        "max_liquidation_probability": float(dice.choice([1e-6, 0.01])),
    }
    tape = replace(market.tape, changes=tuple(sorted(changes, key=lambda change: change.at_ms)))
    return replace(market, tape=tape, symbols=symbols, settings={**market.settings, "tactician": tactician})


def delisted(market: OddMarket, symbol: str, at_ms: int) -> OddMarket:
    """The same market, one of whose symbols ends on the way."""
    tape = market.tape.symbols[symbol]
    kept = tape.open_ms < at_ms
    columns = {name: getattr(tape.bars, name)[kept] for name in ("open_ms", "open", "high", "low", "close", "volume")}
    short = tape.playing(TapeBars(**columns))
    changes = (*market.tape.changes, RuleChange.delisting(symbol, at_ms))
    return replace(market, tape=replace(market.tape, symbols={**market.tape.symbols, symbol: short}, changes=changes))


def account_on(market: OddMarket, folder: Path) -> BacktestAccount:
    workspace = workspace_of(sim_settings(folder, **market.settings))
    options = AccountOptions(
        PlanningOptions.of(workspace.settings),
        ExecutionOptions.of(workspace),
        ManagementOptions.of(workspace.settings),
    )
    first = next(iter(market.symbols.values())).first_ms
    venue = SimulatedExchange(market.tape, first, Decimal(10_000))
    venue.latency = market.latency
    for name, one in venue.engine.markets.items():
        usual = type(one).funding_rate

        def rate(time_ms: int, one: Any = one, usual: Any = usual, sign: int = 1 if name < "B" else -1) -> float:
            return float(round(usual(one, time_ms) * market.rates * sign, 8))

        one.funding_rate = rate  # type: ignore[method-assign]
    return BacktestAccount(venue, options, market.schedule.timeframe)


def faithfully(market: OddMarket, folder: Path) -> BacktestAccount:
    account = account_on(market, folder)
    FaithfulBacktest(account, list(market.symbols), Scripted(market.symbols, account.venue), market.schedule).run(
        market.until_ms
    )
    return account


def fast(market: OddMarket, folder: Path, account: BacktestAccount | None = None) -> BacktestAccount:
    account = account or account_on(market, folder)
    prepared = PreparedAnalyses(market.symbols, Scripted(market.symbols, account.venue))  # type: ignore[arg-type]
    FastBacktest(account, list(market.symbols), prepared, market.schedule, market.tape).run(market.until_ms)
    return account


def shorter(market: OddMarket, hours: int) -> OddMarket:
    """The same market, left earlier."""
    return replace(market, until_ms=market.until_ms - hours * HOUR_MS)
