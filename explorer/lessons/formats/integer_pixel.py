"""The steps of one number of a layer, integer and real, as they are written on the page."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import wrap

import numpy as np
from numpy.typing import NDArray

from explorer import compute, model_scores
from explorer.caches import ResultKey
from explorer.language import read_words
from explorer.notation import MINUS, count, short, superscript
from explorer.pixel import PixelRow, Term
from explorer.pixel.mount import bits
from explorer.sources import ModelKey
from quant_engine import IntFormat, LayerPlan, MinMax, MinMSE, PerChannel, QuantizationPlan, QuantizerSpec
from quant_engine.integer_only import IntegerProgram, OutputPixel, bits_of, compile_plan, trace_output

WORDS = "integer_only"
SHOWN = 9  # products, of those that move the sum most
TERM_STEPS = 3
CODE_BITS, TWICE, WORD, PRODUCT = 8, 16, 32, 64


@dataclass(frozen=True, eq=False)
class Real:
    """The same number in the floating-point network: inputs and weights of the window, bias, output before the ReLU."""

    inputs: NDArray[np.float64]
    weights: NDArray[np.float64]
    bias: float

    @property
    def products(self) -> NDArray[np.float64]:
        """Weight · input, each."""
        return self.inputs * self.weights

    @property
    def output(self) -> float:
        """The sum with bias."""
        return float(self.products.sum()) + self.bias


def plan_of(model: ModelKey, weight_bits: int) -> QuantizationPlan:
    """Return the frozen plan that is compiled: weights by channel, inputs asymmetric from least to greatest."""
    clipping = MinMax() if weight_bits == CODE_BITS else MinMSE()
    weight = QuantizerSpec(IntFormat(weight_bits), PerChannel(0), clipping=clipping)
    return model_scores.frozen(
        model, LayerPlan(weight, QuantizerSpec(IntFormat(CODE_BITS, signed=False), symmetric=False))
    )


def program_of(model: ModelKey, weight_bits: int, rounding: str = "gemmlowp") -> IntegerProgram:
    """Return the network as an integer program."""
    key = ResultKey("integer program", model, weight_bits, rounding)
    return compute.kept(key, lambda: compile_plan(compute.network(model), plan_of(model, weight_bits), rounding))


def followed(
    model: ModelKey, weight_bits: int, accumulator: int, image: int, layer: str, channel: int, place: tuple[int, ...]
) -> tuple[OutputPixel, Real]:
    """Return one number of a layer's output, in integers and in floating point."""
    network, program = compute.network(model), program_of(model, weight_bits)
    images = network.data()[0][image : image + 1]
    found = trace_output(program, program.quantize(images)[0], layer, channel, place).narrowed(accumulator)
    return found, _real(model, image, found)


def _real(model: ModelKey, image: int, pixel: OutputPixel) -> Real:
    network = compute.network(model)
    key = ResultKey("float input", model, pixel.layer, image)
    given = compute.kept(key, lambda: network.activations([pixel.layer], "test", image, image + 1)[pixel.layer][0])
    weight = network.weight(pixel.layer)
    inputs = given.astype(np.float64)
    if weight.ndim == 4:
        (channels, height, width), (row, column) = weight.shape[1:], pixel.place
        first = pixel.channel // (len(weight) // (len(inputs) // channels)) * channels
        framed = np.pad(inputs, ((0, 0), *network.layers()[pixel.layer].padding))
        inputs = framed[first : first + channels, row : row + height, column : column + width]
    return Real(
        inputs, weight[pixel.channel].astype(np.float64), float(network.bias_or_zeros(pixel.layer)[pixel.channel])
    )


def terms(pixel: OutputPixel, real: Real, weight_bits: int) -> tuple[list[Term], str]:
    """Return the products that move the sum most, in the order of the window, and what the others come to."""
    words = read_words(WORDS)
    moved = np.abs(pixel.weights * (pixel.codes - pixel.zero_point)).reshape(-1)
    chosen = np.sort(np.argsort(-moved, kind="stable")[:SHOWN])
    found = []
    for number in chosen:
        at = tuple(int(i) for i in np.unravel_index(number, pixel.codes.shape))
        code, weight = int(pixel.codes[at]), int(pixel.weights[at])
        found.append(
            Term(
                _place(pixel, at),
                signed(code),
                bits(code, CODE_BITS),
                signed(weight),
                bits(weight, weight_bits),
                signed(code * weight),
                " ".join(wrap(bits(code * weight, TWICE), CODE_BITS)),
                f"{short(float(real.inputs[at]))} · {short(float(real.weights[at]))}={short(float(real.products[at]))}",
                bool(pixel.inside[at]),
            )
        )
    others = pixel.codes.size - len(chosen)
    if not others:
        return found, words["rest_none"].format(n=len(chosen))
    left = np.delete(pixel.products.reshape(-1), chosen), np.delete(real.products.reshape(-1), chosen)
    rest = words["rest"].format(n=count(others), sum=signed(int(left[0].sum())), real=short(float(left[1].sum())))
    return found, rest


