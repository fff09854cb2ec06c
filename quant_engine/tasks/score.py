"""Scores: a value with its 95 % interval, from how many samples it comes, and which way is better.

Shares have the interval of Wilson; means 1.96 standard errors; ratios of sums the linearised one; quantiles that of
order statistics. Where there are too few samples, value or interval are NaN: not resolved. What each sample adds to a
score is kept with it, so that two scores of the same samples differ by the mean of the differences.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from quant_engine.checks import as_integer
from quant_engine.inputs import Float64Array

Z_95 = 1.959963984540054  # two-sided 95 % point of the standard normal
TAIL_SAMPLES = 10  # beyond a quantile, for it to be resolved: 99.9 % takes 10,000

Better = Literal["higher", "lower"]
Interval = tuple[float, float]
UNRESOLVED: Interval = (math.nan, math.nan)


@dataclass(frozen=True)
class Score:
    """What a task measures.

    Attributes:
        name: what it is called, in the words of the field.
        value: NaN where `n` is too small for any.
        n: number of samples, tokens or pairs it comes from.
        interval: the 95 % interval, NaN where `n` is too small for one.
        unit: of the value, such as "nats" or "dB"; empty for shares and ratios.
        better: which values are better.
        samples: what each sample adds, (n,), whose mean is the value: of ratios and exponentials linearised; or None.

    Example:
        >>> print(Score("SQNR", 20.0, 2000, (19.5, 20.4), "dB"))
        SQNR 20 dB (95 %: 19.5 to 20.4, n = 2,000)
    """

    name: str
    value: float
    n: int
    interval: Interval
    unit: str = ""
    better: Better = "higher"
    samples: Float64Array | None = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        """Return name, value, unit, interval and number of samples."""
        value = "not resolved" if math.isnan(self.value) else f"{self.value:.4g} {self.unit}".rstrip()
        low, high = self.interval
        spread = "not resolved" if math.isnan(low + high) else f"{low:.4g} to {high:.4g}"
        return f"{self.name} {value} (95 %: {spread}, n = {self.n:,})"


@dataclass(frozen=True, init=False, repr=False)
class Accuracy(Score):
    """How many of `total` labels were predicted correctly.

    Example:
        >>> print(Accuracy(1830, 2000))
        accuracy 0.915 (95 %: 0.902 to 0.9264, n = 2,000)
    """

    correct: int = 0

    def __init__(self, correct: int, total: int, samples: Float64Array | None = None) -> None:
        """Count: `correct` of `total`; `samples` says which."""
        found = share("accuracy", correct, total)
        super().__init__(found.name, found.value, found.n, found.interval, samples=samples)
        object.__setattr__(self, "correct", int(correct))

    @property
    def total(self) -> int:
        """Number of labels."""
        return self.n

    def __repr__(self) -> str:
        """Return what makes it again."""
        return f"Accuracy(correct={self.correct}, total={self.total})"


def share(name: str, count: int, total: int) -> Score:
    """Return count/total with the score interval (Wilson 1927): p̂ ± z·√(p̂(1 − p̂)/n + z²/4n²), shrunk by 1 + z²/n."""
    n = as_integer(total, "total", 1)
    found = as_integer(count, name, 0, n) / n
    centre = found + Z_95**2 / (2 * n)
    reach = Z_95 * math.sqrt(found * (1 - found) / n + Z_95**2 / (4 * n * n))
    shrink = 1 + Z_95**2 / n
    low, high = (centre - reach) / shrink, (centre + reach) / shrink
    return Score(name, found, n, (min(low, found), max(high, found)))  # rounding aside, 0 and n lie at an end


def share_of(name: str, hits: Iterable[bool]) -> Score:
    """Return the share of samples that are hits, with the interval of `share`."""
    samples = np.array([*hits], np.float64)
    return replace(share(name, int(samples.sum()), len(samples)), samples=samples)


def mean(name: str, values: Float64Array, unit: str = "", better: Better = "lower") -> Score:
    """Return the mean of values (n,) ± 1.96 standard errors, s/√n."""
    centre = float(values.mean())
    if len(values) < 2:
        return Score(name, centre, len(values), UNRESOLVED, unit, better, values)
    reach = Z_95 * float(values.std(ddof=1)) / math.sqrt(len(values))
    return Score(name, centre, len(values), (centre - reach, centre + reach), unit, better, values)


def exp_mean(name: str, values: Float64Array, better: Better = "lower") -> Score:
    """Return the exponential of the mean of values (n,), and of the ends of its interval: perplexity."""
    log = mean(name, values)
    low, high = log.interval
    centre = _exp(log.value)
    return Score(name, centre, log.n, (_exp(low), _exp(high)), "", better, centre * (1 + values - log.value))


def ratio(name: str, above: Float64Array, below: Float64Array) -> Score:
    """Return Σ above/Σ below over samples, with the linearised standard error (Cochran 1977, section 6.3)."""
    n, total = len(above), float(below.sum())
    found = float(above.sum()) / total
    deviations = above - found * below
    samples = found + deviations * (n / total)
    if n < 2:
        return Score(name, found, n, UNRESOLVED, "", "lower", samples)
    reach = Z_95 * math.sqrt(float(np.square(deviations).sum()) * n / (n - 1)) / total
    return Score(name, found, n, (max(found - reach, 0.0), found + reach), "", "lower", samples)


def difference(after: Score, before: Score) -> Score:
    """Return how much a score of the same samples has changed, after − before.

    Samples that both scores keep are compared one by one. Where each is right or wrong, n₁₀ of them have become right
    and n₀₁ wrong: (n₁₀ − n₀₁)/n, with the interval of Agresti and Min (2005), which adds ½ to each of the four counts.
    Otherwise the interval is that of the mean difference; where samples are not kept, the two intervals are joined as
    if the scores were independent (Zou and Donner 2008, equation 2), which is too wide for scores of the same samples.

    Example:
        >>> one, other = (share_of("exact", hits) for hits in ([True] * 98 + [False] * 2, [True] * 100))
        >>> print(difference(one, other))
        exact -0.02 (95 %: -0.05267 to 0.01346, n = 100)
    """
    change = after.value - before.value
    if after.samples is None or before.samples is None or len(after.samples) != len(before.samples):
        (low, high), (least, most) = after.interval, before.interval
        below = math.hypot(after.value - low, most - before.value)
        above = math.hypot(high - after.value, before.value - least)
        ends = change - below, change + above
        return Score(after.name, change, min(after.n, before.n), ends, after.unit, after.better)
    moved = after.samples - before.samples
    if not (np.isin(after.samples, (0, 1)).all() and np.isin(before.samples, (0, 1)).all()):
        return replace(mean(after.name, moved, after.unit, after.better), value=change)
    up, down, n = int((moved > 0).sum()) + 0.5, int((moved < 0).sum()) + 0.5, len(moved) + 2
    centre, reach = (up - down) / n, Z_95 * math.sqrt(up + down - (up - down) ** 2 / n) / n
    ends = min(centre - reach, change), max(centre + reach, change)
    return Score(after.name, change, len(moved), ends, after.unit, after.better, moved)


def sqnr(signal: Float64Array, noise: Float64Array) -> Score:
    """Return 10·log10(Σ signal/Σ noise) in dB, of the squares' sums in each sample (n,); infinite without noise."""
    if not signal.sum():
        return Score("SQNR", math.nan, len(signal), UNRESOLVED, "dB")
    share_of_noise = ratio("noise", noise, signal)
    low, high = share_of_noise.interval
    return Score("SQNR", _decibels(share_of_noise.value), len(signal), (_decibels(high), _decibels(low)), "dB")


