"""Commands that compare, export and report."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from explorer.commands.common import (
    AsJson,
    Data,
    DryRun,
    MaxDrop,
    Overwrite,
    Seed,
    followed,
    leave,
    number,
    opened,
    read_plan,
    refusals,
    said,
    score_record,
    show,
    spread,
    validate_free,
    write_json,
)
from explorer.commands.texts import parting, parting_said
from quant_engine import QuantError

PLANS = (".json", ".encodings")  # endings; what else is named is a model
SHOWN = 12  # weights of a comparison
COMPARE_EXAMPLES = """[bold]Examples[/bold]

quant-explorer compare fashion-cnn plan.json\n
quant-explorer compare plan-a.json plan-b.json --model fashion-cnn\n
quant-explorer compare float.onnx quantized.onnx\n
quant-explorer compare one.gguf other.gguf
"""
APPLY_EXAMPLES = """[bold]Examples[/bold]

quant-explorer apply plan.json fashion-cnn --to onnx -o model.onnx --verify\n
quant-explorer apply plan.json fashion-cnn --to compressed-tensors --dry-run\n
quant-explorer apply other-tool.encodings model.onnx --to onnx
"""
REPORT_EXAMPLE = "[bold]Example[/bold]: quant-explorer report plan.json fashion-cnn -o report.html"
PlanPath = Annotated[
    Path,
    typer.Argument(
        help="A plan as 'tune' or the app writes it, encodings, TensorQuantOverrides, or a QDQ graph of it."
    ),
]
Named = Annotated[str, typer.Argument(help="The model that the plan is of.")]


def compare(
    first: Annotated[str, typer.Argument(help="A model, a file of tensors, or a plan (.json).")],
    second: Annotated[str, typer.Argument(help="The other one.")],
    model: Annotated[str | None, typer.Option(help="The model that two plans are of.")] = None,
    data: Data = None,
    split: Annotated[str, typer.Option(help="The data to compare on.")] = "test",
    max_drop: MaxDrop = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Compare two plans, models or files: weight by weight, and scores on the same samples."""
    with refusals():
        from quant_engine import studies

        base = model or next((one for one in (first, second) if not _is_plan(one)), None)
        if base is None:
            raise QuantError("both are plans; name the model that they are of: --model fashion-cnn")
        sides = [_side(one, base, data, seed) for one in (first, second)]
        (one, plan), (other, changed) = sides
        weights = [
            studies.weights_of(network, None if planned is None else network.freeze(planned))
            for network, planned in sides
        ]
        differences = list(studies.compare_weights(*weights))
        paired, reason = _paired(one, plan, other, changed, split)
        sizes = [studies.footprint(network, planned).size_bytes for network, planned in sides] if paired else None
        texts = parting(one, plan, other, changed, split) if paired else None
        if as_json:
            write_json(_comparison_record(first, second, differences, paired, sizes, reason) | {"texts": texts})
        else:
            _show_comparison(first, second, differences, paired, sizes, reason, split)
            if texts is not None:
                typer.echo(parting_said(texts, Path(first).name, Path(second).name))
        if paired is not None:
            change = next(iter(paired.changes.values()))
            leave(change.value if change.better == "lower" else -change.value, max_drop)


