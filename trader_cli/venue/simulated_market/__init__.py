"""The market made from a tape: bars, the path inside them, what is derived, and how the exchange writes numbers."""
