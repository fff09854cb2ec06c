"""Run the text recogniser's journey by commands alone, and record it in docs/journey_ocr.md.

    python -m tools.record_journey

From a plan that reads nothing to a file that onnxruntime reads as well as the engine: what the commands print is
recorded as it is, at 80 columns; of long tables the first rows. The pack `ocr` must be there (`quant-explorer models
add ocr`). `tests/packs/test_journey.py` goes the same way and checks it, with `--full`.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from quant_engine.network import load
from quant_engine.tasks import Transcription

ROOT = pathlib.Path(__file__).parents[1]
PAGE = ROOT / "docs" / "journey_ocr.md"
MAX_LINES = 26  # of what a command prints
POINTS = 2  # in a hundred lines, what a plan may lose
STEPS = (
    ("What the weights are like.", "inspect ocr --bits 8"),
    ("Plan A: 8 bits, one scale for each layer, by the whole range.", "plan ocr --bits 8 --sharing layer -o a.json"),
    ("It reads nothing.", "compare ocr a.json"),
    ("Which layer is to blame?", "attribute ocr --plan a.json --culprits"),
    (
        "Plan B: the layer that was named has one scale for each channel.",
        'plan ocr --plan a.json --set "conv2d_180* -> channel" -o b.json',
    ),
    ("A and B on the same lines.", "compare a.json b.json --model ocr"),
    (
        "The best plan of at most 5 bits a weight, scales counted, and its only look at the test lines.",
        "tune ocr --budget 5 -o plan.json --test",
    ),
    ("The plan as ONNX, checked by onnxruntime.", "apply plan.json ocr --to onnx -o ocr.onnx --verify"),
)
HEAD = """# From exact match 0 to 5 bits a weight, by commands

A text recogniser is quantized with one scale a layer, reads nothing, is looked into, mended by hand, planned under a
budget, exported, and scored outside of the project. Recorded by `python -m tools.record_journey`; the same in the
browser is in [journey.md](journey.md).
"""
OUTSIDE = '''"""Score the exported file with numpy and onnxruntime alone."""

import json

import numpy as np
import onnxruntime

options = onnxruntime.SessionOptions()
options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
session = onnxruntime.InferenceSession("ocr.onnx", options, providers=["CPUExecutionProvider"])
name, said, right, total = session.get_inputs()[0].name, json.load(open("texts.json", encoding="utf-8")), 0, 0
with np.load("lines.npz") as batches:
    for key, texts in said["texts"].items():
        for steps, text in zip(session.run(None, {name: batches[key]})[0].argmax(2), texts):
            kept = [place for place, before in zip(steps, [0, *steps[:-1]]) if place and place != before]
            right += "".join(said["characters"][place - 1] for place in kept).strip() == text.strip()
            total += 1
print(f"exact match {right / total:.4g}, n = {total}")
'''


class Said(NamedTuple):
    """A step of the journey: why, the command, and what it prints."""

    why: str
    command: str
    output: str


def journey(folder: pathlib.Path) -> Iterator[Said]:
    """Go through all commands in a folder, then score the file outside.

    Raises:
        RuntimeError: for a command that fails.
    """
    for why, command in STEPS:
        ran = _run([sys.executable, "-m", "explorer.cli", *shlex.split(command)], folder)
        yield Said(why, f"quant-explorer {command}", ran)
    write_lines(folder)
    (folder / "score.py").write_text(OUTSIDE, encoding="utf-8")
    yield Said("Outside of the project.", "python score.py", _run([sys.executable, "-P", "score.py"], folder))


def write_lines(folder: pathlib.Path) -> None:
    """Write the inputs and texts of the test split as files that need nothing of the project."""
    task = load("ocr").given_task
    assert isinstance(task, Transcription)
    batches = [*task.batches("test")]
    np.savez(folder / "lines.npz", **{str(at): batch.inputs for at, batch in enumerate(batches)})
    texts = {str(at): list(batch.targets) for at, batch in enumerate(batches)}
    record = {"characters": task.characters, "texts": texts}
    (folder / "texts.json").write_text(json.dumps(record, ensure_ascii=False), encoding="utf-8")


def _run(command: list[str], folder: pathlib.Path) -> str:
    path = "" if command[1] == "-P" else str(ROOT)
    given = {**os.environ, "COLUMNS": "80", "PYTHONPATH": path, "PYTHONWARNINGS": "ignore", "TERM": "dumb"}
    ran = subprocess.run(command, cwd=folder, env=given, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise RuntimeError(f"{shlex.join(command)} ended with {ran.returncode}: {ran.stderr[-2000:]}")
    return ran.stdout


def markdown(steps: list[Said]) -> str:
    """Return the page."""
    lines = [HEAD]
    for why, command, output in steps:
        shown = [line.rstrip() for line in output.strip("\n").split("\n")]
        if len(shown) > MAX_LINES:
            shown = [*shown[: MAX_LINES - 8], f"… {len(shown) - MAX_LINES + 1} lines …", *shown[-7:]]
        lines += [why, "", "```console", f"$ {command}", *shown, "```", ""]
        if command == "python score.py":
            lines += ["`score.py`:", "", "```python", OUTSIDE.rstrip(), "```", "", verdict(steps)]
    return "\n".join(lines).rstrip() + "\n"


def verdict(steps: list[Said]) -> str:
    """Return the sentence that says how far the exported plan is from float32, by what the commands printed."""
    said = "".join(step.output for step in steps)
    bits, plain, outside = (
        re.findall(pattern, said)[-1]
        for pattern in (r"plan\.json: ([\d.]+) bits", r"; float32 ([\d.]+)", r"(?m)^exact match ([\d.]+), n = ")
    )
    lost = 100 * (float(plain) - float(outside))
    return (
        f"At {bits} bits a weight, scales counted, the file reads {outside} of the test lines outside of the project,\n"
        f"float32 {plain}: {lost:.1f} points less, {'within' if lost <= POINTS else 'more than'} {POINTS} points."
    )


def main() -> None:
    """Go, and write."""
    steps = []
    with tempfile.TemporaryDirectory() as folder:
        for step in journey(pathlib.Path(folder)):
            print("$", step.command, step.output, sep="\n", flush=True)
            steps.append(step)
    PAGE.write_text(markdown(steps), encoding="utf-8")


if __name__ == "__main__":
    main()
