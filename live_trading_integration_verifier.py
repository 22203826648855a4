"""`python live_trading_integration_verifier.py` is `trader verify`: same options, same exit code."""

import sys

from trader_cli.cli.entry import main

if __name__ == "__main__":
    sys.argv.insert(1, "verify")
    main()
