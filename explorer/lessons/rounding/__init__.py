"""The lesson `rounding` and its laboratory."""