def quantile(name: str, values: Float64Array, level: float, unit: str = "") -> Score:
    """Return the quantile of values (n,), between the two order statistics that hold it with 95 % (David 1981, 2.5).

    It is not resolved where fewer than 10 values are expected beyond it.
    """
    n = len(values)
    if n * min(level, 1 - level) < TAIL_SAMPLES * (1 - 1e-9):
        return Score(name, math.nan, n, UNRESOLVED, unit, "lower")
    ordered = np.sort(values)
    low, high = binomial_quantiles(n, level, (0.025, 0.975))
    ends = (float(ordered[low - 1]), float(ordered[high])) if low >= 1 and high < n else UNRESOLVED
    return Score(name, float(np.quantile(ordered, level)), n, ends, unit, "lower")


def binomial_quantiles(n: int, p: float, levels: Sequence[float]) -> list[int]:
    """Return the smallest k with P(B ≤ k) ≥ level, for each level, of B binomial with n trials of probability p.

    Probabilities follow from one another, P(k + 1)/P(k) = (n − k)/(k + 1) · p/(1 − p), over all k that matter.
    """
    reach = 12 * math.sqrt(n * p * (1 - p)) + 12
    k = np.arange(max(0, math.floor(n * p - reach)), min(n, math.ceil(n * p + reach)) + 1)
    steps = np.log((n - k[:-1]) / (k[:-1] + 1)) + math.log(p / (1 - p))
    logs = np.concatenate([[0.0], np.cumsum(steps)])
    chances = np.exp(logs - logs.max())
    below = np.cumsum(chances) / chances.sum()
    return [int(k[np.searchsorted(below, level)]) for level in levels]


def _exp(value: float) -> float:
    return math.inf if value > 709 else math.exp(value)


def _decibels(noise_to_signal: float) -> float:
    return math.inf if noise_to_signal <= 0 else -10 * math.log10(noise_to_signal)
