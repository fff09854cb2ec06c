"""A text recogniser as it is deployed, through onnxruntime: one scale a layer destroys it, one a channel does not."""

from __future__ import annotations

import re
from collections import defaultdict
from pydoc_data.topics import topics

import numpy as np
import onnx
import pytest
from PIL import Image, ImageDraw, ImageFont

import quant_engine as qe
from quant_engine.network import load
from quant_engine.tasks import Transcription
from tests.packs.fetching import OCR

LINES, HEIGHT, MARGIN = 120, 48, 8


def text_lines(count, seed=0):
    """Return pictures (n, 3, 48, width) in [−1, 1] of one or two words with slight noise, and the words, by width."""
    random, font = np.random.default_rng(seed), ImageFont.load_default(30)
    words = sorted({word for text in topics.values() for word in re.findall(r"(?<![\w.])[a-z]{3,9}(?![\w.])", text)})
    found = defaultdict(list)
    for _ in range(count):
        text = " ".join(random.choice(words, random.integers(1, 3)))
        width = -(-(int(font.getlength(text)) + 2 * MARGIN) // 32) * 32
        picture = Image.new("L", (width, HEIGHT), 255)
        ImageDraw.Draw(picture).text((MARGIN, HEIGHT // 2), text, 0, font, anchor="lm")
        pixels = np.asarray(picture, np.float32) + random.normal(0, 4, (HEIGHT, width))
        values = (np.clip(pixels, 0, 255) / 127.5 - 1).astype(np.float32)
        found[width].append((np.broadcast_to(values, (3, HEIGHT, width)), text))
    return [(np.stack([x for x, _ in part]), [text for _, text in part]) for part in found.values()]


@pytest.fixture(scope="module")
def recogniser(tmp_path_factory):
    path = OCR.fetch(tmp_path_factory.mktemp("ocr")) / "ch_PP-OCRv4_rec_infer.onnx"
    stored = {entry.key: entry.value for entry in onnx.load(path).metadata_props}["character"]
    return load(path, Transcription({"test": text_lines(LINES)}, characters=[*stored.split("\n"), " "]))


def exact_match(network, spec=None):
    layers = {} if spec is None else dict.fromkeys(network.layers(), qe.LayerPlan(spec))
    score = network.evaluate(qe.QuantizationPlan(layers))
    assert (score.name, score.n) == ("exact match", LINES)
    return score.value


def test_it_is_read_layer_by_layer(recogniser):
    layers = recogniser.layers()
    assert sum(layer.op == "conv2d" for layer in layers.values()) == 38
    assert sum(layer.op == "linear" for layer in layers.values()) == 9
    assert layers["conv2d_180.w_0"].shape == (480, 480, 1, 1)
    assert all(layer.has_bias for layer in layers.values() if layer.op == "linear")
    weight = recogniser.weight("conv2d_180.w_0").astype(np.float64)
    deviations = (weight - weight.mean()) / weight.std()
    assert np.mean(deviations**4) - 3 == pytest.approx(1458, rel=0.01)
    assert np.abs(deviations).max() == pytest.approx(133, rel=0.01)


def test_one_scale_a_layer_destroys_it_and_one_a_channel_does_not(recogniser):
    eight = qe.IntFormat(8)
    assert exact_match(recogniser) == pytest.approx(0.967, abs=0.05)
    assert exact_match(recogniser, qe.QuantizerSpec(eight)) < 0.02
    assert exact_match(recogniser, qe.QuantizerSpec(eight, qe.PerChannel(0))) > 0.85
