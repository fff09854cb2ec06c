"""What every test of the app without a browser shares."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest
from streamlit.components.v2 import manifest_scanner

from explorer import compute


@pytest.fixture(scope="session", autouse=True)
def components_are_scanned_once() -> Iterator[None]:
    """AppTest reads the metadata of every installed package to begin with, each time: once is enough."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            manifest_scanner, "scan_component_manifests", functools.cache(manifest_scanner.scan_component_manifests)
        )
        yield


@pytest.fixture(autouse=True)
def sessions_end_with_their_test() -> Iterator[None]:
    """AppTest never ends a session, and what its pages still show would be worked out beside the next tests."""
    yield
    for session in [*compute.scheduler().sessions]:
        session.release()


@pytest.fixture
def one_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every lesson on the same model, named as on the command line: none opens on a story of its own."""
    monkeypatch.setenv("QUANT_EXPLORER_MODEL", "fashion-cnn")
