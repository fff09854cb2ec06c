"""The command that writes a plan as a person says it: the same for all layers, and patterns of layers otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from explorer.commands.common import DryRun, Model, Overwrite, opened, refusals, said, validate_free
from explorer.commands.settings import Bits, PlanFile, Sharing, plan_for

EXAMPLES = """[bold]Examples[/bold]

quant-explorer plan ocr --bits 8 --sharing layer -o a.json\n
quant-explorer plan ocr --plan a.json --set "conv2d_180* -> channel" -o b.json\n
quant-explorer plan smollm2 --set "*.down_proj -> int8, groups of 64" -o plan.json
"""


def plan(
    model: Model,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the plan is written, as JSON.")],
    start: PlanFile = None,
    bits: Bits = 4,
    sharing: Sharing = "channel",
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="A pattern of layers, an arrow and words of the tuner's cells; may be repeated."),
    ] = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
) -> None:
    """Write a plan by hand: all layers alike, or a plan that is there, and patterns of layers changed."""
    with refusals():
        from explorer.tuning.pattern import by_pattern
        from explorer.tuning.tuned_plan import tuned_of
        from quant_engine.models import ties

        validate_free(output, overwrite)
        network = opened(model)
        layers = network.layers()
        tuned = tuned_of(plan_for(network, start, bits, sharing), layers)
        for text in changes or ():
            tuned, found = by_pattern(tuned, ties(layers), text)
            typer.echo(said("changed", text=text, n=len(found)))
        if not dry_run:
            tuned.to_plan(layers).save(output)
            typer.echo(said("planned", path=output))