def apply(
    plan: PlanPath,
    model: Named,
    to: Annotated[
        str, typer.Option(help="The target, such as onnx, compressed-tensors or plan; another word lists all.")
    ],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The file or folder to write.")] = None,
    nearest: Annotated[bool, typer.Option("--nearest", help="Take the nearest the target can express.")] = False,
    as_float: Annotated[bool, typer.Option("--as-float", help="Write what it cannot express as floats.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Have the target's reader read it, and compare.")] = False,
    data: Data = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Write a model under a plan in the format of a tool."""
    with refusals():
        from quant_engine.checks import as_choice
        from quant_engine.export import EXPORTERS, bit_counts, export_plan
        from quant_engine.export import nearest as nearest_to

        exporter = EXPORTERS[as_choice(to, EXPORTERS, "--to")]
        path = output or Path(f"{plan.stem}-{exporter.key}{exporter.ending}")
        network = opened(model, data)
        original = read_plan(plan, network)
        chosen = original.plan
        findings = exporter.check(network, chosen)
        if nearest:
            chosen = nearest_to(chosen, findings)
        if dry_run:
            _say_findings(exporter.title, findings, as_json)
            return
        written = export_plan(network, chosen, path, to, original, overwrite, as_float)
        checked = exporter.verify(network, chosen, path) if verify else None
        counts = bit_counts(network, chosen, written.paths)
        if as_json:
            write_json(_export_record(written, checked, counts))
            return
        _say_findings(exporter.title, written.findings, False)
        for file in written.paths:
            typer.echo(
                said("written", path=file, size=f"{written.size_bytes:,}", share=f"{written.coverage.share:.1%}")
            )
        for count in counts:
            typer.echo(said(f"bits_{count.key}", bits=f"{count.bits_per_weight:.3f}"))
        if checked is not None:
            for one in checked.comparisons:
                typer.echo(said("verified", reader=checked.reader, name=one.name, facts=", ".join(_facts(one))))


def report(
    plan: PlanPath,
    model: Named,
    output: Annotated[Path, typer.Option("--output", "-o", help="The HTML file to write.")] = Path("report.html"),
    data: Data = None,
    split: Annotated[str, typer.Option(help="The data to score on.")] = "test",
    overwrite: Overwrite = False,
    seed: Seed = 0,
    dry_run: DryRun = False,
) -> None:
    """Write what a plan does to a model as one HTML file with live figures."""
    with refusals():
        from explorer.report_page import html_of
        from explorer.reports import measure
        from quant_engine.files import write_file

        validate_free(output, overwrite)
        network = opened(model, data, seed)
        chosen = read_plan(plan, network).plan
        if dry_run:
            typer.echo(said("report_dry", split=split, path=output))
            return
        found = followed(measure(network, {plan.stem: chosen}, model, split), said("reporting"), str)
        write_file(output, html_of(found).encode(), lambda _: True)
        typer.echo(said("reported", path=output))


def _is_plan(given: str) -> bool:
    return given.endswith(PLANS)


def _side(given: str, base: str, data: Path | None, seed: int) -> tuple[Any, Any]:
    """Return the network that one side is of, and its plan, if it is one."""
    if _is_plan(given):
        network = opened(base, data, seed)
        return network, read_plan(Path(given), network).plan
    return opened(given, data, seed), None


def _paired(one: Any, plan: Any, other: Any, changed: Any, split: str) -> tuple[Any, str]:
    """Return the comparison on the same samples, or why there is none."""
    from quant_engine.studies import compare_paired

    if one.task is None or other.task is None:
        return None, said("no_task")
    return compare_paired(one, plan, changed, split, other), ""


def _comparison_record(
    first: str, second: str, differences: list[Any], paired: Any, sizes: Any, reason: str
) -> dict[str, Any]:
    return {
        "first": first,
        "second": second,
        "size_bytes": sizes,
        "reason": reason,
        "weights": [
            {"name": one.name, "other": one.other, "bits": list(one.bits), "sqnr_db": one.sqnr_db, "max": one.max_abs}
            for one in differences
        ],
        "scores": None
        if paired is None
        else {
            name: {
                "before": score_record(paired.before.get(name)),
                "after": score_record(paired.after.get(name)),
                "change": score_record(change),
            }
            for name, change in paired.changes.items()
        },
        "flips": None
        if paired is None
        else {"fixed": len(paired.fixed), "broken": len(paired.broken), "p_value": paired.p_value},
    }


def _show_comparison(
    first: str, second: str, differences: list[Any], paired: Any, sizes: Any, reason: str, split: str
) -> None:
    if paired is None:
        typer.echo(said("parted", reason=reason))
    else:
        rows = [
            (name, number(paired.before[name].value), number(paired.after[name].value), spread(change))
            for name, change in paired.changes.items()
        ]
        heads = ("score", Path(first).name, Path(second).name, "change")
        show(said("compare_title", first=Path(first).name, second=Path(second).name, split=split), heads, rows)
        if paired.p_value is not None:
            counts = {"fixed": len(paired.fixed), "broken": len(paired.broken)}
            typer.echo(said("flips", **counts, p=number(paired.p_value, 2)))
        for name, size in zip((first, second), sizes, strict=True):
            typer.echo(said("size", name=Path(name).name, size=f"{size:,}"))
    apart = sorted((one for one in differences if one.sqnr_db != float("inf")), key=lambda one: one.sqnr_db)
    if not apart:
        typer.echo(said("same_weights"))
        return
    columns = ("weight", "bits", "bits", "SQNR dB", "max")
    shown = [(one.name or one.other, *map(number, (*one.bits, one.sqnr_db, one.max_abs))) for one in apart[:SHOWN]]
    show(said("compare_weights", n=min(SHOWN, len(apart)), total=len(apart)), columns, shown)


def _say_findings(title: str, findings: Iterable[Any], as_json: bool) -> None:
    listed = list(findings)
    if as_json:
        write_json({"findings": [_finding_record(one) for one in listed]})
        return
    if not listed:
        typer.echo(said("nothing_found", target=title))
    for one in listed:
        typer.echo(said("finding", severity=one.severity, text=one))


def _finding_record(one: Any) -> dict[str, Any]:
    return {"severity": one.severity, "layer": one.layer, "role": one.role, "text": one.text}


def _export_record(written: Any, checked: Any, counts: Iterable[Any]) -> dict[str, Any]:
    return {
        "paths": [str(path) for path in written.paths],
        "size_bytes": written.size_bytes,
        "bits_per_weight": {one.key: one.bits_per_weight for one in counts},
        "coverage": written.coverage.share,
        "findings": [_finding_record(one) for one in written.findings],
        "verified": None
        if checked is None
        else [
            {
                "name": one.name,
                "max_difference": one.max_difference,
                "same": one.same,
                "exact": one.exact,
                "score": score_record(one.score),
                "own_score": score_record(one.own_score),
            }
            for one in checked.comparisons
        ],
    }


def _facts(one: Any) -> Iterable[str]:
    """Yield what a comparison with the target's reader has found."""
    if one.exact is not None:
        yield said("exact") if one.exact else said("not_exact")
    if one.max_difference is not None:
        yield said("max_difference", value=number(one.max_difference, 3))
    if one.same is not None:
        yield said("same", share=f"{one.same:.2%}")
    if one.differences:
        yield said("ties", n=sum(found.is_tie for found in one.differences), total=len(one.differences))
    if one.score is not None and one.own_score is not None:
        yield said("scores", name=one.score.name, value=number(one.score.value), own=number(one.own_score.value))
