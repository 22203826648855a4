"""The private side: account, orders, positions; and the paper account in its place."""
