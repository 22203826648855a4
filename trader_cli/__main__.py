"""`python -m trader_cli` is `trader`."""

from trader_cli.cli.main import main

main()
