"""The maps of lesson 9, and the block that is looked into: its values, levels and range, which a hand may set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from explorer import charts, compute, controls
from explorer.caches import ResultKey
from explorer.figures.maps import Rectangle, Sight, describe_map, range_map, signed_map
from explorer.instrument import Move, instrument
from explorer.instrument.words import describe_curve
from explorer.lessons.framework.model import Bench
from explorer.lessons.framework.prose import read_prose
from explorer.lessons.framework.quantized_subject import coded
from explorer.lessons.granularity import granularity_controls
from explorer.notation import count, short
from explorer.payloads import InstrumentSetting, Mark, statistics
from explorer.results import BlockView, ends, view_of
from explorer.sentences import capital
from explorer.tensors import Subject
from quant_engine import Distribution, MinMax, MinMSE, Percentile, PerTensor, Quantizer, QuantizerSpec, fit
from quant_engine.clipping import Clipping
from quant_engine.granularity import BlockGrid

SLUG = granularity_controls.SLUG
MAX_ROWS, MAX_COLUMNS = 192, 640  # cells in sight
FULL = 99.5  # per cent of the values within full colour
MARKS: dict[str, Clipping] = {"min–max": MinMax(), "99 %": Percentile(99.0), "least MSE": MinMSE()}


@dataclass(frozen=True, eq=False)
class QuantizedBlocks:
    """A tensor in blocks, quantized: errors of its values; range and mean squared error of every block, row-major."""

    grid: BlockGrid
    errors: NDArray[np.float32]
    ranges: NDArray[np.float64]
    mse: NDArray[np.float64]

    def box(self, block: int) -> Rectangle:
        """Return where a block lies, as edges."""
        rows, columns = self.grid.slices(block)
        return columns.start, rows.start, columns.stop, rows.stop


def blocks_of(subject: Subject, spec: QuantizerSpec) -> QuantizedBlocks:
    """Return a tensor's blocks under a spec, kept for a while."""

    def work() -> QuantizedBlocks:
        x, quantizer = subject.matrix, coded(subject, spec).quantizer
        grid = spec.granularity.blocks(x.shape)
        errors = quantizer.fake_quantize(x) - x
        sums = np.add.reduceat(np.square(grid.flatten(errors), dtype=np.float64), grid.offsets[:-1])
        mse = grid.to_grid(sums / np.diff(grid.offsets)).reshape(-1)
        return QuantizedBlocks(grid, errors, _ranges(quantizer), mse)

    return compute.kept(ResultKey("blocks", subject.key, spec), work)


def _ranges(quantizer: Quantizer) -> NDArray[np.float64]:
    """Return the outermost levels (blocks, 2); of symmetric codes with a sign it is [−β, β]."""
    form, scale = quantizer.spec.format, quantizer.scale.astype(np.float64).reshape(-1)
    zero = quantizer.zero_point.reshape(-1)
    low = -scale * form.qmax if quantizer.spec.symmetric else scale * (form.qmin - zero)
    return np.stack([low, scale * (form.qmax - zero)], axis=1)


def dead_rows(x: NDArray[np.float32], x_hat: NDArray[np.float32]) -> int:
    """Return how many rows come back as zeros alone, though they are not."""
    return int((x.any(axis=1) & ~x_hat.any(axis=1)).sum())


def maps(bench: Bench, spec: QuantizerSpec, block: int, edits: granularity_controls.Edits) -> None:
    """Draw values, errors (once something is predicted) and ranges, with the blocks; a click chooses one."""
    words, subject, found = read_prose(SLUG).laboratory, bench.subject, blocks_of(bench.subject, spec)
    seen = _window(found, block)
    sight = _sight(found, block, edits, seen, _axes(subject))
    canvas = charts.canvas(subject.key, str(seen))
    x, errors = subject.matrix[seen], found.errors[seen]
    reaches = (found.ranges[:, 1] - found.ranges[:, 0]) / (2 if spec.symmetric else 1)
    shown = np.where(coded(subject, spec).quantizer.scale.reshape(-1) > 0, reaches, 0.0)[sight.numbers]
    left, middle, right = st.columns(3, gap="small")
    with left:
        title = words["map_values"]
        _show(signed_map(title, x, _full(x), sight, canvas), "values", describe_map(title, x, sight))
    with middle:
        title = words["map_ranges" if spec.symmetric else "map_widths"]
        _show(range_map(title, shown, sight, canvas), "ranges", describe_map(title, shown, sight))
    with right:
        if bench.predicted:
            title = words["map_errors"]
            _show(signed_map(title, errors, _full(errors), sight, canvas), "errors", describe_map(title, errors, sight))
        else:
            st.info(words["errors_locked"], icon=":material/lock:")
    st.caption(_caption(subject, sight, bool(edits)))


