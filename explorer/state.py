"""The state of the playground: what its table sets, and the spec and plans that follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from explorer.fields import spoken
from explorer.language import read_words
from explorer.notation import short
from explorer.playground_table import METHODS, PlaygroundTable
from quant_engine import (
    ACIQ,
    E8M0,
    FixedRange,
    IntFormat,
    LayerPlan,
    MinKL,
    MinMax,
    MinMSE,
    PerBlock,
    Percentile,
    PerChannel,
    PerChannelGroup,
    PerGroup,
    PerTensor,
    PerToken,
    QuantError,
    QuantizerSpec,
)
from quant_engine.clipping import EVEN_ONLY, Clipping
from quant_engine.granularity import Granularity

SIZES: dict[type[Any], dict[str, str]] = {  # the attributes that give a block's sizes, by the sizes' names
    PerChannelGroup: {"channels": "channels"},
    PerGroup: {"size": "group"},
    PerBlock: {"rows": "rows", "columns": "columns"},
}
MIN_ERROR = MinMSE()
SMALL_BLOCK_BINS = 256  # of the histogram for KL where blocks are parts of a tensor: few values need no more


@dataclass(frozen=True)
class PlaygroundState(PlaygroundTable):
    """What the person has set. What the format takes no heed of is at its default: what means the same is equal."""

    def __post_init__(self) -> None:
        """Put what does not count to its default, and bits to those that the kind of format has."""
        signed = self.signed or not self.kind.integer
        counting = {
            "bits": min(self.bits, self.kind.max_bits or self.bits),
            "signed": signed,
            "symmetric": self.symmetric or not self.kind.integer,
            "narrow": self.narrow and signed and self.kind.integer,
        }
        for name, value in counting.items():
            object.__setattr__(self, name, value)

    def spec(self, min_value: float, max_value: float) -> QuantizerSpec:
        """Return the quantizer this state asks for; `min_value` and `max_value` stand in for an empty α and β.

        Raises:
            QuantError: for a range by hand without width, a clipping that the format does not take, and scales that are
                powers of two under an asymmetric range.
        """
        form, clips = self.kind.build(self), self.clips
        if clips and not self.symmetric and self.scales is E8M0:
            raise QuantError(_refused("scales", scales=self.word("scales")))
        clipping = self._clipping(min_value, max_value) if clips else MinMax()
        return QuantizerSpec(form, self._blocks(), self.symmetric, clipping, self.scales if clips else None)

    def _blocks(self) -> Granularity:
        """Return what shares a scale."""
        if self.kind.granularity is not None:
            return self.kind.granularity
        shape: type[Any] = self.granularity if self.grouped else PerTensor
        sizes = {size: getattr(self, name) for size, name in SIZES.get(shape, {}).items()}
        found: Granularity = shape(**sizes, remainder="short") if sizes else shape()
        return found

    @property
    def clips(self) -> bool:
        """Whether a clipping range is chosen: not for formats that stand for themselves or bring a fit of their own."""
        return self.kind.ranged and self.kind.build(self).scaled

    @property
    def grouped(self) -> bool:
        """Whether it is chosen what shares a scale or a codebook: not where there is neither, or blocks are fixed."""
        return self.kind.granularity is None and (self.clips or not self.kind.ranged)

    @property
    def by_hand(self) -> bool:
        """Whether the range is one tensor's, set by hand."""
        return self.clips and self.clipping is FixedRange

    @property
    def format_name(self) -> str:
        """What figures call the format."""
        return self.kind.name(self)

    @property
    def description(self) -> str:
        """The setting in a few words: format, what shares a scale, clipping, scales, activations."""
        clipping = self.spoken("clipping")
        if self.by_hand:
            said = read_words("panels")["description"]["others"]
            clipping = said.format(clipping=clipping, others=self.spoken("others"))
        return self.described(clipping)

    def described(self, clipping: str | None) -> str:
        """Return the setting in a few words, with those for its clipping, if it has one."""
        said: Mapping[str, str] = read_words("panels")["description"]
        number = f"{'' if self.signed else 'u'}int{self.bits}" if self.kind.integer else self.format_name
        if not self.kind.scalar:
            number = said["vectors"].format(format=number, dim=self.dim, codewords=self.codewords)
            number = said["parts"].format(format=number, parts=self.parts) if self.parts > 1 else number
            number = said["stages"].format(format=number, stages=self.stages) if self.stages > 1 else number
        shared = {
            PerTensor: said["layer"],
            PerChannelGroup: said["channel_group"].format(n=self.channels),
            PerChannel: said["channel"],
            PerGroup: said["group"].format(n=self.group),
            PerBlock: said["block"].format(rows=self.rows, columns=self.columns),
        }
        inputs = {"bits": self.spoken("activation_bits"), "calibration": self.spoken("calibration")}
        parts = [
            number,
            "" if self.symmetric else spoken("asymmetric"),
            spoken("restricted") if self.narrow else "",
            shared[self.granularity] if self.grouped else "",
            clipping if clipping and self.clips else "",
            said["scales"].format(scales=self.word("scales")) if self.clips and self.scales else "",
            said["activations"].format(**inputs) if self.activation_bits else "",
        ]
        return ", ".join(part for part in parts if part)

    def asked_range(self, spec: QuantizerSpec) -> tuple[float, float] | None:
        """Return the range set by hand, as it was set; None where a method finds it."""
        clipping = spec.clipping
        if not isinstance(clipping, FixedRange):
            return None
        assert isinstance(clipping.lo, float)
        assert isinstance(clipping.hi, float)
        return clipping.lo, clipping.hi

    def _clipping(self, min_value: float, max_value: float) -> Clipping:
        return self._by_hand(min_value, max_value) if self.by_hand else self._method(self.word("clipping"))

    def _method(self, name: str) -> Clipping:
        if name not in self.methods:
            raise QuantError(_refused("even", name=spoken(name)))
        return self.methods[name]

    def _by_hand(self, min_value: float, max_value: float) -> FixedRange:
        """Return the range by hand, or say in its own terms why it is none."""
        hi = max_value if self.hi is None else self.hi
        beta = _refused("end", name="β", value=short(hi))
        beta = _refused("empty_hi", end=beta) if self.hi is None else beta
        if self.symmetric:
            if hi <= 0:
                raise QuantError(_refused("beta", beta=beta, ends=_refused("signed" if self.signed else "unsigned")))
            return FixedRange(-hi if self.signed else 0.0, hi)
        lo = min_value if self.lo is None else self.lo
        if lo >= hi:
            alpha = _refused("end", name="α", value=short(lo))
            alpha = _refused("empty_lo", end=alpha) if self.lo is None else alpha
            raise QuantError(_refused("order", alpha=alpha, beta=beta))
        return FixedRange(lo, hi)

    @property
    def methods(self) -> dict[str, Clipping]:
        """The clipping methods that find a range by themselves, of those that the format takes."""
        made: dict[type[Any], Clipping] = {
            MinMax: MinMax(),
            Percentile: Percentile(self.percentile),
            MinMSE: MIN_ERROR,
            MinKL: MinKL() if self.granularity is PerTensor else MinKL(SMALL_BLOCK_BINS),
            ACIQ: ACIQ("fit"),
        }
        taken = {name: made[method] for name, method in METHODS.items()}
        return taken if self.kind.integer else {n: way for n, way in taken.items() if not isinstance(way, EVEN_ONLY)}

    def plans(self, weight: QuantizerSpec) -> tuple[LayerPlan, LayerPlan | None]:
        """Return what this layer does, and what the others do where all are quantized, if that is something else.

        A range by hand is not theirs: they keep their method.

        Raises:
            QuantError: for a clipping that the format does not take.
        """
        if not self.by_hand:
            return self.layer_plan(weight), None
        return self.layer_plan(weight), self.layer_plan(replace(weight, clipping=self._method(self.word("others"))))

    def layer_plan(self, weight: QuantizerSpec) -> LayerPlan:
        """Return what a layer does: its weight by this spec, its input as the state says."""
        if self.activation_bits is None:
            return LayerPlan(weight)
        form, found = IntFormat(self.activation_bits, signed=False), self.calibration
        if isinstance(found, PerTensor | PerToken):
            return LayerPlan(weight, QuantizerSpec(form, found, symmetric=False), dynamic=True)
        return LayerPlan(weight, QuantizerSpec(form, symmetric=False, clipping=found))


def _refused(sentence: str, **told: str) -> str:
    """Say why a setting is none."""
    return str(read_words("panels")["refused"][sentence].format(**told))


def found_by(method: str) -> dict[str, Any]:
    """Return the attributes of a range that a clipping method finds."""
    return {"clipping": METHODS[method], "lo": None, "hi": None}


def set_by_hand(lo: float | None, hi: float | None, before: type[Any]) -> dict[str, Any]:
    """Return the attributes of a range by hand; the other layers keep the method that was chosen `before`."""
    kept: dict[str, Any] = {} if before is FixedRange else {"others": before}
    return {"clipping": FixedRange, "lo": lo, "hi": hi, **kept}
