"""What hypothesis draws: specs of every kind the tables list, and tensors for them."""

from __future__ import annotations

import numpy as np
from hypothesis import reject
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import quant_engine as qe


def arrays(shape=None, magnitude=1e30):
    """Return float32 tensors, of up to three dimensions, with values between −magnitude and magnitude."""
    bound = float(np.float32(magnitude))
    shapes = hnp.array_shapes(min_dims=1, max_dims=3, max_side=7) if shape is None else shape
    return hnp.arrays(np.float32, shapes, elements=st.floats(-bound, bound, width=32))


def integer_formats(most_bits=16):
    signed = st.builds(qe.IntFormat, st.integers(2, most_bits), narrow=st.booleans())
    return signed | st.builds(qe.IntFormat, st.integers(1, most_bits), signed=st.just(False))


@st.composite
def made(draw, make, **parts):
    """Return what `make` makes of some parts, where it takes them."""
    try:
        return make(**{name: draw(part) for name, part in parts.items()})
    except qe.QuantError:
        reject()


fixed_point_formats = made(
    qe.FixedPointFormat, integer_bits=st.integers(0, 6), fraction_bits=st.integers(0, 8), signed=st.booleans()
)
float_formats = made(
    qe.FloatFormat,
    exponent_bits=st.integers(1, 6),
    mantissa_bits=st.integers(0, 6),
    bias=st.none() | st.integers(-3, 20),
    specials=st.sampled_from(["ieee", "nan", "none", "fnuz"]),
)
entries = st.lists(st.integers(-64, 64), min_size=2, max_size=20, unique=True)
codebooks = st.builds(lambda found: qe.Codebook(tuple(np.sort(found) / 16)), entries)
other_formats = fixed_point_formats | float_formats | codebooks | st.sampled_from([qe.NF4, qe.E4M3, qe.BF16])

axes = st.integers(-1, 0)
flat_granularities = st.one_of(
    st.just(qe.PerTensor()),
    st.builds(qe.PerChannel, axes),
    st.builds(qe.PerChannelGroup, st.integers(1, 9), axes, st.just("short")),
    st.builds(qe.PerGroup, st.integers(1, 9), axes, st.just("short")),
    st.just(qe.PerToken()),
)
remainders = st.sampled_from(["short", "pad"])
block_granularities = st.builds(qe.PerBlock, st.integers(1, 9), st.integers(1, 9), remainder=remainders)
granularities = flat_granularities | st.builds(qe.PerSample, flat_granularities)
ends = st.floats(1e-3, 1e6)
clippings = st.one_of(
    st.just(qe.MinMax()),
    st.just(qe.MinMSE()),
    st.builds(qe.MinKL, st.integers(2, 60)),
    st.builds(qe.ACIQ, st.sampled_from(["gaussian", "laplace", "fit"])),
    st.builds(qe.MovingAverage, st.floats(0, 1, exclude_min=True)),
    st.builds(qe.Percentile, st.floats(50, 100, exclude_min=True)),
    st.builds(lambda lo, hi: qe.FixedRange(-lo, hi), ends, ends),
)


def specs(most_bits=16, **parts):
    """Return specs; `parts` replaces a part's strategy."""
    drawn = {"granularity": granularities, "symmetric": st.booleans(), "clipping": clippings, **parts}
    return st.builds(qe.QuantizerSpec, drawn.pop("format", integer_formats(most_bits)), **drawn)
