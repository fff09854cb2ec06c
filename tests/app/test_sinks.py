"""Names from files reach every page as text: they draw no picture, make no link, end no formula, string or command.

Each page is drawn with a model whose layers have hostile names. What reaches Streamlit's markdown is read by
markdown-it; its directives, formulas and Plotly's tags by what their documentation says of them. A place where a name
has not been seen before fails until it is said how it is read there.
"""

from __future__ import annotations

import ast
import json
import pathlib
import re
import shlex
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from markdown_it import MarkdownIt
from streamlit.testing.v1 import AppTest

from explorer.figures import theme
from explorer.formulas import flowing
from explorer.lessons import LESSONS
from explorer.notation import latex_text
from explorer.page_table import PAGES
from explorer.sentences import JOINER, inert
from explorer.snippets import Origin, engine_code
from explorer.sources import MODELS, Source
from quant_engine import IntFormat, LayerPlan, QuantizationPlan, QuantizerSpec
from quant_engine.export import EXPORTERS
from quant_engine.network import from_module
from quant_engine.tasks import Classification
from tests.syntax import syntax_of

ROOT = pathlib.Path(__file__).parents[2]
ENTRY = str(ROOT / "explorer" / "app.py")
HOSTILE = (
    "![a](//evil·example/x) <img src=x onerror=alert(1)> <a href='//evil·example'>b</a> $\\href{x}{y}$ :red[z] "
    ":material/close: `q` *e* {__class__} {evil} \"';\n# h"
)
SHOWN = HOSTILE.replace("\n", " ")
MARK = "evil·example"
MARKDOWN = {  # what Streamlit reads as markdown
    *("Alert.body", "Heading.body", "Markdown.body", "Radio.label", "Radio.options", "Button.label", "Button.help"),
    *("Expandable.label", "PageLink.label", "Metric.label", "Progress.text", "Slider.label", "Selectbox.label"),
    *("Toast.body", "Checkbox.label", "DownloadButton.label", "NumberInput.label", "Popover.label"),
}
PLAIN = {  # what it shows as it is: menus, text for screen readers, code, names in links, what canvases draw
    *("Selectbox.options", "Dataframe.alt", "PlotlyChart.alt", "Code.code_text", "PageLink.query_string"),
    *("BidiComponent.json", "Text.body", "DownloadButton.url", "Selectbox.raw_value"),
}
TAGGED = {"PlotlyChart.spec", "PlotlyChart.figure.spec"}
EVERY = [
    (page.script, beat) for pages in PAGES.values() for page in pages for beat in ("Try", "See", "Formula", "Check")
]
EVERY = [(script, beat) for script, beat in EVERY if script.startswith("lesson_") or beat == "See"]
IN_CHECK = (("playground.py", "See"), ("inspector.py", "See"), ("tuner.py", "See"), ("lesson_mixed.py", "Formula"))
NAMELESS = tuple(f"{name}.py" for name in ("home", "open", "status", "glossary", "text", "teach", "classroom", "sweep"))
LIVE = re.compile(r"(?<!\\)(?:\\\\)*(\$|:\w[\w-]*\[)")  # formulas and directives that no backslash takes the sense of


class Net(torch.nn.Module):
    """Two layers of hostile names."""

    def __init__(self) -> None:
        super().__init__()
        for name, shape in ((HOSTILE, (16, 32)), (f"b{HOSTILE}", (32, 5))):
            self.add_module(name, torch.nn.Linear(*shape))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, last = self.children()
        return last(torch.relu(first(x)))


@pytest.fixture
def hostile() -> Iterator[str]:
    """Offer the model, which is called like its layers."""
    torch.manual_seed(0)
    x, y = np.random.default_rng(0).standard_normal((64, 16)).astype(np.float32), np.arange(64) % 5
    task = Classification({split: (x + 0.1 * at, y) for at, split in enumerate(("calibration", "search", "test"))})
    module = type(HOSTILE, (Net,), {})()
    MODELS.add(HOSTILE, Source(lambda: from_module(module, task, torch.from_numpy(x[:1]))))
    yield HOSTILE
    MODELS.remove(HOSTILE)


def texts(message: Any, path: str) -> Iterator[tuple[str, str]]:
    """Every text of a message of Streamlit's, with its place."""
    for field, held in message.ListFields():
        place = f"{path}.{field.name}"
        for one in held if isinstance(held, list) or type(held).__name__.startswith("Repeated") else [held]:
            if isinstance(one, str):
                yield place, one
            elif hasattr(one, "ListFields"):
                yield from texts(one, place)


