"""From an analysis to a plan, and the care of open positions."""
