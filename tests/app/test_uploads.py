"""Large files come through a route of their own: into the folder of the session that has the token, or not at all."""

from __future__ import annotations

import http.client
import pathlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from starlette.applications import Starlette

from explorer.own_files import OwnFiles
from explorer.sources import MODELS, open_tensors
from explorer.uploads import Inbox, routes
from quant_engine import QuantError
from tests.engine.tensor_files import write_npz


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    """Run a server that has the route alone."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes()), log_level="error"))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    yield listening.getsockname()
    server.should_exit = True
    thread.join()


@pytest.fixture
def mine() -> Iterator[OwnFiles]:
    files = OwnFiles(MODELS)
    yield files
    files.close_all()


def posted(
    address: tuple[str, int], token: str, body: bytes, name: str = "a.npz", batch: str = "1", **headers: str
) -> int:
    """Return the status of the answer to a file."""
    connection = http.client.HTTPConnection(*address, timeout=30)
    connection.request("POST", f"/upload/{token}?batch={batch}&name={name}", body, headers)
    status = connection.getresponse().status
    connection.close()
    return status


def test_a_file_comes_into_the_folder_of_its_session_and_is_opened_there(
    address: tuple[str, int], mine: OwnFiles, tmp_path: pathlib.Path
) -> None:
    write_npz(tmp_path / "a.npz")
    content = (tmp_path / "a.npz").read_bytes()
    assert posted(address, mine.inbox.token, content, "..%2F..%2Fa.npz") == 204
    [path] = mine.inbox.files("1")
    assert (path.read_bytes(), path.parent.parent) == (content, mine.inbox.folder)
    assert mine.take("1", lambda paths: open_tensors(paths[0])) == "a.npz"
    assert "a.npz" in mine.models.names()
    assert mine.size_bytes == 0  # of the room that files have which come through memory
    mine.close("a.npz")
    assert mine.inbox.size_bytes == 0


def test_what_is_not_a_model_is_refused_and_deleted(address: tuple[str, int], mine: OwnFiles) -> None:
    assert posted(address, mine.inbox.token, b"nothing") == 204
    with pytest.raises(QuantError):
        mine.take("1", lambda paths: open_tensors(paths[0]))
    assert mine.inbox.size_bytes == 0


@pytest.mark.parametrize("batch", ["", "-1", "..", "1/2", "x", "²"])
def test_a_batch_is_a_number(address: tuple[str, int], mine: OwnFiles, batch: str) -> None:
    quoted = batch.replace("²", "%C2%B2")
    assert posted(address, mine.inbox.token, b"x", batch=quoted) == 400


def test_others_and_pages_of_other_servers_write_nothing(address: tuple[str, int], mine: OwnFiles) -> None:
    other = OwnFiles(MODELS)
    gone = other.inbox.token
    other.close_all()
    assert posted(address, "guessed", b"x") == 403
    assert posted(address, gone, b"x") == 403
    assert posted(address, mine.inbox.token, b"x", Origin="https://elsewhere.example") == 403
    assert mine.inbox.size_bytes == 0
    assert posted(address, mine.inbox.token, b"x", Origin=f"http://{address[0]}:{address[1]}") == 204


def test_what_is_too_large_or_of_one_name_leaves_nothing(address: tuple[str, int], tmp_path: pathlib.Path) -> None:
    inbox = Inbox(tmp_path / "inbox", max_bytes=1000)
    inbox.folder.mkdir()
    assert posted(address, inbox.token, bytes(600)) == 204
    assert posted(address, inbox.token, bytes(500), batch="2") == 413
    assert inbox.size_bytes == 600
    assert posted(address, inbox.token, bytes(100)) == 409
    assert inbox.size_bytes == 0


def test_where_nothing_can_be_written_that_is_said_and_the_next_upload_comes(
    address: tuple[str, int], tmp_path: pathlib.Path
) -> None:
    (tmp_path / "inbox").write_text("")  # root may write anywhere, but not into a file
    inbox = Inbox(tmp_path / "inbox", max_bytes=1000)
    assert posted(address, inbox.token, bytes(100)) == 507
    (tmp_path / "inbox").unlink()
    assert posted(address, inbox.token, bytes(100)) == 204


def test_an_upload_that_is_cut_leaves_nothing_and_the_next_one_comes(address: tuple[str, int], mine: OwnFiles) -> None:
    head = f"POST /upload/{mine.inbox.token}?batch=1&name=a HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n"
    with socket.create_connection(address) as connection:
        connection.sendall(head.encode() + bytes(20 << 20))
        await_size(mine.inbox, lambda size: size > 0)
        assert posted(address, mine.inbox.token, b"x", batch="2") == 409
    await_size(mine.inbox, lambda size: size == 0)
    assert posted(address, mine.inbox.token, b"x") == 204


def await_size(inbox: Inbox, wanted: object) -> None:
    until = time.monotonic() + 30
    while not wanted(inbox.size_bytes):
        assert time.monotonic() < until
        time.sleep(0.02)
