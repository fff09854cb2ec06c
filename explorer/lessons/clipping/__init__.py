"""The lesson `clipping` and its laboratory."""
