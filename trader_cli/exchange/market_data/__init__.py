"""Public market data: bars, history, listings, and the recorder of what was shown."""
