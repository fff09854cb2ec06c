"""The exercises run from the first cell to the last, and what they assert holds."""

from __future__ import annotations

import json
import pathlib

import pytest

FOLDER = pathlib.Path(__file__).parents[2] / "docs" / "exercises"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def cells(path: pathlib.Path, kind: str) -> list[str]:
    content = json.loads(path.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in content["cells"] if cell["cell_type"] == kind]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_an_exercise_and_its_solutions_run(path: pathlib.Path) -> None:
    names: dict[str, object] = {}
    code = "\n\n".join(cells(path, "code"))
    exec(compile(code, path.name, "exec"), names)
    assert code.count("assert ") >= 5


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_an_exercise_has_tasks_and_comes_without_outputs(path: pathlib.Path) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    assert 15 <= len(content["cells"]) <= 26
    assert all(not cell.get("outputs") and not cell.get("execution_count") for cell in content["cells"])
    solutions = [cell for cell in content["cells"] if "solution" in cell["metadata"].get("tags", ())]
    assert len(solutions) >= sum("**Your turn.**" in text for text in cells(path, "markdown")) > 3
