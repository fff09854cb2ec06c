"""What the inspector finds of a model's tensors under a spec: all of it in the background, as it comes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from explorer import compute, layer_damage
from explorer.background import Kind, Task
from explorer.caches import ResultKey
from explorer.layer_outputs import fisher_task, outputs_task, with_outputs
from explorer.lessons.framework import study
from explorer.lessons.framework.study import Study
from explorer.sources import ModelKey
from explorer.tensor_table import TensorRow, listed, looked_at
from quant_engine import QuantizerSpec
from quant_engine.studies import Attribution, Damage

TABLE = "inspector table"  # a place on the page


@dataclass(frozen=True)
class Inspection:
    """What is asked for of a model's tensors.

    Attributes:
        rows: the tensors as they are listed, unread.
        table: finds their numbers.
        outputs: finds the SQNR of layers' outputs; None for a model without inputs.
        damage: measures each layer alone, once a person begins it; None for a model without a task.
        fisher: finds the loss that each layer's error lets expect, once all is measured that it is compared with.
    """

    model: ModelKey
    rows: list[TensorRow]
    table: Task
    outputs: Task | None
    damage: Study | None
    fisher: Task | None

    @property
    def found(self) -> dict[str, TensorRow]:
        """The rows that are looked at so far, with all that is known of them."""
        return with_outputs({row.name: row for row in self.table.items}, self.outputs, self.fisher)

    @property
    def filled(self) -> list[TensorRow]:
        """All rows, those with numbers that are looked at."""
        found = self.found
        return [found.get(row.name, row) for row in self.rows]

    @property
    def damages(self) -> dict[str, Damage]:
        """What has been measured of each layer so far."""
        return {} if self.damage is None else layer_damage.damages_of(self.model, self._measuring)

    @property
    def attribution(self) -> Attribution | None:
        """The whole attribution, once all is measured."""
        return None if self.damage is None else attribution_by(self.damage)

    @property
    def active(self) -> bool:
        """Whether there is more to come."""
        looking = any(task is not None and task.active for task in (self.table, self.outputs, self.fisher))
        return looking or (self.damage is not None and study.active(self.damage.key))

    @property
    def _measuring(self) -> Task | None:
        return None if self.damage is None else compute.session().find(self.damage.key)


def inspection(model: ModelKey, spec: QuantizerSpec) -> Inspection:
    """Have a model's tensors looked at under a spec."""
    rows = listed(model)
    real = sum(row.is_real for row in rows)
    key = ResultKey("tensor table", model, spec)
    table = compute.session().ask(TABLE, key, lambda: looked_at(model, spec), Kind.STUDY, real)
    damage = _damage(model, spec, table)
    measured = damage is not None and attribution_by(damage) is not None
    fisher = fisher_task(model, spec) if measured else None
    return Inspection(model, rows, table, outputs_task(model, spec), damage, fisher)


def attribution_by(damage: Study) -> Attribution | None:
    """Return the whole attribution that a study has found, if it has ended."""
    return layer_damage.attribution_of(compute.session().find(damage.key))


def _damage(model: ModelKey, spec: QuantizerSpec, table: Task) -> Study | None:
    """Return the measuring of all layers, those first that have most to gain."""
    if compute.network(model).task is None:
        return None
    gains = {row.name: row.gain_db or 0.0 for row in table.items}
    order = sorted(compute.network(model).layers(), key=lambda name: -gains.get(name, math.inf))
    return layer_damage.damage_study(model, spec, order)
