"""Plans of mixed precision, as the lesson has them: what a layer may be, bytes, and effects that are found once."""

from __future__ import annotations

import csv
import io
import pathlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from explorer import compute
from explorer.caches import ResultKey
from explorer.lessons.framework.scene import Mix, Scene
from explorer.sources import ModelKey
from quant_engine import IntFormat, MinMSE, PerChannel, PerTensor, QuantizationPlan, QuantizerSpec
from quant_engine.granularity import Granularity
from quant_engine.models import Layer
from quant_engine.network import Network
from quant_engine.studies import Effect, Key, Prediction, effect, layer_sizes, mixed_candidates, weight_plan

BETWEEN = "_"
FLOAT_BITS = 16
SHARED: dict[str, Granularity] = {"channel": PerChannel(0), "layer": PerTensor()}
Bits = tuple[int, ...]


def candidates(shared: str) -> list[QuantizerSpec]:
    """Return what a layer may be: integers of 2 to 8 bits with the range of least error, or 16-bit floats."""
    return mixed_candidates(QuantizerSpec(IntFormat(4), SHARED[shared], clipping=MinMSE()))


WIDTHS: Bits = tuple(int(spec.format.bits) for spec in candidates("channel"))


def read_plan(text: str) -> Bits:
    """Read what `write_plan` has written.

    >>> read_plan("4_16_2"), read_plan("")
    ((4, 16, 2), ())

    Raises:
        ValueError: for text that is no bits of layers.
    """
    widths = {str(width): width for width in WIDTHS}
    parts = text.split(BETWEEN) if text else []
    if not widths.keys() >= set(parts):
        raise ValueError(text)
    return tuple(widths[part] for part in parts)


def write_plan(bits: Sequence[int]) -> str:
    """Write the bits of each layer for an address."""
    return BETWEEN.join(str(width) for width in bits)


@dataclass(frozen=True, eq=False)
class Findings:
    """What has been measured of one network with one way to share scales; kept for all who look at it.

    Effects are those of trials, by their keys, and of whole plans, by their bits, on the calibration data.
    """

    trials: dict[Key, Effect] = field(default_factory=dict)
    predictions: dict[tuple[str, str], Prediction] = field(default_factory=dict)
    plans: dict[Bits, Effect] = field(default_factory=dict)
    tested: dict[Bits, Effect] = field(default_factory=dict)
    fronts: dict[tuple[str, str], list[Bits]] = field(default_factory=dict)  # plans that a search has found, by cost
    costs: dict[str, NDArray[np.float64]] = field(default_factory=dict)  # of layers at every width, by their name


def findings(model: ModelKey, shared: str) -> Findings:
    """Return what has been found so far."""
    return compute.kept(ResultKey("mixed findings", model, shared), Findings)


def network_of(mix: Mix) -> Network:
    """Return the network."""
    return compute.network(mix.model)


def layers_of(model: ModelKey) -> dict[str, Layer]:
    """Return the layers that bits are chosen for: of those that share a weight, the one that holds it."""
    return {name: info for name, info in compute.network(model).layers().items() if info.tied_to is None}


def sizes(mix: Mix) -> NDArray[np.float64]:
    """Return the whole bytes of each layer under each choice."""
    key = ResultKey("mixed sizes", mix.model, mix.shared)
    return compute.kept(key, lambda: layer_sizes(network_of(mix), candidates(mix.shared)))


def size_of(mix: Mix, bits: Bits | None = None) -> int:
    """Return the bytes of a plan."""
    chosen = [WIDTHS.index(width) for width in (mix.bits if bits is None else bits)]
    return int(sizes(mix)[np.arange(len(chosen)), chosen].sum())


def uniform(mix: Mix) -> Mix:
    """Return the uniform plan that sets the budget."""
    return replace(mix, bits=(mix.uniform,) * len(mix.bits))


def budget_of(mix: Mix) -> int:
    """Return the bytes that a plan may take."""
    return size_of(uniform(mix))


def spec_of(mix: Mix, width: int) -> QuantizerSpec:
    """Return what a layer of some bits is."""
    return candidates(mix.shared)[WIDTHS.index(width)]


def engine_plan(mix: Mix) -> QuantizationPlan:
    """Return the plan as the engine has it."""
    chosen = dict(zip(layers_of(mix.model), mix.bits, strict=True))
    layers = network_of(mix).layers()
    return weight_plan({name: spec_of(mix, chosen[info.tied_to or name]) for name, info in layers.items()})


def effect_of(mix: Mix) -> Effect:
    """Return the effect of a plan on the calibration data, found once."""
    known = findings(mix.model, mix.shared).plans
    if mix.bits not in known:
        known[mix.bits] = effect(network_of(mix), engine_plan(mix))
    return known[mix.bits]


def tested(mix: Mix) -> Effect:
    """Return the effect of a plan on the test data, found once."""
    known = findings(mix.model, mix.shared).tested
    if mix.bits not in known:
        known[mix.bits] = effect(network_of(mix), engine_plan(mix), "test")
    return known[mix.bits]


def plan_rows(mix: Mix) -> list[dict[str, Any]]:
    """Return one record for each layer: its format, bits and bytes."""
    chosen = [WIDTHS.index(width) for width in mix.bits]
    return [
        {
            "layer": name,
            "format": "FP16" if width == FLOAT_BITS else f"int{width} per {mix.shared}",
            "bits": width,
            "weights": info.parameters,
            "bytes": int(sizes(mix)[place, chosen[place]]),
        }
        for place, ((name, info), width) in enumerate(zip(layers_of(mix.model).items(), mix.bits, strict=True))
    ]


def as_csv(mix: Mix) -> str:
    """Return the plan as a table of comma-separated values."""
    text = io.StringIO()
    rows = plan_rows(mix)
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def as_json(mix: Mix) -> str:
    """Return the plan as `QuantizationPlan.save` writes it."""
    with tempfile.TemporaryDirectory() as folder:
        target = pathlib.Path(folder) / "plan.json"
        engine_plan(mix).save(target)
        return target.read_text(encoding="utf-8")


def mix_of(scene: Scene) -> Mix:
    """Return the plan on display."""
    assert scene.mix is not None
    return scene.mix


def layer_spec(mix: Mix, layer: str) -> QuantizerSpec:
    """Return the quantizer that a plan gives a layer."""
    return spec_of(mix, mix.bits[list(layers_of(mix.model)).index(layer)])
