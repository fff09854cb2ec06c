"""Tasks of what people have: arrays, pictures, a text, or a score of their own in Python."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine.errors import QuantError
from quant_engine.extras import imported
from quant_engine.inputs import Float32Array
from quant_engine.tasks.agreement import Agreement
from quant_engine.tasks.base import Task
from quant_engine.tasks.classification import Classification
from quant_engine.tasks.next_token import MASK, TOKENS, NextToken
from quant_engine.tasks.user_file import from_file

INPUTS, LABELS = "x", "y"
WINDOW = 256  # tokens of a sample
PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
CAUSAL = ("ForCausalLM", "LMHeadModel")
FORM = "an .npz file with inputs x and labels y, or inputs alone, a folder of pictures, a .txt file, or a .py file"


@dataclass(frozen=True)
class Preparation:
    """How pictures become inputs: size (height, width), and (value/255 − mean)/deviation of each channel."""

    size: tuple[int, int] = (224, 224)
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)  # of ImageNet, the usual ones
    deviation: tuple[float, ...] = (0.229, 0.224, 0.225)


def read_task(path: Path, folder: Path | None = None, size: tuple[int, int] | None = None, seed: int = 0) -> Task:
    """Return the task of data on the disk.

    An .npz file with `x` and `y` is a classification; without `y`, agreement with floating point on all its arrays, by
    name unless `x` is the only one. A folder of pictures has a folder for each class, in the order of the outputs (by
    name, or by number where all names are numbers); without such it is agreement. A text needs the `folder` of the
    model, with its tokenizer: a causal model predicts it, others agree on it. A .py file is run (`from_file`). `size`
    is that of the model's pictures where it is known; `folder` may say how they are prepared. `seed` draws the splits.

    Raises:
        QuantError: for other data, and as the tasks.
    """
    if not path.exists():
        raise QuantError(f"there is no file or folder {str(path)!r}; give {FORM}")
    if path.is_dir():
        return _of_pictures(path, _preparation(folder, size), seed)
    if path.suffix == ".npz":
        return _of_arrays(path, seed)
    if path.suffix == ".txt":
        return _of_text(path, folder, seed)
    if path.suffix == ".py":
        return from_file(path, seed)
    raise QuantError(f"{path.name} holds no data that is understood; give {FORM}")


def _of_arrays(path: Path, seed: int) -> Task:
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise QuantError(f"{path.name} cannot be read: {error}; write it with numpy.savez(path, x=…, y=…)") from error
    if not arrays:
        raise QuantError(f"{path.name} is empty; write it with numpy.savez(path, x=…, y=…)")
    labels = arrays.pop(LABELS, None)
    inputs: Any = arrays[INPUTS] if set(arrays) == {INPUTS} else arrays
    if labels is None:
        return Agreement(inputs, seed=seed)
    if not arrays:
        raise QuantError(f"{path.name} has labels y without inputs; add them as x")
    return Classification(inputs, labels, seed=seed)


def _of_text(path: Path, folder: Path | None, seed: int) -> Task:
    config = _json_of(folder, "config.json")
    if folder is None or not config:
        raise QuantError(f"{path.name} is a text, which needs a tokenizer: give a folder of transformers as the model")
    tokenizer = imported("transformers", "transformers").AutoTokenizer.from_pretrained(folder, local_files_only=True)
    try:
        tokens = tokenizer(path.read_text(encoding="utf-8"), add_special_tokens=False)["input_ids"]
    except UnicodeDecodeError as error:
        raise QuantError(f"{path.name} is no UTF-8 text: {error}; save it as UTF-8") from error
    length = min(WINDOW, len(tokens))
    if length < 2:
        raise QuantError(f"{path.name} has {len(tokens)} tokens; give a text of two or more")
    windows = np.array(tokens[: len(tokens) // length * length], np.int64).reshape(-1, length)
    if str(next(iter(config.get("architectures") or [""]))).endswith(CAUSAL):
        return NextToken(windows, seed=seed)
    return Agreement({TOKENS: windows, MASK: np.ones_like(windows)}, unit="text", seed=seed)


def _of_pictures(path: Path, preparation: Preparation, seed: int) -> Task:
    classes = [place for place in path.iterdir() if place.is_dir() and _pictures_in(place)]
    if not classes:
        found = _pictures_in(path)
        if not found:
            raise QuantError(
                f"{path} has no picture ({', '.join(sorted(PICTURES))}), nor a folder of such for each class"
            )
        return Agreement(_inputs(found, preparation), unit="image", seed=seed)
    numbered = all(place.name.isdecimal() for place in classes)
    ordered = sorted(classes, key=lambda place: (int(place.name) if numbered else 0, place.name))
    labels, files = [], []
    for number, place in enumerate(ordered):
        found = _pictures_in(place)
        labels += [int(place.name) if numbered else number] * len(found)
        files += found
    return Classification(_inputs(files, preparation), np.array(labels), unit="image", seed=seed)


def _inputs(files: list[Path], preparation: Preparation) -> Float32Array:
    """Return pictures (n, 3, height, width), prepared."""
    from PIL import Image, UnidentifiedImageError

    found: list[NDArray[np.uint8]] = []
    for path in files:
        try:
            with Image.open(path) as picture:
                small = picture.convert("RGB").resize(preparation.size[::-1], Image.Resampling.BICUBIC)
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
            raise QuantError(f"{path} is no picture that can be read: {error}; remove it") from error
        found.append(np.asarray(small))
    values = np.stack(found).astype(np.float32) / 255
    mean, deviation = (np.array(one, np.float32) for one in (preparation.mean, preparation.deviation))
    moved = (values - mean) / deviation
    return np.ascontiguousarray(moved.transpose(0, 3, 1, 2), np.float32)


def _preparation(folder: Path | None, size: tuple[int, int] | None) -> Preparation:
    """Return what a folder of transformers says of pictures, else the usual."""
    usual, said = Preparation(), _json_of(folder, "preprocessor_config.json")
    given = said.get("size", {})
    if isinstance(given, Mapping):
        edge = given.get("shortest_edge", usual.size[0])
        given = (given.get("height", edge), given.get("width", edge))
    else:
        given = (given, given)
    return Preparation(
        size or given,
        tuple(said.get("image_mean", usual.mean)),
        tuple(said.get("image_std", usual.deviation)),
    )


def _json_of(folder: Path | None, name: str) -> Mapping[str, Any]:
    path = None if folder is None else folder / name
    if path is None or not path.is_file():
        return {}
    found = json.loads(path.read_text(encoding="utf-8"))
    return found if isinstance(found, dict) else {}


def _pictures_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES)
