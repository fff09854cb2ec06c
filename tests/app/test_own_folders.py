"""A folder of uploads goes with its process, and where that was killed, when the next server starts."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import tempfile

import pytest

from explorer.own_folders import clear_abandoned, delete_folder, make_folder

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a process cannot be asked whether it is there")
ROOT = pathlib.Path(__file__).parents[2]
MAKES = "from explorer.own_folders import make_folder; print(make_folder(), flush=True); input()"


@pytest.fixture
def here(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """The folder that temporary files of this process lie in."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_the_folder_of_a_process_is_left_while_it_runs_and_goes_once_it_was_killed(here: pathlib.Path) -> None:
    environment = {**os.environ, "TMPDIR": str(here), "PYTHONPATH": str(ROOT)}
    pipe, command = subprocess.PIPE, [sys.executable, "-c", MAKES]
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True) as other:
        theirs = pathlib.Path(other.stdout.readline().strip())
        (theirs / "inbox").mkdir()
        (theirs / "inbox" / "weights.npz").write_bytes(bytes(1000))
        mine = make_folder()
        clear_abandoned()
        assert (theirs / "inbox" / "weights.npz").exists()
        other.kill()
    clear_abandoned()
    assert [*here.iterdir()] == [mine]
    delete_folder(mine)
    assert not [*here.iterdir()]


def test_a_folder_that_is_held_stays_though_no_process_has_its_number(here: pathlib.Path) -> None:
    held = make_folder()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    elsewhere = held.rename(here / f"quant-explorer-{ended.pid}-abc")  # as of a container with numbers of its own
    clear_abandoned()
    assert elsewhere.exists()
    delete_folder(held)
    clear_abandoned()
    assert not elsewhere.exists()


def test_what_is_not_a_folder_of_ours_stays(here: pathlib.Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (other := here / "other").mkdir()
    (here / f"quant-explorer-{ended.pid}-link").symlink_to(other)
    (here / f"quant-explorer-{ended.pid}-file").write_text("")
    for name in ("quant-explorer-abcdefgh", f"quant-explorer-{ended.pid}", f"quant-explorer-{ended.pid}-a-b"):
        (here / name).mkdir()
    before = sorted(here.iterdir())
    clear_abandoned()
    assert sorted(here.iterdir()) == before
