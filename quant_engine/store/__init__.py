"""Projects, their plans and what was measured, in one SQLite file."""

from quant_engine.store.kept import KeptScores
from quant_engine.store.scores import read_score, write_score
from quant_engine.store.store import Project, Saved, SavedPlan, Store, result_key

__all__ = ["KeptScores", "Project", "Saved", "SavedPlan", "Store", "read_score", "result_key", "write_score"]
