"""Cases of whole networks: integer-only inference beside floating point and another runtime of integers."""

from __future__ import annotations

import quant_engine as qe
from benchmarks import inference_peers
from benchmarks.comparison import Comparison, Peer, Target, TimesAsFast, TimesItsTime
from benchmarks.data import Sizes
from benchmarks.processor import SATURATING, own_extension
from quant_engine.integer_only import compile_plan
from quant_engine.network import load

MOST = 1.2  # of onnxruntime's time, on the depthwise network
BATCH = 200  # images that the peers are given at a time
LEAST_ALIKE = 0.99  # labels: onnxruntime rounds products by float32 multipliers, so codes at ties differ
LEAST_ALIKE_SATURATING = 0.9  # of the same where its kernels saturate pairs of products, which ours do not


def plain(sizes: Sizes) -> Comparison:
    """Run the plain network's test images with 8-bit weights and inputs."""
    return _integer_only("fashion-cnn", sizes, TimesAsFast())


def depthwise(sizes: Sizes) -> Comparison:
    """Run the depthwise network's."""
    return _integer_only("fashion-depthwise", sizes, TimesItsTime(MOST))


def _integer_only(name: str, sizes: Sizes, target: Target) -> Comparison:
    network = load(name)
    inputs = qe.QuantizerSpec(qe.IntFormat(8, signed=False), symmetric=False)
    layer = qe.LayerPlan(qe.QuantizerSpec(qe.IntFormat(8), qe.PerChannel(0)), inputs)
    program = compile_plan(network, qe.QuantizationPlan(dict.fromkeys(network.layers(), layer)))
    images, _ = network.data()
    images = images[: sizes.images]
    codes = program.quantize(images)
    float32 = inference_peers.floating(network, images, BATCH)
    int8 = inference_peers.quantized(network, program, codes, BATCH)

    def check() -> str:
        labels = program.predict(codes)
        alike = (labels == float32().argmax(axis=1)).mean()
        said = f"{len(codes):,} images; {alike:.2%} of the labels are those of float32"
        if int8 is None:
            return said
        alike = (labels == int8().argmax(axis=1)).mean()
        saturating = own_extension() in SATURATING
        least = LEAST_ALIKE_SATURATING if saturating else LEAST_ALIKE
        assert alike >= least, f"only {alike:.2%} of the labels are onnxruntime's, where {least:.0%} should be"
        differs = f", whose kernels saturate pairs of int8 products on {own_extension()} without VNNI"
        return f"{said}, {alike:.2%} those of onnxruntime{differs if saturating else ''}"

    note = "" if int8 else inference_peers.NO_ONNXRUNTIME
    return Comparison(
        lambda: program.run(codes),
        (Peer("torch, float32", float32), Peer("onnxruntime, int8", int8, target, note=note)),
        check=check,
    )
