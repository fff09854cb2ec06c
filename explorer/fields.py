"""A field of the state is one row: its key in the link, its control, what its words mean, its default and its help.

Reading, checking and writing links, and putting fields back to their defaults, follow from the rows: here alone.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass
from itertools import islice
from typing import Any, Generic, Self, TypeVar, cast

from explorer.language import read_words
from explorer.notation import count

Value = TypeVar("Value")
MAX_LISTED = 20  # options that are named to whoever has asked for none of them
MAX_SHOWN = 80  # characters of a link's text that are repeated to whoever has opened it
RENAMED = {  # words of older links, which stay readable
    "Act": "Try",
    "Reveal": "See",
    "Question": "Check",
    "min-max": "min–max",
    "input pixels": "network inputs",
    "bias correction": "bias_correction",
    "equalization": "cross_layer_equalization",
    "SmoothQuant": "smoothquant",
    "AWQ": "awq",
    "AdaRound": "adaround",
    "GPTQ": "gptq",
    "GPTQ, asymmetric": "gptaq",
    "synthetic data": "zeroq",
    "Gaussian data": "gaussian_data",
    "ranges from BatchNorm": "batch_norm_ranges",
    "bias correction, analytic": "bias_correction_analytic",
    "DFQ": "dfq",
    "DFQ, synthetic data": "dfq_zeroq",
    "QAT": "qat",
    "QAT with PACT": "pact",
}


def named(names: Iterable[str]) -> dict[str, str]:
    """Return options that mean themselves."""
    return {name: name for name in names}


def spoken(word: str) -> str:
    """Return how an option's word, which links have, is said in the language of this session."""
    return str(read_words("fields")["options"].get(word, word))


def widths(*bits: int) -> dict[str, int]:
    """Return widths of codes as options."""
    return {f"{width} bits": width for width in bits}


@dataclass(frozen=True, eq=False)
class Row(ABC):
    """What all rows have. A control holds what a link says: a word, a number or text.

    Label and help are among the words on fields under the key, or under `words` if several fields share them.
    In a table of a whole state, `shown` and `disabled` say of a state when the control is drawn among the others.
    """

    key: str
    _: KW_ONLY
    words: str = ""
    width: int | None = None
    shown: Callable[[Any], bool] = lambda state: True
    apart: bool = False  # drawn elsewhere
    more: bool = False  # drawn with what is seldom changed
    disabled: Callable[[Any], bool] = lambda state: False
    instead: str = "instead_default"  # what is done about text that is not valid, among the words on links

    @property
    def _words(self) -> Mapping[str, str]:
        found: Mapping[str, str] = read_words("fields").get(self.words or self.key, {})
        return found

    @property
    def label(self) -> str:
        """What it is called on screen."""
        return self._words.get("label", self.key)

    @property
    def help(self) -> str:
        """What it means."""
        return self._words.get("help", "")

    @property
    def expected(self) -> str:
        """What is valid, in words."""
        return self._words.get("expected", "")

    @abstractmethod
    def parse(self, text: str) -> Any:
        """Return what the control holds where a link has this text.

        Raises:
            ValueError: for text that is not valid.
        """

    def accepts(self, text: str) -> bool:
        """Say whether a link may have this text."""
        try:
            self.parse(text)
        except ValueError:
            return False
        return True


@dataclass(frozen=True, eq=False)
class Choice(Row, Generic[Value]):
    """One of a few words, in a row or in a `menu`; `options` says what each means."""

    options: Mapping[str, Value]
    default: str
    _: KW_ONLY
    menu: bool = False

    def parse(self, text: str) -> str:
        """Return the option that a text names, by its present word."""
        word = text if text in self.options else RENAMED.get(text, text)
        if word not in self.options:
            raise ValueError(text)
        return word

    def meaning(self, held: Any) -> Value:
        """Return what a word means."""
        return self.options[held]

    def held(self, value: Value) -> str:
        """Return the word for a meaning; undoes `meaning`.

        Raises:
            ValueError: for what no word means.
        """
        for word, meaning in self.options.items():
            if meaning == value:
                return word
        raise ValueError(f"there is no word for {value}")

    @property
    def expected(self) -> str:
        """What is valid, in words."""
        listed = ", ".join(islice(self.options, MAX_LISTED))
        if len(self.options) <= MAX_LISTED:
            return _said("one_of", options=listed)
        return _said("one_of_many", n=count(len(self.options)), options=listed)


