"""The lesson `centroids` and its laboratory."""
