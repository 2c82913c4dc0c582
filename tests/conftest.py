"""Fixtures every test file may use. What a fixture needs is imported there: a bare GPU machine has no browser."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    skip = pytest.mark.skip(reason="slow: run with --slow")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """A folder of real datasets, weights and reference maps that is not part of the project."""
    folder = Path(os.environ.get("GRADATTN_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip("the real datasets are not here: set GRADATTN_SHARED to their folder")
    return folder


@pytest.fixture(scope="session")
def bucket() -> Iterator[str]:
    """The URL of a bucket on a server of this machine; one for all tests, as filesystems remember their server."""
    from tests.helpers.dataset_files import object_store

    with object_store() as url:
        yield url


@pytest.fixture
def without_openvino(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As where it is not installed."""
    from gradattn_core.model.openvino_passes import _openvino

    _openvino.cache_clear()
    monkeypatch.setitem(sys.modules, "openvino", None)
    yield
    _openvino.cache_clear()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless chromium for the tests of one file."""
    from tests.helpers.browser import chromium, opened_browser

    if chromium() is None:
        pytest.skip("no chromium on this machine")
    with opened_browser() as found:
        yield found
