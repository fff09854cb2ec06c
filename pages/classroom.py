"""Class: students answer questions on their phones, and the class sees how it answered before the truth."""

from explorer import panels

panels.classroom_panel()
