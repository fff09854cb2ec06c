"""What is known of a race: where every method ended at one setting, beside the baselines."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from explorer import compute, model_scores
from explorer.caches import ResultKey
from explorer.lessons.compensation.method_progress import CLIPPED, GRANULARITIES, NEAREST, Baselines, Lap, accuracy_of
from explorer.lessons.framework.model import goodness
from explorer.lessons.framework.prose import method_words
from explorer.sources import ModelKey
from quant_engine import QuantizationPlan
from quant_engine.methods import METHODS, Setting

SLUG = "compensation"
DATA_FREE = tuple(key for key, method in METHODS.items() if method.family == "calibration")


def contestants() -> list[str]:
    """Return the methods that are started by hand."""
    return [method for method in METHODS if method not in (NEAREST, CLIPPED)]


def described(setting: Setting) -> str:
    """Return a setting in a few characters."""
    activation = setting.activation.format.bits if setting.activation else "32"
    return f"W{setting.weight.format.bits}A{activation}, {shared_name(setting)}"


def shared_name(setting: Setting) -> str:
    """Return what shares a scale of the weights."""
    return next(name for name, shape in GRANULARITIES.items() if shape == setting.weight.granularity)


@dataclass(frozen=True)
class Entry:
    """One method in one race: what names its run."""

    model: ModelKey
    setting: Setting
    method: str

    def name(self, model: ModelKey, setting: Setting) -> str:
        """Return what a person calls it who looks at a model and a setting, maybe others."""
        title = method_words(self.method).title
        if (self.model, self.setting) == (model, setting):
            return title
        said = described(self.setting)
        return f"{title} ({said})" if self.model == model else f"{title} ({compute.name(self.model)}, {said})"

    @property
    def slug(self) -> str:
        """A short name for keys of widgets."""
        key = ResultKey(self.method, self.model, self.setting)
        return hashlib.sha256(str(key).encode()).hexdigest()[:12]


@dataclass(frozen=True, eq=False)
class MethodResults:
    """What is known of a race: its setting, the baselines once they are measured, and where each method ended."""

    model: ModelKey
    setting: Setting
    baselines: Baselines | None = None
    ended: dict[str, Lap] = field(default_factory=dict)

    @property
    def standing(self) -> dict[str, Lap]:
        """Where every method ended that is through, in the order of the table, baselines among them."""
        known = dict(self.ended)
        if self.baselines is not None:
            known |= {NEAREST: self.baselines.nearest, CLIPPED: self.baselines.clipped}
        return {method: known[method] for method in METHODS if method in known}

    @property
    def winner(self) -> str | None:
        """The method with the best score on the test data; of several, the one that stands first in the table."""
        standing = self.standing
        return max(standing, key=lambda method: goodness(accuracy_of(standing[method])), default=None)

    @property
    def leader(self) -> str | None:
        """The best of the methods that were started by hand and are through."""
        return max(self.ended, key=lambda method: goodness(accuracy_of(self.ended[method])), default=None)

    def without(self, hidden: Iterable[str]) -> MethodResults:
        """Return the race as if some methods had not been started."""
        return replace(self, ended={method: lap for method, lap in self.ended.items() if method not in hidden})

    def moved(self, method: str) -> float | None:
        """Return the share of all weights whose code is another than in the clipped baseline."""
        if self.baselines is None or method not in self.standing:
            return None
        before, after = self.baselines.clipped.plan, self.standing[method].plan
        assert before is not None
        assert after is not None
        key = ResultKey("moved", self.model, self.setting, method)
        return compute.kept(key, lambda: moved_share(self.model, before, after))


def moved_share(model: ModelKey, before: QuantizationPlan, after: QuantizationPlan) -> float:
    """Return the share of weights, over all layers, that two plans give different codes."""
    changed = size = 0
    for layer in compute.network(model).layers():
        codes = [model_scores.planned_codes(model, layer, plan[layer]) for plan in (before, after)]
        if codes[0] is not None and codes[1] is not None:
            changed += int((codes[0] != codes[1]).sum())
            size += codes[0].size
    return changed / size if size else 0.0
