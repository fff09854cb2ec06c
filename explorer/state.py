"""The state of the playground: one field table, from which controls, the URL and the spec all follow."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from explorer.fields import Choice, Field, Number
from explorer.notation import short
from explorer.number_formats import (
    BLOCKS,
    CODEWORDS,
    DIM,
    FLOAT,
    FORMAT,
    KINDS,
    PARTS,
    POINT,
    POWER_OF_TWO,
    SCALE_FORMATS,
    SCALES,
    STAGES,
    Kind,
)
from quant_engine import (
    ACIQ,
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

LARGEST = 3.0e38

BITS = Number("play_bits", "Bits", 2, 16, 4, "Width of a code: b bits make 2ᵇ codes.", whole=True)
CODES = Choice(
    "play_codes",
    "Codes",
    ("signed", "unsigned"),
    "signed",
    "Signed codes are centred on 0; unsigned ones start at 0.",
)
SYMMETRY = Choice(
    "play_symmetry",
    "Range",
    ("symmetric", "asymmetric"),
    "symmetric",
    "Symmetric: α = −β and zero point 0. Asymmetric: α and β are free, and the zero point shifts the codes.",
)
LEVELS = Choice(
    "play_levels",
    "Code range",
    ("full", "restricted"),
    "full",
    "Restricted leaves out the most negative code, so that the codes are symmetric too. Signed codes only.",
)
GRANULARITY = Choice(
    "play_granularity",
    "One scale for each",
    ("layer", "channel group", "channel", "sub-channel", "2-D block"),
    "layer",
    "Which values share one scale: the whole tensor, some output channels, one, a run of values inside one, or a "
    "rectangle of channels and inputs.",
)
CHANNELS = Number(
    "play_channels", "Channels in a group", 1, 65536, 8, "How many output channels share a scale.", whole=True
)
GROUP = Number(
    "play_group",
    "Values in a group",
    1,
    1 << 20,
    32,
    "How many values along one output channel share a scale (LLM tools say group size).",
    whole=True,
)
ROWS = Number("play_rows", "Rows of a block", 1, 65536, 8, "How many output channels a block has.", whole=True)
COLUMNS = Number("play_columns", "Columns of a block", 1, 1 << 20, 8, "How many inputs a block has.", whole=True)
BLOCK = Number(
    "play_block",
    "Block shown",
    0,
    10**9,
    0,
    "Whose histogram and buckets are drawn. The numbers above the figure are for the whole tensor.",
    whole=True,
)
METHODS = ("min–max", "percentile", "least MSE", "KL", "ACIQ")
BY_HAND = "by hand"
CLIPPING = Choice(
    "play_clipping",
    "Clipping",
    (*METHODS, BY_HAND),
    "min–max",
    "How the range [α, β] is chosen: the extremes, a percentile, the least mean squared error, the least divergence of "
    "histograms (entropy calibration), the optimum of a fitted Gaussian or Laplace distribution, or your own.",
)
PERCENTILE = Number(
    "play_percentile", "Percentile", 50.01, 100.0, 99.9, "Share of the values that stays inside, in per cent."
)
LO = Number("play_lo", "α", -LARGEST, LARGEST, None, "The lower end of the range by hand; empty: the least value.")
HI = Number("play_hi", "β", -LARGEST, LARGEST, None, "The upper end of the range by hand; empty: the greatest value.")
OTHERS = Choice(
    "play_others",
    "Other layers",
    METHODS,
    "min–max",
    "A range by hand is of one tensor and stays with its layer. This is how the ranges of the other layers are chosen "
    "where all layers are quantized: as this layer's was before the hand changed it.",
)
ACTIVATIONS = Choice(
    "play_activations",
    "Activations",
    ("float32", *(f"{bits} bits" for bits in range(8, 1, -1))),
    "float32",
    "What flows into the layers while accuracy is measured: left alone, or quantized per tensor to unsigned codes.",
)
CALIBRATION = Choice(
    "play_calibration",
    "Their range",
    ("min–max", "percentile", "least MSE", "KL", "dynamic", "per token"),
    "min–max",
    "Static: observed on the calibration data by one of four methods, then fixed. Dynamic: the extremes of each sample "
    "as it comes. Per token: of each row of each sample.",
)
VALUE = Number("play_r", "r", -LARGEST, LARGEST, None, "The value that is followed through the formula.")

PLAYGROUND_FIELDS: tuple[Field, ...] = (
    FORMAT,
    FLOAT,
    POINT,
    BLOCKS,
    DIM,
    CODEWORDS,
    PARTS,
    STAGES,
    SCALES,
    BITS,
    CODES,
    SYMMETRY,
    LEVELS,
    GRANULARITY,
    CHANNELS,
    GROUP,
    ROWS,
    COLUMNS,
    BLOCK,
    CLIPPING,
    PERCENTILE,
    LO,
    HI,
    OTHERS,
    ACTIVATIONS,
    CALIBRATION,
    VALUE,
)
SIZES = {"channel group": (CHANNELS,), "sub-channel": (GROUP,), "2-D block": (ROWS, COLUMNS)}  # of a block
LEAST_ERROR = MinMSE()
SMALL_BLOCK_BINS = 256  # of the histogram for KL where blocks are parts of a tensor: few values need no more
ACTIVATION_METHODS: dict[str, Clipping] = {
    "min–max": MinMax(),
    "percentile": Percentile(99.99),
    "least MSE": LEAST_ERROR,
    "KL": MinKL(),
}


@dataclass(frozen=True)
class PlaygroundState:
    """What the person has set, field by field; a format heeds those of its kind."""

    format: str = FORMAT.default
    float_name: str = FLOAT.default
    point: int = 3
    block_name: str = BLOCKS.default
    dim: int = 2
    codewords: int = 256
    parts: int = 1
    stages: int = 1
    scales: str = SCALES.default
    bits: int = 4
    signed: bool = True
    symmetric: bool = True
    narrow: bool = False
    granularity: str = GRANULARITY.default
    channels: int = 8
    group: int = 32
    rows: int = 8
    columns: int = 8
    clipping: str = CLIPPING.default
    percentile: float = 99.9
    lo: float | None = None
    hi: float | None = None
    others: str = OTHERS.default
    activations: str = ACTIVATIONS.default
    calibration: str = CALIBRATION.default

    @classmethod
    def from_fields(cls, values: dict[str, Any]) -> PlaygroundState:
        """Build the state from the values of the controls, by key; fields without a control keep their default."""
        given: dict[str, Any] = {field.key: values.get(field.key, field.default) for field in PLAYGROUND_FIELDS}
        kind = KINDS[given[FORMAT.key]]
        signed = given[CODES.key] == "signed" or not kind.integer
        return cls(
            format=given[FORMAT.key],
            float_name=given[FLOAT.key],
            point=int(given[POINT.key]),
            block_name=given[BLOCKS.key],
            dim=int(given[DIM.key]),
            codewords=int(given[CODEWORDS.key]),
            parts=int(given[PARTS.key]),
            stages=int(given[STAGES.key]),
            scales=given[SCALES.key],
            bits=int(min(given[BITS.key], kind.most_bits or BITS.greatest)),
            signed=signed,
            symmetric=given[SYMMETRY.key] == "symmetric" or not kind.integer,
            narrow=signed and kind.integer and given[LEVELS.key] == "restricted",
            granularity=given[GRANULARITY.key],
            channels=int(given[CHANNELS.key]),
            group=int(given[GROUP.key]),
            rows=int(given[ROWS.key]),
            columns=int(given[COLUMNS.key]),
            clipping=given[CLIPPING.key],
            percentile=float(given[PERCENTILE.key]),
            lo=given[LO.key],
            hi=given[HI.key],
            others=given[OTHERS.key],
            activations=given[ACTIVATIONS.key],
            calibration=given[CALIBRATION.key],
        )

    def spec(self, least: float, greatest: float) -> QuantizerSpec:
        """Return the quantizer this state asks for; `least` and `greatest` stand in for an empty α and β.

        Raises:
            QuantError: for a range by hand without width, a clipping that the format does not take, and scales that are
                powers of two under an asymmetric range.
        """
        if self.clips and not self.symmetric and self.scales == POWER_OF_TWO:
            raise QuantError(
                f"scales in {self.scales} are powers of two, rounded down, which do not reach both ends of an "
                "asymmetric range: choose a symmetric range, or other scales"
            )
        granularities: dict[str, Granularity] = {
            "layer": PerTensor(),
            "channel group": PerChannelGroup(self.channels, remainder="short"),
            "channel": PerChannel(0),
            "sub-channel": PerGroup(self.group, remainder="short"),
            "2-D block": PerBlock(self.rows, self.columns, remainder="short"),
        }
        form, clips = self.kind.build(self), self.clips
        return QuantizerSpec(
            form,
            self.kind.granularity or granularities[self.granularity if self.grouped else GRANULARITY.default],
            self.symmetric,
            self._clipping(least, greatest) if clips else MinMax(),
            SCALE_FORMATS[self.scales] if clips else None,
        )

    @property
    def clips(self) -> bool:
        """Whether a clipping range is chosen: not for formats that stand for themselves or bring a fit of their own."""
        return self.kind.ranged and self.kind.build(self).scaled

    @property
    def grouped(self) -> bool:
        """Whether it is chosen what shares a scale or a codebook: not where there is neither, or blocks are fixed."""
        return self.kind.granularity is None and (self.clips or not self.kind.ranged)

    @property
    def kind(self) -> Kind:
        """The kind of format."""
        return KINDS[self.format]

    @property
    def format_name(self) -> str:
        """What figures call the format."""
        return self.kind.name(self)

    @property
    def description(self) -> str:
        """The setting in a few words: format, what shares a scale, clipping, scales, activations."""
        number = f"{'' if self.signed else 'u'}int{self.bits}" if self.kind.integer else self.format_name
        if not self.kind.scalar:
            number += f" of {self.dim}, {self.codewords} codewords"
            number += f" a part of {self.parts}" if self.parts > 1 else ""
            number += f", {self.stages} stages" if self.stages > 1 else ""
        shared = {
            "layer": "per layer",
            "channel group": f"{self.channels} channels",
            "channel": "per channel",
            "sub-channel": f"groups of {self.group}",
            "2-D block": f"blocks of {self.rows} × {self.columns}",
        }
        parts = [
            number,
            "" if self.symmetric else "asymmetric",
            "restricted" if self.narrow else "",
            shared[self.granularity] if self.grouped else "",
            self._said_clipping if self.clips else "",
            f"{self.scales} scales" if self.clips and self.scales != SCALES.default else "",
            "" if self.activations == ACTIVATIONS.default else f"activations {self.activations}, {self.calibration}",
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

    def _clipping(self, least: float, greatest: float) -> Clipping:
        return self._by_hand(least, greatest) if self.by_hand else self._method(self.clipping)

    def _method(self, name: str) -> Clipping:
        if name not in self.methods:
            raise QuantError(f"{name} reckons with codes of equal steps: choose another clipping")
        return self.methods[name]

    def _by_hand(self, least: float, greatest: float) -> FixedRange:
        """Return the range by hand, or say in its own terms why it is none."""
        hi = greatest if self.hi is None else self.hi
        said = f"β = {short(hi)}" + (" (empty: the greatest value)" if self.hi is None else "")
        if self.symmetric:
            if hi <= 0:
                ends = "−β to β" if self.signed else "0 to β"
                raise QuantError(f"{said} is not above 0, and a symmetric range goes from {ends}: set a β above 0")
            return FixedRange(-hi if self.signed else 0.0, hi)
        lo = least if self.lo is None else self.lo
        if lo >= hi:
            low = f"α = {short(lo)}" + (" (empty: the least value)" if self.lo is None else "")
            raise QuantError(f"{low} is not below {said}: set α below β")
        return FixedRange(lo, hi)

    @property
    def by_hand(self) -> bool:
        """Whether the range is one tensor's, set by hand."""
        return self.clips and self.clipping == BY_HAND

    @property
    def _said_clipping(self) -> str:
        return f"{self.clipping} (other layers: {self.others})" if self.by_hand else self.clipping

    @property
    def methods(self) -> dict[str, Clipping]:
        """The clipping methods that find a range by themselves, of those that the format takes."""
        every: dict[str, Clipping] = {
            "min–max": MinMax(),
            "percentile": Percentile(self.percentile),
            "least MSE": LEAST_ERROR,
            "KL": MinKL() if self.granularity == GRANULARITY.default else MinKL(SMALL_BLOCK_BINS),
            "ACIQ": ACIQ("fit"),
        }
        return (
            every if self.kind.integer else {name: way for name, way in every.items() if not isinstance(way, EVEN_ONLY)}
        )

    def plans(self, weight: QuantizerSpec) -> tuple[LayerPlan, LayerPlan | None]:
        """Return what this layer does, and what the others do where all are quantized, if that is something else.

        A range by hand is not theirs: they keep their method.

        Raises:
            QuantError: for a clipping that the format does not take.
        """
        if not self.by_hand:
            return self.layer_plan(weight), None
        return self.layer_plan(weight), self.layer_plan(replace(weight, clipping=self._method(self.others)))

    def layer_plan(self, weight: QuantizerSpec) -> LayerPlan:
        """Return what a layer does: its weight by this spec, its input as the state says."""
        if self.activations == ACTIVATIONS.default:
            return LayerPlan(weight)
        form = IntFormat(int(self.activations.split()[0]), signed=False)
        if self.calibration in ("dynamic", "per token"):
            granularity: Granularity = PerTensor() if self.calibration == "dynamic" else PerToken()
            return LayerPlan(weight, QuantizerSpec(form, granularity, symmetric=False), dynamic=True)
        clipping = ACTIVATION_METHODS[self.calibration]
        return LayerPlan(weight, QuantizerSpec(form, symmetric=False, clipping=clipping))


def found_by(method: str) -> dict[str, object]:
    """Return the fields of a range that a clipping method finds, by key."""
    return {CLIPPING.key: method, LO.key: None, HI.key: None}


def set_by_hand(lo: float | None, hi: float | None, before: str) -> dict[str, object]:
    """Return the fields of a range by hand, by key; the other layers keep the method that was chosen `before`."""
    kept: dict[str, object] = {} if before == BY_HAND else {OTHERS.key: before}
    return {CLIPPING.key: BY_HAND, LO.key: lo, HI.key: hi, **kept}
