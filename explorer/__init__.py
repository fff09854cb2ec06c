"""Quant Explorer: the app on top of `quant_engine`."""

from __future__ import annotations

from typing import Any


def open(module: Any, data: Any = None, port: int = 0) -> Any:
    """Serve the app on a torch module from a thread of this process, and return what knows its `url` and can `stop`.

    See `explorer.serving.serve`.
    """
    from explorer.serving import serve

    return serve(module, data, port)
