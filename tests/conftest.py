"""How hypothesis searches, the same examples on every CI run, new ones on every run at a desk; how torch waits."""

import os

from hypothesis import HealthCheck, settings

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # beside a second test process, spinning quadruples torch's time

settings.register_profile("desk", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("desk"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "desk")


def pytest_addoption(parser):
    parser.addoption(
        "--full", action="store_true", help="every spec of the contract and method of the card, not a choice"
    )


def pytest_collection_modifyitems(items):
    """Begin with real models: a file is one process's, and their longest would keep all others waiting at the end."""
    items.sort(key=lambda item: item.path.parent.name != "packs")
