"""One number of a layer, computed in integers and shown step by step with its bits, the real numbers beside it."""

from explorer.pixel.mount import PixelRow, Term, pixel

__all__ = ["PixelRow", "Term", "pixel"]
