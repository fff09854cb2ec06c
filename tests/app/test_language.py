"""Translations: what they may say, who reads which, and that no new sentence is written into Python."""

from __future__ import annotations

import ast
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from explorer import notation
from explorer.language import ENGLISH, FOLDER, languages, read_file, read_words, translated
from tests.syntax import syntax_of

ROOT = pathlib.Path(__file__).parents[2]
ENTRY = str(ROOT / "explorer" / "app.py")
FILES = sorted(path.stem for path in (FOLDER / ENGLISH).glob("*.toml"))
OTHERS = [code for code in languages() if code != ENGLISH]
MAY_BE_LEFT_OUT = {"unit"}  # the English word for what a task counts


def texts(words: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield every text of a file with the path of keys that leads to it."""
    if isinstance(words, dict | list):
        for key, value in words.items() if isinstance(words, dict) else enumerate(words):
            yield from texts(value, f"{path}/{key}")
    else:
        yield path, str(words)


def placeholders(text: str) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", text))


def start(page: str = "home", *, locale: str = "en-US", **link: str) -> AppTest:
    at = AppTest.from_file(ENTRY, default_timeout=120)
    at.context["locale"] = locale
    for key, value in link.items():
        at.query_params[key] = value
    at.run() if page == "home" else at.switch_page(str(ROOT / "pages" / f"{page}.py")).run()
    assert not at.exception
    return at


def greeting(code: str) -> str:
    return str(read_file(code, "home")["title"])


def spoken_in(code: str, word: str) -> str:
    return str(read_file(code, "fields")["options"][word])


@pytest.mark.parametrize("code", OTHERS)
def test_a_translation_says_only_what_english_says_with_the_same_numbers_in_it(code: str) -> None:
    assert {path.stem for path in (FOLDER / code).glob("*.toml")} <= set(FILES)
    for name in FILES:
        english = dict(texts(read_file(ENGLISH, name)))
        for path, text in texts(read_file(code, name)):
            assert path in english, (name, path)
            assert placeholders(text) <= placeholders(english[path]), (name, path)
            assert placeholders(english[path]) - placeholders(text) <= MAY_BE_LEFT_OUT, (name, path)


@pytest.mark.parametrize("code", OTHERS)
@pytest.mark.parametrize("name", ["frame", "home", "bits"])
def test_what_everyone_sees_first_is_translated_whole(code: str, name: str) -> None:
    numbers = re.compile(r"/(minutes|sources/\d+|act/presets/\d+/set/\w+)$")
    english = {path for path, _ in texts(read_file(ENGLISH, name)) if not numbers.search(path)}
    assert english == {path for path, _ in texts(read_file(code, name))}


def test_what_a_translation_lacks_is_said_in_english() -> None:
    assert translated({"a": "one", "b": {"c": "two", "d": "three"}}, {"b": {"d": "drei"}}) == {
        "a": "one",
        "b": {"c": "two", "d": "drei"},
    }
    assert read_words("uniform", "de")["lead"] == read_file(ENGLISH, "uniform")["lead"]


@pytest.mark.parametrize(
    ("locale", "link", "spoken"),
    [
        ("en-US", {}, "en"),
        ("de-AT", {}, "de"),
        ("xx", {}, "en"),
        ("de-AT", {"lang": "en"}, "en"),
        ("en-US", {"lang": "de"}, "de"),
        ("de", {"lang": "xx"}, "de"),
    ],
)
def test_the_link_says_which_language_and_else_the_browser(locale: str, link: dict[str, str], spoken: str) -> None:
    assert start(locale=locale, **link).header[0].value == greeting(spoken)


def test_what_a_link_asks_for_in_vain_is_said_in_one_notice_also_of_the_language() -> None:
    at = start("playground", lang="xx", present="maybe", play_bits="99")
    [notice] = [box.value for box in at.warning]
    for asked in ("Language: “xx”", "Present: “maybe”", "Bits: “99”"):
        assert asked in notice
    assert [box.value for box in at.run().warning] == [notice]


def test_sessions_in_different_languages_run_at_once_and_the_address_keeps_what_was_chosen() -> None:
    english, german = start(), start(lang="de")
    for at, code in ((english, "en"), (german, "de"), (english, "en")):
        assert at.run().header[0].value == greeting(code)
    assert german.query_params["lang"] == "de"
    assert "lang" not in english.query_params


def test_a_choice_in_another_language_sets_the_same_link() -> None:
    at = start("lesson_bits", lang="de", bits_levels="restricted")
    assert at.selectbox(key="bits_levels").value == "restricted" != spoken_in("de", "restricted")
    at.selectbox(key="bits_levels").set_value("full").run()
    assert not at.exception
    assert "bits_levels" not in at.query_params
    at.selectbox(key="bits_levels").set_value("restricted").run()
    assert at.query_params["bits_levels"] == "restricted"


# --- what is still written in Python ----------------------------------------------------------------------------------

IN_PYTHON = {  # sentences that reach the screen, by folder; they move to the prose files, and never back
    "figures": 2,
    "lessons": 1,
}
KINDS = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef  # what has docstrings
NOT_READ = {"cli.py", "snippets.py", "presets.py"}  # a terminal's help, code, and names of schemes
TERMINAL = "commands"  # the folder of commands, whose help is for a terminal, too


def sentences(tree: ast.AST) -> Iterator[str]:
    """Yield texts of four words and more that are no docstring, no refusal, no code and no markup."""
    left_out: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, KINDS) and isinstance(node.body[0], ast.Expr):
            left_out.add(id(node.body[0].value))
        if isinstance(node, ast.Raise | ast.Assert):
            left_out.update(map(id, ast.walk(node)))
        if id(node) in left_out:
            continue
        if isinstance(node, ast.JoinedStr):
            left_out.update(map(id, ast.walk(node)))
            text = " ".join(part.value if isinstance(part, ast.Constant) else "x" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        else:
            continue
        words = [word for word in text.split() if re.search(r"[^\W\d_]{2}", word)]
        if len(words) >= 4 and not re.search(r"[\\<]|\{ |^\s*(SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER) ", text):
            yield text


def test_no_sentence_is_written_into_python() -> None:
    found = {"elsewhere": [""][:0], **{folder: [""][:0] for folder in IN_PYTHON}}
    for path in [*(ROOT / "explorer").rglob("*.py"), *(ROOT / "pages").glob("*.py")]:
        if path.name not in NOT_READ and path.parent.name != TERMINAL:
            folder = path.relative_to(ROOT).parts[1]
            told = sentences(syntax_of(path))
            found[folder if folder in found else "elsewhere"] += told
    assert not found["elsewhere"]
    for folder, most in IN_PYTHON.items():
        assert len(found[folder]) <= most, found[folder]


def test_a_sentence_in_a_call_is_found_and_a_docstring_or_a_refusal_is_not() -> None:
    code = 'def f(n):\n    """Say a thing to somebody."""\n    st.write(f"This is {n} times more than before")\n'
    assert len([*sentences(ast.parse(code))]) == 1
    assert not [*sentences(ast.parse('raise QuantError("this is not to be done")'))]


@pytest.mark.parametrize(("code", "written"), [("en", "1,234; 0.0244; 18.5 dB"), ("de", "1.234; 0,0244; 18,5 dB")])
def test_numbers_have_the_marks_of_their_language(monkeypatch: pytest.MonkeyPatch, code: str, written: str) -> None:
    monkeypatch.setattr("explorer.language.language", lambda: code)
    assert f"{notation.count(1234)}; {notation.short(0.0244)}; {notation.decibels(18.46)}" == written
    assert notation.latex(0.5) == ("0.5" if code == "en" else "0{,}5")