def rows(pixel: OutputPixel, real: Real, accumulator: int) -> list[PixelRow]:
    """Return the steps from the sum of the products on."""
    words = read_words(WORDS)

    def row(key: str, number: int, width: int, part: str = "sum", lost: str = "", **live: str) -> PixelRow:
        text, beside = (words[f"{key}_{kind}"].format_map(live) for kind in ("text", "real"))
        return PixelRow(words[key], text, signed(number), bits(number, width) if width else "", beside, part, lost)

    found = [
        row(
            "sum",
            pixel.raw,
            WORD,
            "product",
            n=count(pixel.codes.size),
            real=short(float(real.products.sum())),
        ),
        row(
            "correction",
            pixel.correction,
            WORD,
            z=signed(pixel.zero_point),
            weights=_factor(int(pixel.weights.sum())),
        ),
        _accumulator(pixel, real, accumulator),
    ]
    if pixel.gathered is not None:
        found.append(
            row(
                "gather",
                pixel.gathered,
                WORD,
                n=str(places_of(pixel)),
                real=short(pixel.gathered * _gather_step(pixel)),
            )
        )
    return found + _requantized(pixel, real, row)


def _accumulator(pixel: OutputPixel, real: Real, accumulator: int) -> PixelRow:
    words = read_words(WORDS)
    needed = bits_of(pixel.total)
    text = words["bias_text"].format(
        sum=signed(pixel.raw), correction=_added(pixel.correction), bias=_added(pixel.bias)
    )
    lost = ""
    if pixel.held != pixel.total:
        lost = bits(pixel.total, needed)[: needed - accumulator]
        over = {"total": signed(pixel.total), "needed": str(needed), "bits": str(accumulator)}
        text = words["overflow"].format(**over, held=signed(pixel.held))
    beside = words["bias_real"].format(bias=short(real.bias), real=short(real.output))
    return PixelRow(words["bias"], text, signed(pixel.held), bits(pixel.held, accumulator), beside, "sum", lost)


def _requantized(pixel: OutputPixel, real: Real, row: object) -> list[PixelRow]:
    """Return the steps behind the accumulator."""
    words, done = read_words(WORDS), pixel.requantized
    assert callable(row)
    if done is None:
        return [PixelRow(words["logit"], words["as_is"], signed(pixel.held), "", short(pixel.held * pixel.sum_scale))]
    steps = done.total * done.factor
    left = words["shifted_left"].format(left=done.left) if done.left else ""
    found = [
        row(
            "multiply",
            done.product,
            PRODUCT,
            "weight",
            total=signed(done.shifted),
            multiplier=signed(done.multiplier),
            factor=short(done.factor, 5),
            steps=_plain(steps),
        ),
        row("high", done.high, WORD, value=_plain(done.shifted * done.multiplier / 2**31)),
        row(
            "shift",
            done.divided,
            WORD,
            right=superscript(done.right),
            left=left,
            steps=_plain(steps),
            value=signed(done.divided),
        ),
    ]
    scale = short(pixel.output_scale, 4)
    if done.lowest is None or done.highest is None:
        text = words["logit_text"].format(scale=scale, code=signed(done.code))
        value = done.code * pixel.output_scale
        return [*found, PixelRow(words["logit"], text, short(value, 5), "", _off(pixel, real.output, value))]
    value = pixel.output_scale * (done.code - done.zero_point)
    expected = max(real.output, 0.0)
    beside = words["clamp_real"].format(real=short(expected))
    clamp = words["clamp_text"].format(lowest=done.lowest, highest=done.highest)
    written = words["result_text"].format(scale=scale, code=signed(done.code), z=signed(done.zero_point))
    exact = None if pixel.gathered is not None else expected
    return [
        *found,
        row("zero", done.moved, WORD, divided=signed(done.divided), z=signed(done.zero_point)),
        PixelRow(
            words["clamp"], clamp, str(done.code), bits(done.code, CODE_BITS), "" if exact is None else beside, "code"
        ),
        PixelRow(words["result"], written, short(value, 5), "", "" if exact is None else _off(pixel, exact, value)),
    ]


def _off(pixel: OutputPixel, expected: float, value: float) -> str:
    off = (value - expected) / pixel.output_scale
    return str(read_words(WORDS)["result_real"].format(real=short(expected, 5), off=short(off)))


def places_of(pixel: OutputPixel) -> int:
    """Return how many places are summed up where an average follows."""
    assert pixel.requantized is not None
    return round(pixel.sum_scale / (pixel.output_scale * pixel.requantized.factor))


def _gather_step(pixel: OutputPixel) -> float:
    return pixel.sum_scale / places_of(pixel)


def _place(pixel: OutputPixel, at: tuple[int, ...]) -> str:
    """Name an input: its number, or channel, and its way from the centre of the window."""
    if len(at) == 1:
        return f"input {at[0]}"
    reach = pixel.codes.shape[1] // 2
    way = ",\u00a0".join(signed(i - reach, plus=True) for i in at[1:])
    return f"channel {at[0]} ({way})" if pixel.codes.shape[1] > 1 else f"channel {at[0]}"


def signed(number: int, plus: bool = False) -> str:
    """Write a whole number.

    >>> signed(-1234567), signed(3, plus=True)
    ('−1,234,567', '+3')
    """
    return f"{'+' if plus and number > 0 else ''}{count(number)}"


def _factor(number: int) -> str:
    return signed(number) if number >= 0 else f"({signed(number)})"


def _plain(number: float) -> str:
    """Write a number of steps without powers of ten: what is large has two decimals."""
    return short(number, 6) if abs(number) < 1000 else f"{number:,.2f}".replace("-", MINUS)


def _added(number: int) -> str:
    return f"{'+' if number >= 0 else MINUS} {count(abs(number))}"
