"""The app is served on a module of one's own by the process that has it."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import urllib.request
import numpy as np
import torch
import explorer
from explorer.sources import MODELS, opening_model

x = np.random.default_rng(0).standard_normal((64, 8), np.float32)
served = explorer.open(torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Linear(16, 3)), (x, np.arange(64) % 3))
print(urllib.request.urlopen(served.url + "/_stcore/health").read().decode())
print(urllib.request.urlopen(served.url).headers["Content-Security-Policy"])
network = MODELS.network(MODELS.key(opening_model()))
print(network.name, network.evaluate().n, network.layers()["0"].shapes)
try:
    explorer.open(network, port=int(served.url.rpartition(":")[2]))
except explorer.serving.QuantError as error:
    print(error)
served.stop()
print(served.thread.is_alive())
"""


def test_a_module_is_served_from_a_thread_which_ends_when_told() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=300, check=False)
    health, policy, network, refusal, alive = done.stdout.splitlines() or [done.stderr] * 5
    assert (health, network, alive) == ("ok", "Sequential 32 ((8,), (16,))", "False")
    assert "img-src 'self' data: blob:" in policy
    assert "cannot be listened on" in refusal
