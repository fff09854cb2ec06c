"""The lesson `compensation` and its laboratory."""
