"""Commands that look: at the tensors of a model, and at what each layer's quantization does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import typer

from explorer.commands.common import (
    AsJson,
    Data,
    DryRun,
    MaxDrop,
    Model,
    Seed,
    followed,
    leave,
    number,
    opened,
    refusals,
    said,
    score_record,
    show,
    spread,
    told,
    write_json,
)
from explorer.commands.settings import Bits, PlanFile, Sharing, plan_for, spec_of
from explorer.measured import kept_of

INSPECT_EXAMPLES = """[bold]Examples[/bold]

quant-explorer inspect fashion-cnn\n
quant-explorer inspect model.gguf --bits 8 --sharing 32 --json
"""
ATTRIBUTE_EXAMPLES = """[bold]Examples[/bold]

quant-explorer attribute ocr --bits 8 --sharing layer --culprits\n
quant-explorer attribute model.onnx --data inputs.npz --plan plan.json --max-drop 0.02
"""


def inspect(model: Model, bits: Bits = 4, sharing: Sharing = "layer", as_json: AsJson = False) -> None:
    """List the tensors of a model, and what quantizing each of them costs."""
    with refusals():
        from dataclasses import asdict

        from explorer.given import offer_given
        from explorer.sources import MODELS
        from explorer.tensor_table import listed, looked_at

        name, reason = offer_given(model, None)
        key, spec = MODELS.key(name), spec_of(bits, sharing)
        if reason:
            typer.echo(reason, err=True)
        total = sum(row.is_real for row in listed(key))
        rows: list[Any] = []

        def steps() -> Iterator[_Counted]:
            for row in looked_at(key, spec):
                rows.append(row)
                yield _Counted(row, len(rows), total)

        followed(steps(), said("inspecting"), lambda one: str(one.row.name), as_json)
        rows.sort(key=lambda row: (row.sqnr_db is None, row.sqnr_db))
        if as_json:
            write_json({"model": name, "spec": json.loads(spec.key), "tensors": [asdict(row) for row in rows]})
            return
        heads = ("tensor", "kind", "shape", "SQNR", "range", "channel", "kurtosis", "max/σ")
        show(said("inspect_title", model=name, bits=bits, sharing=sharing), heads, map(_tensor_row, rows))
        typer.echo(said("inspect_note"))


def attribute(
    model: Model,
    data: Data = None,
    plan: PlanFile = None,
    bits: Bits = 4,
    sharing: Sharing = "channel",
    culprits: bool = typer.Option(False, "--culprits", help="Find which layers, or sets of them, the loss is due to."),
    max_drop: MaxDrop = None,
    seed: Seed = 0,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Measure what each layer's quantization does alone, all others in floating point."""
    with refusals():
        network = opened(model, data, seed)
        chosen = plan_for(network, plan, bits, sharing)
        if dry_run:
            typer.echo(said("attribute_dry", n=len(chosen.layers), split=_split(network)))
            return
        from quant_engine import studies

        kept = kept_of(network)
        found = followed(studies.attribute(network, chosen, kept=kept), said("attributing"), _layer, as_json)
        blamed = None
        if culprits:
            steps = studies.culprits(network, chosen, kept=kept)
            blamed = followed(steps, said("blaming"), lambda step: f"{step.phase} {step.layer}", as_json)
        if as_json:
            write_json(_attribution_record(network, found, blamed))
        else:
            _show_attribution(network, found, blamed)
        leave(found.together.lost.value, max_drop)


class _Counted:
    """A row with how many of how many are done."""

    def __init__(self, row: Any, done: int, total: int) -> None:
        self.row, self.done, self.total = row, done, total


def _layer(step: Any) -> str:
    return str(step.layer or said("together"))


def _split(network: Any) -> str:
    splits = network.given_task.splits
    return "calibration" if "calibration" in splits else min(splits)


def _tensor_row(row: Any) -> tuple[str, ...]:
    statistics = row.statistics
    shape = "×".join(map(str, row.shape))
    if row.refusal or statistics is None:
        return row.name, row.op or row.stored, shape, *("–",) * 5
    gains = (f"{gain:.1f}" for gain in (row.gain_db, row.channel_gain_db))
    return (
        row.name,
        row.op or row.stored,
        shape,
        f"{row.sqnr_db:.1f}",
        *gains,
        number(statistics.kurtosis, 3),
        number(statistics.max_sigmas, 3),
    )


def _attribution_record(network: Any, found: Any, blamed: Any) -> dict[str, Any]:
    def damage(one: Any) -> dict[str, Any]:
        parts = {"score": one.score, "change": one.change, "measure": one.measure}
        return {name: score_record(score) for name, score in parts.items()}

    record = {
        "model": network.name,
        "split": _split(network),
        "float": {name: score_record(score) for name, score in found.plain.items()},
        "alone": {layer: damage(one) for layer, one in found.alone.items()},
        "together": damage(found.together),
        "additivity": score_record(found.additivity.ratio),
    }
    if blamed is not None:
        record["culprits"] = {
            "verdict": blamed.verdict,
            "order": list(blamed.order),
            "curve": [score_record(one.score) for one in blamed.curve],
            "falls": [
                {"layer": fall.layer, "lost": score_record(fall.lost), "together_with": list(fall.together_with)}
                for fall in blamed.falls
            ],
            "mend": None
            if blamed.mend is None
            else {
                "layers": list(blamed.mend.layers),
                "in_float": damage(blamed.mend.in_float),
                "in_eight_bits": None if blamed.mend.in_eight_bits is None else damage(blamed.mend.in_eight_bits),
            },
        }
    return record


def _show_attribution(network: Any, found: Any, blamed: Any) -> None:
    worst = sorted(found.alone.items(), key=lambda item: -item[1].measure.value)
    measure = found.together.measure
    heads = ("layer alone", f"{measure.name} {measure.unit}".strip(), found.together.score.name, "change")
    rows = [(layer, spread(one.measure), number(one.score.value), f"{one.change.value:+.4g}") for layer, one in worst]
    show(said("attribute_title", model=network.title, split=_split(network)), heads, rows)
    typer.echo(said("plain", score=told(next(iter(found.plain.values())))))
    typer.echo(said("all_layers", score=told(found.together.score)))
    if found.additivity.ratio is not None:
        typer.echo(said("additivity", ratio=spread(found.additivity.ratio)))
    if blamed is not None:
        _show_culprits(blamed)


def _show_culprits(blamed: Any) -> None:
    typer.echo(said(f"verdict_{blamed.verdict}", layer=blamed.falls[0].layer if blamed.falls else ""))
    for fall in blamed.falls:
        partners = said("with", layers=", ".join(fall.together_with)) if fall.together_with else said("by_itself")
        typer.echo(said("fall", layer=fall.layer, lost=spread(fall.lost), how=partners))
    if blamed.mend is not None:
        listed = ", ".join(blamed.mend.layers)
        typer.echo(said("mend_float", layers=listed, score=told(blamed.mend.in_float.score)))
        if blamed.mend.in_eight_bits is not None:
            typer.echo(said("mend_eight", score=told(blamed.mend.in_eight_bits.score)))
