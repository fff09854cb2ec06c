"""The samples that one of two plans gets right and the other wrong, those first whose margin moved most."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping

import numpy as np
import streamlit as st
from numpy.typing import NDArray
from PIL import Image

from explorer import compute
from explorer.language import read_words
from explorer.sources import ModelKey
from explorer.tokens import text_of
from quant_engine.studies import Flip, PairedComparison
from quant_engine.tasks import NextToken

MAX_ROWS, HEIGHT, MAX_SIDE = 200, 320, 256
CHANNELS = (1, 3)  # of pictures


def flips_table(model: ModelKey, split: str, found: PairedComparison) -> None:
    """Draw the samples that have flipped, with their pictures where they are pictures."""
    said = read_words("comparison")
    rows = [(said["broken"], flip) for flip in found.broken] + [(said["fixed"], flip) for flip in found.fixed]
    rows = sorted(rows, key=lambda row: -_size(row[1]))[:MAX_ROWS]
    if not rows:
        return
    columns = said["flip_columns"]
    listed: dict[str, list[object]] = {}
    if (pictures := _pictures(model, split)) is not None:
        listed[columns["picture"]] = [_as_url(pictures[flip.sample]) for _, flip in rows]
    listed[columns["sample"]] = [flip.sample for _, flip in rows]
    listed[columns["flip"]] = [kind for kind, _ in rows]
    if all(flip.predicted is not None for _, flip in rows):
        listed |= _predictions(model, [flip for _, flip in rows], columns)
    st.dataframe(
        listed,
        hide_index=True,
        height=HEIGHT,
        row_height=40,
        column_config={
            columns["picture"]: st.column_config.ImageColumn(width=60),
            **{columns[name]: st.column_config.NumberColumn(format="%.3g") for name in ("before", "after")},
        },
        alt=said["flips_alt"],
    )


def _size(flip: Flip) -> float:
    return 0.0 if math.isnan(flip.moved) else abs(flip.moved)


def _predictions(model: ModelKey, flips: list[Flip], columns: Mapping[str, str]) -> dict[str, list[object]]:
    """Return the columns of what is right, what is predicted, and by how much."""

    def named(place: int | None) -> object:
        return text_of(model, [place or 0]) if is_text else place

    is_text = isinstance(compute.network(model).task, NextToken)
    return {
        columns["right"]: [named(flip.right) for flip in flips],
        columns["was"]: [named(flip.predicted[0] if flip.predicted else None) for flip in flips],
        columns["now"]: [named(flip.predicted[1] if flip.predicted else None) for flip in flips],
        columns["before"]: [flip.margins[0] for flip in flips],
        columns["after"]: [flip.margins[1] for flip in flips],
    }


def _pictures(model: ModelKey, split: str) -> NDArray[np.float32] | None:
    """Return the inputs of a split (n, channels, height, width) if they look like pictures of labels."""
    given = [batch.inputs for batch in compute.network(model).given_task.batches(split)]
    arrays = [one for one in given if isinstance(one, np.ndarray) and one.dtype == np.float32 and one.ndim == 4]
    shapes = {one.shape[1:] for one in arrays}
    if len(arrays) < len(given) or len(shapes) != 1:
        return None
    channels, height, width = shapes.pop()
    return np.concatenate(arrays) if channels in CHANNELS and max(height, width) <= MAX_SIDE else None


def _as_url(picture: NDArray[np.float32]) -> str:
    """Return a picture (channels, height, width), its least value black and its greatest white, as a PNG in a URL."""
    low, high = float(picture.min()), float(picture.max())
    grey = (255 * (picture - low) / ((high - low) or 1.0)).astype(np.uint8)
    shown = grey[0] if len(grey) == 1 else np.moveaxis(grey, 0, -1)
    written = io.BytesIO()
    Image.fromarray(shown).save(written, "PNG")
    return f"data:image/png;base64,{base64.b64encode(written.getvalue()).decode()}"
