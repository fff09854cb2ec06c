"""What the pages show, computed by the engine and kept: the one file that caches.

Results are known by a `ResultKey`; arrays are never hashed and are read-only.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, MutableMapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TypeVar

import numpy as np
import streamlit as st
from numpy.typing import NDArray
from streamlit.runtime.scriptrunner import get_script_run_ctx

from explorer import access, notation
from explorer.background import Scheduler, Session
from explorer.background.limits import Limit, Limits
from explorer.caches import PACKAGES, ResultKey, cached
from explorer.language import read_words
from explorer.measured import kept_of
from explorer.memory import available_bytes, memory_bytes
from explorer.payloads import Mark, Statistics, statistics
from explorer.results import BlockView, Compared, Outcome, encode_ns, ends, outcome_of, view_of
from explorer.sources import MODELS, ModelKey
from explorer.status import Status
from quant_engine import (
    Distribution,
    ErrorReport,
    MinMax,
    MinMSE,
    PerTensor,
    QuantError,
    Quantizer,
    QuantizerSpec,
    fit,
)
from quant_engine.caches import ByteCache, buffers_of, size_of
from quant_engine.clipping import Blocks, Clipping
from quant_engine.execution import STAGE_INPUTS
from quant_engine.granularity import Granularity
from quant_engine.network import Network, Score
from quant_engine.quantizer import fit_blocks, measure_in_order
from quant_engine.quantizer.codecs.blockwise import BlockwiseCodec
from quant_engine.quantizer.in_order import MAX_LEVELS
from quant_engine.studies import AttributionKey, ModelCard, TensorStatistics, tensor_statistics
from quant_engine.studies.pack_card import PackCard

SESSION_KEY = "background"
MAX_BYTES = 128 << 20
CACHE = ByteCache(MAX_BYTES, PACKAGES, spares_largest=True)
MIN_BYTES = 1 << 30  # that results of all sessions may take, however little memory is free
EXACT_UP_TO = 1 << 22  # values; a sorted index is built in some 20 ms up to here
HISTOGRAM_LEVELS = 256  # more than a histogram tells apart: of a large tensor they are measured by a pass over it

T = TypeVar("T")


def kept(key: ResultKey, work: Callable[[], T]) -> T:
    """Return what `work` computes, at most once for a key."""
    return CACHE.get(key, work)


def at_hand(key: ResultKey) -> bool:
    """Say whether a result is kept."""
    return key in CACHE


def network(model: ModelKey) -> Network:
    """Return an opened network."""
    return MODELS.network(model)


def require_task(model: ModelKey) -> None:
    """Refuse to go on where nothing can be measured.

    Raises:
        QuantError: for a model without a task.
    """
    if network(model).task is None:
        raise QuantError(f"{name(model)} has no task, so there is no data to run it on and no score")


def name(model: ModelKey) -> str:
    """Return what links, code and prose call a model."""
    return MODELS.name(model)


@cached(CACHE)
def statistics_of(model: ModelKey, layer: str) -> TensorStatistics:
    """Return the statistics of a layer's weight, which is not kept for them."""
    return tensor_statistics(network(model).weight(layer))


@cached(CACHE)
def attributions(model: ModelKey) -> MutableMapping[AttributionKey, Mapping[str, Score]]:
    """Return where studies keep what they measure: on a person's own machine where commands and later sessions look."""
    if access.may_name_anything() and network(model).task is not None:
        with suppress(QuantError):  # of a folder that takes no files: then this process alone remembers
            return kept_of(network(model))
    return {}


@cached(CACHE)
def matrix(model: ModelKey, layer: str) -> NDArray[np.float32]:
    """Return a layer's weight in the view (out, everything else)."""
    info = network(model).layers()[layer]
    return network(model).weight(layer).reshape(info.matrix_shape)


@cached(CACHE)
def blocks(model: ModelKey, layer: str, granularity: Granularity) -> Blocks:
    """Return a layer's weight in blocks, which keep what is found of their values."""
    values = matrix(model, layer)
    grid = granularity.blocks(values.shape)
    return Blocks(grid.flatten(values), grid)


@cached(CACHE)
def _one_block(model: ModelKey, layer: str, granularity: Granularity, block: int) -> Blocks:
    """Return one block of a layer's weight, as `blocks` does all."""
    every = granularity.blocks(matrix(model, layer).shape)
    if every.count == 1:
        return blocks(model, layer, PerTensor())
    values = matrix(model, layer)[every.slices(block)]
    return Blocks(np.ascontiguousarray(values).reshape(-1), PerTensor().blocks(values.shape))


