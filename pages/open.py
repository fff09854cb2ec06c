"""Open: a file of the person's own, and all tensors of a model in one table."""

from explorer import panels

panels.open_panel()
