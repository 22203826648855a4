"""One small file per feature family. Each has `families(options)`; `features.registry` lists them."""
