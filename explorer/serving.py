"""Serving the app on a module from a notebook or a script, in a thread of the same process."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explorer import access
from explorer.headers import middleware
from explorer.routes import routes
from explorer.sources import MODEL_VARIABLE, MODELS, Source
from explorer.uploads import offer_streaming
from quant_engine import QuantError
from quant_engine.network import Network, from_module
from quant_engine.tasks import Agreement, Classification, Task, read_task

if TYPE_CHECKING:
    from torch import nn

APP, HOST = Path(__file__).resolve().parent / "app.py", "127.0.0.1"
PATIENCE = 60.0  # seconds


@dataclass(frozen=True, eq=False)
class Served:
    """The running app: where it answers, and what ends it."""

    url: str
    server: Any
    thread: threading.Thread

    def stop(self) -> None:
        """End the server, and wait until it has."""
        self.server.should_exit = True
        self.thread.join(PATIENCE)


def serve(module: nn.Module | Network, data: Any = None, port: int = 0) -> Served:
    """Serve the app on a module, or a network, from a thread of this process; by default at a free port.

    `data` are inputs with labels, (x, y), inputs alone (agreement with floating point), a task, or the path of a file
    that `read_task` takes. Without data weights are shown, and nothing is run.

    Raises:
        QuantError: as `from_module` and the tasks, and if the port is taken.
    """
    from streamlit.web.server.starlette import App

    network = module if isinstance(module, Network) else _network(module, _task(data))
    MODELS.add(network.name, Source(lambda: network))
    os.environ[MODEL_VARIABLE] = network.name
    access.allow(HOST, no_local_files=False, root=None)
    offer_streaming()
    return start(lambda: App(APP, routes=routes(), middleware=middleware()), HOST, port)


def start(app: Callable[[], Any], host: str, port: int) -> Served:
    """Serve an app from a thread of this process; it is made once the port is known to be free.

    Raises:
        QuantError: if the port is taken, and if the server does not start.
    """
    import uvicorn

    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise QuantError(f"port {port} cannot be listened on: {error}; give port=0 for a free one") from error
    server = uvicorn.Server(uvicorn.Config(app(), log_level="warning"))
    thread = threading.Thread(target=server.run, args=([listening],), name="quant-explorer-server", daemon=True)
    thread.start()
    until = time.monotonic() + PATIENCE
    while not server.started and thread.is_alive() and time.monotonic() < until:
        time.sleep(0.02)
    if not server.started:
        raise QuantError(f"the app did not start within {PATIENCE:.0f} s; its log says why")
    return Served(f"http://{host}:{listening.getsockname()[1]}", server, thread)


def _task(data: Any) -> Task | None:
    if data is None or callable(getattr(data, "scores", None)):
        task: Task | None = data
        return task
    if isinstance(data, str | os.PathLike):
        return read_task(Path(data))
    return Classification(*data) if isinstance(data, tuple) else Agreement(data)


def _network(module: nn.Module, task: Task | None) -> Network:
    """Return a network whose layers' shapes one sample tells."""
    from quant_engine.batches import cut
    from quant_engine.execution import as_tensors

    if task is None:
        return from_module(module)
    batch = next(iter(task.batches(min(task.splits))))
    return from_module(module, task, as_tensors(cut(batch.inputs, 0, 1)))