def _show(figure: object, name: str, alt: str) -> None:
    charts.pick(figure, f"{SLUG}_chart_{name}", alt, _picked)


def _picked(row: Sequence[float]) -> None:
    """Look into the block that was clicked, whose number leads its data (a callback)."""
    controls.assign({granularity_controls.BLOCK.key: int(row[0])})


def said_of(subject: Subject, name: str) -> str:
    """Return a phrase that is another one for a weight, whose rows are channels, than for other tensors."""
    return read_prose(SLUG).laboratory[f"{name}_{'weight' if subject.is_weight else 'other'}"]


def _axes(subject: Subject) -> tuple[str, str]:
    """Return what a row and a column of the matrix are."""
    return said_of(subject, "axis_row"), said_of(subject, "axis_column")


def _caption(subject: Subject, sight: Sight, edited: bool) -> str:
    words, (rows, columns) = read_prose(SLUG).laboratory, subject.matrix.shape
    said = [said_of(subject, "maps").format(Tensor=capital(subject.title), rows=count(rows), columns=count(columns))]
    said.append(words["maps_click" if sight.targets else "maps_many"])
    if edited:
        said.append(words["maps_edited"])
    if (sight.rows[-1] - sight.rows[0], sight.columns[-1] - sight.columns[0]) != (rows, columns):
        said.append(words["maps_part"].format(first=count(int(sight.rows[0])), last=count(int(sight.rows[-1]) - 1)))
    return " ".join(said)


