"""The benchmark's report: a failed check costs its own case alone, and the machine is named."""

import json

import pytest

from benchmarks.command import main
from benchmarks.comparison import Comparison, Peer, TimesAsFast
from benchmarks.processor import vector_extension


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
