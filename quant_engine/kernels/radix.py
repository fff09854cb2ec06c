"""A radix sort of float32 values: scattered into buckets by their leading bits, then each bucket by the rest, in cache.

The only room it takes beside the result is that of the largest bucket; buckets beyond `LARGEST_SHARE` of the values are
left to numpy. A *key* is a value's bits as an integer that ascends with the value (Terdiman 2000: the sign flipped, all
bits of negative values inverted).
"""

from __future__ import annotations

import numpy as np

from quant_engine.inputs import Float32Array
from quant_engine.kernels.compile import helper, kernel
from quant_engine.kernels.parallel import over_ranges

BUCKET_BITS = 13  # sign, exponent and four bits of the mantissa, where values have all signs and magnitudes
LARGEST_SHARE = 1 / 32
NUMPY_BELOW = 1 << 15  # values; clearing the counts takes longer than sorting them
INSERTION_BELOW = 32
SIGN, ALL = np.uint32(1 << 31), np.uint32((1 << 32) - 1)


def sort_into(flat: Float32Array, out: Float32Array) -> None:
    """Write finite values (n,) in ascending order into memory (n,) of their own."""
    if flat.size < NUMPY_BELOW:
        out[:] = flat
        out.sort()
        return
    bits, keys = flat.view(np.uint32), out.view(np.uint32)
    ends = np.array(over_ranges(flat.size, lambda a, b: _key_range(bits, a, b)))
    least, most = int(ends[:, 0].min()), int(ends[:, 1].max())
    shift = max(0, (most - least).bit_length() - BUCKET_BITS)
    low = np.uint32(least >> shift << shift)  # so that keys of a bucket differ in their last `shift` bits alone
    counts = dict(over_ranges(flat.size, lambda a, b: (a, _counted(bits, a, b, low, shift))))
    edges = np.concatenate([[0], np.cumsum(sum(counts.values()))])
    places, before = {}, edges[:-1].copy()
    for start, count in counts.items():
        places[start], before = before, before + count
    over_ranges(flat.size, lambda a, b: _scatter(bits, a, b, low, shift, places[a], keys))
    sizes = np.diff(edges)
    large = sizes > LARGEST_SHARE * flat.size
    room = int(sizes[~large].max())

    def finish(start: int, stop: int) -> None:
        first, last = np.searchsorted(edges[:-1], [start, stop])
        _sort_buckets(keys, edges, first, last, shift, np.empty(room, np.uint32))

    over_ranges(flat.size, finish)
    for bucket in np.flatnonzero(large):
        out[edges[bucket] : edges[bucket + 1]].sort()


@helper
def _key(bits):
    return np.uint32(bits ^ ALL) if bits >= SIGN else np.uint32(bits ^ SIGN)


@helper
def _bits(key):
    return np.uint32(key ^ SIGN) if key >= SIGN else np.uint32(key ^ ALL)


@kernel
def _key_range(bits, start, stop):
    """Return the least and the greatest key."""
    low, high = ALL, np.uint32(0)
    for i in range(start, stop):
        key = _key(bits[i])
        low, high = min(low, key), max(high, key)
    return low, high


@kernel
def _counted(bits, start, stop, low, shift):
    """Return how many keys each bucket gets."""
    counts = np.zeros((1 << BUCKET_BITS) + 1, np.int64)
    for i in range(start, stop):
        counts[(_key(bits[i]) - low) >> shift] += 1
    return counts


@kernel
def _scatter(bits, start, stop, low, shift, places, keys):
    """Write each key to the next place of its bucket."""
    for i in range(start, stop):
        key = _key(bits[i])
        bucket = (key - low) >> shift
        keys[places[bucket]] = key
        places[bucket] += 1


@kernel
def _sort_buckets(keys, edges, first, last, shift, room):
    """Sort the keys of buckets in place by what they do not share, and write the values' bits in their stead."""
    digit = (shift + 1) // 2
    low_places, high_places = np.empty(1 << digit, np.int64), np.empty(1 << digit, np.int64)
    for bucket in range(first, last):
        start, stop = edges[bucket], edges[bucket + 1]
        if stop - start < INSERTION_BELOW:
            for i in range(start + 1, stop):
                key, place = keys[i], i
                while place > start and keys[place - 1] > key:
                    keys[place] = keys[place - 1]
                    place -= 1
                keys[place] = key
        elif shift and stop - start <= room.size:
            _sort_bucket(keys[start:stop], room, digit, low_places, high_places)
        for i in range(start, stop):
            keys[i] = _bits(keys[i])


@helper
def _sort_bucket(keys, room, digit, low_places, high_places):
    """Sort by two digits, the lower one first; what is above them is the same."""
    mask = np.uint32((1 << digit) - 1)
    low_places[:], high_places[:] = 0, 0
    for i in range(keys.size):
        low_places[keys[i] & mask] += 1
        high_places[(keys[i] >> digit) & mask] += 1
    low_sum, high_sum = 0, 0
    for i in range(low_places.size):
        low_places[i], low_sum = low_sum, low_sum + low_places[i]
        high_places[i], high_sum = high_sum, high_sum + high_places[i]
    for i in range(keys.size):
        place = keys[i] & mask
        room[low_places[place]] = keys[i]
        low_places[place] += 1
    for i in range(keys.size):
        place = (room[i] >> digit) & mask
        keys[high_places[place]] = room[i]
        high_places[place] += 1
