"""The lesson `formats` and its laboratory."""
