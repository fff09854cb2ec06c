"""Python's syntax trees, for tests that read the source."""

import ast
import pathlib


def syntax_of(path: pathlib.Path) -> ast.Module:
    """Return the syntax tree of a file.

    CPython counts how deep it is in a tree for all threads together, and reports a SystemError where another thread,
    such as one that an app test has left, is at work on one, too (CPython issue 106905): then it is parsed again.
    """
    text = path.read_text(encoding="utf-8")
    for _ in range(9):
        try:
            return ast.parse(text)
        except SystemError as error:
            if "recursion depth mismatch" not in str(error):
                raise
    return ast.parse(text)
