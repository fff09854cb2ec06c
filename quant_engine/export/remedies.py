"""The nearest plan that a target can express."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from quant_engine.export.base import Finding, Severity
from quant_engine.plan import QuantizationPlan


def nearest(
    plan: QuantizationPlan, findings: Iterable[Finding], severities: Sequence[Severity] = ("refused",)
) -> QuantizationPlan:
    """Return a plan in which the specs that a target cannot express are the nearest ones that findings name.

    Remedies that warnings offer are taken with `severities=("refused", "warning")`.

    Example:
        >>> from quant_engine import IntFormat, LayerPlan, QuantizerSpec
        >>> spec = QuantizerSpec(IntFormat(4))
        >>> found = Finding("refused", "three bits", "fc", "weight", spec)
        >>> nearest(QuantizationPlan({"fc": LayerPlan(QuantizerSpec(IntFormat(3)))}), [found])["fc"].weight == spec
        True
    """
    layers = dict(plan.layers)
    for finding in findings:
        layer, role, spec = finding.layer, finding.role, finding.nearest
        if finding.severity not in severities or layer is None or role is None or spec is None:
            continue
        changed: dict[str, Any] = {role: spec}
        if role == "activation":
            changed["dynamic"] = False
        layers[layer] = replace(layers[layer], **changed)
    return QuantizationPlan(layers)
