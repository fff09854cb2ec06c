"""Text: a language model in floating point and under a plan, by its scores and by what it writes."""

from explorer import panels

panels.text_panel()
