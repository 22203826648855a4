"""The paper account: what was seen of a real exchange, and the engine filling on it."""
