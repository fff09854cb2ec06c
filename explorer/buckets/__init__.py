"""Centroids to drag over a histogram: buckets, shares and error follow the hand, in the browser."""

from explorer.buckets.mount import Shift, buckets

__all__ = ["Shift", "buckets"]
