"""What a language model writes in floating point and under a plan, or under two, and the first token that differs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quant_engine.batches import join_batches, split_batch
from quant_engine.checks import as_instance
from quant_engine.execution import Override, finite_outputs
from quant_engine.inputs import Float64Array
from quant_engine.network import Network
from quant_engine.plan import QuantizationPlan
from quant_engine.studies.texts import text_inputs
from quant_engine.tasks import log_softmax
from quant_engine.tasks.base import pick_output


@dataclass(frozen=True, eq=False)
class Writing:
    """Two continuations of one prompt, each token the likeliest after those before it.

    Attributes:
        plain: tokens in floating point, or of the first of two, so far.
        planned: tokens under the plan, or of the second, so far.
        parts: place of the first token that differs; None while there is none.
        odds: probabilities (vocabulary,) of both at that place, after the same tokens; None while there is none.
    """

    plain: tuple[int, ...]
    planned: tuple[int, ...]
    parts: int | None = None
    odds: tuple[Float64Array, Float64Array] | None = None


def write(
    network: Network,
    plan: QuantizationPlan | None,
    prompt: Sequence[int],
    tokens: int,
    before: QuantizationPlan | None = None,
    other: Network | None = None,
) -> Iterator[Writing]:
    """Yield what is written after a prompt, a token of both longer each time, up to so many.

    The first writes under `before`, None for floating point; the second under the plan, and with `other` it is that
    network.

    Raises:
        QuantError: as `Network.freeze`, for a network that predicts no next token, and a prompt without a token.

    Example:
        >>> import torch
        >>> from quant_engine import IntFormat, LayerPlan, QuantizerSpec
        >>> from quant_engine.network import from_module
        >>> from quant_engine.tasks import NextToken
        >>> _ = torch.manual_seed(0)
        >>> module = torch.nn.Sequential(torch.nn.Embedding(8, 4), torch.nn.Linear(4, 8))
        >>> network = from_module(module, NextToken(np.arange(8)), example=torch.arange(8)[None])
        >>> plan = QuantizationPlan({"1": LayerPlan(QuantizerSpec(IntFormat(8)))})
        >>> *_, last = write(network, plan, [3], 5)
        >>> len(last.plain), len(last.planned)
        (5, 5)
    """
    first = as_instance(network, Network, "network", "load() gives one")
    second = first if other is None else as_instance(other, Network, "other", "load() gives one")
    text_inputs(first, prompt)  # or refuse it
    held, changed = (  # made once, not for each token
        {} if one is None else side.overrides(side.freeze(one)) for side, one in ((first, before), (second, plan))
    )
    plain, planned, parts, odds = list(prompt), list(prompt), None, None
    for place in range(tokens):
        one, two = _next(first, plain, held), _next(second, planned, changed)
        plain.append(int(one.argmax()))
        planned.append(int(two.argmax()))
        if parts is None and plain[-1] != planned[-1]:
            parts, odds = place, (np.exp(log_softmax(one[None])[0]), np.exp(log_softmax(two[None])[0]))
        yield Writing(tuple(plain[len(prompt) :]), tuple(planned[len(prompt) :]), parts, odds)


def _next(network: Network, tokens: Sequence[int], changed: Mapping[str, Override]) -> NDArray[np.float32]:
    """Return the logits (vocabulary,) of the token that follows; inputs have the form of the task's."""
    batches = [*split_batch(text_inputs(network, tokens))]
    outputs = join_batches([*finite_outputs(network.executor, network.model.layers, changed, batches)])
    found: NDArray[np.float32] = pick_output(outputs, None, "logits")[0, -1]
    return found
