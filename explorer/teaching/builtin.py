"""Questions about the built-in networks: the engine works out each truth when a class is opened."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from explorer import compute, model_scores, tensors
from explorer.caches import ResultKey
from explorer.language import language, languages, read_words, speaking
from explorer.notation import accuracy, count, share, short
from explorer.sources import MODELS, ModelKey
from explorer.teaching.histogram import Histogram
from explorer.teaching.questions import Question, Wording
from quant_engine import E2M1, NF4, IntFormat, MinMax, MinMSE, QuantError, QuantizerSpec, fit, power_of_two

MODEL, LAYER, FRAGILE = "fashion-cnn", "conv2", "fashion-depthwise"
AFTER_RELU, OF_PUZZLE = "conv3", "fc1"
FOUR_BITS, EIGHT_BITS = 4, 8
INT4 = IntFormat(FOUR_BITS, narrow=True)  # symmetric: β is 7 scales
STEPS = INT4.qmax
FOUR = {"INT4": INT4, "FP4 (E2M1)": E2M1, "NF4": NF4, "2^k": power_of_two(FOUR_BITS)}
TIE, NEAR = 1.02, 1.1  # of the least error: as good as it, and near enough to it
MAX_CLIPPED = 0.01
MAX_SHOWN = 60  # characters of a question in a menu
POINTS, VALUES = 10.0, 16.0  # that an answer may be off
TIMES = {"same": 1.0, "half": 2.0, "quarter": 4.0, "sixteenth": 16.0}


def question_named(name: str) -> Question:
    """Return a question, its truth worked out by the engine, in the reader's language and worded in all others.

    Raises:
        QuantError: if there is none of this name.
    """
    if name not in QUESTIONS:
        raise QuantError(f"there is no question {name[:40]!r}; choose one of {', '.join(QUESTIONS)}")
    said = {code: _said(name, code) for code in languages()}
    wordings = [Wording(code, one.text, one.reveal, one.options) for code, one in said.items()]
    return replace(said[language()], name=name, wordings=tuple(wordings))


@functools.cache
def _said(name: str, code: str) -> Question:
    """Return a question in one language; what it is about comes with the app, and stays."""
    with speaking(code):
        return QUESTIONS[name](read_words("classroom")["questions"][name])


def question_of(given: str | Question) -> Question:
    """Return what a slide asks: the question of a name, or one that a teacher has written.

    Raises:
        QuantError: as `question_named`.
    """
    return question_named(given) if isinstance(given, str) else given


def is_known(given: str | Question) -> bool:
    """Say whether a slide asks something that this version knows."""
    return isinstance(given, Question) or given in QUESTIONS


def title_of(given: str | Question) -> str:
    """Return what a question is called in menus: a teacher's own begins with its text."""
    if isinstance(given, Question):
        return given.text if len(given.text) <= MAX_SHOWN else f"{given.text[:MAX_SHOWN]}…"
    return str(read_words("classroom")["questions"][given]["title"])


def _range(words: Mapping[str, Any]) -> Question:
    """Ask for the β of least error."""
    values = compute.matrix(_model(), LAYER)
    spec = QuantizerSpec(INT4, clipping=MinMSE())
    best, plain = (compute.outcome(_model(), LAYER, each) for each in (spec, replace(spec, clipping=MinMax())))
    histogram, beta = Histogram.of(values), STEPS * best.largest_scale
    near = NEAR * histogram.mse(beta, STEPS)
    good = [beta, *(edge for edge in histogram.betas if histogram.mse(edge, STEPS) <= near)]
    return Question(
        "range",
        words["text"].format(n=count(values.size), layer=LAYER, model=MODEL),
        beta,
        words["reveal"].format(
            beta=short(beta),
            ratio=short(plain.report.mse / best.report.mse),
            far=short(_most(values)),
            low=short(min(good)),
            high=short(max(good)),
            near=share(NEAR - 1),
        ),
        histogram=histogram,
        bits=FOUR_BITS,
        format="INT4",
        steps=STEPS,
        accepted=(min(good), max(good)),
    )


def _accuracy(words: Mapping[str, Any]) -> Question:
    """Ask what is left of a network's accuracy at four bits and one scale a layer."""
    model = _model(FRAGILE)
    plain, found = (model_scores.score(model, spec) for spec in (None, QuantizerSpec(INT4)))
    return Question(
        "number",
        words["text"].format(model=FRAGILE, plain=accuracy(plain.value)),
        100 * found.value,
        words["reveal"].format(found=accuracy(found.value), plain=accuracy(plain.value), n=count(found.n)),
        unit="%",
        low=0,
        high=100,
        tolerance=POINTS,
    )


