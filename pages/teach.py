"""Lectures: made of pages, played slide by slide."""

from explorer import panels

panels.teach_panel()
