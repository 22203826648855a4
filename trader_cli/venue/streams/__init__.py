"""What the simulated exchange tells of its own accord: market streams and those of accounts, by names and keys."""
