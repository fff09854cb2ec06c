"""The bits of a number in every format: cells to click in the browser, and the same number in all formats."""

from explorer.bits.mount import bits_editor
from explorer.bits.packing import described

__all__ = ["bits_editor", "described"]
