"""What all pages share: the toolbar, notices about the link, and the choices of model, tensor and notation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any
from urllib.parse import parse_qs

import streamlit as st
from streamlit.errors import StreamlitAPIException
from streamlit.navigation.page import StreamlitPage
from streamlit.runtime.scriptrunner import get_script_run_ctx

from explorer import compute, controls, sweep_fields, text_fields
from explorer.comparison_fields import FIRST_AS, SECOND_AS, compare_with_field
from explorer.compiling import await_first_picture
from explorer.fields import Choice, Field, faults, named
from explorer.formulas import CONVENTIONS, Convention
from explorer.language import KEY as LANGUAGE_KEY
from explorer.language import browser_language, languages, read_words
from explorer.lessons import LESSONS
from explorer.lessons.framework.glossary import term_field
from explorer.notices import FRESH, PAGE_MEMORY, still_said
from explorer.own_files import models
from explorer.pins import HOME, PINS
from explorer.presenting import PRESENT, presenting
from explorer.sources import MODELS, ModelKey, is_model_given, opening_model
from explorer.state import PlaygroundState
from explorer.teaching.fields import COURSE
from explorer.teaching.fields import FIELDS as TEACHING_FIELDS
from explorer.toolbar import toolbar
from explorer.tuning.codec import PLAN
from quant_engine import QuantError

MODEL_KEY, TENSOR_KEY = "model", "tensor"
MODEL_WIDTH, TENSOR_WIDTH, MAX_TENSOR_WIDTH = 160, 90, 230
HOMES = ("", "home")  # names of the opening page, which says its words first
CONVENTION = Choice(
    "convention",
    CONVENTIONS,
    default="tools",
)


def shared_frame(page: str, lecture: Mapping[str, Any] | None, actions: Mapping[str, Callable[[Any], None]]) -> None:
    """Draw the toolbar, and say what in a link could not be used.

    `lecture` is what the bar says of the slide that is played; `actions` are the toolbar's beyond those of every page.
    """
    compute.open_page(page)
    before, st.session_state[PAGE_MEMORY] = st.session_state.get(PAGE_MEMORY), page
    st.session_state[FRESH] = before != page
    unopened = _await_model()
    if before != page:
        _carry_over()
    _open_on_story(page)
    if before not in (None, page) and page == "playground":
        _open_by_link()
    said = still_said("link", [*unopened, *_refuse()])
    own = {"present": lambda _: _present(), "language": _speak}
    toolbar(controls.unshown(PRESENT), controls.unshown(language_field()), lecture, {**own, **actions})
    if page not in HOMES:
        await_first_picture()
    if said:
        st.warning("  \n".join(said), icon=":material/link_off:")


def _await_model() -> list[str]:
    """Open the model of the link, or of the page before; what cannot be opened is forgotten, and said.

    A large one takes some seconds, which is said, too.
    """
    said = []
    for asked in dict.fromkeys((st.query_params.get(MODEL_KEY), st.session_state.get(MODEL_KEY))):
        if asked is None or models().is_open(asked):
            continue
        try:
            with st.spinner(read_words("frame")["waiting"]["opening"].format(name=asked)):
                models().key(asked)
        except QuantError as error:
            said.append(str(error))
            for key in (MODEL_KEY, TENSOR_KEY):
                st.session_state.pop(key, None)
                st.query_params.pop(key, None)
    return said


def reread_address(page: StreamlitPage) -> None:
    """Where the browser went back to another page, open it as a link to its address would.

    Streamlit drops from the address what the page that was left had bound, as the model, and takes it for unset. That
    the app is embedded it keeps by itself.
    """
    run = get_script_run_ctx()
    if run is None or not run.is_history_navigation or st.session_state.get(PAGE_MEMORY) == page.url_path:
        return
    for key in (MODEL_KEY, TENSOR_KEY):  # nor is it then that of the page that was left
        st.session_state.pop(key, None)
    asked = parse_qs(run.query_string).items()
    st.switch_page(page, query_params={key: text for key, text in asked if not key.lower().startswith("embed")})


def opens_playground(link: Iterable[str]) -> bool:
    """Say whether a link to the opening page is one from when that was the playground."""
    fields = (*PlaygroundState.fields().values(), PINS, CONVENTION)
    return not {MODEL_KEY, TENSOR_KEY, *(field.key for field in fields)}.isdisjoint(link)


def choose_model() -> ModelKey:
    """Draw the choice of a network, and return it."""
    return models().key(controls.show(model_field()))


def choose_tensor(layer: bool = True, **special: str) -> tuple[ModelKey, str]:
    """Draw the choices of a network and, where it counts, of the layer whose weight is shown, and return them.

    `special` arguments are those of the layer's control.
    """
    name = controls.show(model_field())
    field = tensor_field(name)
    return models().key(name), controls.show(field, **special) if layer else controls.unshown(field)


def menus(key: str, layer: bool = True) -> AbstractContextManager[object]:
    """Return the place for the choice of a tensor: in large type, which leaves no room in the row, it is folded.

    It is then under the name of the layer, where it counts, or of the network.
    """
    name = controls.current(model_field())
    if not presenting() or all(map(controls.is_hidden, (model_field(), tensor_field(name)))):
        return nullcontext()
    return st.popover(controls.current(tensor_field(name)) if layer else name, key=key)


def selected() -> tuple[ModelKey, str]:
    """Return the chosen model and layer; the page has drawn the model's control."""
    name = st.session_state[MODEL_KEY]
    return models().key(name), controls.current(tensor_field(name))


