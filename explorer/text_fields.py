"""The fields of the page on language models."""

from __future__ import annotations

from explorer.fields import Choice, Number, named

TEXT, CACHE, CHANNELS = "text", "keys and values", "channels"
DATA, PROMPT = "test data", "prompt"
MAX_BLOCKS = 999

VIEW = Choice("text_view", named((TEXT, CACHE, CHANNELS)), default=TEXT)
SOURCE = Choice("text_source", named((DATA, PROMPT)), default=DATA, menu=True, width=110)
BLOCK = Number("text_block", 0, MAX_BLOCKS, 0, box=True, width=110)
CACHE_BITS = Number("text_cache_bits", 2, 8, 3, width=110)
FIELDS = (VIEW, SOURCE, BLOCK, CACHE_BITS)
