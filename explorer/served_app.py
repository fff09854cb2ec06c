"""What `quant-explorer` serves: the app with its route for large files; a window opens on it unless it is headless."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from streamlit import cli_util, config
from streamlit.starlette import App
from streamlit.web.server import server_util

from explorer.headers import middleware
from explorer.own_folders import clear_abandoned
from explorer.routes import routes
from explorer.uploads import offer_streaming

HERE = Path(__file__).resolve().parent


@asynccontextmanager
async def _shown(_: App) -> AsyncIterator[None]:
    """Open a window as soon as the server takes requests; at its end delete what people have uploaded.

    `streamlit run` opens windows for scripts alone, and a signal ends this process before Python's own clearing up.
    What servers that were killed have left is deleted first.
    """
    clear_abandoned()
    offer_streaming()
    if not config.get_option("server.headless"):
        address = server_util.get_display_address(config.get_option("server.address") or "localhost")
        asyncio.get_running_loop().call_soon(cli_util.open_browser, server_util.get_url(address))
    yield
    from explorer.own_files import close_all  # here, since the engine behind it takes longer to import than the server

    close_all()


app = App(HERE / "app.py", routes=routes(), middleware=middleware(), lifespan=_shown)
