"""The exchange engine: accounts, matching, margin, funding, liquidation, and its journal. Knows no server."""
