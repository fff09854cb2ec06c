"""A text as a language model takes it, and the texts of its task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from quant_engine.checks import as_integer
from quant_engine.errors import QuantError
from quant_engine.inputs import Inputs
from quant_engine.network import Network
from quant_engine.tasks import NextToken
from quant_engine.tasks.next_token import MASK, TOKENS, tokens_of


def text_inputs(network: Network, tokens: Sequence[int]) -> Inputs:
    """Return tokens of one text in the form in which the task gives its own: an array (1, length), or that by name.

    Raises:
        QuantError: for a network that predicts no next token, and for no tokens.
    """
    task = _next_token(network)
    if not len(tokens):
        raise QuantError("the text has no tokens; give at least one")
    ids = np.array([tokens], np.int64)
    named = isinstance(next(iter(task.batches(min(task.splits)))).inputs, Mapping)
    return network.model.as_inputs({TOKENS: ids} if named else ids)


def task_text(network: Network, split: str, most: int) -> tuple[int, ...]:
    """Return the first tokens of the first text of a split, at most so many; those under a mask of 0 are left out.

    Raises:
        QuantError: for a network that predicts no next token, and a split there is not.
    """
    inputs = next(iter(_next_token(network).batches(split))).inputs
    tokens = tokens_of(inputs)[0]
    if isinstance(inputs, Mapping) and MASK in inputs:
        tokens = tokens[inputs[MASK][0] != 0]
    return tuple(int(token) for token in tokens[: as_integer(most, "most", 1)])


def _next_token(network: Network) -> NextToken:
    if not isinstance(task := network.given_task, NextToken):
        raise QuantError(f"{network.name} predicts no next token; give a causal language model")
    return task