def value_range(model: ModelKey, layer: str) -> tuple[float, float]:
    """Return the least and the greatest value of a layer's weight."""
    [(low, high)] = blocks(model, layer, PerTensor()).extremes.tolist()
    return low, high


@cached(CACHE)
def outcome(model: ModelKey, layer: str, spec: QuantizerSpec) -> Outcome:
    """Quantize a layer's weight."""
    values, quantizer = matrix(model, layer), fitted(model, layer, spec)
    counts, report = _measured_in_order(model, layer, quantizer)
    return outcome_of(values, quantizer, report, counts)


@cached(CACHE)
def in_order(model: ModelKey, layer: str) -> Distribution:
    """Return a layer's values in order, which take as much again as its weight, and as much while they are sorted."""
    return Distribution(matrix(model, layer), exact=True)


def is_sorted(model: ModelKey, layer: str) -> bool:
    """Say whether a layer's values are at hand in order."""
    return at_hand(ResultKey("in_order", model, layer))


def answers_in_order(model: ModelKey, layer: str, spec: QuantizerSpec) -> bool:
    """Say whether what a spec does to a large tensor follows sooner from its values in order."""
    size, form = matrix(model, layer).size, spec.format
    one = spec.granularity.blocks(matrix(model, layer).shape).count == 1
    return one and size > EXACT_UP_TO and form.even and 1 << form.bits <= MAX_LEVELS and spec.rounding == "nearest"


def _measured_in_order(
    model: ModelKey, layer: str, quantizer: Quantizer
) -> tuple[NDArray[np.int64], ErrorReport] | tuple[None, None]:
    """Return how often each code occurs in a whole tensor, and the error within 1e-10, if its values are in order."""
    if is_sorted(model, layer) and answers_in_order(model, layer, quantizer.spec):
        return measure_in_order(in_order(model, layer), quantizer)
    return None, None


@cached(CACHE)
def distribution(model: ModelKey, layer: str, granularity: Granularity, block: int) -> Distribution:
    """Return the statistics of one block's values, exact where that is quick."""
    known = _one_block(model, layer, granularity, block)
    if known.values.size > EXACT_UP_TO:
        return known.distribution
    return Distribution(block_values(model, layer, granularity, block), exact=True)


@cached(CACHE)
def block_view(model: ModelKey, layer: str, spec: QuantizerSpec, block: int) -> BlockView:
    """Return everything the main figure draws of one block."""
    result = outcome(model, layer, spec)
    values = block_values(model, layer, spec.granularity, block)
    shown = distribution(model, layer, spec.granularity, block)
    known = _one_block(model, layer, spec.granularity, block)
    return view_of(values, result.quantizer, shown, block, known, result)


@cached(CACHE)
def packed_statistics(model: ModelKey, layer: str, granularity: Granularity, block: int) -> Statistics:
    """Return what the instrument needs to know of one block's values."""
    shown = distribution(model, layer, granularity, block)
    return statistics(block_values(model, layer, granularity, block), shown)


@cached(CACHE)
def fitted(model: ModelKey, layer: str, spec: QuantizerSpec) -> Quantizer:
    """Return the fitted quantizer of a layer's weight."""
    if isinstance(spec.codec, BlockwiseCodec):
        return fit_blocks(blocks(model, layer, spec.granularity), spec)
    return fit(matrix(model, layer), spec)


def marks(model: ModelKey, layer: str, block: int, spec: QuantizerSpec, methods: Mapping[str, Clipping]) -> list[Mark]:
    """Return the range that every clipping method chooses for one block, as its outermost levels, if it has one."""
    found = []
    for method, clipping in methods.items():
        with suppress(QuantError):  # of a range that float32 does not hold
            fitted = _block_fitted(model, layer, block, replace(spec, clipping=clipping))
            found.append(Mark(method, *ends(fitted), method))
    return found


def min_error(model: ModelKey, layer: str, block: int, spec: QuantizerSpec) -> float | None:
    """Return the least mean squared error that any range gives one block, None where none is found."""
    shown = distribution(model, layer, spec.granularity, block)
    try:
        best = _block_fitted(model, layer, block, replace(spec, clipping=MinMSE()))
    except QuantError:
        return None
    levels = best.levels()
    if shown.size > EXACT_UP_TO and levels.size > HISTOGRAM_LEVELS:
        key = ResultKey("min_error", model, layer, block, spec)
        return kept(key, lambda: best.measure(block_values(model, layer, spec.granularity, block)).mse)
    return shown.error(levels)


