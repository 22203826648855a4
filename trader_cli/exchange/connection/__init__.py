"""Connections and limits: ccxt's client, lanes, the signing gate, the exchange's clock, weights and errors."""
