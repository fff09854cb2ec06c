"""The lesson `bits` and its laboratory."""
