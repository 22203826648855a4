"""The rules about money, pure: orders, plans, sizing, exits, loss limits, what to send next to protect a position."""
