"""A simulated Binance: a market played from a tape, and an HTTP server the unmodified ccxt client reads from."""
