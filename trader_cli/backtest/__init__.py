"""Backtests: history through the rules that trade, and what it would have come to."""
