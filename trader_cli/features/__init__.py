"""Feature families and their registry. Pure: frames in, frames out. No column sees past its own row."""
