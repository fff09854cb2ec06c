"""Reads lines of text with an exported graph, by onnxruntime and numpy alone, and prints what share is read right.

Run by itself, outside the project: the file's own metadata say which characters the classes are. First without the
runtime's optimization of the graph, then with it, which rounds otherwise.
"""

import json
import sys

import numpy as np
import onnxruntime


def share_read(graph: str, lines: str, level: onnxruntime.GraphOptimizationLevel) -> float:
    """Return the share of lines that a graph reads without a mistake."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    characters = ["", *session.get_modelmeta().custom_metadata_map["character"].split("\n"), " "]
    given = np.load(lines)
    texts, read = json.loads(str(given["texts"])), []
    for place in range(len(texts)):
        for steps in session.run(None, {name: given[f"pixels{place}"]})[0].argmax(axis=2):
            kept = [c for c, before in zip(steps, [0, *steps[:-1]], strict=True) if c != before]
            read.append("".join(characters[c] for c in kept).strip())
    wanted = [text.strip() for expected in texts for text in expected]
    return sum(one == other for one, other in zip(read, wanted, strict=True)) / len(wanted)


if __name__ == "__main__":
    levels = onnxruntime.GraphOptimizationLevel
    print(*(share_read(*sys.argv[1:], level) for level in (levels.ORT_DISABLE_ALL, levels.ORT_ENABLE_ALL)))