def _block_fitted(model: ModelKey, layer: str, block: int, spec: QuantizerSpec) -> Quantizer:
    """Return a quantizer of one block alone."""
    alone = replace(spec, granularity=PerTensor())
    key = ResultKey("block", model, layer, block, spec)
    return kept(key, lambda: fit_blocks(_one_block(model, layer, spec.granularity, block), alone))


def block_values(model: ModelKey, layer: str, granularity: Granularity, block: int) -> NDArray[np.float32]:
    """Return the values of one block."""
    values = matrix(model, layer)
    return values[granularity.blocks(values.shape).slices(block)]


def reference_report(model: ModelKey, layer: str, spec: QuantizerSpec) -> ErrorReport | None:
    """Return the error of the same spec under min–max, where that is another and there is one."""
    plain = replace(spec, clipping=MinMax())
    if plain == spec:
        return None
    try:
        quantizer = fitted(model, layer, plain)
    except QuantError:
        return None
    return kept(
        ResultKey("report", model, layer, plain),
        lambda: _measured_in_order(model, layer, quantizer)[1] or quantizer.measure(matrix(model, layer)),
    )


def compared(
    model: ModelKey, layer: str, spec: QuantizerSpec, title: str, edges: tuple[NDArray[np.float64], NDArray[np.float64]]
) -> Compared:
    """Return what one of several settings does to a tensor, counted in bins of values and of errors."""
    result, values = outcome(model, layer, spec), matrix(model, layer)

    def measured() -> float:
        return encode_ns(values, result.quantizer)

    def counted() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        back = result.quantizer.fake_quantize(values)
        return np.histogram(back, edges[0])[0], np.histogram(back.astype(np.float64) - values, edges[1])[0]

    speed = kept(ResultKey("encode", model, layer, spec), measured)
    returned, errors = kept(ResultKey("compared", model, layer, spec, edges[0].size, float(edges[1][-1])), counted)
    return Compared(title, result, returned, errors, speed)


def pack_card(model: ModelKey) -> PackCard | None:
    """Return the measured scores that come with a pack, None for other models."""
    return MODELS.pack_card(model)


@st.cache_resource(max_entries=8, show_spinner=False)
def card(model: ModelKey) -> ModelCard:
    """Return the measured accuracies that are committed with a built-in model."""
    return MODELS.card(model)


@st.cache_resource(show_spinner=False)
def scheduler() -> Scheduler:
    """Return what does the work of all sessions in the background; results may take half of the memory that is free."""
    most = max(MIN_BYTES, (available_bytes() or 0) // 2)
    reached = partial(buffers_of, packages=PACKAGES)
    return Scheduler(limits=Limits(size_bytes=most // 4, all_bytes=most), refused=_refused, reached=reached)


def _refused(limit: Limit, most: int) -> QuantError:
    """Return why work is refused: one session, or all together, have the most there may be."""
    return QuantError(
        read_words("frame")["refusals"][limit].format(most=notation.count(most), mib=notation.count(most >> 20))
    )


@st.cache_resource(show_spinner=False)
def _program() -> Session:
    """Return what stands for a session in a program without one."""
    return Session(scheduler())


def session() -> Session:
    """Return what this session waits for in the background; when it goes, it leaves everything."""
    found: Session
    if get_script_run_ctx(suppress_warning=True) is None:
        found = _program()
    else:
        found = st.session_state.setdefault(SESSION_KEY, Session(scheduler()))
        _tied(found)
    found.enter()
    return found


def hold(what: Hashable, held: object) -> None:
    """Count what this session is about to hold besides results of its work; None is let go of.

    Raises:
        QuantError: if it is too much, beside what it holds already.
    """
    session().hold(what, size_of(held, PACKAGES))


@st.cache_resource(scope="session", show_spinner=False, on_release=Session.release)
def _tied(_session: Session) -> Session:
    """Tie work to the session, whose end releases it."""
    return _session


def open_page(page: str) -> None:
    """Count the session that opens a page, if it is one: a program may import the entry script without."""
    if get_script_run_ctx(suppress_warning=True) is not None:
        session().open(page)


def sample_unit(model: ModelKey) -> str:
    """Return what a sample of the model's data is called, such as "image"."""
    task = network(model).task
    return "sample" if task is None else task.unit


def samples(model: ModelKey, split: str) -> str:
    """Return how many samples a split of the model's data has, as "2,000 test images"."""
    task = network(model).task
    return f"no {split} data" if task is None else f"{notation.count(task.count(split))} {split} {task.unit}s"


def status() -> Status:
    """Return what the server holds, for whoever runs a class."""
    return Status(
        len(scheduler().sessions), memory_bytes(), CACHE.usage(), STAGE_INPUTS.size_bytes, STAGE_INPUTS.max_bytes
    )
