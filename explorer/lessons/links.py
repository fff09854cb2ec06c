"""The playground with the state of a laboratory, as query parameters."""

from __future__ import annotations

from explorer import state
from explorer.fields import Field
from explorer.lessons.scene import Scene
from quant_engine import FixedRange, MinMax, MinMSE, Percentile

CLIPPING_WORDS = {MinMax: "min-max", Percentile: "percentile", MinMSE: "least MSE", FixedRange: "by hand"}


def playground_link(model: str, layer: str, scene: Scene) -> dict[str, str]:
    """Return the parameters that set the playground to this scene's spec; defaults are left out."""
    spec = scene.spec
    found: dict[Field, str] = {
        state.BITS: str(spec.format.bits),
        state.CODES: "signed" if spec.format.signed else "unsigned",
        state.SYMMETRY: "symmetric" if spec.symmetric else "asymmetric",
        state.LEVELS: "restricted" if spec.format.narrow else "full",
        state.CLIPPING: CLIPPING_WORDS.get(type(spec.clipping), "by hand"),
    }
    if isinstance(spec.clipping, Percentile):
        found[state.PERCENTILE] = f"{spec.clipping.p:g}"
    elif found[state.CLIPPING] == "by hand":
        found[state.HI] = repr(scene.view.hi)
        if not spec.symmetric:
            found[state.LO] = repr(scene.view.lo)
    if scene.subject.is_weight:
        found[state.VALUE] = f"{scene.r:g}"
    changed = {field.key: text for field, text in found.items() if text != str(field.default)}
    return {"model": model, "tensor": layer, **changed}
