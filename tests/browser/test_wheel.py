"""The built wheel, installed where only it and its dependencies are, starts the app."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import NO_FAULTS, ROOT, faults_on, metrics, serve

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    target = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", target, ROOT], check=True, capture_output=True
    )
    return next(target.glob("*.whl"))


@pytest.fixture(scope="module")
def installed_app(wheel: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Install the wheel into a new environment that sees this one's dependencies, but not this source tree."""
    home = tmp_path_factory.mktemp("installed")
    venv.create(home / "venv", with_pip=True)
    scripts = home / "venv" / ("Scripts" if os.name == "nt" else "bin")
    python = str(scripts / ("python.exe" if os.name == "nt" else "python"))
    packages = pathlib.Path(
        subprocess.run(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
    )
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", str(wheel)], check=True)
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    where = subprocess.run(
        [python, "-c", "import explorer; print(explorer.__file__)"],
        check=True,
        capture_output=True,
        text=True,
        cwd=home,
        env=environment,
    ).stdout
    assert str(packages) in where
    entry = str(packages / "explorer" / "app.py")
    command = [python, "-m", "streamlit", "run", entry, "--server.headless=true"]
    yield from serve(command, home / "server.log", cwd=home, env=environment)


def test_a_deep_link_as_first_request_shows_the_page_in_its_frame(
    installed_app: str, open_page: Callable[..., Page]
) -> None:
    page = open_page(f"{installed_app}/model_card?model=fashion-depthwise")
    expect(page.get_by_role("heading", name="Fashion-MNIST depthwise CNN")).to_be_visible()
    expect(page.get_by_role("combobox", name="Tensor")).to_be_visible()
    expect(page.get_by_role("link", name="Playground")).to_be_visible()
    assert faults_on(page) == NO_FAULTS
    page.get_by_role("link", name="Playground").click()
    expect(page.get_by_role("slider", name="Bits")).to_be_visible()


def test_the_installed_playground_computes(installed_app: str, open_page: Callable[..., Page]) -> None:
    page = open_page(f"{installed_app}/?play_bits=8")
    assert metrics(page)["Bits per value"] == "8.002"


def test_the_wheel_carries_pages_weights_notices_and_no_tests(wheel: pathlib.Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for needed in (
        "explorer/_pages/playground.py",
        "explorer/.streamlit/config.toml",
        "explorer/assets/logo.svg",
        "quant_engine/py.typed",
        "quant_engine/network/builtin/fashion-cnn.safetensors",
        "quant_engine/network/builtin/fashion-mnist-training.npz",
        "quant_engine/network/builtin/NOTICE",
        "quant_engine/network/builtin/MODEL_CARD.md",
    ):
        assert needed in names
    assert not any(name.startswith(("tests/", "pages/", "benchmarks/")) for name in names)
