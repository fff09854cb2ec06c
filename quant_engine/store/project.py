"""What a store tells of projects and of the plans saved in them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SavedPlan:
    """A plan as it was saved.

    Attributes:
        document: its text, as whoever saved it writes plans.
        label: what it was called, such as "A"; empty for what was saved by itself.
        saved: when, in UTC, as ISO 8601.
        attached: digests of what was saved with it, such as arrays (`Store.attachment`).
    """

    document: str
    label: str
    saved: str
    attached: tuple[str, ...] = ()


@dataclass(frozen=True)
class Saved:
    """That a plan was saved.

    Attributes:
        number: of the project's last plan; later ones are greater.
        others: how many plans came into the project since the number that was given, which somebody else has saved.
    """

    number: int
    others: int


@dataclass(frozen=True)
class Project:
    """What belongs together: plans of one model under a name.

    Attributes:
        name: no other project of the store has it.
        model: what the model is called.
        digest: the model's, by which it is known again.
        created: when, in UTC, as ISO 8601.
        changed: when the last plan was saved.
    """

    name: str
    model: str
    digest: str
    created: str
    changed: str
