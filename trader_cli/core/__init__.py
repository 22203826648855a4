"""Pure values and rules. Nothing here reads a file, a network, the environment or a clock."""
