"""A text recogniser as it is deployed, and lines of words to read."""

from __future__ import annotations

import re
from collections import defaultdict
from functools import cache, partial
from pathlib import Path

import numpy as np

from quant_engine.errors import QuantError
from quant_engine.inputs import Float32Array
from quant_engine.models import Model, read_onnx
from quant_engine.packs.pack import Pack, Part, unchanged
from quant_engine.tasks import Task, Transcription

FILE = "ch_PP-OCRv4_rec_infer.onnx"
HEIGHT, MARGIN, STEP, FONT_SIZE = 48, 8, 32, 30  # pixels
NOISE = 4.0  # standard deviation, of 255 grey levels
SETS = {"calibration": (64, 1), "search": (64, 2), "test": (120, 0)}  # lines, and the seed that draws them
SHARES = {"calibration": 4, "search": 4, "test": 8}  # sixteenths of the words; no word is in two sets

Lines = list[tuple[Float32Array, list[str]]]


def text_lines(split: str) -> Lines:
    """Return pictures (n, 3, 48, width) in [−1, 1] of one or two words with slight noise, and the words, by width."""
    from PIL import Image, ImageDraw, ImageFont

    count, seed = SETS[split]
    random, font, words = np.random.default_rng(seed), ImageFont.load_default(FONT_SIZE), _words()[split]
    found = defaultdict(list)
    for _ in range(count):
        text = " ".join(random.choice(words, random.integers(1, 3)))
        width = -(-(int(font.getlength(text)) + 2 * MARGIN) // STEP) * STEP
        picture = Image.new("L", (width, HEIGHT), 255)
        ImageDraw.Draw(picture).text((MARGIN, HEIGHT // 2), text, 0, font, anchor="lm")
        pixels = np.asarray(picture, np.float32) + random.normal(0, NOISE, (HEIGHT, width))
        values = (np.clip(pixels, 0, 255) / 127.5 - 1).astype(np.float32)
        found[width].append((np.broadcast_to(values, (3, HEIGHT, width)), text))
    return [(np.stack([x for x, _ in part]), [text for _, text in part]) for part in found.values()]


def open_ocr(folder: Path) -> tuple[Model, Task]:
    """Return the recogniser and the reading of lines."""
    model = read_onnx(folder / FILE, text_lines("calibration")[0][0][:1])
    stored = {entry.key: entry.value for entry in model.graph.proto.metadata_props}
    if "character" not in stored:
        raise QuantError(f"{folder / FILE} does not say which characters it reads; remove the pack and add it again")
    sets = {split: partial(text_lines, split) for split in SETS}
    return model, Transcription(sets, characters=[*stored["character"].split("\n"), " "])


@cache
def _words() -> dict[str, list[str]]:
    """Return the words of Python's own documentation, by the set that they are for."""
    from pydoc_data.topics import topics

    words = sorted({word for text in topics.values() for word in re.findall(r"(?<![\w.])[a-z]{3,9}(?![\w.])", text)})
    order = np.random.default_rng(0).permutation(len(words))
    edges = np.cumsum([*SHARES.values()])[:-1] * len(words) // sum(SHARES.values())
    return {split: [words[place] for place in part] for split, part in zip(SHARES, np.split(order, edges), strict=True)}


OCR = Pack(
    name="ocr",
    title="PP-OCRv4 text recogniser",
    about="an ONNX graph of 38 convolutions and 9 matrix products that reads lines of text, drawn here",
    parts=(
        Part(
            package="rapidocr-onnxruntime",
            version="1.4.4",
            sha256="971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf",
            size_bytes=14_915_192,
            files=(f"rapidocr_onnxruntime/models/{FILE}",),
            licence="Apache-2.0",
        ),
    ),
    needs=(("onnx", "onnx"), ("onnxruntime", "onnx")),
    size_bytes=10_860_000,
    convert=unchanged,
    changes="none",
    open=open_ocr,
    opening_layer="conv2d_180.w_0",
)
