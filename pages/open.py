"""Open: the way in for a file of the person's own, which the inspector then shows."""

from explorer import panels

panels.open_panel()
