"""Compare: two models, files or settings, weight by weight and on the same samples."""

from explorer import panels

panels.model_comparison_panel()
