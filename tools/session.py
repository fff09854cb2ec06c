"""A session with the running app over its own websocket: what a browser receives and sends, without a browser."""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from streamlit.proto.Alert_pb2 import Alert
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from websockets.sync.client import connect

PATIENCE = 300  # seconds that a loaded machine may take for one run


class Session:
    """One visitor, on one page."""

    def __init__(self, url: str, page: str, query: str = "", headers: Mapping[str, str] | None = None) -> None:
        """Say where, with headers beside a browser's; the connection is there in a `with`."""
        host = urllib.parse.urlsplit(url).netloc
        self._connection = connect(
            f"ws://{host}/_stcore/stream",
            max_size=None,
            subprotocols=["streamlit"],
            additional_headers=headers,
            open_timeout=PATIENCE,
            ping_interval=None,  # a loaded server answers late, and is not gone
        )
        self._page, self._query, self._hash = page, query, ""
        self._states: dict[str, WidgetState] = {}
        self._shown: dict[str, tuple[str, Any]] = {}
        self._fragments: dict[str, str] = {}
        self._asking: set[str] = set()
        self.exceptions: list[str] = []
        self.warnings: list[str] = []
        self.texts: list[str] = []
        self.labels: set[str] = set()
        self.metrics: dict[str, str] = {}
        self.references = 0
        self.found = True

    def __enter__(self) -> Session:
        self._socket = self._connection.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._connection.__exit__(*error)

    def open(self) -> None:
        """Ask for the page and wait until it stands."""
        self._run()

    def go(self, page: str, query: str = "") -> None:
        """Go to another page in the same session, and wait until it stands."""
        self._page, self._query, self._hash = page, query, ""
        self._run()

    @property
    def controls(self) -> dict[str, tuple[str, Any]]:
        """The controls that are shown and can be moved, with their kinds, by their names."""
        return {name: (kind, proto) for name, (kind, proto) in self._shown.items() if not proto.disabled}

    def set(self, name: str, change: Callable[[Any, WidgetState], None]) -> None:
        """Change what a control says, and wait for what the app answers, as a browser does: of its part of the page."""
        kind, proto = self._shown[name]
        change(proto, self._states[name])
        self._run(self._fragments.get(name, ""))
        if kind == "button":
            self._states[name] = WidgetState(id=name)

    def fill(self, label: str, text: str) -> None:
        """Write into a field of a form, which is sent with its button."""
        fields = {proto.label: name for name, (kind, proto) in self._shown.items() if kind == "text_input"}
        self._states[fields[label]].string_value = text

    def let_run(self) -> None:
        """Have the parts of the page run again that ask for it."""
        for part in [*self._asking]:
            if part in self._asking:  # what ran before it may have made the page anew
                self._run(part)

    def move_every_control(self) -> None:
        """Give every control that can be moved another value, one after the other, those that appear meanwhile too."""
        moved: set[str] = set()
        while ahead := [name for name in self._shown if name not in moved]:
            moved.add(name := ahead[0])
            kind, proto = self._shown[name]
            if not proto.disabled and kind not in UNMOVED:
                KINDS[kind].move(proto, self._states[name])
                self._run()
            if kind == "button":
                del self._states[name]

    def press(self, key: str) -> None:
        """Press the button that has a key."""
        buttons = (name for name, (kind, _) in self._shown.items() if kind == "button")
        self.set(next(name for name in buttons if name.endswith(f"-{key}")), _press)

    def slide(self, label: str) -> None:
        """Give a slider another value."""
        sliders = (name for name, (kind, proto) in self._shown.items() if kind == "slider" and proto.label == label)
        self.set(next(sliders), _move_slider)

    def _run(self, part: str = "") -> None:
        """Let the page, or a part of it, run with what the controls say, and take what it shows."""
        back = BackMsg()
        back.rerun_script.fragment_id = part
        back.rerun_script.page_name, back.rerun_script.page_script_hash = "" if self._hash else self._page, self._hash
        back.rerun_script.query_string = self._query
        back.rerun_script.widget_states.widgets.extend(
            state for state in self._states.values() if state.WhichOneof("value")
        )
        self._socket.send(back.SerializeToString())
        sent: set[str] = set()  # controls, in this run
        while True:
            received = self._socket.recv(PATIENCE)
            self.looked_at(received)
            message = ForwardMsg.FromString(received)
            kind = message.WhichOneof("type")
            if kind == "script_finished" and message.script_finished != ForwardMsg.FINISHED_EARLY_FOR_RERUN:
                self._forget({name for name, of in self._fragments.items() if part and of == part} - sent)
                return
            self.references += (kind == "ref_hash") + message.metadata.cacheable
            self.found &= kind != "page_not_found"
            if kind == "page_info_changed":
                self._query = message.page_info_changed.query_string
            if kind == "navigation":
                self._hash = message.navigation.page_script_hash
            if kind == "new_session" and not message.metadata.run.fragment_ids:
                self._shown.clear()
                self._asking.clear()
            if kind == "auto_rerun":
                self._asking.add(message.auto_rerun.fragment_id)
            if kind == "stop_auto_rerun":
                gone = {*message.stop_auto_rerun.fragment_ids}  # those without a clock, too
                self._asking -= gone
                self._forget({name for name, of in self._fragments.items() if of in gone})
            if kind == "delta" and message.delta.HasField("new_element"):
                sent.add(self._take(message.delta.new_element, message.delta.fragment_id))

    def looked_at(self, received: bytes) -> None:
        """Look at a message as it came (for those who look for something)."""

    def _forget(self, controls: set[str]) -> None:
        """Leave alone controls that are gone: who asks for a part of the page that is gone gets no answer."""
        for name in controls:
            self._shown.pop(name, None)

    def _take(self, element: Any, part: str) -> str:
        """Take an element that is shown, and return its name if it is a control."""
        kind = element.WhichOneof("type")
        if kind == "exception":
            self.exceptions.append(element.exception.message)
        if kind == "alert" and element.alert.format == Alert.WARNING:
            self.warnings.append(element.alert.body)
        if kind == "metric":
            self.metrics[element.metric.label] = element.metric.body
        if kind == "text":
            self.texts.append(element.text.body)
        self.labels |= {getattr(getattr(element, kind), "label", "")}
        if kind in KINDS:
            proto = getattr(element, kind)
            self._shown[proto.id] = kind, proto
            self._fragments[proto.id] = part
            if proto.id not in self._states or getattr(proto, "set_value", False):
                self._states[proto.id] = WidgetState(id=proto.id)
                KINDS[kind].show(proto, self._states[proto.id])
            return str(proto.id)
        return ""


