"""What commands share: the model and its data, progress, going on after a stop, numbers for people and for programs."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quant_engine import QuantError

if TYPE_CHECKING:
    from quant_engine.export import Imported
    from quant_engine.network import Network, Score

MAX_NAMED = 6  # tensors of a file that are no layer's
STOPPED, FELL = 130, 3  # exit status: by Ctrl-C, and where the score fell by more than it may

Model = Annotated[
    str,
    typer.Argument(
        help="A built-in (fashion-cnn, fashion-depthwise), one of 'models list', an ONNX file, a folder of "
        "transformers, a file of tensors, or a name on the Hugging Face hub."
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        help="What to measure on, where the model brings nothing: npz (x, y), pictures in folders, a text, or score.py."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Write the result as JSON to the standard output.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
Seed = Annotated[
    int, typer.Option(help="Draws which of your samples are for calibration, search and test.", min=0, max=2**32 - 1)
]
MaxDrop = Annotated[
    float | None,
    typer.Option(help=f"Exit with status {FELL} if the score is worse by more: 0.02 is 2 points.", min=0),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")]


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Say what the engine refuses as a mistake in the command."""
    try:
        yield
    except QuantError as error:
        raise typer.BadParameter(str(error)) from error


def said(key: str, **values: Any) -> str:
    """Return words of the commands."""
    from explorer.language import plain_words

    return str(plain_words("commands")[key]).format(**values)


def opened(model: str, data: Path | None = None, seed: int = 0) -> Network:
    """Return the model that is named, and say why it is weights only if it could be expected to run."""
    from explorer.given import open_given

    found = open_given(model, data, seed)
    if found.reason:
        typer.echo(found.reason, err=True)
    return found.network


def read_plan(path: Path, network: Network) -> Imported:
    """Return the plan of a file for a network, and the file; say what of another tool's file is in no layer."""
    from quant_engine import QuantizationPlan
    from quant_engine.export import import_plan

    found = import_plan(network, path)
    if found.unmatched and found.target == "plan":
        return replace(found, plan=QuantizationPlan.load(path))  # a plan of another model is refused by its layers
    if found.unmatched:
        listed = ", ".join(found.unmatched[:MAX_NAMED])
        typer.echo(said("unmatched", path=path, n=len(found.unmatched), listed=listed), err=True)
    return found


def followed(
    steps: Iterable[Any], what: str, describe: Callable[[Any], str], quiet: bool = False, stopped: str = "stopped"
) -> Any:
    """Return the last item of a study, and show its progress until then; Ctrl-C stops it and says how to go on."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    last, done = None, 0
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=quiet) as bar:
        task = bar.add_task(what, total=None)
        try:
            for last in steps:
                done, total = getattr(last, "done", done), getattr(last, "total", None)
                if total is not None:
                    bar.update(task, completed=done, total=total, description=f"{what}: {describe(last)}")
        except KeyboardInterrupt:
            bar.stop()
            typer.echo(said(stopped, done=f"{done:,}"), err=True)
            raise typer.Exit(STOPPED) from None
    return last


def show(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table; names are at the left, numbers at the right."""
    from rich import box
    from rich.console import Console
    from rich.table import Column, Table

    names, *numbers = columns
    table = Table(
        Column(names, overflow="fold"),
        *(Column(name, justify="right", no_wrap=True) for name in numbers),
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for row in rows:
        table.add_row(*row)
    Console().print(title, table, sep="\n", markup=False, highlight=False)


def write_json(found: Mapping[str, Any]) -> None:
    """Print a result as JSON; what is not a number, or infinite, is null."""
    typer.echo(json.dumps(_plain(found), indent=2))


def score_record(score: Score | None) -> dict[str, Any] | None:
    """Return a score as a record without what each sample adds."""
    from quant_engine.store import write_score

    return None if score is None else write_score(score)


def number(value: float | None, digits: int = 4) -> str:
    """Return a number for people."""
    if value is None or math.isnan(value):
        return "–"
    return "∞" if math.isinf(value) else f"{value:.{digits}g}"


def spread(score: Score) -> str:
    """Return a score's value with its interval."""
    low, high = score.interval
    return f"{number(score.value)} ({number(low, 3)} to {number(high, 3)})"


def told(score: Score) -> str:
    """Return a score's name and value with its interval and how many samples it comes from."""
    return said("score", name=score.name, value=spread(score), n=f"{score.n:,}", unit=score.unit and f" {score.unit}")


def leave(lost: float, max_drop: float | None) -> None:
    """End with a status of its own where the score fell by more than it may."""
    if max_drop is not None and lost > max_drop:
        typer.echo(said("fell", lost=number(lost), most=number(max_drop)), err=True)
        raise typer.Exit(FELL)


def validate_free(path: Path, overwrite: bool) -> None:
    """Refuse a path that is taken before anything is measured.

    Raises:
        QuantError: for a file that is there and is not to be replaced.
    """
    if path.exists() and not overwrite:
        raise QuantError(f"{path} exists; give another name, or --overwrite to replace it")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
