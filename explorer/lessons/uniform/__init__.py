"""The lesson `uniform` and its laboratory."""
