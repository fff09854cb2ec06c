"""Damaged files of every format are read or refused, and nothing else; fifty times as many with `--full`."""

from __future__ import annotations

import pathlib
import random

import pytest

from quant_engine import QuantError
from quant_engine.readers import open_file
from tests.engine.tensor_files import WRITERS

SEEDS, CASES = 50, 40  # of each format, and damaged files of each seed


def mutated(content: bytes, draw: random.Random) -> bytes:
    """Return a file of which bits are turned, bytes are set to extremes, or stretches cut, repeated or swapped."""
    damaged = bytearray(content)
    reach = len(damaged) if draw.random() < 0.5 else min(len(damaged), 400)  # headers come first
    for _ in range(draw.choice((1, 1, 2, 8))):
        at, to = sorted(draw.randrange(max(reach, 1)) for _ in range(2))
        kind = draw.randrange(5)
        if kind == 0:
            damaged[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            damaged[at : at + 8] = draw.choice((b"\xff", b"\0", b"\x7f")) * draw.choice((1, 4, 8))
        elif kind == 2:
            del damaged[at:to]
        elif kind == 3:
            damaged[at:at] = damaged[at:to]
        else:
            damaged = damaged[: draw.randrange(len(damaged) + 1)]
        if not damaged:
            break
        reach = min(reach, len(damaged))
    return bytes(damaged)


@pytest.mark.choice(SEEDS)
@pytest.mark.parametrize(("name", "seed"), [(name, seed) for name in WRITERS for seed in range(SEEDS)])
def test_a_damaged_file_is_read_or_refused(name: str, seed: int, tmp_path: pathlib.Path) -> None:
    path, draw = tmp_path / name, random.Random(f"{name} {seed}")
    WRITERS[name](path)
    content, before, refused = path.read_bytes(), sorted(tmp_path.iterdir()), 0
    for _ in range(CASES):
        path.write_bytes(mutated(content, draw))
        try:
            file = open_file(path)
            for tensor in file.names():
                assert file.load(tensor).shape == file.info(tensor).shape
        except QuantError:
            refused += 1
    assert refused >= CASES // 4
    assert sorted(tmp_path.iterdir()) == before