@dataclass(frozen=True, eq=False)
class Number(Row, Generic[Value]):
    """A number in a range, by a slider or in a `box`; whole if its default is. A default of None means unset.

    In a table of a whole state, `limit` says of a state how great it may be.
    """

    min: float
    max: float
    default: Value
    _: KW_ONLY
    box: bool = False
    step: float | None = None
    limit: Callable[[Any], int | None] = lambda state: None

    @property
    def whole(self) -> bool:
        """Whether fractions are not valid."""
        return isinstance(self.default, int)

    @property
    def ends(self) -> tuple[Value, Value]:
        """The least and the greatest number."""
        return cast("tuple[Value, Value]", (self.min, self.max))

    def parse(self, text: str) -> float:
        """Read a number."""
        number = int(text) if self.whole else float(text)
        if not self.min <= number <= self.max:  # nor is it where it is no number
            raise ValueError(text)
        return number

    def meaning(self, held: Any) -> Value:
        """Return the number."""
        return cast("Value", held)

    def held(self, value: Value) -> Value:
        """Return the number."""
        return value

    @property
    def expected(self) -> str:
        """What is valid, in words."""
        return _said("whole_number" if self.whole else "number", min=f"{self.min:g}", max=f"{self.max:g}")


@dataclass(frozen=True, eq=False)
class Text(Row, Generic[Value]):
    """Text of a form of its own, which no control of Streamlit's shows; `read` raises ValueError for any other text."""

    read: Callable[[str], Value]
    write: Callable[[Value], str]
    default: str = ""

    def parse(self, text: str) -> str:
        """Return the text if it can be read."""
        self.read(text)
        return text

    def meaning(self, held: Any) -> Value:
        """Read the text."""
        return self.read(held)

    def held(self, value: Value) -> str:
        """Write the text."""
        return self.write(value)


Field = Choice[Value] | Number[Value] | Text[Value]


def link_of(fields: Iterable[Field[Any]], held: Mapping[str, Any]) -> dict[str, str]:
    """Return the parameters of a link to what controls hold, by key; defaults are left out."""
    present = ((field, held.get(field.key, field.default)) for field in fields)
    return {field.key: str(value) for field, value in present if value != field.default}


def read_link(fields: Iterable[Field[Any]], link: Mapping[str, str]) -> dict[str, Any]:
    """Return what a link has the controls hold, by key.

    Raises:
        ValueError: for a key that no field has, and for text that is not valid.
    """
    known = {field.key: field for field in fields}
    if said := faults(known.values(), link):
        raise ValueError(" ".join(said))
    return {key: known[key].parse(text) for key, text in link.items()}


def faults(fields: Iterable[Field[Any]], link: Mapping[str, str]) -> list[str]:
    """Say what in a link is not valid, and what is done about it."""
    known = {field.key: field for field in fields}
    said = []
    for key, text in link.items():
        if key not in known:
            said.append(_said("unknown", key=key[:MAX_SHOWN]))
        elif not (field := known[key]).accepts(text):
            shown = text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
            told = {"label": field.label, "text": shown, "expected": field.expected, "instead": _said(field.instead)}
            said.append(_said("refused", **told))
    return said


def _said(sentence: str, **told: str) -> str:
    return str(read_words("frame")["links"][sentence].format(**told))


def row(field: Field[Value]) -> Value:
    """Return an attribute of a `State`: this field, at its default."""
    return dataclasses.field(default=field.meaning(field.default), metadata={"field": field})


@dataclass(frozen=True)
class State:
    """What is set, as values by attribute; a subclass is the table, an attribute of it for each `row`."""

    @classmethod
    def fields(cls) -> dict[str, Field[Any]]:
        """Return the rows by attribute, in order."""
        return {entry.name: entry.metadata["field"] for entry in dataclasses.fields(cls)}

    @classmethod
    def of(cls, held: Mapping[str, Any]) -> Self:
        """Return the state of what controls hold, by key; fields without one are at their default."""
        rows = cls.fields().items()
        return cls(**{name: field.meaning(held.get(field.key, field.default)) for name, field in rows})

    def held(self) -> dict[str, Any]:
        """Return what the controls hold, by key; undoes `of`."""
        return {field.key: field.held(getattr(self, name)) for name, field in self.fields().items()}

    @classmethod
    def read(cls, link: Mapping[str, str]) -> Self:
        """Return the state that a link sets.

        Raises:
            ValueError: for a key that no field has, and for text that is not valid.
        """
        return cls.of(read_link(cls.fields().values(), link))

    def link(self) -> dict[str, str]:
        """Return the parameters of a link to this state, by key; undoes `read`."""
        return link_of(self.fields().values(), self.held())

    def word(self, name: str) -> str:
        """Return how links call an attribute's value."""
        return str(self.fields()[name].held(getattr(self, name)))

    def spoken(self, name: str) -> str:
        """Return how the screen calls an attribute's value."""
        return spoken(self.word(name))
