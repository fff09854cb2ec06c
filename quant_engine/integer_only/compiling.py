"""From a plan to integers: what floats there are, scales and biases, become codes, multipliers and shifts here."""

from __future__ import annotations

from quant_engine.checks import as_choice, as_instance
from quant_engine.errors import QuantError
from quant_engine.integer_only.layer_codes import input_of, validate_layer, weight_of
from quant_engine.integer_only.lowering import LAYERS, Lowering
from quant_engine.integer_only.program import InputQuantizer, IntegerProgram
from quant_engine.models.graph import INPUT
from quant_engine.network import Network
from quant_engine.network.freezing import PLAN_REMEDY
from quant_engine.plan import QuantizationPlan

ROUNDINGS = ("gemmlowp", "single")


def compile_plan(network: Network, plan: QuantizationPlan, rounding: str = "gemmlowp") -> IntegerProgram:
    """Return a network under a plan as an integer program; specs are fitted first, as `Network.freeze` does.

    The steps follow from the model's graph (`Model.operators`): convolutions with stride, padding and groups, linear
    layers, ReLU, ReLU6 and other clamps, max and average pooling, additions of two tensors, flatten. Any other operator
    is refused by its name. What is added stays int32: both sides are brought to one step, in which the sum takes at
    most 30 bits, and the sum becomes codes where a layer takes it.

    Every layer needs a weight in signed integers of at most 8 bits with zero point 0 and one scale an output channel or
    more, and an input in integers of at most 8 bits with one static scale. Biases become round(b / (s_x · s_w)) in
    int32, and s_x · s_w / s_y becomes multiplier · 2^(shift − 31). An average over the picture is a sum whose division
    is in the multiplier. Logits with one scale stay as they are; of several, the largest is taken for all.

    The scale of a channel whose codes are all 0 is free, and is chosen for its bias: |b| / 2²⁰ a step. Where a bias
    would take 2²⁹ steps or more because the weights of its channel are tiny, s_w is multiplied by the power of two that
    brings it below, and the codes are rounded to it (ONNX Runtime and TFLite adjust such scales likewise).

    `rounding` of the requantized sums: "gemmlowp" rounds twice, first to the high half of the doubled product, then
    when that is shifted; so, shifted by n places, it also rounds up what lies within 2^−(n+1) below a half. "single"
    rounds the 64-bit product once, half up (TFLite's option of that name).

    Raises:
        QuantError: naming the operator or layer, for what integers cannot do, and for sums that 32 bits could not hold.

    Example:
        >>> from quant_engine import IntFormat, LayerPlan, QuantizerSpec
        >>> from quant_engine.network import load
        >>> network = load("fashion-cnn")
        >>> activation = QuantizerSpec(IntFormat(8, signed=False), symmetric=False)
        >>> layer = LayerPlan(QuantizerSpec(IntFormat(8)), activation)
        >>> program = compile_plan(network, QuantizationPlan(dict.fromkeys(network.layers(), layer)))
        >>> logits = program.run(program.quantize(network.data()[0][:4]))
        >>> logits.dtype, logits.shape
        (dtype('int32'), (4, 10))
        >>> program.bounds["fc1"].bits  # with PerChannel(0) every channel uses all of its codes, and it is 24
        22
    """
    as_choice(rounding, ROUNDINGS, "rounding")
    as_instance(network, Network, "network", "load() gives one")
    as_instance(plan, QuantizationPlan, "plan", PLAN_REMEDY)
    graph = network.model.operators
    layers = [node.module for node in graph.used if node.op in LAYERS]
    for name in layers:
        validate_layer(name, plan[name])
    frozen = network.freeze(plan)
    inputs = {name: input_of(name, frozen[name]) for name in layers}
    lowering = Lowering(
        graph,
        network.layers(),
        inputs,
        lambda name: weight_of(network, name, frozen[name]),
        once=rounding == "single",
    )
    logit_scale = lowering.finish()
    if lowering.input_quantizer is None:
        raise QuantError(f"{network.name} gives the same whatever it is given; integer-only has nothing to run")
    return IntegerProgram(
        network.name,
        next(node.shape for node in graph.nodes.values() if node.op == INPUT),
        tuple(lowering.steps),
        tuple(lowering.sources),
        InputQuantizer(lowering.input_quantizer.encode, lowering.input_quantizer.max_code),
        lowering.scales,
        logit_scale,
    )
