"""Arguments of another kind: networks, plans, energies and integer programs refuse them with a QuantError."""

import numpy as np
import pytest

from quant_engine import FP32, IntFormat, LayerPlan, PerChannel, QuantError, QuantizationPlan, QuantizerSpec
from quant_engine.energy import NOTHING, Energy, accumulate_energy, move_energy, multiplied_in, multiply_energy
from quant_engine.execution import planned_weight
from quant_engine.integer_only import (
    Accumulator,
    agreeing,
    bits_of,
    compile_plan,
    count_operations,
    fixed_point,
    integer_accuracy,
    trace_output,
    with_integer_bias,
)
from quant_engine.network import load
from quant_engine.studies import activation_costs, effect, footprint
from quant_engine.studies.mixed import (
    best_steps,
    greedy_search,
    layer_costs,
    layer_sizes,
    mixed_plan,
    weight_plan,
)
from quant_engine.studies.sensitivity import Trial, predict_sensitivity, sensitivities, trials

SPEC = QuantizerSpec(IntFormat(8), PerChannel(0))
NET = load("fashion-cnn")
INPUT = QuantizerSpec(IntFormat(8, signed=False), symmetric=False)
PLAN = NET.freeze(QuantizationPlan(dict.fromkeys(NET.layers(), LayerPlan(SPEC, INPUT))), 32)
PROGRAM = compile_plan(NET, PLAN)
IMAGE = PROGRAM.quantize(NET.data()[0][:1])[0]
TRIAL = Trial("fc2", SPEC)

