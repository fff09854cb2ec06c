"""The projects of the person at this machine: in one file, saved as they go."""

from __future__ import annotations

from explorer import access, compute
from explorer.data_folder import made, projects_path
from explorer.sources import ModelKey
from explorer.tuning.codec import write_plan
from explorer.tuning.tuned_plan import TunedPlan
from quant_engine.store import Project, Saved, Store


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
    mine = kept.projects(digest=digest_of(model))
    return mine[0].name if mine else free_name(kept, model)


def free_name(kept: Store, model: ModelKey) -> str:
    """Return a name for a new project of a model."""
    name, number = compute.name(model), 2
    taken = {project.name for project in kept.projects()}
    while name in taken:
        name, number = f"{compute.name(model)} ({number})", number + 1
    return name


def save(kept: Store, model: ModelKey, name: str, plan: TunedPlan, since: int | None = None) -> Saved:
    """Save a plan in a project; `since` is the last number in it that is known.

    Raises:
        QuantError: as `Store.save`.
    """
    return kept.save(name, compute.name(model), digest_of(model), write_plan(plan), since=since)


def of_model(kept: Store, model: ModelKey, search: str = "") -> list[Project]:
    """Return the projects of a model, the last changed first."""
    return kept.projects(search, digest_of(model))


def digest_of(model: ModelKey) -> str:
    """Return the digest by which a model's projects are known."""
    return compute.network(model).digest
