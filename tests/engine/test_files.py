"""Files are written whole or not at all, and take the place of nothing but files like them."""

import os
import stat

import pytest
from safetensors.numpy import save

from quant_engine import QuantError
from quant_engine.files import begins_like, has_metadata, stage, validate_place, write_file

OURS = begins_like(b"| name |\n|---|\n| a |")


def test_a_file_is_written_and_replaced_by_one_of_its_kind(tmp_path):
    path = tmp_path / "table.md"
    for row in (b"| a |", b"| b |"):
        write_file(path, b"| name |\n|---|\n" + row, OURS)
        assert path.read_bytes().endswith(row)
    assert os.listdir(tmp_path) == ["table.md"]


def test_what_is_not_recognized_stays_as_it_is(tmp_path):
    path = tmp_path / "table.md"

    def unreadable(file):
        raise ValueError

    for content, recognizes in ((b"# Notes", OURS), (b"| name |", OURS), (b"x", unreadable), (b"x", has_metadata("a"))):
        path.write_bytes(content)
        with pytest.raises(
            QuantError, match=r"table\.md exists and was not written by .*; give another name, or delete"
        ):
            write_file(path, b"new", recognizes)
        assert path.read_bytes() == content
    path.write_bytes(save({}, {"a": "1"}))
    write_file(path, b"new", has_metadata("a"))


def test_a_folder_or_a_device_is_no_place_for_a_file(tmp_path):
    for path in (tmp_path, "/dev/null", tmp_path / ".." / tmp_path.name):
        with pytest.raises(QuantError, match="exists and was not written by"):
            write_file(path, b"new", lambda file: True)
    for path in (None, 3, "a\0b", [], tmp_path / "none" / "file", tmp_path / ("n" * 300)):
        with pytest.raises(QuantError, match="give"):
            write_file(path, b"new", lambda file: True)
    assert not os.listdir(tmp_path)


def test_a_link_stays_a_link_and_rights_stay_as_they_are(tmp_path):
    path, link = tmp_path / "table", tmp_path / "link"
    path.touch(0o640)
    link.symlink_to(path)
    write_file(link, b"new", lambda file: True)
    assert link.is_symlink()
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_what_cannot_be_written_whole_leaves_nothing(tmp_path, monkeypatch):
    path = tmp_path / "table"
    path.write_bytes(b"old")

    def full(descriptor):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(QuantError, match="cannot be written: no space left"):
        write_file(path, b"new", lambda file: True)
    assert os.listdir(tmp_path) == ["table"]
    assert path.read_bytes() == b"old"


def test_two_that_write_at_once_do_not_share_a_staged_file(tmp_path):
    assert stage(tmp_path / "a", b"1") != stage(tmp_path / "a", b"2")
    validate_place(tmp_path / "a", lambda file: False)
