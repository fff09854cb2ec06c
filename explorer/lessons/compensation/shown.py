"""What lesson 11 has on display: a race, the step that is looked at, and the layer."""

from __future__ import annotations

from dataclasses import dataclass

from explorer.caches import ResultKey
from explorer.lessons.compensation.gradients import Stepped
from explorer.lessons.compensation.method_results import MethodResults
from explorer.lessons.compensation.output_error import Lost
from explorer.lessons.framework.scene import Scene


@dataclass(frozen=True, eq=False)
class Compensated:
    """A race, a layer, and one step of its weights."""

    raced: MethodResults
    layer: str
    stepped: Stepped
    method: str | None  # whose codes are looked at
    lost: Lost | None = None  # what rounding takes from the layer's outputs, once that is asked for and known

    @property
    def key(self) -> ResultKey:
        """What the question is about."""
        return ResultKey("race", self.raced.model, self.raced.setting)


def shown_of(scene: Scene) -> Compensated:
    """Return what is known of methods, of a scene that has it."""
    assert scene.compensated is not None
    return scene.compensated


def raced_of(scene: Scene) -> MethodResults:
    """Return the race on display."""
    return shown_of(scene).raced
