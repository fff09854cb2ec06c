"""What lessons say of a tensor is so on every tensor that a person can choose: worked out again, with numpy alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pytest

from explorer import tensors
from explorer.lessons import LESSONS
from explorer.lessons.centroids.learning import OPENING
from explorer.lessons.framework.prose import read_prose, words
from explorer.lessons.framework.scene import Held, Scene
from explorer.lessons.granularity.lesson import run_of
from explorer.sources import MODELS, Source
from explorer.tensors import Subject
from quant_engine import IntFormat, KMeans, ProductCodebook, QuantizerSpec
from quant_engine.network import from_module, load
from tests.engine.foreign import foreign_models
from tests.models import CNN_KEY, DEPTHWISE_KEY

NUMBER = re.compile(r"(?<![\w.])[−-]?\d[\d,]*(?:\.\d+)?(?:·10[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)?")
POWERS = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
LEAST = 0.005  # relative: numbers have three figures
near = partial(pytest.approx, rel=2 * LEAST, abs=1e-9)


@pytest.fixture(scope="module")
def menu() -> Iterator[dict[str, Subject]]:
    """Every tensor of the menu with both built-in models, and the weights of a model that the app does not know."""
    found = {name: tensors.subject(name, CNN_KEY, "conv3") for name in tensors.SYNTHETIC}
    for key, name in ((CNN_KEY, "fashion-cnn"), (DEPTHWISE_KEY, "fashion-depthwise")):
        for layer in load(name).layers():
            for source in tensors.REAL:
                one = tensors.subject(source, key, layer)
                found[str(one.key)] = one
    module, inputs = foreign_models()["residual"]
    MODELS.add("residual", Source(partial(from_module, module, example=inputs)))
    key = MODELS.key("residual")
    for layer in MODELS.network(key).layers():
        found[f"residual {layer}"] = tensors.subject("weights", key, layer)
    yield found
    MODELS.remove("residual")


def numbers(text: str) -> list[float]:
    """Every number of a sentence, in order."""
    return [read(found) for found in NUMBER.findall(text)]


def read(text: str) -> float:
    mantissa, _, power = text.replace("−", "-").replace(",", "").partition("·10")
    return float(mantissa) * 10.0 ** int(power.translate(POWERS) or 0)


def codes(x: np.ndarray, bits: int, signed: bool, symmetric: bool) -> tuple[np.ndarray, float, int, tuple[int, int]]:
    """What x is divided into before it is rounded: steps from code 0, with scale, zero point and the ends of codes."""
    least, most = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    lo, hi = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
    width = max(-lo, hi) / most if symmetric else (hi - lo) / (most - least)
    scale = np.float32(width)
    zero = 0 if symmetric else int(np.clip(np.rint(least - lo / width), least, most))
    return x / scale, float(scale), zero, (least, most)


def back(
    x: np.ndarray, bits: int, signed: bool, symmetric: bool, rounding: Callable[[np.ndarray], np.ndarray] = np.rint
) -> np.ndarray:
    """What comes back for x."""
    steps, scale, zero, ends = codes(x, bits, signed, symmetric)
    return scale * (np.clip(rounding(steps) + zero, *ends) - zero).astype(np.float64)


def mse(x: np.ndarray, x_hat: np.ndarray) -> float:
    return float(np.mean(np.square(x_hat - x.astype(np.float64))))


def said(slug: str, scene: Scene) -> dict[str, str]:
    return dict(LESSONS[slug].facts(scene))


def option(slug: str, ratio: float, ends: dict[str, float]) -> str:
    """The option whose number is nearest on a logarithmic scale."""
    return min(ends, key=lambda name: abs(np.log(ratio / ends[name])))


def test_idle_codes_lie_beyond_the_values_and_between_them(menu: dict[str, Subject]) -> None:
    words = read_prose("bits").laboratory
    for name, subject in menu.items():
        x = subject.values
        steps, *_, ends = codes(x, 8, True, True)
        used = np.unique(np.clip(np.rint(steps), *ends)).astype(int)
        beyond = 256 - (used[-1] - used[0] + 1)
        between = 256 - beyond - used.size
        scene = Scene(subject, QuantizerSpec(IntFormat(3)))
        told = said("bits", scene)
        assert (told["wide_used"], told["wide_total"], told["beyond"]) == (str(used.size), "256", str(beyond)), name
        assert told["inside"] == (words["inside_some"].format(between=between) if between else words["inside_none"]), (
            name
        )
        share = used.size / 256
        expected = "all" if share == 1 else "most" if share >= 0.75 else "half" if share >= 0.5 else "few"
        assert LESSONS["bits"].prediction(scene) == expected, name


def float_values(exponent: int, mantissa: int) -> np.ndarray:
    """The values of a small float without infinities, from 0 on."""
    steps = 2.0**-mantissa
    bias = 2 ** (exponent - 1) - 1
    whole = [(1 + m * steps) * 2.0 ** (e - bias) for e in range(1, 2**exponent) for m in range(2**mantissa)]
    return np.array([*(m * steps * 2.0 ** (1 - bias) for m in range(2**mantissa)), *whole])


def nearest(x: np.ndarray, values: np.ndarray) -> np.ndarray:
    """What comes back of x where these values, up to its greatest magnitude, are all there is."""
    a = float(np.abs(x).max())
    levels = values * (a / values[-1])
    magnitude = np.abs(x.astype(np.float64))
    return np.sign(x) * levels[np.searchsorted((levels[1:] + levels[:-1]) / 2, magnitude)]


def fixed(x: np.ndarray, signed: bool) -> float:
    """The error of fixed point at its best place."""
    ends = (-128, 127) if signed else (0, 255)
    return min(mse(x, np.clip(np.rint(x * 2.0**n), *ends) * 2.0**-n) for n in range(9 - signed))


def test_the_format_that_loses_least_is_named(menu: dict[str, Subject]) -> None:
    e4m3 = float_values(4, 3)[:-1]  # the last code is no number
    e5m2 = float_values(5, 2)[: 31 * 4]  # nor are those of the last exponent
    for name, subject in menu.items():
        x, signed = subject.values, bool(subject.values.min() < 0)
        errors = {
            f"{'' if signed else 'u'}int8": mse(x, back(x, 8, signed, True)),
            "E4M3": mse(x, nearest(x, e4m3)),
            "E5M2": mse(x, nearest(x, e5m2)),
            "E3M4": mse(x, nearest(x, float_values(3, 4))),
            "fixed": fixed(x, signed),
        }
        held = Held("FP32", "0.1", 4)
        told = said("formats", Scene(subject, QuantizerSpec(IntFormat(8, signed)), held=held))
        assert errors[told["eight"].split()[0]] <= min(errors.values()) * (1 + LEAST), name
        loss = errors["E4M3"] / errors[f"{'' if signed else 'u'}int8"]
        assert numbers(told["loss"])[-1] == near(loss if loss >= 1 else 1 / loss), name
        ends = {"tenth": 1 / 5, "third": 2 / 3, "same": 3 / 2, "three": 5.0, "ten": np.inf}
        chosen = LESSONS["formats"].prediction(Scene(subject, QuantizerSpec(IntFormat(8))))
        assert chosen == next(key for key, end in ends.items() if loss < end), name


def test_a_further_bit_divides_the_error_by_the_square_of_the_steps_or_it_is_said_that_it_does_not(
    menu: dict[str, Subject],
) -> None:
    for name, subject in menu.items():
        x = subject.values
        scene = Scene(subject, QuantizerSpec(IntFormat(3, signed=False), symmetric=False), 62)
        told = said("uniform", scene)
        errors = {bits: mse(x, back(x, bits, False, False)) for bits in (2, 3, 4, 5, 8)}
        scales = {bits: codes(x, bits, False, False)[1] for bits in (3, 4, 5)}
        gain, shrink = errors[4] / errors[5], scales[4] / scales[5]
        squared = 0.8 <= gain / shrink**2 <= 1.25
        assert numbers(told["falls"]) == near(
            [5, 1, shrink, 1, gain] if squared else [5, 1, shrink, 1, gain, 1, shrink**2]
        ), name
        assert ("evenly" not in told["falls"]) == squared, name
        power = float(np.mean(x.astype(np.float64) ** 2))
        a_bit = (10 * np.log10(power / errors[8]) - 10 * np.log10(power / errors[2])) / 6
        assert numbers(told["a_bit"]) == pytest.approx([a_bit], abs=0.06), name
        assert numbers(told["mse"]) == near([errors[3]]), name
        assert numbers(told["ideal"]) == near([scales[3] ** 2 / 12]), name
        ends = {"same": 1, "half": 2, "quarter": 4, "sixteenth": 16}
        assert LESSONS["uniform"].prediction(scene) == option("uniform", gain, ends), name


def test_what_a_symmetric_range_leaves_idle_and_costs(menu: dict[str, Subject]) -> None:
    words = read_prose("symmetry").laboratory
    for name, subject in menu.items():
        x = subject.values
        kinds = {"signed": (True, True), "half": (False, True), "wide": (False, False)}
        errors = {kind: mse(x, back(x, 4, *flags)) for kind, flags in kinds.items()}
        scales = {kind: codes(x, 4, *flags)[1] for kind, flags in kinds.items()}
        told = said("symmetry", Scene(subject, QuantizerSpec(IntFormat(4))))
        for kind in ("signed", "wide"):
            idle = 1 - np.unique(back(x, 4, *kinds[kind])).size / 16
            assert numbers(told[f"{kind}_idle"]) == pytest.approx([100 * idle], abs=0.06), (name, kind)
        scale, cost = scales["signed"] / scales["wide"], errors["signed"] / errors["wide"]
        got = [numbers(told[key])[0] for key in ("scales", "squared", "cost")]
        assert got == near([scale, scale**2, cost]), name
        if x.min() >= 0:
            assert told["unsigned"] == words["unsigned_same"], name
            assert scales["half"] == scales["wide"], name
        else:  # clipped are those that end more than rounding below 0
            assert numbers(told["unsigned"])[1:] == pytest.approx([100 * float(np.mean(x < 0))], rel=0.05), name


def test_what_clipping_costs_and_where_the_least_error_and_the_crossing_are(menu: dict[str, Subject]) -> None:
    for name, subject in menu.items():
        x, signed = subject.values, bool(subject.values.min() < 0)
        greatest = float(np.abs(x).max())
        ends = (-8, 7) if signed else (0, 15)

        def parts(beta: float, x: np.ndarray = x, ends: tuple[int, int] = ends) -> tuple[float, float]:
            scale = np.float32(beta / ends[1])
            wrong = np.square(float(scale) * np.clip(np.rint(x / scale), *ends) - x.astype(np.float64))
            outside = (x > scale * ends[1] * (1 + 1e-6)) | (x < scale * ends[0] * (1 + 1e-6))
            return float(wrong[~outside].sum() / x.size), float(wrong[outside].sum() / x.size)

        told = said("clipping", Scene(subject, QuantizerSpec(IntFormat(4, signed))))
        best = float(told["best_beta"].replace(",", ""))
        sampled = np.sort(x)[:: max(1, x.size // 5_000)]
        grid = greatest * np.linspace(0.1, 1, 46)
        least = min(sum(parts(beta, sampled)) for beta in grid)
        assert sum(parts(best, sampled)) <= 1.02 * least, name
        assert numbers(told["best_gain"]) == near([sum(parts(greatest)) / sum(parts(best))]), name
        reach = float(np.percentile(np.abs(x), 99.0))
        before, (inside, outside) = sum(parts(greatest)), parts(reach)
        gain = before / (inside + outside)
        verdict = "pays" if gain > 1.1 else "costs" if gain < 1 / 1.1 else "level"
        if reach < greatest:
            _, _, _, left, _, added, total, *_ = numbers(told["verdict"])
            shares = [100 * part / before for part in (inside, outside, inside + outside)]
            assert [left, added, total] == pytest.approx(shares, rel=0.01, abs=0.01), name
            assert told["verdict"].endswith(words()[f"trade_{verdict}"].rpartition(": ")[2]), name
        else:
            assert told["verdict"] == read_prose("clipping").laboratory["no_trade"], name
        if "nowhere" not in told["crossing"]:
            cross, over = numbers(told["crossing"])
            rounding, clipping = parts(cross)
            assert over == pytest.approx((rounding + clipping) / sum(parts(best)), rel=0.03), (
                name
            )  # β has three figures
            assert over > 1.005, name  # else it would be where the least error is
            assert parts(cross * 0.97)[0] < parts(cross * 0.97)[1], name
            assert parts(cross * 1.03)[0] > parts(cross * 1.03)[1], name


def test_what_rounding_down_costs(menu: dict[str, Subject]) -> None:
    for name, subject in menu.items():
        x = subject.values
        _, scale, *_ = codes(x, 8, True, False)
        nearest, down = (back(x, 8, True, False, rounding) for rounding in (np.rint, np.floor))
        scene = Scene(subject, QuantizerSpec(IntFormat(4)), 58)
        told = said("rounding", scene)
        cost, bias = mse(x, down) / mse(x, nearest), float((down - x).mean() / scale)
        words = numbers(told["down"])
        assert words[0] == near(cost), name
        assert bias == pytest.approx(next(word for word in words if word < 0), rel=0.01), name
        filled = np.ptp((down - x)[np.abs(x) > 0] / scale) > 0.5 and cost > 2
        assert ("fill −S" in told["down"]) == filled, name


def test_k_means_and_clipping_share_the_gain_as_it_is_said(menu: dict[str, Subject]) -> None:
    words = read_prose("centroids").laboratory
    for name, subject in menu.items():
        if subject.values.size > 60_000:
            continue
        x = np.sort(subject.values.astype(np.float64))
        told = said("centroids", Scene(subject, QuantizerSpec(KMeans(16)), placed=OPENING))
        uniform = mse(x, back(x.astype(np.float32), 4, False, False))
        part, whole = (numbers(told[key])[0] / 100 for key in ("part", "part_whole"))
        best, clipped = whole * uniform, whole * uniform / part
        assert best <= clipped * (1 + LEAST), name
        assert clipped <= uniform * (1 + LEAST), name
        cells = np.array_split(x, 16)  # of equally many: any codebook is above the best one
        assert best <= sum(float(((cell - cell.mean()) ** 2).sum()) for cell in cells) / x.size * (1 + LEAST), name
        share = (uniform - clipped) / (uniform - best)
        if abs(share - 0.5) > 0.02:
            known = words["disguise_most" if share > 0.5 else "disguise_less"].split("{")[0]
            assert told["disguise"].startswith(known), name
            assert numbers(told["disguise"])[0] == pytest.approx(100 * share, abs=2), name
        assert ("no guarantee" in told["lloyd"]) == (told["end"] != "×1"), name
        assert numbers(told["end"])[0] >= 1, name


def test_blocks_that_are_called_finer_are_finer_and_lose_what_is_said(menu: dict[str, Subject]) -> None:
    for name, subject in menu.items():
        x = subject.matrix.astype(np.float64)
        told = said("granularity", Scene(subject, QuantizerSpec(IntFormat(4))))
        lost = x.any(axis=1) & ~back(subject.matrix, 4, True, True).any(axis=1)
        assert told["dead"] == f"{int(lost.sum()):,}", name
        reaches = np.abs(x).max(axis=1)
        assert numbers(told["spread"]) == near([reaches.max() / reaches[reaches > 0].min()]), name
        errors = [mse(x, blocked(x, length)) for length in (x.size, x.shape[1])]
        assert numbers(told["channel_gain"]) == near([errors[0] / errors[1]]), name
        run = run_of(subject.row)
        if run is None:
            continue
        assert 1 < run < subject.row, name
        told_run, told_bits, told_error, *others = numbers(told["finer"])
        assert (told_run, told_error) == (run, near(mse(x, blocked(x, run)))), name
        groups = len(x) * -(-x.shape[1] // run)
        assert told_bits == near(4 + 32 * groups / x.size), name
        clipped = others[0]
        assert clipped <= errors[1] * (1 + LEAST), name
        assert ("lose more" in told["finer"]) == (told_error > clipped), name


def blocked(x: np.ndarray, length: int) -> np.ndarray:
    """What comes back with one scale for each run of values in a row, or for the whole, at 4 bits."""
    if length == x.size:
        return back(x.astype(np.float32), 4, True, True)
    found = np.empty_like(x)
    for start in range(0, x.shape[1], length):
        part = x[:, start : start + length].astype(np.float32)
        scale = (np.abs(part).max(axis=1, keepdims=True) / 7).astype(np.float32)
        found[:, start : start + length] = scale * np.rint(part / np.where(scale > 0, scale, 1)).astype(np.float64)
    return found


def test_pairs_correlate_and_take_the_bits_that_are_said(menu: dict[str, Subject]) -> None:
    for name, subject in menu.items():
        if not subject.is_weight or subject.values.size > 5000 or subject.row < 2:
            continue
        told = said("vectors", Scene(subject, QuantizerSpec(ProductCodebook(8, 16, 4, remainder="pad"))))
        rows = subject.matrix.astype(np.float64)
        pairs = rows[:, : subject.row // 2 * 2].reshape(-1, 2)
        assert numbers(told["correlation"])[0] == pytest.approx(np.corrcoef(pairs.T)[0, 1], rel=0.01, abs=1e-3), name
