"""The HTTP server around engine and market: routes, request limits, signing, faults."""
