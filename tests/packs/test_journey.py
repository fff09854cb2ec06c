"""The text recogniser from exact match 0 to 5 bits a weight by commands alone, and its file outside of the project."""

import re

import pytest

from tools.record_journey import journey, verdict


@pytest.mark.full
def test_the_recogniser_is_mended_planned_exported_and_read_outside_with_the_same_score(pack_network, tmp_path):
    pack_network("ocr")
    steps = [*journey(tmp_path)]
    said = {step.command.removeprefix("quant-explorer ").split(" -")[0]: step.output for step in steps}
    exact = re.search(r"exact match +([\d.]+) +([\d.]+)", said["compare ocr a.json"])
    mended = re.search(r"exact match +([\d.]+) +([\d.]+)", said["compare a.json b.json"])
    assert float(exact[1]) > 0.9
    assert float(exact[2]) == float(mended[1]) == 0
    assert float(mended[2]) > 0.7
    assert "conv2d_180" in said["attribute ocr"]
    bits = float(re.search(r"plan.json: ([\d.]+) bits", said["tune ocr"])[1])
    planned = re.search(r"On the test data: exact match ([\d.]+).*float32 ([\d.]+)", said["tune ocr"], re.DOTALL)
    assert bits <= 5
    assert float(planned[1]) >= float(planned[2]) - 0.02
    assert f"exact match {planned[1]}" in said["apply plan.json ocr"]
    assert said["python score.py"].startswith(f"exact match {planned[1]},")
    assert ", within 2 points." in verdict(steps)
