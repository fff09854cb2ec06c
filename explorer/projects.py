"""The projects of the person at this machine: in one file, saved as they go."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from explorer import access, compute
from explorer.data_folder import made, projects_path
from explorer.language import read_words
from explorer.sources import ModelKey
from explorer.tuning.codec import read_plan, write_plan
from explorer.tuning.tuned_plan import TunedPlan
from quant_engine import QuantError
from quant_engine.export import EXPORTERS, Imported, import_plan
from quant_engine.network.freezing import validate_fits
from quant_engine.store import Project, Saved, Store, digest_of

ORIGINAL, FILE = "original", ""  # in a document: the file that a plan came from; in an import: the file itself
GRAPH = ".onnx"  # how the name of a graph ends; all else that plans come from is JSON


def store() -> Store | None:
    """Return the file of projects, made if need be; None on a server for others, which would mix what is theirs.

    Raises:
        QuantError: for a file that is no store, and a folder that takes none.
    """
    if not access.may_name_anything():
        return None
    return Store(made(projects_path()))


def usual_name(kept: Store, model: ModelKey) -> str:
    """Return the project that a model's plans are saved in unless another is chosen: its last, or a new one."""
    mine = kept.projects(digest=_of(model))
    return mine[0].name if mine else free_name(kept, model)


def free_name(kept: Store, model: ModelKey) -> str:
    """Return a name for a new project of a model."""
    name, number = compute.name(model), 2
    taken = {project.name for project in kept.projects()}
    while name in taken:
        name, number = f"{compute.name(model)} ({number})", number + 1
    return name


def save(
    kept: Store,
    model: ModelKey,
    name: str,
    plan: TunedPlan,
    since: int | None = None,
    original: Imported | None = None,
) -> Saved:
    """Save a plan in a project, with the scales and the file that it has from elsewhere.

    `since` is the last number in the project that is known.

    Raises:
        QuantError: as `Store.save`.
    """
    parts: dict[str, bytes] = {}

    def keep(content: bytes) -> str:
        parts[digest_of(content)] = content
        return digest_of(content)

    document = write_plan(plan, keep)
    if original is not None and FILE in original.files:
        came_from = GRAPH if EXPORTERS[original.target].ending == GRAPH else ".json", keep(original.files[FILE])
        document = json.dumps({**json.loads(document), ORIGINAL: came_from}, sort_keys=True, ensure_ascii=False)
    return kept.save(name, compute.name(model), _of(model), document, since=since, attached=parts.values())


def load(kept: Store, model: ModelKey, document: str) -> tuple[TunedPlan, Imported | None]:
    """Return a saved plan, and the file that it came from.

    Raises:
        QuantError: for what this version cannot read, and what does not belong to the model.
    """
    network = compute.network(model)
    try:
        plan = read_plan(document, kept.attachment).fitting(network.layers())
        ending, digest = json.loads(document or "{}").get(ORIGINAL, ("", ""))
    except QuantError:
        raise
    except ValueError as error:
        raise QuantError(read_words("tuner")["projects"]["unreadable"]) from error
    for layer, given in plan.given.items():
        validate_fits(network.layers()[layer], given)
    if not digest:
        return plan, None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"original{GRAPH if ending == GRAPH else '.json'}")
        path.write_bytes(kept.attachment(str(digest)))
        return plan, import_plan(network, path)


def of_model(kept: Store, model: ModelKey, search: str = "") -> list[Project]:
    """Return the projects of a model, the last changed first."""
    return kept.projects(search, _of(model))


def _of(model: ModelKey) -> str:
    """Return the digest by which a model's projects are known."""
    return compute.network(model).digest
