"""The exchange's bulk archive: what it holds, downloads, and its files read."""
