"""The parts that pages are made of."""

from explorer.panels.accuracy import accuracy_panel
from explorer.panels.classroom import classroom_panel
from explorer.panels.compare import compare_panel
from explorer.panels.home import home_panel
from explorer.panels.inspector import inspector_panel
from explorer.panels.instrument import instrument_panel, waiting_panel
from explorer.panels.metrics import metrics_panel, tensor_panel
from explorer.panels.model_comparison import model_comparison_panel
from explorer.panels.open import open_panel
from explorer.panels.settings import settings_panel
from explorer.panels.stored import stored_note, stored_panel
from explorer.panels.sweep import sweep_panel
from explorer.panels.teach import teach_panel
from explorer.panels.text import text_panel
from explorer.panels.tuner import tuner_panel
from explorer.panels.vectors import vectors_panel
from explorer.panels.working import code_panel, formula_panel

__all__ = [
    "accuracy_panel",
    "classroom_panel",
    "code_panel",
    "compare_panel",
    "formula_panel",
    "home_panel",
    "inspector_panel",
    "instrument_panel",
    "metrics_panel",
    "model_comparison_panel",
    "open_panel",
    "settings_panel",
    "stored_note",
    "stored_panel",
    "sweep_panel",
    "teach_panel",
    "tensor_panel",
    "text_panel",
    "tuner_panel",
    "vectors_panel",
    "waiting_panel",
]