def _window(found: QuantizedBlocks, block: int) -> tuple[slice, slice]:
    """Return the part of the matrix that is in sight: all of it, or the screenful that holds the block."""
    rows, columns = (
        slice(start := where.start // limit * limit, min(start + limit, size))
        for where, limit, size in zip(found.grid.slices(block), (MAX_ROWS, MAX_COLUMNS), found.grid.shape, strict=True)
    )
    return rows, columns


def _sight(
    found: QuantizedBlocks,
    block: int,
    edits: granularity_controls.Edits,
    seen: tuple[slice, slice],
    names: tuple[str, str],
) -> Sight:
    """Return the blocks in sight: their edges, numbers and what is said of them."""
    grid, edges, among = found.grid, [], []
    for part, length, size in zip(seen, grid.block, grid.shape, strict=True):
        first, last = part.start // length, -(-part.stop // length)
        inner = np.minimum(np.arange(first, last + 1) * length, size)
        edges.append(np.clip(inner, part.start, part.stop))
        among.append(np.arange(first, last))
    numbers = among[0][:, None] * grid.grid[1] + among[1][None, :]
    told = np.concatenate([found.ranges, found.mse[:, None]], axis=1)[numbers]
    boxes = [box for box in map(found.box, edits) if box[3] > seen[0].start and box[1] < seen[0].stop]
    return Sight(edges[0], edges[1], numbers, told, found.box(block), boxes, names)


def _full(values: NDArray[np.float32]) -> float:
    return float(np.percentile(np.abs(values), FULL)) or float(np.abs(values).max()) or 1.0


def chosen_block(blocks: int) -> int:
    """Draw the number of the block that is looked into, and return it."""
    if blocks == 1:
        return 0
    controls.hold(granularity_controls.BLOCK, blocks - 1)
    return min(controls.show(granularity_controls.BLOCK), blocks - 1)


def waiting_block(blocks: int) -> int:
    """Return the block that is about to be chosen: its control is drawn below the maps."""
    asked = st.session_state.get(
        granularity_controls.BLOCK.key, st.query_params.get(granularity_controls.BLOCK.key, "0")
    )
    return min(int(asked), blocks - 1) if str(asked).isdecimal() else 0


def look_inside(bench: Bench, spec: QuantizerSpec, edits: granularity_controls.Edits) -> tuple[int, BlockView]:
    """Draw one block with the instrument, whose range a hand may set for this block alone; return what is drawn."""
    words, subject = read_prose(SLUG).laboratory, bench.subject
    edited = granularity_controls.edited_spec(subject, spec, edits)
    found = blocks_of(subject, edited)
    st.subheader(words["inside_title"])
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium", key=f"{SLUG}_inside"):
        block = chosen_block(found.grid.count)
        _undo(subject, spec, edits, block)
    values = subject.matrix[found.grid.slices(block)].reshape(-1)
    view = _view(subject, edited, block, values)
    st.markdown(_where(subject, found, block, edits))
    _instrument(bench, edited, block, view, values, _moved(subject, spec, edits, block))
    return block, view


def _undo(subject: Subject, spec: QuantizerSpec, edits: granularity_controls.Edits, block: int) -> None:
    """Offer the way back: for this block, and for all."""
    words = read_prose(SLUG).laboratory
    others = {number: range_ for number, range_ in edits.items() if number != block}
    st.button(
        words["back"],
        key=f"{SLUG}_back",
        icon=":material/undo:",
        disabled=block not in edits,
        on_click=granularity_controls.keep_edits,
        args=(subject, spec, others),
    )
    st.button(
        words["back_all"].format(n=len(edits)),
        key=f"{SLUG}_back_all",
        icon=":material/restart_alt:",
        disabled=not edits,
        on_click=granularity_controls.keep_edits,
        args=(subject, spec, {}),
    )


def _where(subject: Subject, found: QuantizedBlocks, block: int, edits: granularity_controls.Edits) -> str:
    """Say where the block lies, what its range is and who chose it."""
    words, (rows, columns) = read_prose(SLUG).laboratory, found.grid.slices(block)
    lo, hi = found.ranges[block]
    return words["inside_by_hand" if block in edits else "inside"].format(
        block=count(block),
        blocks=count(found.grid.count),
        rows=_span(_axes(subject)[0], rows),
        columns=_span(_axes(subject)[1], columns),
        n=count((rows.stop - rows.start) * (columns.stop - columns.start)),
        lo=short(float(lo)),
        hi=short(float(hi)),
        mse=short(float(found.mse[block])),
    )


def _span(name: str, part: slice) -> str:
    plural = f"{name}s" if not name.startswith("place") else "places"
    last = part.stop - 1
    return f"{name} {part.start}" if last == part.start else f"{plural} {part.start} to {last}"


def _distribution(subject: Subject, spec: QuantizerSpec, block: int, values: NDArray[np.float32]) -> Distribution:
    exact = values.size <= compute.EXACT_UP_TO
    return compute.kept(_key("inside", subject, spec, block), lambda: Distribution(values, exact=exact))


def _key(question: str, subject: Subject, spec: QuantizerSpec, block: int, *more: object) -> ResultKey:
    """Return what names a result on one block, whatever the spec does with others."""
    return ResultKey(question, subject.key, spec.granularity, block, *more)


def _view(subject: Subject, spec: QuantizerSpec, block: int, values: NDArray[np.float32]) -> BlockView:
    shown, quantizer = _distribution(subject, spec, block, values), coded(subject, spec).quantizer
    return view_of(values, quantizer, shown, block)


def _alone(values: NDArray[np.float32], spec: QuantizerSpec) -> dict[str, Quantizer]:
    """Return what every calibrator makes of one block."""
    return {
        name: fit(values, replace(spec, granularity=PerTensor(), clipping=clipping, scale_format=None))
        for name, clipping in MARKS.items()
    }


def _instrument(
    bench: Bench,
    spec: QuantizerSpec,
    block: int,
    view: BlockView,
    values: NDArray[np.float32],
    on_move: Callable[[Move], None],
) -> None:
    words, subject, form = read_prose(SLUG).laboratory, bench.subject, spec.format
    shown = _distribution(subject, spec, block, values)
    packed = compute.kept(_key("packed inside", subject, spec, block), lambda: statistics(values, shown))
    key = _key("alone", subject, spec, block, form, spec.symmetric)
    alone = compute.kept(key, lambda: _alone(values, spec))
    min_error = shown.error(alone["least MSE"].levels())
    instrument(
        f"{SLUG}_instrument",
        packed,
        InstrumentSetting(
            form.bits,
            form.signed,
            form.narrow,
            spec.symmetric,
            view.lo,
            view.hi,
            scale=view.scale if spec.scale_format is not None else None,
        ),
        [Mark(name, *ends(quantizer), name) for name, quantizer in alone.items()],
        on_move,
        view=view,
        unit=subject.unit,
        curve_alt=describe_curve(f"{form.bits} bits", view, min_error),
        note=words["inside_note"],
        bits=granularity_controls.BITS.ends,
    )


def _moved(
    subject: Subject, spec: QuantizerSpec, edits: granularity_controls.Edits, block: int
) -> Callable[[Move], None]:
    """Return what takes over a drag (a callback): the range of this block, and the bits of all."""

    def moved(move: Move) -> None:
        controls.assign({granularity_controls.BITS.key: move.bits})
        if move.range is not None and move.range[0] < move.range[1]:
            others = {number: range_ for number, range_ in edits.items() if number != block}
            granularity_controls.keep_edits(subject, spec, {**others, block: move.range})

    return moved
