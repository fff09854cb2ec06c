"""The code the app shows runs, and gives the numbers the app shows."""

from __future__ import annotations

import contextlib
import io
import re
from dataclasses import replace

import pytest

from explorer import compute, model_scores
from explorer.snippets import Origin, engine_code, numpy_code
from quant_engine import (
    E2M1,
    E4M3,
    NF4,
    BlockFormat,
    FixedPointFormat,
    FixedRange,
    IntFormat,
    LayerPlan,
    MinKL,
    MinMSE,
    Percentile,
    PerChannel,
    PerChannelGroup,
    PerGroup,
    PerToken,
    QuantizerSpec,
    power_of_two,
)
from tests.models import CNN_KEY

SPECS = [
    QuantizerSpec(IntFormat(4)),
    QuantizerSpec(IntFormat(3, narrow=True), PerChannel(0), clipping=MinMSE()),
    QuantizerSpec(IntFormat(8, signed=False), symmetric=False, clipping=Percentile(99.5)),
    QuantizerSpec(IntFormat(5), PerGroup(10, remainder="short"), symmetric=False),
    QuantizerSpec(IntFormat(2), PerChannelGroup(7, remainder="short"), clipping=FixedRange(-0.2, 0.3)),
    QuantizerSpec(E2M1, PerGroup(16, remainder="short"), scale_format=E4M3),
    QuantizerSpec(NF4, PerChannel(0), clipping=MinMSE()),
    QuantizerSpec(power_of_two(3)),
    QuantizerSpec(BlockFormat("Q4_1"), PerGroup(32, remainder="short")),
    QuantizerSpec(FixedPointFormat(0, 7)),
]
UNSIGNED = IntFormat(4, signed=False)
PLANS = [
    *(LayerPlan(spec) for spec in SPECS),
    LayerPlan(SPECS[0], QuantizerSpec(UNSIGNED, symmetric=False, clipping=MinKL())),
    LayerPlan(SPECS[1], QuantizerSpec(UNSIGNED, PerToken(), symmetric=False), dynamic=True),
]


def output_of(code: str) -> str:
    """Run code as a script of its own and return what it prints."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(code, "snippet", "exec"), {"__name__": "__main__"})
    return printed.getvalue()


@pytest.mark.choice(2)
@pytest.mark.parametrize("plan", PLANS)
def test_the_engine_snippet_gives_the_error_and_the_accuracies_on_screen(plan: LayerPlan) -> None:
    spec = plan.weight
    others = replace(plan, weight=replace(spec, clipping=MinMSE())) if isinstance(spec.clipping, FixedRange) else None
    result = compute.outcome(CNN_KEY, "conv2", spec)
    printed = output_of(engine_code(Origin("fashion-cnn", "conv2"), plan, others))
    assert f"SQNR {result.report.sqnr_db:.2f} dB" in printed
    assert f"{result.storage.bits_per_value:.4f} bits per value" in printed
    accuracies = model_scores.accuracies("test", CNN_KEY, "conv2", plan, others).result(60)
    assert [int(n) for n in re.findall(r"(\d+) of \d+ right", printed)] == [a.correct for a in accuracies]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: type(spec.granularity).__name__)
@pytest.mark.parametrize("last", [False, True])
def test_the_numpy_snippet_gives_the_error_of_the_block_shown(spec: QuantizerSpec, last: bool) -> None:
    blocks = spec.granularity.blocks(compute.matrix(CNN_KEY, "conv2").shape)
    block = blocks.count - 1 if last else 0
    view = compute.block_view(CNN_KEY, "conv2", spec, block)
    printed = output_of(numpy_code(Origin("fashion-cnn", "conv2"), spec, view, blocks.slices(block)))
    error, used = re.match(r"MSE (\S+) with (\d+) of", printed).groups()
    assert float(error) == pytest.approx(view.error, rel=1e-4)
    assert int(used) == int((view.counts > 0).sum())
