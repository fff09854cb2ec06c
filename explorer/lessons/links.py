"""The playground with the state of a laboratory, as query parameters."""

from __future__ import annotations

from collections.abc import Callable

from explorer import state
from explorer.fields import Field
from explorer.lessons.scene import Scene
from explorer.number_formats import FORMAT
from quant_engine import FixedRange, MinMax, MinMSE, Percentile, ProductCodebook

CLIPPING_WORDS = {MinMax: "min-max", Percentile: "percentile", MinMSE: "least MSE", FixedRange: "by hand"}


def playground_link(model: str, layer: str, scene: Scene) -> dict[str, str]:
    """Return the parameters that set the playground to this scene's spec."""
    settings = SETTINGS.get(type(scene.spec.format), _integers)
    return {"model": model, "tensor": layer, **settings(scene)}


def _vectors(scene: Scene) -> dict[str, str]:
    """Return the settings of a codebook of vectors."""
    form = scene.spec.format
    counts = {"dim": form.dim, "codewords": form.codewords, "parts": form.parts, "stages": form.stages}
    return {FORMAT.key: "vectors", **{f"play_{name}": str(value) for name, value in counts.items()}}


def _integers(scene: Scene) -> dict[str, str]:
    """Return the settings of integers, and how they are clipped; defaults are left out."""
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
    return {field.key: text for field, text in found.items() if text != str(field.default)}


SETTINGS: dict[type, Callable[[Scene], dict[str, str]]] = {ProductCodebook: _vectors}