@dataclass(frozen=True)
class Kind:
    """How a kind of control says what it shows, and how it says that it was moved."""

    show: Callable[[Any, WidgetState], None]
    move: Callable[[Any, WidgetState], None]


def _other(options: Sequence[str], now: str) -> str:
    return next((option for option in reversed(options) if option != now), now)


def _show_slider(proto: Any, state: WidgetState) -> None:
    state.double_array_value.data[:] = proto.value if proto.set_value else proto.default


def _move_slider(proto: Any, state: WidgetState) -> None:
    values = state.double_array_value.data
    values[0] = proto.min if values[0] == proto.max else proto.max


def _show_menu(proto: Any, state: WidgetState) -> None:
    state.string_value = proto.raw_value if proto.set_value else proto.options[proto.default]


def _move_menu(proto: Any, state: WidgetState) -> None:
    state.string_value = _other(proto.options, state.string_value)


def _show_number(proto: Any, state: WidgetState) -> None:
    if proto.HasField("value") if proto.set_value else proto.HasField("default"):
        state.double_value = proto.value if proto.set_value else proto.default


def _move_number(proto: Any, state: WidgetState) -> None:
    step = proto.step or 1.0
    state.double_value += step if not proto.has_max or state.double_value + step <= proto.max else -step


def _show_words(proto: Any, state: WidgetState) -> None:
    words = [option.content for option in proto.options]
    state.string_array_value.data[:] = proto.raw_values if proto.set_value else [words[at] for at in proto.default]


def _move_words(proto: Any, state: WidgetState) -> None:
    words = [option.content for option in proto.options]
    state.string_array_value.data[:] = [_other(words, "".join(state.string_array_value.data))]


def _show_box(proto: Any, state: WidgetState) -> None:
    state.bool_value = proto.value if proto.set_value else proto.default


def _move_box(proto: Any, state: WidgetState) -> None:
    state.bool_value = not state.bool_value


def _show_text(proto: Any, state: WidgetState) -> None:
    state.string_value = proto.value if proto.set_value else proto.default


def _press(proto: Any, state: WidgetState) -> None:
    state.trigger_value = True


KINDS = {
    "slider": Kind(_show_slider, _move_slider),
    "selectbox": Kind(_show_menu, _move_menu),
    "radio": Kind(_show_menu, _move_menu),
    "number_input": Kind(_show_number, _move_number),
    "button_group": Kind(_show_words, _move_words),
    "checkbox": Kind(_show_box, _move_box),
    "button": Kind(lambda proto, state: None, _press),
    "text_input": Kind(_show_text, lambda proto, state: None),
}
UNMOVED = ("text_input",)
