"""What the instrument's figures show, in words."""

from __future__ import annotations

import numpy as np

from explorer.language import read_words, several
from explorer.notation import count, short
from explorer.results import BlockView


def describe_values(view: BlockView, unit: str, said: str = "values") -> str:
    """Describe histogram, buckets, staircase, error and codes; as "histogram", without what a question may ask for."""
    return str(
        read_words("panels")["instrument"][said].format(
            n=count(view.distribution.size),
            units=several(unit),
            low=short(view.distribution.lo),
            high=short(view.distribution.hi),
            levels=view.levels.size,
            lo=short(view.lo),
            hi=short(view.hi),
            closest=short(float(np.diff(view.levels).min(initial=np.inf))),
            used=int((view.counts > 0).sum()),
        )
    )


def describe_curve(name: str, view: BlockView, min_error: float) -> str:
    """Describe the curves of error against clipping value."""
    told = {"error": short(view.error), "beta": short(view.hi), "least": short(min_error)}
    return str(read_words("panels")["instrument"]["curve"].format(name=name, **told))
