"""Inspector: all tensors of a model in one table, and the one that is chosen beside it."""

from explorer import panels

panels.inspector_panel()
