"""The exact allocation where some layers get the same: those that runtimes run as one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from quant_engine.allocation import allocate
from quant_engine.checks import as_list
from quant_engine.errors import QuantError
from quant_engine.models import Layer, ties

Float64Array = NDArray[np.float64]


def allocate_alike(
    layers: Mapping[str, Layer],
    costs: Float64Array,
    sizes: Float64Array,
    budget_bytes: float,
    alike: Iterable[Iterable[str]] = (),
) -> list[int]:
    """Return the candidates' numbers of least summed cost, one for each row, as `allocate`; groups have one together.

    Rows are the layers that hold a weight. `alike` names layers that runtimes fuse.

    Raises:
        QuantError: as `allocate`, and for names that are no layers.
    """
    owners = [*ties(layers)]
    unit = {name: name for name in owners}
    for group in alike:
        names = as_list(group, str, "alike", "give groups of layers' names, such as fused_groups(network.layers())")
        if unknown := [name for name in names if name not in layers]:
            raise QuantError(f"alike names {', '.join(unknown)}; the layers are {', '.join(layers)}")
        joined = {unit[layers[name].tied_to or name] for name in names}
        unit = {name: min(joined) if held in joined else held for name, held in unit.items()}
    units, rows = np.unique([unit[name] for name in owners], return_inverse=True)
    member = rows == np.arange(len(units))[:, None]
    summed_costs, summed_sizes = (member.astype(np.float64) @ values for values in (costs, sizes))
    return [int(choice) for choice in allocate(summed_costs, summed_sizes, budget_bytes)[rows]]
