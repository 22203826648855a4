"""`python -m trader_cli` is `trader`."""

from trader_cli.cli.entry import main

main()
