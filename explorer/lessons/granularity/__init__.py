"""The lesson `granularity` and its laboratory."""
