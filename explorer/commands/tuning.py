"""The command that finds a plan under a budget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from explorer.commands.common import (
    AsJson,
    Data,
    DryRun,
    MaxDrop,
    Model,
    Overwrite,
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
    validate_free,
    write_json,
)
from explorer.commands.settings import spec_of
from explorer.measured import kept_of
from quant_engine import QuantError

if TYPE_CHECKING:
    from quant_engine import QuantizerSpec

EXAMPLES = """[bold]Examples[/bold]

quant-explorer tune fashion-cnn --budget 4.5 -o plan.json\n
quant-explorer tune model.onnx --data inputs.npz --budget 5 --sharing channel --max-drop 0.02 -o plan.json\n
quant-explorer tune fashion-cnn --budget 4.5 -o plan.json --json --test\n
quant-explorer tune ocr --budget 5 --activations 8 -o plan.json
"""


def tune(
    model: Model,
    budget: Annotated[float, typer.Option(help="Bits a weight, scales and zero points counted.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the plan is written, as JSON.")],
    data: Data = None,
    bits: Annotated[str, typer.Option(help="Bits that a layer may have.")] = "2,3,4,5,6,8",
    sharing: Annotated[
        str, typer.Option(help="What may share a scale: layer, channel, or 32, 64, 128 weights.")
    ] = "channel,64",
    cost: Annotated[
        str, typer.Option(help="What proposes: damage (measured), 'predicted loss', 'predicted error', and others.")
    ] = "damage",
    activations: Annotated[
        int | None,
        typer.Option(
            help="Bits of what layers receive, by one range a layer from the calibration data.", min=2, max=16
        ),
    ] = None,
    test: Annotated[bool, typer.Option("--test", help="Score the plan that was picked on the test data.")] = False,
    max_drop: MaxDrop = None,
    overwrite: Overwrite = False,
    seed: Seed = 0,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Find the plan of the best measured score under a budget, and write it.

    The exact allocation proposes plans; each is measured on the search data before it is believed. Layers that runtimes
    fuse (q/k/v, gate/up) get the same.
    """
    with refusals():
        from quant_engine import studies
        from quant_engine.models import fused_groups

        validate_free(output, overwrite)
        network = opened(model, data, seed)
        split = studies.search_split(network.given_task)
        alike = {spec_of(one, word, True): f"int{one} {word}" for word in _words(sharing) for one in _numbers(bits)}
        specs = list(alike)
        budgets = [budget * share for share in (0.8, 0.9, 1.0)]
        if dry_run:
            _say_dry(network, split, specs, budget)
            return
        least = _least_bits(network, specs)
        if budget < least:
            raise QuantError(f"--budget {budget:g} is below the smallest plan, {least:.4g} bits a weight; raise it")
        wanted = sorted({max(one, least) for one in budgets})
        kept, fused, inputs = kept_of(network), fused_groups(network.layers()), _inputs(activations)
        search = studies.measured_front(network, specs, wanted, cost, None, split, kept, fused, inputs)
        front = followed(search, said("tuning"), _described, as_json)
        best = front.best_within(budget)
        best.plan.save(output)
        tested = (network.evaluate(best.plan), network.evaluate()) if test else None
        if as_json:
            write_json(_record(network, front, best, output, tested))
        else:
            _show(network, front, best, alike, output, tested)
        lost = best.measured.lost.value if tested is None else _lost(*tested)
        leave(lost, max_drop)


def _inputs(bits: int | None) -> QuantizerSpec | None:
    """Return how what layers receive is quantized: as the table's cells do it, by the whole range."""
    from quant_engine import IntFormat, QuantizerSpec

    return None if bits is None else QuantizerSpec(IntFormat(bits, signed=False), symmetric=False)


def _described(step: Any) -> str:
    return str(getattr(step, "layer", said("together")))


def _say_dry(network: Any, split: str, specs: Sequence[Any], budget: float) -> None:
    from quant_engine.models import ties

    owners, layers = list(ties(network.layers())), network.layers()
    size = math.floor(budget * sum(layers[name].parameters for name in owners) / 8)
    plans = 2 * len(specs) + 3
    values = {"costs": len(owners), "n": len(specs), "plans": plans, "split": split}
    typer.echo(said("tune_dry", **values, budget=number(budget), size=f"{size:,}"))


def _least_bits(network: Any, specs: Sequence[Any]) -> float:
    from quant_engine.models import ties
    from quant_engine.studies import layer_sizes

    layers = network.layers()
    parameters = sum(layers[name].parameters for name in ties(layers))
    return float(8 * layer_sizes(network, specs).min(axis=1).sum() / parameters)


def _lost(after: Any, before: Any) -> float:
    sign = 1 if after.better == "lower" else -1
    return float(sign * (after.value - before.value))


def _record(network: Any, front: Any, best: Any, output: Path, tested: Any) -> dict[str, Any]:
    def point(one: Any) -> dict[str, Any]:
        return {
            "bits_per_weight": one.bits_per_weight,
            "size_bytes": one.size_bytes,
            "predicted": one.predicted,
            "measured": score_record(one.measured.score),
            "change": score_record(one.measured.change),
            "uniform": one.uniform is not None,
            "picked": one is best,
        }

    return {
        "model": network.name,
        "split": front.split,
        "points": [point(one) for one in front.points],
        "plan": str(output),
        "test": None if tested is None else {"plan": score_record(tested[0]), "float": score_record(tested[1])},
    }


def _show(network: Any, front: Any, best: Any, alike: dict[Any, str], output: Path, tested: Any) -> None:
    measure = best.measured.measure
    shown = [one for one in front.points if one.uniform is not None or front.best_within(one.bits_per_weight) is one]
    heads = ("plan", "bits", "bytes", "predicted", measure.name, best.measured.score.name, "")
    rows = [
        (
            said("mixed") if one.uniform is None else alike[one.uniform],
            f"{one.bits_per_weight:.3f}",
            f"{one.size_bytes:,}",
            number(one.predicted, 3),
            number(one.measured.measure.value, 3),
            number(one.measured.score.value),
            said("picked") if one is best else "",
        )
        for one in shown
    ]
    show(said("tune_title", model=network.title, split=front.split), heads, rows)
    if left := len(front.points) - len(shown):
        typer.echo(said("tune_left", n=left))
    score = told(best.measured.score)
    bits = f"{best.bits_per_weight:.3f}"
    typer.echo(said("tuned", path=output, bits=bits, size=f"{best.size_bytes:,}", score=score))
    if tested is None:
        typer.echo(said("untested"))
    else:
        typer.echo(said("tested", score=told(tested[0]), plain=spread(tested[1])))


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _numbers(text: str) -> list[int]:
    words = _words(text)
    if not words or not all(word.isdecimal() and 2 <= int(word) <= 16 for word in words):
        raise QuantError(f"--bits {text!r} must be whole numbers from 2 to 16, with commas between them, such as 3,4,8")
    return sorted({int(word) for word in words})
