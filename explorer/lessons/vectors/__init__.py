"""The lesson `vectors` and its laboratory."""
