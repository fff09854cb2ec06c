"""What `quant-explorer` serves: the app with its route for large files; a window opens on it unless it is headless.

Nothing that takes long to import is imported before the server takes requests.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from streamlit import cli_util, config
from streamlit.starlette import App
from streamlit.web.server import server_util

from explorer.headers import middleware
from explorer.memory import share_arenas
from explorer.own_folders import clear_abandoned
from explorer.routes import routes
from explorer.uploads import offer_streaming

HERE = Path(__file__).resolve().parent


@asynccontextmanager
async def _shown(_: App) -> AsyncIterator[None]:
    """Open a window as soon as the server takes requests, and warm up; at its end delete what people have uploaded.

    `streamlit run` opens windows for scripts alone, and a signal ends this process before Python's own clearing up.
    What servers that were killed have left is deleted first.
    """
    clear_abandoned()
    offer_streaming()
    if not config.get_option("server.headless"):
        address = server_util.get_display_address(config.get_option("server.address") or "localhost")
        asyncio.get_running_loop().call_soon(cli_util.open_browser, server_util.get_url(address))
    warming = threading.Thread(target=_warm_up, name="quant-explorer-warm-up", daemon=True)
    asyncio.get_running_loop().call_soon(warming.start)
    yield
    from explorer.own_files import close_all  # here, since the engine behind it takes longer to import than the server

    close_all()


def _warm_up() -> None:
    """Import and compile what the first picture needs while the browser loads its page."""
    import plotly.graph_objects  # noqa: F401

    from explorer.warmup import WARM_UP

    WARM_UP.start()


share_arenas()
app = App(HERE / "app.py", routes=routes(), middleware=middleware(), lifespan=_shown)
