"""What is kept on disk: artifacts (Parquet), the block cache (diskcache), model bundles, the trial ledger."""
