"""Streamlit pages driven without a browser: open one, press, choose, read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import TextInput
from streamlit.util import calc_hash

APP = Path(__file__).resolve().parents[2] / "ui" / "app.py"


def opened(page: str = "overview", /, **query: str) -> AppTest:
    return _opened(AppTest.from_file(str(APP), default_timeout=60), page, query)


def opened_by(user: Mapping[str, Any], page: str) -> AppTest:
    """The page for somebody who has logged in."""
    app = AppTest.from_file(str(APP), default_timeout=60)
    app.user = dict(user)
    return _opened(app, page, {})


def _opened(app: AppTest, page: str, query: Mapping[str, str]) -> AppTest:
    for key, value in query.items():
        app.query_params[key] = value
    if page != "overview":
        # Before the first run AppTest.switch_page knows a page by its file's name alone, not by its address.
        app._page_hash = calc_hash(page)
    app.run()
    assert not app.exception
    return app


def press(app: AppTest, label: str) -> AppTest:
    [button] = [button for button in app.button if button.label == label]
    assert not button.disabled
    button.click().run()
    assert not app.exception
    return app


def choose(app: AppTest, label: str, option: str) -> None:
    [box] = [box for box in app.selectbox if box.label == label]
    box.select(option).run()
    assert not app.exception


def note(app: AppTest) -> TextInput:
    [box] = [box for box in app.text_input if box.label == "Note"]
    return box


def texts(app: AppTest) -> list[str]:
    return [element.value for element in app.text]


def suspect(app: AppTest) -> str:
    """The path of the suspect on the screen; below it stand its rank and other facts."""
    shown = texts(app)
    return shown[next(place for place, text in enumerate(shown) if text.startswith("Rank ")) - 1]


def table(app: AppTest, name: str = "") -> dict[str, list[str]]:
    """The cells of the table drawn by ``components.table``, by column; of several the one with this name."""
    bodies = [part.proto.body for part in app.get("html") if part.proto.body.startswith('<div class="gradattn-table"')]
    [drawn] = [body for body in bodies if f'aria-label="{name}' in body]
    head, *rows = [["".join(cell.itertext()) for cell in row] for row in ElementTree.fromstring(drawn).iter("tr")]
    return {title: list(cells) for title, cells in zip(head, zip(*rows, strict=True), strict=True)}


def progress(app: AppTest) -> str:
    return str(app.get("progress")[0].proto.text)


def pictures(app: AppTest) -> list[str]:
    """The alternative texts of the large pictures, without the small ones to compare with."""
    alts = [picture.alt for image in app.image for picture in image.proto.imgs]
    return [alt for alt in alts if alt.startswith("The suspect")]


def waterfalls(app: AppTest) -> list[str]:
    """The alternative texts of waterfalls."""
    alts = [picture.alt for image in app.image for picture in image.proto.imgs]
    return [alt for alt in alts if "the model alone" in alt]
