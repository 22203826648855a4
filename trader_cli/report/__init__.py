"""Pictures and pages made from artifacts and the ledger. Nothing here decides, sends or fetches anything."""
