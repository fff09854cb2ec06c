"""The page table: a page is a script in `pages/` and its line here."""

from __future__ import annotations

import pathlib
from dataclasses import dataclass

from explorer.language import read_words

HERE = pathlib.Path(__file__).resolve().parent
HOME = "home.py"
COMPARE = "compare.py"
TEACH, CLASSROOM = "teach.py", "classroom.py"
TEACHING = (TEACH, CLASSROOM)  # pages for the teacher, which are no slides
PLAYGROUND, INSPECTOR, TUNER, OPEN, TEXT = "playground.py", "inspector.py", "tuner.py", "open.py", "text.py"


@dataclass(frozen=True)
class PageEntry:
    """One page of the navigation."""

    script: str
    lesson: int = 0  # its number
    default: bool = False
    hidden: bool = False  # it answers at its name alone

    @property
    def path(self) -> pathlib.Path:
        """Where the script is."""
        return pages_folder() / self.script

    @property
    def title(self) -> str:
        """What it is called in the navigation."""
        if self.lesson:
            return f"{self.lesson} {read_words(self.path.stem.removeprefix('lesson_'))['title']}"
        return str(read_words("frame")["pages"][self.path.stem])


PAGES: dict[str, tuple[PageEntry, ...]] = {  # the pages of a group are a menu, those of no group stand before the menus
    "": (
        PageEntry(HOME, default=True),
        PageEntry(PLAYGROUND),
        PageEntry(INSPECTOR),
        PageEntry(TUNER),
        PageEntry(OPEN),
        PageEntry("model_card.py"),
        PageEntry("status.py", hidden=True),
    ),
    "more": (PageEntry(COMPARE), PageEntry("sweep.py"), PageEntry(TEXT)),
    "learn": (
        PageEntry("lesson_bits.py", 1),
        PageEntry("lesson_formats.py", 2),
        PageEntry("lesson_uniform.py", 3),
        PageEntry("lesson_symmetry.py", 4),
        PageEntry("lesson_clipping.py", 5),
        PageEntry("lesson_rounding.py", 6),
        PageEntry("lesson_centroids.py", 7),
        PageEntry("lesson_mixed.py", 8),
        PageEntry("lesson_granularity.py", 9),
        PageEntry("lesson_vectors.py", 10),
        PageEntry("lesson_compensation.py", 11),
        PageEntry("glossary.py"),
    ),
    "teach": (PageEntry(TEACH), PageEntry(CLASSROOM)),
}


def entry_of(name: str) -> PageEntry:
    """Return the page that answers at a name."""
    return next(entry for entries in PAGES.values() for entry in entries if entry.script == f"{name}.py")


def pages_folder() -> pathlib.Path:
    """Return where the page scripts are: in the package when installed, else beside it."""
    installed = HERE / "_pages"
    return installed if installed.is_dir() else HERE.parent / "pages"
