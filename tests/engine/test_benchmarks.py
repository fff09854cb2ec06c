"""The benchmark's report: a failed check costs its own case alone, the machine is named, and pages are rewritten."""

import json
import os
import pathlib
import re
import subprocess
import sys
from xml.etree import ElementTree

import pytest

from benchmarks import publish
from benchmarks.command import main
from benchmarks.comparison import Comparison, Peer, TimesAsFast
from benchmarks.processor import avx2_alone, vector_extension

ROOT = pathlib.Path(__file__).parents[2]
COMPILED = """
import numpy as np
from benchmarks.processor import registers, vector_extension
from quant_engine.kernels import affine
low, high = np.zeros(1, np.float32), np.zeros(1, np.float32)
affine.block_extremes(np.zeros(64, np.float32), np.array([0, 64]), 0, 64, low, high)
print(vector_extension(), registers())
"""


def good(sizes):
    return Comparison(lambda: None, (Peer("the same", lambda: None, TimesAsFast(1e-9)),), check=lambda: "all alike")


def differing(sizes):
    def check():
        raise AssertionError("only 96.30% of the labels are the peer's")

    return Comparison(lambda: None, (Peer("another", lambda: None),), check=check)


def ran(tmp_path, cases):
    status = main(
        ["--quick", "--json", str(tmp_path / "rows.json"), "--markdown", str(tmp_path / "rows.md")], cases=cases
    )
    return status, json.loads((tmp_path / "rows.json").read_text("utf-8")), (tmp_path / "rows.md").read_text("utf-8")


def test_a_case_whose_check_fails_is_a_row_that_says_what_differed_and_the_others_stay(tmp_path, capsys):
    status, found, markdown = ran(tmp_path, {"before": good, "wrong": differing, "after": good})
    assert status == 1
    assert [(row["operation"], row["failed"]) for row in found["rows"]] == [
        ("before", False),
        ("wrong", True),
        ("after", False),
    ]
    assert found["rows"][1]["ratio"] == ""
    for text in (capsys.readouterr().out, markdown, found["rows"][1]["note"]):
        assert "only 96.30% of the labels are the peer's" in text
    assert found["rows"][2]["note"] == "all alike"


def test_the_report_names_the_vector_extension(tmp_path, capsys):
    status, found, markdown = ran(tmp_path, {"one": good})
    assert status == 0
    assert found["machine"]["vector extension"] == vector_extension()
    assert all(f"vector extension {vector_extension()}" in text for text in (capsys.readouterr().out, markdown))


@pytest.mark.parametrize(
    ("features", "name"),
    [
        (("sse4.2", "avx", "avx2"), "AVX2"),
        (("sse4.2", "avx", "avx2", "avxvnni"), "AVX2 VNNI"),
        (("sse4.2", "avx", "avx2", "avx512f"), "AVX-512"),
        (("sse4.2", "avx", "avx2", "avx512f", "avx512vnni"), "AVX-512 VNNI"),
        (("neon", "dotprod"), "NEON"),
    ],
)
def test_the_widest_vector_extension_is_named(features, name):
    assert vector_extension(dict.fromkeys(features, True)) == name


def test_a_case_that_breaks_off_is_a_row_that_says_why_and_the_others_stay(tmp_path, capfd):
    def broken(sizes):
        raise FileNotFoundError("no such peer")

    status, found, markdown = ran(tmp_path, {"broken": broken, "after": good})
    assert status == 1
    assert [(row["failed"], row["note"]) for row in found["rows"]] == [
        (True, "FileNotFoundError: no such peer"),
        (False, "all alike"),
    ]
    assert "no such peer" in markdown
    assert "in broken" in capfd.readouterr().err  # where it happened


def test_a_process_without_avx512_compiles_no_register_of_512_bits(tmp_path):
    environment = {**os.environ, **avx2_alone(), "NUMBA_CACHE_DIR": str(tmp_path)}
    said = subprocess.check_output([sys.executable, "-c", COMPILED], cwd=ROOT, env=environment, text=True)
    assert "AVX-512" not in said
    assert "'zmm': 0" in said
    assert said.split()[0] != "AVX2" or re.search(r"'ymm': [1-9]", said)


def measured_run(extension, ratio):
    rows = [
        {
            "operation": name,
            "ours": 1.0,
            "ours_least": 0.9,
            "peer": peer,
            "peers": ratio,
            "ratio": f"{ratio:,} × as fast",
        }
        for name, peer in publish.BRIEF[:9]
    ]
    growth = [{"operation": name, "sizes": [10**4, 10**8], "ms": [0.1, 40.0], "slope": 1.0} for name in publish.DRAWN]
    machine = {"vector extension": extension, "threads": "2", "processor": "tested"}
    return {"machine": machine, "rows": rows, "growth": growth}


def test_what_is_published_stands_between_the_markers_of_readme_and_page_and_as_a_picture(tmp_path):
    (tmp_path / "docs").mkdir()
    pages = tmp_path / "README.md", tmp_path / "docs" / "benchmarks.md"
    for page in pages:
        page.write_text(f"before\n{publish.START}\nold\n{publish.END}\nafter\n", "utf-8")
    publish.write(tmp_path, [measured_run("AVX-512 VNNI", 1_250.0), measured_run("AVX2", 12.5)])
    for page in pages:
        text = page.read_text("utf-8")
        assert text.startswith("before\n")
        assert text.endswith("after\n")
        assert "\nold\n" not in text
        assert "1,250.0" in text
        assert "12.5" in text
    root = ElementTree.parse(tmp_path / "docs" / "benchmarks.svg").getroot()
    assert "1,250 times as fast" in root.attrib["aria-label"]
    assert {part.attrib.get("font-size", "14") for part in root.iter()} == {"14"}
    width = float(root.attrib["viewBox"].split()[2])
    bars = [
        part
        for part in root.iter()
        if part.tag.endswith("rect") and part.attrib["x" if "x" in part.attrib else "width"]
    ]
    assert all(float(part.attrib.get("x", 0)) + float(part.attrib["width"]) <= width for part in bars)


def test_the_readme_and_the_page_have_a_place_for_what_is_published():
    for page in ("README.md", "docs/benchmarks.md"):
        text = (ROOT / page).read_text("utf-8")
        assert publish.between_markers(publish.between_markers(text, "new"), "new").count("\nnew\n") == 1


@pytest.mark.parametrize(
    "text", ["", publish.START, f"{publish.END}{publish.START}", 2 * (publish.START + publish.END)]
)
def test_a_page_without_its_two_markers_is_left_alone(text):
    with pytest.raises(ValueError, match="needs the lines"):
        publish.between_markers(text, "new")
