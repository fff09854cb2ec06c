"""The console script: start the app, on a model if one is named."""

from __future__ import annotations

import argparse
import os
import pathlib
import threading

from explorer.sources import MODEL_VARIABLE, MODELS, offer_file
from quant_engine import QuantError

APP = pathlib.Path(__file__).resolve().parent / "app.py"


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    ask = argparse.ArgumentParser(
        prog="quant-explorer", description="An interactive instrument and course about neural-network quantization."
    )
    ask.add_argument(
        "model",
        nargs="?",
        type=_model,
        help=f"the model to open: {', '.join(MODELS.names())}, or the path of a file of tensors (safetensors, PyTorch, "
        "ONNX, GGUF, npz, npy)",
    )
    ask.add_argument(
        "--host", default="localhost", help="address to listen on (0.0.0.0 lets others in; default: %(default)s)"
    )
    ask.add_argument("--port", type=int, default=8501, help="port to listen on (8501)")
    ask.add_argument("--headless", action="store_true", help="do not open a browser window")
    return ask


def _model(given: str) -> str:
    """Return the name of a model, which a file is offered under.

    Raises:
        ArgumentTypeError: for what is neither, with the reason.
    """
    try:
        return given if given in MODELS.names() else offer_file(given)
    except QuantError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and hand over to Streamlit."""
    args = parser().parse_args(arguments)
    if args.model:
        os.environ[MODEL_VARIABLE] = args.model
    threading.Thread(target=_warm_up, name="quant-explorer-warm-up", daemon=True).start()
    from streamlit.web import cli

    cli.main(
        [
            "run",
            str(APP),
            f"--server.address={args.host}",
            f"--server.port={args.port}",
            f"--server.headless={'true' if args.headless else 'false'}",
        ]
    )


def _warm_up() -> None:
    """Import and compile what the first picture needs while the server starts and the browser loads its page."""
    import plotly.graph_objects  # noqa: F401

    from explorer.warmup import WARM_UP

    WARM_UP.start()


if __name__ == "__main__":
    main()