NONSENSE = ("x", np.nan, -np.inf, -1.5, 1j, object(), b"a", [1], {1: 2}, np.zeros(3), np.array([]), True)
CALLS = {
    "compile_plan, network": lambda v: compile_plan(v, PLAN),
    "compile_plan, plan": lambda v: compile_plan(NET, v),
    "compile_plan, rounding": lambda v: compile_plan(NET, PLAN, v),
    "count_operations, network": lambda v: count_operations(v, PROGRAM),
    "count_operations, program": lambda v: count_operations(NET, v),
    "count_operations, bits": lambda v: count_operations(NET, PROGRAM, v),
    "integer_accuracy, network": lambda v: integer_accuracy(v, PROGRAM),
    "integer_accuracy, program": lambda v: integer_accuracy(NET, v),
    "integer_accuracy, split": lambda v: integer_accuracy(NET, PROGRAM, v),
    "agreeing, network": lambda v: next(agreeing(v, PLAN)),
    "agreeing, plan": lambda v: next(agreeing(NET, v)),
    "agreeing, split": lambda v: next(agreeing(NET, PLAN, v)),
    "agreeing, rounding": lambda v: next(agreeing(NET, PLAN, "test", v)),
    "follow, program": lambda v: trace_output(v, IMAGE, "conv1", 0, (0, 0)),
    "follow, image": lambda v: trace_output(PROGRAM, v, "conv1", 0, (0, 0)),
    "follow, layer": lambda v: trace_output(PROGRAM, IMAGE, v, 0, (0, 0)),
    "follow, channel": lambda v: trace_output(PROGRAM, IMAGE, "conv1", v, (0, 0)),
    "follow, place": lambda v: trace_output(PROGRAM, IMAGE, "conv1", 0, v),
    "follow, row": lambda v: trace_output(PROGRAM, IMAGE, "conv1", 0, (v, 0)),
    "narrowed": lambda v: trace_output(PROGRAM, IMAGE, "conv1", 0, (0, 0)).narrowed(v),
    "with_integer_bias, program": lambda v: with_integer_bias(v, PLAN),
    "with_integer_bias, plan": lambda v: with_integer_bias(PROGRAM, v),
    "run": PROGRAM.run,
    "quantize": PROGRAM.quantize,
    "layer": PROGRAM.layer,
    "Accumulator, bits": Accumulator,
    "Accumulator, overflow": lambda v: Accumulator(16, v),
    "wrapped": Accumulator(16).wrapped,
    "bits_of": bits_of,
    "fixed_point": fixed_point,
    "multiply_energy": multiply_energy,
    "accumulate_energy": accumulate_energy,
    "multiplied_in": lambda v: multiplied_in(FP32, v),
    "move_energy, bits": move_energy,
    "move_energy, memory": lambda v: move_energy(8, v),
    "Energy, low": lambda v: Energy(v, 1.0, "measured"),
    "Energy, high": lambda v: Energy(0.0, v, "measured"),
    "Energy, basis": lambda v: Energy(1.0, 1.0, v),
    "Energy, times": lambda v: NOTHING * v,
    "Energy, plus": lambda v: NOTHING + v,
    "footprint, network": footprint,
    "footprint, plan": lambda v: footprint(NET, v),
    "Trial, layer": lambda v: Trial(v, SPEC).plan(NET),
    "Trial, spec": lambda v: Trial("fc2", v),
    "Trial, part": lambda v: Trial("fc2", SPEC, v),
    "Trial, scope": lambda v: Trial("fc2", SPEC, "weight", v),
    "Trial.plan": TRIAL.plan,
    "trials, network": lambda v: trials(v, [SPEC]),
    "trials, candidates": lambda v: trials(NET, [v]),
    "trials, parts": lambda v: trials(NET, [SPEC], [v]),
    "sensitivities, network": lambda v: next(sensitivities(v, [TRIAL])),
    "sensitivities, trials": lambda v: next(sensitivities(NET, [v])),
    "predict_sensitivity, network": lambda v: predict_sensitivity(v, "fc2", SPEC),
    "predict_sensitivity, layer": lambda v: predict_sensitivity(NET, v, SPEC),
    "predict_sensitivity, spec": lambda v: predict_sensitivity(NET, "fc2", v),
    "weight_plan": lambda v: weight_plan({"fc2": v}),
    "layer_sizes, network": lambda v: layer_sizes(v, [SPEC]),
    "layer_sizes, candidates": lambda v: layer_sizes(NET, v),
    "layer_costs, cost": lambda v: layer_costs(NET, [SPEC], v),
    "layer_costs, candidates": lambda v: layer_costs(NET, v),
    "mixed_plan, budget": lambda v: mixed_plan(NET, [SPEC], v, "predicted error"),
    "greedy_search, measure": lambda v: greedy_search(NET, [SPEC], 0, v),
    "greedy_search, candidates": lambda v: greedy_search(NET, v),
    "best_steps": lambda v: best_steps([v]),
    "best_steps, measure": lambda v: best_steps([], v),
    "load": load,
    "weight": NET.weight,
    "bias": NET.bias,
    "with_parameters": lambda v: NET.with_parameters({"fc2": v}),
    "with_parameters, arrays": lambda v: NET.with_parameters({"fc2": (v, v)}),
    "planned_weight": lambda v: planned_weight(NET.model, "fc2", v),
    "data": NET.data,
    "activations, layers": lambda v: NET.activations([v]),
    "activations, split": lambda v: NET.activations(["fc2"], v),
    "activations, start": lambda v: NET.activations(["fc2"], start=v),
    "freeze, plan": NET.freeze,
    "freeze, images": lambda v: NET.freeze(QuantizationPlan({"fc2": LayerPlan(activation=INPUT)}), v),
    "evaluate, plan": NET.evaluate,
    "evaluate, split": lambda v: NET.evaluate(None, v),
    "effect, split": lambda v: effect(NET, None, v),
    "run, images": NET.run,
    "activation_costs": lambda v: activation_costs(NET, v),
}


@pytest.mark.parametrize("call", CALLS)
def test_nonsense_is_refused(call):
    for value in NONSENSE:
        with pytest.raises(QuantError):
            CALLS[call](value)


def test_sums_of_energies_that_overflow_are_refused():
    with pytest.raises(QuantError, match="low=inf"):
        _ = Energy(1e308, 1e308, "measured") * 10
    assert Energy(1.0, 2.0, "measured") * np.int64(3) == Energy(3.0, 6.0, "measured")
