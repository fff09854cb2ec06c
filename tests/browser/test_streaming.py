"""A file too large for memory, in a real browser and on the server of the command line: streamed, listed, deleted."""

from __future__ import annotations

import json
import os
import pathlib
import re
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import NO_FAULTS, ROOT, faults_on, free_port, photograph, settle, wait_for

pytestmark = pytest.mark.browser
SIZE = 300 << 20
KEPT = 64 << 10  # KiB that memory may grow by, a fifth of the file
Server = tuple[str, int, pathlib.Path]


@pytest.fixture
def server(tmp_path: pathlib.Path) -> Iterator[Server]:
    """Run the command line's server for a class; yield its address, its process and the folder of its files."""
    folder, log, port = tmp_path / "files", tmp_path / "server.log", free_port()
    folder.mkdir()
    command = [sys.executable, "-m", "explorer.cli", "--headless", "--no-local-files", f"--port={port}"]
    with log.open("w") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, cwd=ROOT, env={**os.environ, "TMPDIR": str(folder)}
        )
        try:
            wait_for(f"http://127.0.0.1:{port}", process, log)
            yield f"http://127.0.0.1:{port}", process.pid, folder
        finally:
            process.terminate()
            process.wait(30)
    assert not [*folder.glob("quant-explorer-*")]


def memory_peak(process: int) -> int:
    """Return the most memory that a process has had, in KiB."""
    return int(re.search(r"VmHWM:\s+(\d+)", pathlib.Path(f"/proc/{process}/status").read_text())[1])


def write_sparse(path: pathlib.Path) -> None:
    """Write a safetensors file that takes no room on the disk."""
    header = json.dumps({"huge": {"dtype": "F32", "shape": [SIZE // 4], "data_offsets": [0, SIZE]}}).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + SIZE)


def test_a_large_file_is_streamed_to_the_disk_and_its_tensors_are_listed(
    server: Server, open_page: Callable[..., Page], tmp_path: pathlib.Path
) -> None:
    address, process, folder = server
    write_sparse(tmp_path / "large.safetensors")
    page = open_page(f"{address}/open", "projector")
    settle(page)
    before = memory_peak(process)
    sent = []
    page.on("requestfinished", lambda request: sent.append(memory_peak(process)) if "/upload/" in request.url else None)
    page.locator("input[type=file]").set_input_files(tmp_path / "large.safetensors")
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()
    photograph(page, "open-streaming-projector")
    page.wait_for_url(re.compile(r"/inspector\?.*model=large.safetensors"))
    assert [file.stat().st_size > SIZE for file in folder.rglob("large.safetensors")] == [True]
    assert len(sent) == 1
    assert sent[0] - before < KEPT
    expect(page.get_by_text("78,643,200 parameters")).to_be_visible()
    assert faults_on(page) == NO_FAULTS
