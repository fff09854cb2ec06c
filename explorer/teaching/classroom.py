"""How a class goes through its questions: as peer instruction is done, predict, see the spread, discuss, vote again.

    lobby → open → closed → spread → again → revealed → the next question's open → … → ended

The end can be taken back: the last question is at hand again. Both votes are kept. From `closed` and `spread` the truth
may be revealed at once; a closed vote may be opened again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from explorer.teaching.questions import Question
from quant_engine import QuantError
from quant_engine.checks import as_choice, as_instance, as_integer, as_list

LOBBY, OPEN, CLOSED, SPREAD, AGAIN, REVEALED, ENDED = "lobby", "open", "closed", "spread", "again", "revealed", "ended"
ROUNDS = {OPEN: 1, AGAIN: 2}  # of a question's votes
MOVES: dict[str, dict[str, str]] = {  # by phase: what the teacher may do, and the phase that follows
    LOBBY: {"begin": OPEN},
    OPEN: {"close": CLOSED},
    CLOSED: {"open": OPEN, "spread": SPREAD, "reveal": REVEALED},
    SPREAD: {"again": AGAIN, "reveal": REVEALED},
    AGAIN: {"reveal": REVEALED},
    REVEALED: {"next": OPEN},
    ENDED: {"resume": REVEALED},
}


@dataclass(frozen=True)
class Classroom:
    """Where a class is.

    Attributes:
        questions: in order.
        position: of the question at hand.
        phase: one of `MOVES`.
        asked: positions that a vote was opened on, in this order.

    Raises:
        QuantError: for no questions, two of a name, and a position or phase that there is not.

    Example:
        >>> question = Question("choice", "Which format?", truth=1, reveal="FP4.", options=("INT4", "FP4"))
        >>> room = Classroom((question,))
        >>> for action in ("begin", "close", "spread", "again", "reveal", "next"):
        ...     room = room.after(action)
        >>> room.phase
        'ended'
    """

    questions: tuple[Question, ...]
    position: int = 0
    phase: str = LOBBY
    asked: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Check that there is such a place."""
        questions = as_list(self.questions, Question, "questions", "give Question objects")
        object.__setattr__(self, "questions", tuple(questions))
        if not questions:
            raise QuantError("a class needs questions; give at least one")
        names = [one.name for one in questions if one.name]
        if len(set(names)) < len(names):
            raise QuantError(f"{len(names)} questions have {len(set(names))} names; give each once")
        for place in self.asked:
            as_integer(place, "asked", 0, len(questions) - 1)
        as_integer(self.position, "position", 0, len(questions) - 1)
        as_choice(self.phase, MOVES, "phase")

    @property
    def question(self) -> Question:
        """The question at hand."""
        return self.questions[self.position]

    @property
    def number(self) -> int:
        """Which question this is, in the order in which they were asked."""
        return self.asked.index(self.position) + 1 if self.position in self.asked else self.position + 1

    @property
    def round(self) -> int:
        """Which vote is open: 1, 2 after the discussion, 0 if none is."""
        return ROUNDS.get(self.phase, 0)

    @property
    def is_spread_shown(self) -> bool:
        """Whether the class sees how it answered."""
        return self.phase in (SPREAD, REVEALED)

    @property
    def is_revealed(self) -> bool:
        """Whether the class is told the truth."""
        return self.phase == REVEALED

    @property
    def is_last(self) -> bool:
        """Whether every question has been asked."""
        return len(self.asked) == len(self.questions)

    @property
    def actions(self) -> tuple[str, ...]:
        """What the teacher may do now."""
        return tuple(MOVES[self.phase])

    def has_asked(self, name: str) -> bool:
        """Say whether a question of this name is the one at hand, and not still to be asked."""
        return bool(name) and self.question.name == name and self.phase not in (LOBBY, ENDED)

    def place_of(self, name: str) -> int | None:
        """Return the position of a question, None if the class has it not."""
        return next((place for place, one in enumerate(self.questions) if name and one.name == name), None)

    def after(self, action: str | int) -> Classroom:
        """Return where the class is after an action; when all has been asked it has ended.

        A position as action opens the vote on that question, whatever the phase: a lecture has its own order. The next
        question is the first after this one that has not been asked, or else the first of all that has not.

        Raises:
            QuantError: for an action that the phase does not have, and a position that there is not.
        """
        if isinstance(action, int):
            asked = tuple(dict.fromkeys((*self.asked, action)))
            return replace(self, position=action, phase=OPEN, asked=asked)
        as_instance(action, str, "action", "give a name")
        if action not in MOVES[self.phase]:
            allowed = ", ".join(self.actions) or "nothing"
            raise QuantError(f"{action!r} cannot be done while a question is {self.phase}; what can: {allowed}")
        if action == "begin":
            return self.after(0)
        if action == "next":
            left = [place for place in range(len(self.questions)) if place not in self.asked]
            after = [place for place in left if place > self.position]
            return self.after([*after, *left][0]) if left else replace(self, phase=ENDED)
        return replace(self, phase=MOVES[self.phase][action])
