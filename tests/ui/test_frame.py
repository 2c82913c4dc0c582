"""The frame around every page: one set of colours, whose page it is and of what, and HTML that no name can break."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from gradattn_core.store.store import Store
from tests.helpers import pictured_audit
from tests.helpers.app_pages import opened, opened_by, texts
from tests.helpers.hostile import HOSTILE_NAMES
from ui import components
from ui.markup import Markup, class_name, join, tag
from ui.shorten import LONGEST, apart, shortened

HERE = Path(components.__file__).parent
ALIKE = (
    "Felis silvestris lybica of the northern plains, adult",
    "Felis silvestris lybica of the southern plains, adult",
)
OLDER = "20261121-000000-older"


def tokens() -> list[dict[str, str]]:
    """The colours of ``client/tokens.css``: light, dark."""
    text = (HERE / "client" / "tokens.css").read_text("utf-8")
    blocks = re.findall(r"^:root[^{]*\{(.*?)^\}", text, re.MULTILINE | re.DOTALL)
    return [dict(re.findall(r"--([\w-]+): (#\w+);", block)) for block in blocks[:2]]


@pytest.fixture
def two(store: Store, tmp_path: Path) -> Store:
    """Two finished audits in one folder."""
    pictured_audit.pictured_store(tmp_path, audit_id=OLDER, images=30, suspects=9)
    components.audits.clear()
    return store


def style(app: AppTest) -> str:
    return next(str(part.proto.body) for part in app.get("html") if part.proto.body.startswith("<style>:root"))


def test_streamlits_theme_has_the_colours_of_the_clients() -> None:
    theme = tomllib.loads((HERE / ".streamlit" / "config.toml").read_text("utf-8"))["theme"]
    names = {
        "primaryColor": "primary", "backgroundColor": "ground", "secondaryBackgroundColor": "panel",
        "textColor": "ink", "borderColor": "line-2", "linkColor": "primary",
    }  # fmt: skip
    for form, colours in zip(("light", "dark"), tokens(), strict=True):
        assert theme[form] == {name: colours[token] for name, token in names.items()}


def test_the_page_and_its_clients_share_their_variables(store: Store) -> None:
    sheet = style(opened())
    light, dark = tokens()
    assert f"--primary: {light['primary']}" in sheet and f"--primary: {dark['primary']}" not in sheet


def test_every_page_has_its_place_in_the_menu() -> None:
    assert [file.title for file in components.PAGES.values() if not file.more] == [
        "Overview", "Review", "Grid", "Class pairs", "Map", "Decisions",
    ]  # fmt: skip
    assert [file.title for file in components.PAGES.values() if file.more] == ["Export", "Audits"]
    assert all((HERE / file.script).is_file() for file in components.PAGES.values())


def test_the_audit_in_hand_is_the_newest_or_the_one_that_is_chosen(two: Store) -> None:
    app = opened("audits")
    [box] = [box for box in app.selectbox if box.label == "Audit"]
    assert any("40 pictures, 1 unreadable" in text for text in texts(app))
    assert len(set(box.options)) == 2, "both finished in the same minute"
    box.select(OLDER).run()
    assert any("30 pictures" in text for text in texts(app))
    assert app.query_params["audit"] in (OLDER, [OLDER])
    assert any("30 pictures" in text for text in texts(opened("decisions", audit=OLDER)))


def test_an_audit_that_the_address_names_and_that_is_not_there_is_the_newest(two: Store) -> None:
    assert any("40 pictures" in text for text in texts(opened("overview", audit="gone")))


def test_one_audit_needs_no_choice(store: Store) -> None:
    assert not [box for box in opened("audits").selectbox if box.label == "Audit"]


def test_the_name_is_asked_for_in_the_head_and_never_of_who_has_logged_in(store: Store) -> None:
    assert opened("decisions").text_input(key="reviewer").value == "Ada"
    app = opened_by({"is_logged_in": True, "email": "<b>ada@example.org"}, "decisions")
    assert "Logged in as <b>ada@example.org" in texts(app)
    assert not [box for box in app.text_input if box.label == "Reviewer"]


@pytest.mark.parametrize("place", range(len(HOSTILE_NAMES)))
def test_a_name_is_text_wherever_it_stands(place: int) -> None:
    name = HOSTILE_NAMES[place]
    made = tag("p", class_name(name, name), title=name, data_name=name)
    parts = r'<span aria-hidden="true">[^<>]*</span><span class="heard">[^<>]*</span>'
    assert re.fullmatch(
        rf'<p title="[^"<>]*" data-name="[^"<>]*"><bdi(?: title="[^"<>]*")?>(?:[^<>]*|{parts})</bdi></p>', made, re.S
    )
    assert made.count("<") == made.count(">") == (8 if len(name) > LONGEST else 4)


def test_only_what_was_made_here_is_html() -> None:
    assert join(["<b>", Markup("<i></i>"), "&"]) == "&lt;b&gt;<i></i>&amp;"


def test_a_long_name_loses_its_middle() -> None:
    long = "a" * 30 + "z" * 30
    assert shortened("x" * 28) == "x" * 28
    assert len(shortened(long)) == 28 and shortened(long).startswith("a" * 14) and shortened(long).endswith("z" * 13)


@pytest.mark.parametrize("longest", [15, 18, 24, 28, 34])
def test_names_that_differ_only_in_their_middle_are_told_apart(longest: int) -> None:
    numbered = tuple(f"a class of a dataset with number {at} of one hundred and eleven" for at in range(111))
    # One by one these would all be the same.
    assert len({shortened(name, longest) for name in ALIKE}) == 1
    for names in (ALIKE, numbered, (*ALIKE, *numbered, ALIKE[0][:14], "owl")):
        short = apart(names, longest)
        assert len(set(short.values())) == len(names)
        assert max(map(len, short.values())) <= longest
        cut = {name: written for name, written in short.items() if written != name}
        assert set(cut) == {name for name in names if len(name) > longest}
        assert all(
            name.startswith(each.split("…")[0]) and name.endswith(each.split("…")[-1]) for name, each in cut.items()
        )
    assert shortened(ALIKE[0], longest, ALIKE) == apart(ALIKE, longest)[ALIKE[0]]
    # Where no piece tells them apart, nothing is left out.
    endless = tuple("x" * length for length in (40, 41, 42))
    assert dict(apart(endless, longest)) == {name: name for name in endless}
