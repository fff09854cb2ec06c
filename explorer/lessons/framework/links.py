"""The playground with the state of a laboratory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from explorer.lessons.framework.scene import Scene
from explorer.number_formats import KINDS
from explorer.playground_table import BITS
from explorer.state import SIZES, PlaygroundState
from quant_engine import (
    FixedRange,
    FloatFormat,
    IntFormat,
    KMeans,
    Percentile,
    ProductCodebook,
    QuantizerSpec,
    VectorCodebook,
)

FORMATS: Mapping[type[Any], Callable[[Any], dict[str, Any]]] = {
    IntFormat: lambda form: {"bits": form.bits, "signed": form.signed, "narrow": form.narrow},
    FloatFormat: lambda form: {"kind": KINDS["float"], "float_format": form},
    KMeans: lambda form: {"kind": KINDS["centroids"], "bits": max(form.bits, BITS.ends[0])},
    ProductCodebook: lambda form: {
        "kind": KINDS["vectors"],
        **{name: getattr(form, name) for name in KINDS["vectors"].fields},
    },
}


def playground_state(scene: Scene) -> PlaygroundState:
    """Return the playground's state with this scene's setting, or the nearest that it has."""
    spec, looked = scene.spec, scene.looked
    found = PlaygroundState(
        **FORMATS[type(spec.format)](spec.format),
        symmetric=spec.symmetric,
        granularity=type(spec.granularity),
        **{name: getattr(spec.granularity, size) for size, name in SIZES.get(type(spec.granularity), {}).items()},
        scales=spec.scale_format,
        block=looked.block if looked else 0,
        value=float(f"{scene.r:g}") if scene.subject.is_weight else None,
        **_clipping(spec),
    )
    activation = _activation(scene)
    if activation is None:
        return found
    return replace(found, activation_bits=activation.format.bits, calibration=activation.clipping)


def playground_link(scene: Scene) -> dict[str, str]:
    """Return the parameters that set the playground so.

    The format is always named: a link that named nothing would leave the playground as it was.
    """
    state = playground_state(scene)
    return {state.fields()["kind"].key: state.word("kind"), **state.link()}


def is_exact(scene: Scene) -> bool:
    """Say whether the playground has just this scene's setting: some it can only come near to.

    It rounds to the nearest, cuts a last block short, knows no blocks with ranges of their own, and learns two bits of
    centroids and more.
    """
    shown, opened = scene.subject.statistics, playground_state(scene)
    plan = opened.layer_plan(opened.spec(shown.lo, shown.hi))
    assert isinstance(plan.weight, QuantizerSpec)
    same = replace(plan.weight, format=_product(plan.weight.format)) == scene.spec
    return same and plan.activation == _activation(scene) and not (scene.looked and scene.looked.edited)


def _activation(scene: Scene) -> QuantizerSpec | None:
    return scene.compensated.raced.setting.activation if scene.compensated else None


def _clipping(spec: QuantizerSpec) -> dict[str, Any]:
    """Return how the range is chosen."""
    clipping = spec.clipping
    numbers: dict[str, Any] = {}
    if isinstance(clipping, Percentile):
        numbers = {"percentile": clipping.p}
    elif isinstance(clipping, FixedRange):
        numbers = {"lo": None if spec.symmetric else clipping.lo, "hi": clipping.hi}
    return {"clipping": type(clipping), **numbers}


def _product(form: Any) -> Any:
    """Return a vector codebook as a product of one part, which is what lesson 10 calls it."""
    if not isinstance(form, VectorCodebook):
        return form
    return ProductCodebook(form.dim, form.codewords, 1, form.stages, form.remainder)
