"""The opening page without a browser: what it needs, what it says, and what it hands on."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

from streamlit.testing.v1 import AppTest

from explorer import notation, pins
from explorer.state import PlaygroundState, found_by, set_by_hand
from quant_engine import FixedRange, IntFormat, LayerPlan, MinMax, MinMSE, QuantizationPlan, QuantizerSpec
from quant_engine.network import load
from tests.app.waiting import await_answers

ROOT = pathlib.Path(__file__).parents[2]
ENTRY = str(ROOT / "explorer" / "app.py")
FIRST_RUN = f"""
import sys, threading
asked = []
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name in ("torch", "transformers", "onnxruntime"):
            asked.append((name, threading.current_thread().name))
sys.meta_path.insert(0, Watch())
from streamlit.testing.v1 import AppTest
at = AppTest.from_file({ENTRY!r}, default_timeout=120).run()
assert not at.exception
print(len(at.header), [name for name, thread in asked if not thread.startswith("quant-explorer-")])
"""


def start(**state: object) -> AppTest:
    at = AppTest.from_file(ENTRY, default_timeout=120)
    for key, value in state.items():
        at.session_state[key] = value
    at = await_answers(at.run())
    assert not at.exception
    return at


def numbers(at: AppTest) -> list[str]:
    return [metric.value for metric in at.metric]


def said_why(at: AppTest) -> bool:
    """Whether the page says what clipping does to the error, by a share of it."""
    return any("β = 0.25" in text.value and "%" in text.value for text in at.markdown)


def test_the_first_picture_needs_neither_torch_nor_transformers_nor_onnxruntime() -> None:
    """Accuracy is measured in the background, where kernels are loaded, too, and nothing else may ask for them."""
    found = subprocess.run(
        [sys.executable, "-c", FIRST_RUN],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.splitlines()[-1] == "1 []"


def test_the_three_accuracies_are_the_networks() -> None:
    network, layer = load("fashion-cnn"), "conv3"

    def accuracy(clipping: object, own: object = None) -> str:
        plans = {name: LayerPlan(QuantizerSpec(IntFormat(4), clipping=clipping)) for name in network.layers()}
        if own is not None:
            plans[layer] = LayerPlan(QuantizerSpec(IntFormat(4), clipping=own))
        return notation.accuracy(network.evaluate(QuantizationPlan(plans)).value)

    plain, before = notation.accuracy(network.evaluate().value), accuracy(MinMax())
    at = start()
    assert numbers(at) == [plain, before, before]
    assert not said_why(at)  # nothing is dragged yet
    by_hand = PlaygroundState(**set_by_hand(None, 0.25, MinMax))
    dragged = accuracy(MinMax(), FixedRange(-0.25, 0.25))
    at = start(home=pins.write([by_hand]))
    assert numbers(at) == [plain, before, dragged]
    assert said_why(at)
    snapped = PlaygroundState(**found_by("least MSE"))
    assert numbers(start(home=pins.write([snapped]))) == [plain, before, accuracy(MinMSE())]
    assert len({plain, before, dragged}) == 3


def test_links_from_when_the_playground_was_the_opening_page_open_it() -> None:
    for key, text in (("play_bits", "3"), ("model", "fashion-depthwise"), ("tensor", "fc1"), ("play_pins", "bits:3")):
        at = AppTest.from_file(ENTRY, default_timeout=120)
        at.query_params[key] = text
        at.run()
        assert not at.exception
        assert at.selectbox(key="tensor").options
        assert at.query_params[key] in (text, [text])
