"""Features to opinions: labels, training, validation, claims, regimes, market health, and the analysis itself."""
