"""The lesson `mixed` and its laboratory."""
