"""The rules of structure that import-linter cannot see, read from the syntax trees.

A rule is a function of a tree that yields what breaks it; each also has a line here that it must catch.
"""

import ast
import functools
import pathlib
import sys

import pytest

import quant_engine
from tests.syntax import syntax_of

ROOT = pathlib.Path(__file__).parents[2]
TORCH_LIVES_IN = {
    "sweep",
    "packs",
    "export",
    "methods",
    "network",
    "studies",
    "integer_only",
    "compensation",
    "readers",
    "models",
    "execution",
}
DEPENDENCIES = {"numba", "numpy", "onnx", "pages", "plotly", "quant_engine", "safetensors", "streamlit", "torch"}


def files(*folders):
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


@functools.cache
def tree_of(path):
    return syntax_of(path)


def name_of(path):
    return str(path.relative_to(ROOT))


def imports(tree):
    """Yield (module, name or None) of every import, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", alias.name) for alias in node.names)


def is_text(node):
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


# --- the rules --------------------------------------------------------------------------------------------------------


def heavy_imports(tree):
    """Pages compute nothing, so they need no numpy, torch or numba."""
    yield from (module for module, _ in imports(tree) if module.split(".")[0] in {"numpy", "torch", "numba"})


def engine_internals(tree):
    """Of the engine, pages may use what `quant_engine` itself exports, imported by name."""
    for module, name in imports(tree):
        if module.split(".")[0] == "quant_engine" and (module != "quant_engine" or name not in quant_engine.__all__):
            yield f"{module}.{name}"


def arithmetic(tree):
    """Pages contain no maths: no operator but | and &, and + and % where text is joined or filled in."""
    for node in ast.walk(tree):
        if isinstance(node, ast.AugAssign):
            yield ast.unparse(node)
        elif isinstance(node, ast.BinOp) and not isinstance(node.op, ast.BitOr | ast.BitAnd):
            joins = isinstance(node.op, ast.Add) and (is_text(node.left) or is_text(node.right))
            fills = isinstance(node.op, ast.Mod) and is_text(node.left)
            if not (joins or fills):
                yield ast.unparse(node)


def caches(tree):
    """One file alone decides what the app remembers."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and node.attr.startswith("cache_")
            and ast.unparse(node.value) in {"st", "streamlit"}
        ):
            yield ast.unparse(node)
    yield from (name for module, name in imports(tree) if module == "streamlit" and (name or "").startswith("cache_"))


def streamlit(tree):
    """Figures are made of arrays, and can be tested without an app."""
    yield from (module for module, _ in imports(tree) if module.split(".")[0] == "streamlit")


def torch_anywhere(tree):
    yield from (module for module, _ in imports(tree) if module.split(".")[0] == "torch")


def torch_on_import(tree):
    """Torch takes a second to import: inside the engine only functions may do it, and type checkers."""
    waiting = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            waiting.extend(node.orelse)
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from torch_anywhere(ast.Module([node], []))
        waiting.extend(ast.iter_child_nodes(node))


def unsafe(tree):
    """No HTML of our own, no code in a file of arrays."""
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "unsafe_allow_html":
            yield ast.unparse(node)
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and getattr(node.value, "value", True):
            yield ast.unparse(node)
        if isinstance(node, ast.Attribute) and ast.unparse(node).endswith("components.v1"):
            yield ast.unparse(node)
    yield from (module for module, name in imports(tree) if "components.v1" in f"{module}.{name}")


