"""Backtests of what is stored: made, kept as artifacts, and shown again."""
