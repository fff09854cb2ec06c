"""onnxruntime on an exported graph, with and without graph optimization, beside the plan in this engine."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from quant_engine.batches import Outputs, split_batch
from quant_engine.errors import QuantError
from quant_engine.execution.layer_change import planned_weight
from quant_engine.export.base import Comparison, Finding, Verification
from quant_engine.export.import_graph import plain_name
from quant_engine.export.onnx_types import may_saturate
from quant_engine.export.rounding_ties import Difference, differences, first_output
from quant_engine.extras import imported
from quant_engine.inputs import Inputs
from quant_engine.models.onnx_file import read_whole_graph
from quant_engine.models.onnx_graph import OnnxGraph
from quant_engine.models.onnx_runtime import OnnxSession
from quant_engine.network import Network
from quant_engine.plan import LayerPlan, QuantizationPlan
from quant_engine.quantizer import QuantizerSpec
from quant_engine.tasks import Batch, Result

MODES = {"graph optimization on": True, "graph optimization off": False}


def compare_qdq(network: Network, plan: QuantizationPlan, path: pathlib.Path, data: Inputs | None) -> Verification:
    """Return what onnxruntime computes with a graph, beside what the plan gives here."""
    proto = read_whole_graph(path)
    runtime = imported("onnxruntime", "onnx")
    comparisons = [_compare_weights(network, plan, proto)]
    results = _own_results(network, plan, data)
    if results:
        comparisons += [_compare_run(network, plan, (path, proto), results, name, data is None) for name in MODES]
    findings = (*_no_ties(comparisons), *_fused(plan, comparisons))
    return Verification(f"onnxruntime {runtime.__version__}", tuple(comparisons), findings)


def _own_results(network: Network, plan: QuantizationPlan, data: Inputs | None) -> list[Result]:
    """Return what the plan gives here of data, or of the task's test split."""
    if data is not None:
        batches = split_batch(network.model.as_inputs(data))
        return [Result(Batch(batch), network.run(batch, plan), None) for batch in batches]
    if network.task is None or "test" not in network.task.splits:
        return []
    return [*network.results(plan, "test", network.task.compares)]


def _compare_weights(network: Network, plan: QuantizationPlan, proto: Any) -> Comparison:
    """Return whether the weights that onnxruntime dequantizes are the plan's, bit for bit."""
    found = {plain_name(node.key): node for node in OnnxGraph(proto).layers}
    furthest, exact = 0.0, True
    for name, layer in network.layers().items():
        own = layer.tied_to or name
        node, wanted = found.get(own, found.get(layer.tensor)), planned_weight(network.model, name, plan[name])
        if node is None:
            raise QuantError(f"the graph has no weight of {own!r}; give one that was exported of {network.name}")
        wanted = network.weight(name) if wanted is None else wanted
        wanted = wanted.astype(node.weight.dtype).reshape(node.weight.shape)
        furthest = max(furthest, float(np.abs(node.weight.astype(np.float64) - wanted).max(initial=0)))
        exact = exact and np.array_equal(node.weight, wanted)
    return Comparison("weights", furthest, exact=exact)


def _compare_run(
    network: Network,
    plan: QuantizationPlan,
    file: tuple[pathlib.Path, Any],
    results: list[Result],
    name: str,
    scored: bool,
) -> Comparison:
    path, proto = file
    session = OnnxSession(path, f"the exported {network.name}", optimize=MODES[name])
    theirs = [_run(session, result, proto) for result in results]
    furthest, same, total, count, apart = 0.0, 0, 0, 0, list[Difference]()
    for result, outputs in zip(results, theirs, strict=True):
        one, other = first_output(result.outputs), first_output(outputs)
        furthest = max(furthest, float(np.abs(one.astype(np.float64) - other).max(initial=0)))
        labels = one.argmax(-1) == other.argmax(-1)
        same, total = same + int(labels.sum()), total + labels.size
        if not MODES[name]:  # kernels of their own compute something else
            apart += differences(network, plan, result.batch.inputs, one, other, count)
        count += len(one)
    score = own_score = None
    if scored and network.task is not None:
        ran = [result._replace(outputs=outputs) for result, outputs in zip(results, theirs, strict=True)]
        score, own_score = (first_output(network.task.scores(given)) for given in (ran, results))
    return Comparison(name, furthest, same / total if total else None, None, score, own_score, tuple(apart))


def _run(session: OnnxSession, result: Result, proto: Any) -> Outputs:
    """Return a batch's outputs, one or several, with the names that the network gives them."""
    given = result.batch.inputs
    feed = dict(given) if isinstance(given, Mapping) else {session.inputs[0]: given}
    if set(feed) != set(session.inputs):
        raise QuantError(f"the graph takes {', '.join(session.inputs)}, the network {', '.join(feed)}; export it again")
    names = [output.name for output in proto.graph.output]
    found = session.run(names, feed)
    own = result.outputs
    if not isinstance(own, dict):
        return found[names[0]]
    return dict(zip(own, found.values(), strict=False))


def _no_ties(comparisons: Iterable[Comparison]) -> Iterator[Finding]:
    """Yield a warning where labels differ that float32's rounding does not explain."""
    apart = [one for comparison in comparisons for one in comparison.differences if not one.is_tie]
    if apart:
        far = max(apart, key=lambda one: one.shift - one.rounding)
        text = (
            f"{len(apart)} of the labels differ by more than float32's rounding: of sample {far.sample} by "
            f"{far.shift:.3g}, where rounding moves {far.rounding:.3g}; the file is not of this plan, or runs otherwise"
        )
        yield Finding("warning", text)


def _fused(plan: QuantizationPlan, comparisons: Iterable[Comparison]) -> Iterator[Finding]:
    """Yield a warning where labels differ more with fused kernels, which round otherwise and may saturate."""
    same = {comparison.name: comparison.same for comparison in comparisons}
    on, off = (same.get(name) for name in MODES)
    if on is None or off is None or on >= off:
        return
    text = (
        f"with graph optimization {1 - on:.2%} of the labels differ from the plan's, without {1 - off:.2%}: fused "
        "kernels round between layers otherwise"
    )
    if any(map(_saturates, plan.layers.values())):
        here = {True: "this machine has it", False: "this machine lacks it", None: "of this one it is not known"}
        text += (
            f" and, on x86 without VNNI ({here[has_vnni()]}), add pairs of products in 16 bits, which saturate; "
            "weights of 7 bits prevent that"
        )
    yield Finding("warning", text)


def has_vnni() -> bool | None:
    """Return whether this processor adds products of bytes in 32 bits, None where nothing says it."""
    try:
        flags = pathlib.Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return None
    return "vnni" in flags if "flags" in flags else None


def _saturates(layer: LayerPlan) -> bool:
    weight, activation = (
        planned if isinstance(planned, QuantizerSpec) else getattr(planned, "spec", None)
        for planned in (layer.weight, layer.activation)
    )
    return weight is not None and activation is not None and may_saturate(weight, activation)
