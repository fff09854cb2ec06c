"""The page table: a page is a script in `pages/` and its line here."""

from __future__ import annotations

import pathlib
from dataclasses import dataclass

HERE = pathlib.Path(__file__).resolve().parent
HOME = "home.py"
PLAYGROUND = "playground.py"


@dataclass(frozen=True)
class PageEntry:
    """One page of the navigation."""

    script: str
    title: str
    default: bool = False
    hidden: bool = False  # it answers at its name alone

    @property
    def path(self) -> pathlib.Path:
        """Where the script is."""
        return pages_folder() / self.script


PAGES: dict[str, tuple[PageEntry, ...]] = {  # the pages of a group are a menu, those of no group stand before the menus
    "": (
        PageEntry(HOME, "Home", default=True),
        PageEntry(PLAYGROUND, "Playground"),
        PageEntry("model_card.py", "Model card"),
        PageEntry("status.py", "Server status", hidden=True),
    ),
    "Learn": (
        PageEntry("lesson_bits.py", "1 Bit width and codebooks"),
        PageEntry("lesson_formats.py", "2 Number formats"),
        PageEntry("lesson_uniform.py", "3 Uniform quantization"),
        PageEntry("lesson_symmetry.py", "4 Symmetric and asymmetric"),
        PageEntry("lesson_clipping.py", "5 Clipping and calibration"),
        PageEntry("lesson_rounding.py", "6 Dequantization and rounding"),
        PageEntry("lesson_centroids.py", "7 Non-uniform quantization"),
        PageEntry("lesson_mixed.py", "8 Mixed precision"),
        PageEntry("lesson_granularity.py", "9 Granularity"),
        PageEntry("lesson_vectors.py", "10 Scalar, vector, product"),
        PageEntry("lesson_compensation.py", "11 Compensation: PTQ, QAT, ZSQ"),
        PageEntry("glossary.py", "Glossary"),
    ),
}


def entry_of(name: str) -> PageEntry:
    """Return the page that answers at a name."""
    return next(entry for entries in PAGES.values() for entry in entries if entry.script == f"{name}.py")


def pages_folder() -> pathlib.Path:
    """Return where the page scripts are: in the package when installed, else beside it."""
    installed = HERE / "_pages"
    return installed if installed.is_dir() else HERE.parent / "pages"
