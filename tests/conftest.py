"""How hypothesis searches, the same examples on every CI run, new ones on every run at a desk; how torch waits."""

import collections
import os
import tempfile

from hypothesis import HealthCheck, settings

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # beside a second test process, spinning quadruples torch's time

PACKS_CACHE = os.environ.get("QUANT_EXPLORER_CACHE", "")  # the person's own, with packs that only tests/packs may see
_NO_PACKS = tempfile.TemporaryDirectory(prefix="no-packs-")
os.environ["QUANT_EXPLORER_CACHE"] = _NO_PACKS.name
os.environ["QUANT_EXPLORER_PROJECTS"] = os.path.join(_NO_PACKS.name, "projects.sqlite")  # the person's own stay alone

settings.register_profile("desk", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("desk"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "desk")


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="every case of the long products, not a choice")


def pytest_collection_modifyitems(items, config):
    """Begin with real models: a file is one process's, and their longest would keep all others waiting at the end.

    Of a product marked `choice(n)` every n-th case is run, and with --full all of them, as what is marked `full`.
    """
    items.sort(key=lambda item: item.path.parent.name != "packs")
    if not config.getoption("--full"):
        seen = collections.Counter()
        items[:] = [item for item in items if is_chosen(item, seen)]


def is_chosen(item, seen):
    marker, test = item.get_closest_marker("choice"), (item.path, getattr(item, "originalname", item.name))
    seen[test] += 1
    return not item.get_closest_marker("full") and (marker is None or seen[test] % marker.args[0] == 1)