def parts(block: Any) -> Iterator[tuple[str, str]]:
    """Every text of a page, with its place."""
    proto = getattr(block, "proto", None)
    if proto is not None and hasattr(proto, "ListFields"):
        yield from texts(proto, type(proto).__name__)
    for child in getattr(block, "children", {}).values():
        yield from parts(child)


def read(markdown: str) -> tuple[str, set[str]]:
    """The text of some markdown, and the kinds of what else is in it."""
    tokens = [inner for token in MarkdownIt().parse(markdown) for inner in (token.children or [token])]
    shown = "".join(token.content for token in tokens if token.type in ("text", "text_special"))
    kinds = {token.type for token in tokens} - {"text", "text_special"}
    return shown.replace(JOINER, ""), {kind for kind in kinds if kind not in ("softbreak", "hardbreak")}


def alive(markdown: str) -> set[str]:
    """What a name has become beside text."""
    bare = markdown.replace(inert(HOSTILE), "name")
    return read(markdown)[1] - read(bare)[1]


def test_a_hostile_name_is_text_in_markdown() -> None:
    shown, kinds = read(inert(HOSTILE))
    assert (shown, kinds) == (SHOWN, {"paragraph_open", "paragraph_close"})
    assert not LIVE.search(inert(HOSTILE))
    assert inert("https://evil.example www.evil.example a@evil.example :smile:").count(JOINER) == 4
    for name in ("model.layers.0.self_attn.q_proj.weight", "onnx::MatMul_127", "/conv1/Conv", "a (2).npz", "10:30:22"):
        assert inert(name) == name


@pytest.mark.parametrize(
    ("script", "beat"), [pytest.param(*one, marks=[] if one in IN_CHECK else [pytest.mark.full]) for one in EVERY]
)
def test_names_are_text_on_every_page(script: str, beat: str, hostile: str) -> None:
    at, slug = AppTest.from_file(ENTRY, default_timeout=120).switch_page(str(ROOT / "pages" / script)), script[7:-3]
    at.session_state["model"] = hostile
    if script.startswith("lesson_") and slug in LESSONS:
        at.session_state[f"{slug}_beat"], at.session_state[f"{slug}_show_anyway"] = beat, True
    at.run()
    assert not at.exception, (at.exception[0].message, *at.exception[0].stack_trace)
    seen = [(place, text) for block in at._tree.children.values() for place, text in parts(block)]
    named = [(place, text) for place, text in seen if MARK in text and not place.endswith((".id", "_id", ".value"))]
    assert named or script in NAMELESS
    for place, text in named:
        assert place in MARKDOWN | PLAIN | TAGGED, f"how is a name read in {place}? {text[:200]}"
        if place in MARKDOWN and text[0] != "$":
            assert inert(HOSTILE) in text, (place, text)
            assert not alive(text), (place, text)
            assert not LIVE.search(inert(HOSTILE))
        if place in TAGGED:
            assert "<img" not in json.dumps(json.loads(text)), (place, text)
            assert "<a " not in json.dumps(json.loads(text)), (place, text)
    for table in at.table:
        cells = [*table.value.columns, *table.value.index, *table.value.to_numpy().ravel()]
        assert all(inert(HOSTILE) in str(cell) for cell in cells if MARK in str(cell))


def test_a_name_ends_no_formula_and_is_no_command_in_it() -> None:
    written = flowing(f"{latex_text(HOSTILE)} = 1")
    assert (written[0], written[-1], written.count("$")) == ("$", "$", 2)
    assert not re.search(r"\\(?!text\{|_)", written)
    assert written.count("{") == written.count("}") == 1


def test_tags_in_a_figure_are_its_own() -> None:
    drawn = theme.figure([{"type": "bar", "x": [HOSTILE], "y": [1], "name": HOSTILE}], 100, theme.Canvas(HOSTILE))
    assert re.findall(r"<[^>]*>", drawn.to_json().replace("\\u003c", "<").replace("\\u003e", ">")) == []
    kept = theme.untagged("<b>a</b><br>%{x}<extra></extra>")
    assert kept == "<b>a</b><br>%{x}<extra></extra>"


