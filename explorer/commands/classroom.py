"""`quant-explorer class`: the app on the local network, with the addresses that teacher and students need."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
import webbrowser
from typing import TYPE_CHECKING, Annotated

import typer

from explorer import access
from explorer.commands.common import refusals, said
from explorer.teaching.routes import ADDRESS, ENTER, KEY

if TYPE_CHECKING:
    from explorer.serving import Served

EXAMPLES = """[bold]Examples[/bold]

quant-explorer class\n
quant-explorer class --port 8080 --headless\n
quant-explorer class --host localhost --local-files
"""
EVERYWHERE = "0.0.0.0"
UNROUTED = "192.0.2.1"  # of documentation (RFC 5737): which address of ours would be used, without anything being sent
LOOK = 1.0  # seconds


def hold_class(
    host: Annotated[str, typer.Option(help="The address to listen on; localhost lets nobody else in.")] = EVERYWHERE,
    port: Annotated[int, typer.Option(help="The port to listen on.", min=1, max=65535)] = 8501,
    headless: Annotated[bool, typer.Option("--headless", help="Do not open a browser window.")] = False,
    no_local_files: Annotated[
        bool,
        typer.Option(
            "--no-local-files/--local-files",
            help="Students open what they upload, and no path, hub name or score.py of theirs.",
        ),
    ] = True,
    max_upload: Annotated[
        float | None, typer.Option(help="How many GB one person may upload; by default 2.", min=0.001)
    ] = None,
) -> None:
    """Hold a class on the local network: students answer on their phones, you lead from page Class.

    Prints the address and its QR code for students, and your own link with a key. Ctrl-C keeps the class.
    """
    access.allow(host, no_local_files, None, max_upload)
    with refusals():
        served = _served(host, port)
    address = os.environ[ADDRESS]
    link = f"{address}{ENTER}?key={os.environ[KEY]}"
    _tell(address, link)
    if not headless:
        webbrowser.open(link)
    try:
        _follow(served.thread)
    except KeyboardInterrupt:
        pass
    finally:
        _stop(served)


def own_address(host: str) -> str:
    """Return the name under which others reach this machine: its address on the network that leads outside.

    >>> own_address("localhost")
    'localhost'
    """
    if host != EVERYWHERE:
        return host
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        try:
            one.connect((UNROUTED, 9))
        except OSError:  # no network at all
            return "localhost"
        return str(one.getsockname()[0])


def _served(host: str, port: int) -> Served:
    """Start the app in a thread, as a server for others."""
    from explorer.serving import start
    from explorer.teaching.access_key import kept_key

    os.environ[KEY] = kept_key()
    os.environ[ADDRESS] = f"http://{own_address(host)}:{port}"
    return start(lambda: _app(host, port), host, port)


def _app(host: str, port: int) -> object:
    """Return the app that the command line serves; it opens no window of its own."""
    from streamlit import config

    from explorer.served_app import app  # before options are set: its place says which file has the others

    for name, value in {"address": host, "port": port, "headless": True}.items():
        config.set_option(f"server.{name}", value)
    return app


def _tell(address: str, link: str) -> None:
    """Print what students and the teacher need."""
    from explorer.teaching.qr import qr_text

    typer.echo(qr_text(f"{address}/join"))
    typer.echo(said("class_students", address=f"{address}/join"))
    typer.echo(said("class_teacher", link=link))
    typer.echo(said("class_kept"))


def _follow(server: threading.Thread) -> None:
    """Keep a line with who is there and what it takes, until the server ends."""
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as line:
        while server.is_alive():
            if sys.stderr.isatty():
                line.update(_status(), refresh=True)
            time.sleep(LOOK)


def _status() -> str:
    from explorer.memory import memory_bytes
    from explorer.notation import count
    from explorer.teaching.broadcast import BROADCAST
    from explorer.teaching.kept import classes
    from explorer.teaching.writer import WRITER

    students, answers = classes().totals()
    return said(
        "class_status",
        students=count(students),
        waiting=count(BROADCAST.waiting),
        answers=count(answers),
        rate=count(WRITER.in_last(LOOK)),
        memory=count((memory_bytes() or 0) >> 20),
    )


def _stop(served: Served) -> None:
    """End the server; phones that wait for news are told at once, and come back when it is there again."""
    from explorer.teaching.broadcast import BROADCAST

    typer.echo(said("class_stopped"), err=True)
    BROADCAST.end()
    served.stop()