def swallowed(tree):
    """An error that nobody hears of is a defect that nobody finds."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            everything = node.type is None or ast.unparse(node.type) in {"Exception", "BaseException"}
            silent = all(
                isinstance(part, ast.Pass | ast.Continue)
                or (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))
                for part in node.body
            )
            if everything and silent:
                yield ast.unparse(node)


# --- what they hold for -----------------------------------------------------------------------------------------------

EVERYWHERE = ("quant_engine", "explorer", "pages", "tools", "benchmarks", "tests")
RULES = {
    heavy_imports: files("pages"),
    engine_internals: files("pages"),
    arithmetic: files("pages"),
    caches: files("pages"),
    streamlit: files("explorer/figures", "quant_engine"),
    torch_on_import: [path for path in files("quant_engine") if path.name != "modules.py"],  # classes of torch's
    unsafe: files(*EVERYWHERE),
    swallowed: files(*EVERYWHERE),
}
CAUGHT = {
    heavy_imports: ["import numpy as np", "from torch.nn import functional", "def f():\n    import numba"],
    engine_internals: [
        "import quant_engine",
        "from quant_engine import kernels",
        "from quant_engine.clipping import MinMax",
        "from quant_engine import *",
    ],
    arithmetic: [
        "x * 2",
        "a / b",
        "n ** 2",
        "n % 2",
        "a + b",
        "a - b",
        "n += 1",
        "f'{100 * share} %'",
        "a @ b",
        "a // b",
    ],
    caches: ["@st.cache_data\ndef f(): ...", "from streamlit import cache_resource", "streamlit.cache_data.clear()"],
    streamlit: ["import streamlit as st", "from streamlit.delta_generator import DeltaGenerator"],
    torch_on_import: [
        "import torch",
        "try:\n    import torch\nexcept ImportError:\n    torch = None",
        "class A:\n    import torch",
    ],
    unsafe: [
        "st.markdown(x, unsafe_allow_html=True)",
        "import streamlit.components.v1 as c",
        "from streamlit.components import v1",
        "st.components.v1.html(x)",
        "np.load(f, allow_pickle=True)",
        "np.load(f, allow_pickle=trusted)",
    ],
    swallowed: [
        "try:\n    f()\nexcept Exception:\n    pass",
        "try:\n    f()\nexcept:\n    ...",
        "for i in a:\n    try:\n        f()\n    except BaseException:\n        continue",
    ],
}
ALLOWED = {
    heavy_imports: ["import streamlit as st", "from explorer import compute"],
    engine_internals: ["from quant_engine import QuantError"],
    arithmetic: ["'a' + name", "name + ' %'", "'%d' % n", "A | None", "f'{n:.1%}'", "-1"],
    caches: ["import functools\n@functools.cache\ndef f(): ...", "compute.cache_of(x)"],
    streamlit: ["import plotly.graph_objects as go"],
    torch_on_import: ["def f():\n    import torch", "if TYPE_CHECKING:\n    from torch import nn"],
    unsafe: ["np.load(f, allow_pickle=False)", "'unsafe_allow_html=True'"],
    swallowed: ["try:\n    f()\nexcept Exception:\n    log()\n    raise", "try:\n    f()\nexcept KeyError:\n    pass"],
}


every_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)


@every_rule
def test_the_rule_holds(rule):
    offenders = {name_of(path): found for path in RULES[rule] if (found := list(rule(tree_of(path))))}
    assert offenders == {}


@every_rule
def test_the_rule_catches_what_breaks_it_and_nothing_else(rule):
    assert [line for line in CAUGHT[rule] if not list(rule(ast.parse(line)))] == []
    assert [line for line in ALLOWED[rule] if list(rule(ast.parse(line)))] == []


def test_one_file_of_the_app_caches():
    users = [name_of(path) for path in files("explorer") if any(caches(tree_of(path)))]
    assert len(users) <= 1


def test_torch_is_used_only_where_networks_are():
    users = {path for path in files("quant_engine") if any(torch_anywhere(tree_of(path)))}
    assert {path.relative_to(ROOT / "quant_engine").parts[0] for path in users} <= TORCH_LIVES_IN


def test_no_module_beside_the_entry_script_is_named_like_another_package():
    """`streamlit run explorer/app.py` puts explorer/ itself on the path, where such a name would hide the other."""
    names = {path.stem for path in (ROOT / "explorer").iterdir() if path.suffix == ".py" or path.is_dir()}
    assert not names & (DEPENDENCIES | set(sys.stdlib_module_names))
