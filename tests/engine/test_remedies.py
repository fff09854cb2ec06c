"""What a refusal advises is done here, and has to be taken: as often as needed, and never round in a circle."""

import itertools
import re
from dataclasses import replace

import numpy as np
import pytest

import quant_engine as qe

FORMATS = [
    qe.IntFormat(4),
    qe.FixedPointFormat(2, 5),
    qe.E2M1,
    qe.FP16,
    qe.NF4,
    qe.BlockFormat("Q4_0"),
    qe.BlockFormat("Q8_0"),
    qe.KMeans(3),
    qe.VectorCodebook(8, 4),
    qe.ProductCodebook(4, 4, 2),
]
GRANULARITIES = [
    qe.PerTensor(),
    qe.PerChannel(1),
    qe.PerChannelGroup(5),
    qe.PerGroup(32),
    qe.PerGroup(32, remainder="pad"),
    qe.PerGroup(3, axis=0),
    qe.PerBlock(5, 4),
    qe.PerBlock(5, 4, axes=(0, 1)),
    qe.PerToken(),
    qe.PerSample(qe.PerGroup(32)),
]
SHAPES = [(), (5,), (64,), (6, 35), (32, 64), (4, 3, 10), (32, 3, 3, 3), (8, 32, 3, 3), (64, 1, 1, 1), (16, 32, 1, 1)]
CHOICES = [
    {},
    {"scale_format": qe.E8M0},
    {"scale_format": qe.E8M0, "symmetric": False},
    {"symmetric": False, "clipping": qe.MinKL(bins=40)},
    {"clipping": qe.ACIQ(), "rounding": "floor"},
    {"clipping": qe.MinMSE(), "scale_format": qe.E4M3},
]
NAMES = {name: getattr(qe, name) for name in qe.__all__}
LENGTHS = {"group size": "size", "channel group": "channels", "block of rows": "rows", "block of columns": "columns"}
GIVEN = r"(granularity|symmetric|clipping|scale_format|rounding)=([\w.]+\(.*?\)\)?|'\w+'|\"\w+\"|True|None)"


def with_length(part, name, length):
    """Return a granularity (or the one within it) with another block length."""
    if isinstance(part, qe.PerSample):
        return qe.PerSample(with_length(part.inner, name, length))
    return replace(part, **{name: length})


def with_remainder(parts, value):
    """Return the parts of a spec with what is left over cut short or padded."""
    if hasattr(parts["format"], "remainder"):
        return {**parts, "format": replace(parts["format"], remainder=value)}
    return {**parts, "granularity": with_length(parts["granularity"], "remainder", value)}


def largest_divisor(of, below):
    return max(n for n in range(1, min(of, below) + 1) if of % n == 0)


def remedies(message, parts, w):
    """Yield what each remedy of a message makes of the parts of a spec and of a weight."""
    problem, _, advice = message.partition("; ")
    for alternative in re.split(r",? or (?=use|give|choose|remainder|Per)|; or |, (?=\"pad\")", advice):
        taken, given, known = dict(parts), w, False
        if "w.reshape" in alternative:
            given, known = eval(re.search(r"w\.reshape\((len\(w\), )?-?\d+\)", alternative)[0]), True
        for value in re.findall(r'"(short|pad)"(?!\))', alternative):
            taken, known = with_remainder(taken, value), True
        for name, value in re.findall(GIVEN, alternative):
            taken[name], known = eval(value, NAMES), True
        for name, table in (("granularity", qe.GRANULARITIES), ("clipping", qe.CLIPPINGS)):
            for value in re.findall(rf"(?:use |^)((?:{'|'.join(table)})\(.*?\)\)?)", alternative):
                taken[name], known = eval(value, NAMES), True
        if divisor := re.search(r"divisor of (\d+)", alternative):
            what = next((name for name in LENGTHS if problem.startswith(name)), None)
            if what is None:
                dim = largest_divisor(int(divisor[1]), parts["format"].dim)
                taken["format"], known = replace(parts["format"], dim=dim, **whole_parts(parts["format"])), True
            else:
                length = largest_divisor(int(divisor[1]), int(re.search(r"\d+", problem)[0]))
                taken["granularity"], known = with_length(parts["granularity"], LENGTHS[what], length), True
        if axis := re.search(r"choose one from (-?\d+) to (-?\d+)", alternative):
            name, value = ("axes", (-1, 0)) if isinstance(parts["granularity"], qe.PerBlock) else ("axis", int(axis[2]))
            taken["granularity"], known = with_length(parts["granularity"], name, value), True
        if alternative.startswith("choose two"):
            continue  # where there are any
        assert known, f"{alternative!r} cannot be tried, of {message!r}"
        yield taken, given


def whole_parts(form):
    return {"parts": 1} if isinstance(form, qe.ProductCodebook) else {}


def follow(parts, w, done, seen=()):
    """Quantize, or follow every remedy until all of them have led to a result; return how many were followed."""
    if (case := (*parts.items(), w.shape)) in done:
        return 0
    done.add(case)
    try:
        qe.fit(w, qe.QuantizerSpec(**parts))
    except qe.QuantError as error:
        message = str(error)
    else:
        return 0
    assert message not in seen, f"a circle: {[*seen, message]}"
    assert len(seen) < 6, seen
    followed = list(remedies(message, parts, w))
    assert followed, f"no remedy in {message!r}"
    return sum(1 + follow(taken, given, done, (*seen, message)) for taken, given in followed)


@pytest.mark.parametrize("form", FORMATS, ids=str)
def test_every_remedy_in_a_message_is_taken(form):
    followed, done = 0, set()
    shapes = itertools.product(GRANULARITIES, SHAPES, CHOICES[:1])
    for part, shape, choice in itertools.chain(shapes, itertools.product(GRANULARITIES, SHAPES[3:4], CHOICES)):
        w = np.linspace(-1, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape)
        try:
            followed += follow({"format": form, "granularity": part, **choice}, w, done)
        except AssertionError as error:
            error.add_note(f"{part} on {shape}, {choice}")
            raise
    assert followed > 50


def test_a_convolution_s_weight_is_advised_to_be_a_matrix_where_that_fits():
    w = np.linspace(-1, 1, 8 * 32 * 9, dtype=np.float32).reshape(8, 32, 3, 3)
    specs = [
        qe.QuantizerSpec(qe.BlockFormat("Q4_0")),
        qe.QuantizerSpec(qe.NF4, qe.PerGroup(32)),
        qe.QuantizerSpec(qe.E2M1, qe.PerGroup(32), scale_format=qe.E8M0),
        qe.QuantizerSpec(qe.IntFormat(4), qe.PerGroup(32)),
    ]
    for spec in specs:
        with pytest.raises(
            qe.QuantError, match=r"; give w\.reshape\(len\(w\), -1\), (for|with) rows of 288"
        ) as refusal:
            qe.quantize(w, spec)
        if isinstance(spec.format, qe.BlockFormat):
            assert "pad" not in str(refusal.value)
            assert "divisor" not in str(refusal.value)
        assert qe.quantize(w.reshape(len(w), -1), spec).bits_per_value <= 5.0