def convention() -> Convention:
    """Draw the choice of how formulas are written, and return it."""
    return controls.show(CONVENTION)


def link_fields(of_model: str | None = None) -> Iterator[Field[Any]]:
    """Yield every field that a link may set; the tensors are those of a model, or of the one that the link names."""
    model = model_field()
    asked = of_model or st.query_params.get(MODEL_KEY, st.session_state.get(MODEL_KEY, model.default))
    yield from (
        model,
        tensor_field(asked if asked in model.options else model.default),
        CONVENTION,
        language_field(),
        PRESENT,
        COURSE,
        PINS,
        HOME,
        compare_with_field(),
        FIRST_AS,
        SECOND_AS,
        PLAN,
        term_field(),
        *text_fields.FIELDS,
        *sweep_fields.FIELDS,
        *TEACHING_FIELDS,
    )
    yield from PlaygroundState.fields().values()
    for lesson in LESSONS.values():
        yield from lesson.all_fields


def link_keys() -> set[str]:
    """Return the keys that links may have."""
    return {field.key for field in link_fields()}


def _present() -> None:
    """Begin or end presenting (a callback)."""
    controls.assign({PRESENT.key: PRESENT.held(not presenting())})


def _speak(code: str) -> None:
    """Say everything in another language (a callback)."""
    controls.assign({LANGUAGE_KEY: code})


def _open_on_story(page: str) -> None:
    """Choose the model and tensor of a lesson's story on its first visit, unless a person has chosen others."""
    lesson = LESSONS.get(page.removeprefix("lesson_"))
    if lesson is None or lesson.story is None or st.session_state.get(visited := f"{lesson.slug}_visited"):
        return
    st.session_state[visited] = True
    plain = opening_model(), MODELS.opening_layer(opening_model())
    now = st.session_state.get(MODEL_KEY, plain[0]), st.session_state.get(TENSOR_KEY, plain[1])
    asked = {MODEL_KEY, TENSOR_KEY} & set(st.query_params)
    if now == plain and not asked and not is_model_given() and lesson.story[0] in MODELS.names():
        for key, name, usual in zip((MODEL_KEY, TENSOR_KEY), lesson.story, plain, strict=True):
            st.session_state[key] = name
            if name != usual:
                with suppress(StreamlitAPIException):  # of a control that the page before has drawn
                    st.query_params[key] = name  # or the address would not lead here


def _refuse() -> list[str]:
    """Say what in the address is not valid, and take it out before a control of Streamlit's reads it in its own way."""
    fields = [*link_fields()]
    said, run = faults(fields, st.query_params), get_script_run_ctx()
    if said and run is not None:
        asked = st.query_params.to_dict()
        with run.session_state.query_params() as address:
            for field in fields:
                if field.key in asked and not field.accepts(asked[field.key]):
                    address.remove_param(field.key)
            address.set_initial_query_params_from_current()
    return said


def _carry_over() -> None:
    """Take along the model and tensor of the link, or of the page before, which need not have drawn their controls.

    The browser learns of them because they are set: where a page ran only once, Streamlit does not tell it by itself.
    """
    for field_of in (model_field, lambda: tensor_field(controls.current(model_field()))):
        _take(field := field_of(), st.query_params.get(field.key, st.session_state.get(field.key)))


def _open_by_link() -> None:
    """Forget what the playground had before where a link opens it from another page: Streamlit keeps it otherwise."""
    fields = PlaygroundState.fields().values()
    if {field.key for field in fields} & set(st.query_params):
        for field in fields:
            st.session_state.pop(field.key, None)
        kept = set(st.session_state)  # a control of another page that had the key: it is listed, and not to be found
        for field in fields:
            if field.key in kept:
                _take(field, st.query_params.get(field.key, str(field.default)))


def _take(field: Field[Any], text: str | None) -> None:
    if text is not None and field.accepts(text):
        st.session_state[field.key] = field.parse(text)


def language_field() -> Choice[str]:
    """Return the field of the language; links that ask for none are read in the browser's."""
    return Choice(LANGUAGE_KEY, named(languages()), default=browser_language())


def model_field() -> Choice[str]:
    """Return the field of the network whose tensors are shown."""
    return Choice(
        MODEL_KEY,
        named(models().names()),
        default=opening_model(),
        menu=True,
        width=MODEL_WIDTH,
        instead="instead_own_file",
    )


def tensor_field(model: str) -> Choice[str]:
    """Return the field of the layer of a model whose weight is shown."""
    layers = compute.network(models().key(model)).layers()
    width = min(max(TENSOR_WIDTH, 48 + 8 * max(map(len, layers))), MAX_TENSOR_WIDTH)
    return Choice(TENSOR_KEY, named(layers), default=models().opening_layer(model), menu=True, width=width)