def _formats(words: Mapping[str, Any]) -> Question:
    """Ask which of four formats of four bits has the least error on a tensor."""
    errors = {name: compute.outcome(_model(), LAYER, QuantizerSpec(form)).report.mse for name, form in FOUR.items()}
    names, least = list(errors), min(errors.values())
    best = min(errors, key=errors.__getitem__)
    tied = [place for place, name in enumerate(names) if name != best and errors[name] <= TIE * least]
    called = {name: words["options"].get(name, name) for name in names}
    told = ", ".join(
        f"{called[name]} {short(error)}" for name, error in sorted(errors.items(), key=lambda item: item[1])
    )
    return Question(
        "choice",
        words["text"].format(layer=LAYER, model=MODEL),
        names.index(best),
        words["reveal"].format(best=called[best], errors=told),
        options=tuple(called.values()),
        ties=tuple(tied),
    )


def _values(words: Mapping[str, Any]) -> Question:
    """Ask how many of the codes of eight bits are used."""
    found = compute.outcome(_model(), LAYER, QuantizerSpec(IntFormat(EIGHT_BITS)))
    return Question(
        "number",
        words["text"].format(
            n=count(compute.matrix(_model(), LAYER).size), layer=LAYER, total=count(found.codes_total)
        ),
        found.codes_used,
        words["reveal"].format(used=count(found.codes_used), total=count(found.codes_total)),
        low=1,
        high=found.codes_total,
        tolerance=VALUES,
    )


def _puzzle(words: Mapping[str, Any]) -> Question:
    """Ask for a β that clips little and still has a small error."""
    histogram = Histogram.of(compute.matrix(_model(), OF_PUZZLE))
    widest = histogram.mse(histogram.edges[-1], STEPS)
    errors = {
        edge: histogram.mse(edge, STEPS) / widest for edge in histogram.betas if histogram.clipped(edge) <= MAX_CLIPPED
    }
    beta = min(errors, key=errors.__getitem__)
    goal = math.ceil(errors[beta] * 20 + 0.2) / 20  # the next twentieth with a little room
    good = [edge for edge, error in errors.items() if error <= goal]
    told = {"beta": beta, "low": min(good), "high": max(good)}
    return Question(
        "puzzle",
        words["text"].format(clipped=share(MAX_CLIPPED), error=share(goal), layer=OF_PUZZLE),
        beta,
        words["reveal"].format(
            clipped=share(histogram.clipped(beta)),
            error=share(errors[beta]),
            **{name: short(value) for name, value in told.items()},
        ),
        histogram=histogram,
        accepted=(min(good), max(good)),
        bits=FOUR_BITS,
        format="INT4",
        steps=STEPS,
        max_clipped=MAX_CLIPPED,
        max_error=goal,
    )


def _asymmetric(words: Mapping[str, Any]) -> Question:
    """Ask what an asymmetric range does to the error of what a ReLU gives."""
    subject = tensors.subject("layer inputs", _model(), AFTER_RELU)
    wide_format = IntFormat(FOUR_BITS, signed=False)
    signed, wide = (
        _error(subject, spec)
        for spec in (QuantizerSpec(IntFormat(FOUR_BITS)), QuantizerSpec(wide_format, symmetric=False))
    )
    times = signed / wide
    nearest = min(TIMES, key=lambda name: abs(math.log(times / TIMES[name])))
    return Question(
        "choice",
        words["text"].format(layer=AFTER_RELU),
        list(TIMES).index(nearest),
        words["reveal"].format(ratio=short(times)),
        options=tuple(words["options"][name] for name in TIMES),
    )


def _error(subject: tensors.Subject, spec: QuantizerSpec) -> float:
    """Return the mean squared error of a tensor under a spec, kept."""
    key = ResultKey("class", subject.key, spec)
    return compute.kept(key, lambda: fit(subject.matrix, spec).measure(subject.matrix).mse)


def _model(name: str = MODEL) -> ModelKey:
    return MODELS.key(name)


def _most(values: NDArray[np.float32]) -> float:
    return float(np.abs(values).max())


QUESTIONS: dict[str, Callable[[Mapping[str, Any]], Question]] = {
    "codes_used": _values,
    "best_range": _range,
    "four_formats": _formats,
    "one_scale": _accuracy,
    "asymmetric": _asymmetric,
    "clip_little": _puzzle,
}
