"""Models as people name them: a built-in or a pack, a file, a folder of transformers, a name on the hub; with data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from explorer import access
from explorer.language import read_words
from explorer.sources import MODELS, Source, open_tensors
from quant_engine import QuantError
from quant_engine.models import ARCHITECTURES, OnnxModel, TensorModel, fetch_from_hub, is_hub_name
from quant_engine.network import Network, load
from quant_engine.packs import PACKS, folder_of
from quant_engine.readers import is_url
from quant_engine.tasks import Task, read_task

CONFIG = "config.json"
ONNX, CODE = ".onnx", ".py"
INDEX, WEIGHTS = ".safetensors.index.json", (".safetensors", ".gguf", ".pt", ".pth", ".bin", ".npz", ".npy")
DATA = (".npz", ".txt")


@dataclass(frozen=True, eq=False)
class Opened:
    """A model that was opened, and why it is weights only, if it could be expected to run."""

    network: Network
    reason: str = ""


def open_given(given: str, data: Path | None = None, seed: int = 0) -> Opened:
    """Return the model that a person names, measured on the data if there are any, which a seed splits.

    ONNX files and folders of transformers can be run; where that fails, and where they are quantized already, they are
    opened as tensors, with the reason.

    Raises:
        QuantError: for what there is not, what cannot be read, and data for a model that cannot run.
    """
    if given in (*ARCHITECTURES, *PACKS):
        folder = folder_of(PACKS[given]) if given in PACKS else None
        return Opened(load(given, None if data is None else read_task(data, folder, seed=seed)))
    path = Path(given).expanduser()
    if not path.exists() and is_hub_name(given):
        path = fetch_from_hub(given)
    if not path.exists():
        raise QuantError(
            f"there is no model {given!r}: it is neither one of {', '.join((*ARCHITECTURES, *PACKS))} nor a path that "
            "exists; give the path of a file or a folder, or a name on the hub, organisation/model"
        )
    return _open_path(path, data, seed)


@dataclass(frozen=True)
class Given:
    """A model that a person names, with its data, opened wherever this is called."""

    model: str
    data: Path | None
    seed: int

    def __call__(self) -> Network:
        """Open it."""
        return open_given(self.model, self.data, self.seed).network


def swept(model: str, data: Path | None, seed: int = 0) -> str | Given:
    """Return what a sweep reads the tensors of a model from: its file or URL, or whatever opens a model that runs.

    Raises:
        QuantError: as `open_given`, and for data with a URL.
    """
    if is_url(model):
        if data is not None:
            raise QuantError(f"{model} is read as tensors, which cannot be run; leave the data out")
        return model
    found = open_given(model, data, seed).network.model
    if isinstance(found, TensorModel):
        return str(found.file.path.absolute())
    path = Path(model).expanduser()
    return Given(str(path.absolute()) if path.exists() else model, None if data is None else data.absolute(), seed)


def open_named(text: str, data: str = "") -> Opened:
    """Return the model that a person at the app names, measured on data that they name, as far as the server lets them.

    Raises:
        QuantError: as `open_given`, and for what people at this server may not name.
    """
    with _in_words(text):
        measured = access.allowed_path(data) if data else None
        if measured is not None and measured.suffix == CODE and not access.may_name_anything():
            raise QuantError(f"this server runs no file of Python; give other data than {data!r}")
        if text in MODELS.names() or (access.may_name_anything() and is_hub_name(text) and not Path(text).exists()):
            return open_given(text, measured)
        return _open_path(access.allowed_path(text), measured)


@contextmanager
def _in_words(given: str) -> Iterator[None]:
    """Refuse what cannot be read, whatever says so: a folder one may not enter, a part that is no JSON."""
    try:
        yield
    except QuantError:
        raise
    except (OSError, ValueError) as error:
        raise QuantError(f"{given!r} cannot be read: {error}; give what this server's user may read, whole") from error


def open_dropped(paths: Sequence[Path]) -> Opened:
    """Return the model of files that were dropped together: one file, or one with what belongs to it.

    That is an index or a config.json with its weights, external data, encodings, and for a model that can run the data
    to measure it on. On a server for others nothing of theirs is run: they get its tensors.

    Raises:
        QuantError: for files of which it is not plain what is the model, and as `open_given`.
    """
    main = _main(paths)
    runs = main.is_dir() or main.suffix == ONNX
    with _in_words(main.name):
        if not (runs and access.may_name_anything()):
            network = open_tensors(main)
            access.require_memory(max(info.parameters for info in network.layers().values()))
            return Opened(network)
        return _open_path(main, next((path for path in paths if path.suffix in DATA), None))


def _main(paths: Sequence[Path]) -> Path:
    """Return the file that is the model, or the folder of files that are one."""
    if len(paths) == 1:
        return paths[0]
    names = {path.name for path in paths}
    if CONFIG in names:
        return paths[0].parent
    for wanted in (INDEX, ONNX, *WEIGHTS):
        if len(found := [path for path in paths if path.name.endswith(wanted)]) == 1:
            return found[0]
    raise QuantError(
        f"of {', '.join(sorted(names))} it is not plain which is the model; drop one model at a time, with its index, "
        "external data, encodings, config.json or data"
    )


def offer_given(given: str, data: Path | None = None) -> tuple[str, str]:
    """Offer the model that a person names to all sessions; return what it is called, and why it is weights only.

    Raises:
        QuantError: as `open_given`.
    """
    if data is None and given in MODELS.names():
        return given, ""
    opened = open_given(given, data)
    name = opened.network.name
    MODELS.add(name, Source(lambda: opened.network))
    return name, opened.reason


def _open_path(path: Path, data: Path | None, seed: int = 0) -> Opened:
    if not ((path / CONFIG).is_file() if path.is_dir() else path.suffix == ONNX):
        if data is not None:
            load(path)  # says what is missing to run it
        return Opened(open_tensors(path))
    if _is_quantized(path):
        if data is not None:
            raise QuantError(f"{path.name} is quantized already, and is shown as it is stored; open it without data")
        return Opened(open_tensors(path), str(read_words("open")["quantized"]))
    try:
        return Opened(load(path, None if data is None else _task(path, data, seed)))
    except QuantError as error:
        if data is not None:
            raise
        return Opened(open_tensors(path), str(error))


def _task(path: Path, data: Path, seed: int) -> Task:
    """Return the task of some data for the model of a path."""
    return (
        read_task(data, path, seed=seed)
        if path.is_dir()
        else read_task(data, size=_picture_size(load(path)), seed=seed)
    )


def _picture_size(network: Network) -> tuple[int, int] | None:
    """Return height and width of the pictures that an ONNX graph takes, where it says them."""
    inputs = network.model.graph.inputs if isinstance(network.model, OnnxModel) else {}
    for _, shape in inputs.values():
        if shape is not None and len(shape) == 4 and None not in shape[2:]:
            return int(shape[2] or 0), int(shape[3] or 0)
    return None


def _is_quantized(path: Path) -> bool:
    try:
        model = open_tensors(path).model
    except QuantError:
        return False
    return isinstance(model, TensorModel) and any(info.kind == "quantized" for info in model.file.tensors.values())
