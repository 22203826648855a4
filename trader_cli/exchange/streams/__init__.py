"""Streams of the exchange: sockets of our own, watched one by one. They say when to look; what is true REST says."""
