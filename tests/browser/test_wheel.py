"""The built wheel, installed where only it and its dependencies are, starts the app."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import NO_FAULTS, ROOT, faults_on, serve

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
    venv.create(home / "venv")
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
    install = ["install", "--quiet", "--no-deps", str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", "--python", python, *install], check=True)
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


def test_the_first_start_says_that_it_compiles_and_shows_its_picture(
    installed_app: str, open_page: Callable[..., Page]
) -> None:
    """The first request is a deep link to another page, which is shown in its frame."""
    page = open_page(f"{installed_app}/model_card?model=fashion-depthwise")
    expect(page.get_by_role("heading", name="Fashion-MNIST depthwise CNN")).to_be_visible()
    expect(page.get_by_role("combobox", name="Model")).to_be_visible()
    page.get_by_role("link", name="Playground").click()
    expect(page.locator("canvas.values[data-shows]")).to_be_visible()
    compiled = re.search(r"first start only\): (\d+) of (\d+)", page.evaluate("window.alerts[0]"))
    assert compiled is not None
    assert int(compiled[1]) < int(compiled[2])
    bits = page.get_by_test_id("stMetric").filter(has_text="Bits per value").get_by_test_id("stMetricValue")
    expect(bits).to_have_text("4.148")  # and 32 bits of scale for the 216 weights of the stem
    assert faults_on(page) == NO_FAULTS


def test_the_wheel_carries_pages_weights_notices_and_no_tests(wheel: pathlib.Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for needed in (
        "explorer/_pages/playground.py",
        "explorer/.streamlit/config.toml",
        "explorer/assets/logo.svg",
        "quant_engine/py.typed",
        "quant_engine/network/builtin/fashion-cnn.safetensors",
        "quant_engine/network/builtin/fashion-mnist-training.npz",
        "quant_engine/network/builtin/fashion-mnist-search.npz",
        "quant_engine/network/builtin/NOTICE",
        "quant_engine/network/builtin/MODEL_CARD.md",
    ):
        assert needed in names
    assert not any(name.startswith(("tests/", "pages/", "benchmarks/")) for name in names)
