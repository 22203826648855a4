"""Stages in a row: what a subcommand does between parsing and showing."""
