"""The documentation as a site: built without a warning, every link and anchor there, nothing asked of another host."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import gradattn_core

ROOT = Path(__file__).parents[1]
FETCHED = {"script": "src", "img": "src", "source": "srcset", "link": "href", "iframe": "src"}


class _Asked(HTMLParser):
    """What a browser fetches to show a page, and every id in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        of = dict(attrs)
        self.ids |= {of["id"] or ""} if "id" in of else set()
        if tag in FETCHED and of.get("rel") not in ("canonical", "next", "prev"):
            self.addresses.append(of.get(FETCHED[tag]) or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("zensical", reason="the extra 'docs' is not installed")
    here = tmp_path_factory.mktemp("docs")
    for name in ("docs", "gradattn_core", "scripts"):
        shutil.copytree(ROOT / name, here / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "zensical.toml", here)
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    built = subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=300)
    said = built.stdout + built.stderr
    assert built.returncode == 0, said
    assert "warn" not in said.lower() and "griffe" not in said, said
    return here / "site"


def test_every_page_is_in_the_menu_and_asks_no_other_host(site: Path) -> None:
    pages = {str(page.relative_to(site)) for page in site.rglob("*.html")} - {"404.html"}
    assert pages == {
        str(page.relative_to(ROOT / "docs").with_suffix(".html")) for page in (ROOT / "docs").rglob("*.md")
    }
    menu = (site / "index.html").read_text()
    for page in pages:
        asked = _Asked((site / page).read_text())
        assert [address for address in asked.addresses if re.match(r"(https?:)?//", address)] == [], page
        assert re.search(rf'href="(\./)?{re.escape(page)}"', menu), page


def test_the_reference_tells_of_every_public_name(site: Path) -> None:
    ids = _Asked((site / "reference.html").read_text()).ids
    missing = [name for name in gradattn_core.__all__ if not any(found.endswith(f".{name}") for found in ids)]
    assert missing == []


def test_who_cites_it_names_the_version_that_is_built() -> None:
    cited = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert cited is not None and cited[1] == gradattn_core.__version__


def test_no_markup_of_docstrings_is_left_in_the_reference(site: Path) -> None:
    assert re.findall(r":\w+:<code>", (site / "reference.html").read_text()) == []
