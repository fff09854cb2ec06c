"""Every test that SECURITY.md names exists, and every threat has one."""

from __future__ import annotations

import ast
import functools
import pathlib
import re

ROOT = pathlib.Path(__file__).parents[2]
SAID = (ROOT / "SECURITY.md").read_text(encoding="utf-8")


@functools.cache
def names_in(path: pathlib.Path) -> set[str]:
    """The names of a file's tests."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_test_that_is_named_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", SAID)
    assert len(named) > 30
    assert [one for one in named if one[1] not in names_in(ROOT / one[0])] == []


def test_every_row_names_a_test() -> None:
    rows = [
        line
        for line in SAID.splitlines()
        if line.startswith("| ") and not line.startswith(("| threat", "| limit", "| fault"))
    ]
    assert [row for row in rows if "::test_" not in row] == []
