"""Running trades: tactics, enter, monitor, runs of hours or weeks, status, and what reduces risk."""
