"""Other people's clients, unmodified, against the served venue: each a script that walks through market and account."""
