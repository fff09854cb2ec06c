"""Run exported GGUF files of SmolLM2 in llama.cpp, and say how far what it gives is from the engine.

    pip install xllamacpp
    quant-explorer models add smollm2
    python -m tools.run_gguf

Of each plan: whether the next token is the same, how far its probabilities are apart, and how many tokens of those that
both choose greedily are alike. llama.cpp rounds what layers receive to 8 bits by itself.
"""

from __future__ import annotations

import importlib
import json
import pathlib
import tempfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_engine import FP16, BlockFormat, IntFormat, LayerPlan, MinMSE, PerGroup, QuantizationPlan, QuantizerSpec
from quant_engine.export import EXPORTERS
from quant_engine.network import Network, load

PROMPT = [1, 504, 3575, 282, 4649, 314, 260, 2240, 282, 253]
TOKENS, TOP = 16, 2000  # chosen greedily, and most probable ones that are compared
PLANS = {
    "Q4_0": QuantizerSpec(BlockFormat("Q4_0"), PerGroup(32)),
    "Q4_0, scales of least error": QuantizerSpec(IntFormat(4), PerGroup(32), clipping=MinMSE(), scale_format=FP16),
}
Float64Array = NDArray[np.float64]


def ours(network: Network, plan: QuantizationPlan) -> tuple[Float64Array, list[int]]:
    """Return the logarithms of the first token's probabilities, and the tokens that are chosen greedily."""
    tokens, first = list(PROMPT), np.zeros(0)
    for _ in range(TOKENS):
        logits = np.asarray(network.run(np.array([tokens]), plan))[0, -1].astype(np.float64)
        if not first.size:
            shifted = logits - logits.max()
            first = shifted - np.log(np.exp(shifted).sum())
        tokens.append(int(logits.argmax()))
    return first, tokens[len(PROMPT) :]


def theirs(path: pathlib.Path) -> tuple[dict[int, float], list[int]]:
    """Return the logarithms of the most probable first tokens in llama.cpp, and the tokens that it chooses greedily."""
    tool: Any = importlib.import_module("xllamacpp")
    params = tool.CommonParams()
    params.model.path, params.n_ctx, params.n_parallel = str(path), 128, 1
    server = tool.Server(params)
    common = {"prompt": PROMPT, "temperature": 0.0, "cache_prompt": False, "ignore_eos": True}
    [first] = _said(server, {**common, "n_predict": 1, "n_probs": TOP})
    chosen = _said(server, {**common, "n_predict": TOKENS, "n_probs": 1})
    return {one["id"]: one["logprob"] for one in first["top_logprobs"]}, [one["id"] for one in chosen]


def _said(server: Any, asked: dict[str, Any]) -> list[dict[str, Any]]:
    answer = server.handle_completions(asked)
    found: dict[str, Any] = json.loads(answer) if isinstance(answer, str) else answer
    content: list[dict[str, Any]] = found["choices"][0]["logprobs"]["content"]
    return content


def main() -> None:
    """Export, run and compare."""
    network, exporter = load("smollm2"), EXPORTERS["gguf"]
    for name, spec in PLANS.items():
        plan = network.freeze(QuantizationPlan.of(network.layers(), {"*_proj": LayerPlan(spec)}))
        with tempfile.TemporaryDirectory() as folder:
            exporter.write(network, plan, pathlib.Path(folder) / "model.gguf")
            found, chosen = theirs(pathlib.Path(folder) / "model.gguf")
        first, tokens = ours(network, plan)
        top = np.array([*found])
        apart = np.array([*found.values()]) - first[top]
        alike = next((place for place, (a, b) in enumerate(zip(tokens, chosen, strict=True)) if a != b), TOKENS)
        print(f"{name}: the same next token: {top[0] == first.argmax()}, greedy tokens alike: {alike} of {TOKENS}")
        print(f"  log-probabilities of the 10 most probable at most {abs(apart[:10]).max():.3g} apart")
        print(f"  KL divergence over the {TOP} most probable: {-(np.exp(first[top]) * apart).sum():.3g}")


if __name__ == "__main__":
    main()