@pytest.mark.parametrize("is_file", [False, True])
def test_a_name_ends_no_string_of_the_code_that_is_shown(is_file: bool) -> None:
    plan = LayerPlan(QuantizerSpec(IntFormat(4)))
    tree = ast.parse(engine_code(Origin(HOSTILE, HOSTILE, is_file), plan, LayerPlan(QuantizerSpec(IntFormat(8)))))
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    plain = ast.parse(engine_code(Origin("m", "l", is_file), plan, LayerPlan(QuantizerSpec(IntFormat(8)))))
    expected = {ast.unparse(node.func) for node in ast.walk(plain) if isinstance(node, ast.Call)}
    assert {re.sub(r"'.*'|\".*\"", "", one) for one in called} == {re.sub(r"'.*'|\".*\"", "", one) for one in expected}
    assert HOSTILE in {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}


def test_a_name_is_one_word_of_the_command_of_llama_quantize(tmp_path: pathlib.Path) -> None:
    path, network = tmp_path / "x; touch pwned $(id).txt", from_module(Net())
    plan = QuantizationPlan(dict.fromkeys(network.layers(), LayerPlan(QuantizerSpec(IntFormat(4)))))
    made = EXPORTERS["gguf-types"].write(network, plan, path)
    command = next(one for one in made.paths if one != path).read_text()
    words = shlex.split(command)
    assert words[:3] == ["llama-quantize", "--tensor-type-file", path.name]
    lines = path.read_text().splitlines()
    assert len(lines) == 2
    for line, prefix in zip(lines, ("", "b"), strict=True):
        assert re.search(line.rsplit("=", 1)[0], f"{prefix}{HOSTILE}.weight")
    assert EXPORTERS["gguf-types"].verify(network, plan, path).comparisons[0].exact is None


WRITES_MARKUP = re.compile(r"(?:inner|outer)HTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc")
OWN_MARKUP = ('this.part(".formula").innerHTML = code === null ? "" : formulaOf(form, code);', "lock.innerHTML = LOCK;")


def test_no_component_writes_markup_from_data() -> None:
    lines = [
        line.strip() for path in (ROOT / "explorer").rglob("*.js") for line in path.read_text("utf-8").splitlines()
    ]
    assert len(lines) > 1000
    assert {line for line in lines if WRITES_MARKUP.search(line)} == {*OWN_MARKUP}  # numbers and a constant


def test_no_subprocess_has_a_shell_and_no_page_unsafe_html() -> None:
    calls = [
        node
        for folder in ("explorer", "pages", "quant_engine")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(syntax_of(path))
        if isinstance(node, ast.Call)
    ]
    named = {keyword.arg for call in calls for keyword in call.keywords}
    assert not named & {"shell", "unsafe_allow_html", "unsafe_allow_javascript"}
    assert not {ast.unparse(call.func) for call in calls} & {"os.system", "os.popen", "eval", "exec"}


DRAWN = {  # what is not data: rules of style, formulas with formatted numbers, and sketches of the glossary
    "st.html(STYLE)",
    "st.html(f'<style>[data-testid=stBaseButton-primary]:enabled p {{ color: {background}; }}</style>')",
    "st.html(sketch(alt=words['sketch'].format(title=term.title), ink=charts.ink(), **term.sketch))",
    "st.latex(term.formula)",
}


def test_html_and_formulas_are_drawn_where_it_is_known_what_stands_in_them() -> None:
    sources = [*(ROOT / "explorer").rglob("*.py"), *(ROOT / "pages").rglob("*.py")]
    calls = [node for path in sources for node in ast.walk(syntax_of(path)) if isinstance(node, ast.Call)]
    sinks = {"html", "latex", "iframe", "declare_component"}
    found = {ast.unparse(one) for one in calls if isinstance(one.func, ast.Attribute) and one.func.attr in sinks}
    of_numbers = {one for one in found if re.match(r"\w+\.latex\(formulas\.", one)}  # `explorer/formulas.py`
    assert found - of_numbers == DRAWN


def test_only_one_place_draws_tables() -> None:
    sources = [*(ROOT / "explorer").rglob("*.py"), *(ROOT / "pages").rglob("*.py")]
    assert [path.name for path in sources if "st.table(" in path.read_text("utf-8")] == ["tables.py"]


def test_no_text_of_an_error_is_read_as_markdown() -> None:
    places = [*(ROOT / "explorer").rglob("*.py"), *(ROOT / "pages").rglob("*.py")]
    for path in places:
        for node in ast.walk(syntax_of(path)):
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("st.") and node.args:
                shown, said = ast.unparse(node.func), ast.unparse(node.args[0])
                assert shown == "st.text" or not said.startswith("str("), f"{path.name}:{node.lineno}: say verbatim(…)"
