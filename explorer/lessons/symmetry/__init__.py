"""The lesson `symmetry` and its laboratory."""
