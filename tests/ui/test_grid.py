"""The grid: pages, orders and filters of the list, and decisions about many images at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gradattn_core.store.store import Store
from tests.helpers.app_pages import choose, gallery_data, headings, marks, opened, paths, press, select, texts
from tests.helpers.hostile import HOSTILE_LABELS
from tests.helpers.pictured_audit import AUDIT_ID, CLASSES, MISSING, copied_store, path_of

MANY = 60


@pytest.fixture
def large(tmp_path: Path, show: Callable[[Store], Store]) -> Store:
    return show(copied_store(tmp_path, images=MANY, suspects=MANY))


def said(store: Store) -> dict[str, tuple[str, str, str]]:
    """What stands, by path: decision, new label, reviewer."""
    rows = store.candidates.page(AUDIT_ID, decided="yes", everything=True)
    columns = (rows["path"], rows["decision"], rows["new_label"], rows["reviewer"])
    return {path: (decision, label, who) for path, decision, label, who in zip(*columns, strict=True)}


def test_every_suspect_is_a_card_with_its_picture_its_labels_and_its_evidence(store: Store) -> None:
    gallery = gallery_data(opened("grid"))
    [group] = gallery["groups"]
    cards = group["cards"]
    assert [card["path"] for card in cards] == [path_of(index) for index in range(12)]
    assert cards[0]["lines"][0] == "kite → owl"
    assert cards[0]["alt"].endswith(": filed as kite, looks like owl")
    assert [picture["src"][:22] for picture in gallery["pictures"][:4]] == ["data:image/jpeg;base64"] * 4
    gone = gallery["pictures"][[card["path"] for card in cards].index(MISSING)]
    assert (gone["src"], gone["problem"]) == ("", "'gone.png' does not exist.")


def test_hostile_labels_are_data_and_never_part_of_the_markup(store: Store) -> None:
    app = opened("grid")
    for element in app.get("bidi_component"):
        markup = element.proto.html_content + element.proto.css_content + element.proto.js_content
        assert not [label for label in HOSTILE_LABELS if label in markup]
    assert "<b>x</b> → =cmd()" in [line for card in gallery_data(app)["groups"][0]["cards"] for line in card["lines"]]
    markdown = [element.value for element in [*app.markdown, *app.caption]]
    assert not [text for text in markdown if any(label in text for label in HOSTILE_LABELS)]


@pytest.mark.parametrize(
    ("decision", "new_label"), [("Label is right", None), ("Remove", None), ("Unsure", None), ("owl", "owl")]
)
def test_a_decision_is_stored_for_everything_selected_and_the_next_images_move_up(
    store: Store, decision: str, new_label: str | None
) -> None:
    app = select(opened("grid"), [0, 2, 3])
    if new_label:
        [box] = [box for box in app.selectbox if box.label == "Relabel all to"]
        box.select(new_label).run()
    else:
        press(app, decision)
    what = {"Label is right": "keep", "Remove": "remove", "Unsure": "unsure"}.get(decision, "relabel")
    assert said(store) == {path_of(index): (what, new_label or "", "Ada") for index in (0, 2, 3)}
    assert paths(app) == [path_of(index) for index in range(12) if index not in (0, 2, 3)]
    assert any(text.startswith("3 images: ") for text in texts(app))
    assert all(button.disabled for button in app.button if button.label in ("Remove", "Unsure"))


def test_each_image_gets_its_own_suggestion(store: Store) -> None:
    press(select(opened("grid"), [0, 1, 2]), "Relabel as suggested")
    assert said(store) == {path_of(index): ("relabel", CLASSES[index + 1], "Ada") for index in range(3)}


def test_images_that_have_the_label_already_are_kept(store: Store) -> None:
    app = select(opened("grid"), [0, 1])
    [box] = [box for box in app.selectbox if box.label == "Relabel all to"]
    box.select("kite").run()
    assert said(store) == {path_of(0): ("keep", "", "Ada"), path_of(1): ("relabel", "kite", "Ada")}


def test_undo_takes_back_one_bulk_after_the_other_but_nobody_elses_word(store: Store) -> None:
    app = press(select(opened("grid"), [0, 1]), "Label is right")
    press(select(app, [0, 1]), "Remove")
    assert set(said(store)) == {path_of(index) for index in range(4)}
    store.decisions.append(AUDIT_ID, path_of(3), "unsure", reviewer="Bob")
    press(app, "Undo")
    assert "Taken back for 1 image; 1 has been decided anew since" in texts(app)
    assert set(said(store)) == {path_of(0), path_of(1), path_of(3)}
    press(app, "Undo")
    assert said(store) == {path_of(3): ("unsure", "", "Bob")}
    assert [button.disabled for button in app.button if button.label == "Undo"] == [True]


def test_a_selection_made_on_other_pictures_decides_nothing(store: Store) -> None:
    app = opened("grid")
    old = gallery_data(app)["token"]
    press(select(app, [0]), "Label is right")
    select(app, [0, 1], token=old)
    assert all(button.disabled for button in app.button if button.label == "Remove")
    select(app, [-1, 99, "x"])  # type: ignore[list-item]
    assert all(button.disabled for button in app.button if button.label == "Remove")


def test_when_everything_is_decided_the_page_says_what_is_next_and_can_still_undo(store: Store) -> None:
    app = press(select(opened("grid"), range(12)), "Remove")
    assert "Nothing in this list" in [heading.value for heading in app.subheader]
    press(app, "Undo")
    assert len(paths(app)) == 12 and said(store) == {}


def test_orders_group_by_pair_and_by_likeness(store: Store) -> None:
    app = opened("grid", order="Class pair")
    assert headings(app)[0] == "**bold** [link](http://x) :smile: → 🦅 eagle" and len(headings(app)) == 7
    assert all(len(card["lines"]) == 1 for group in gallery_data(app)["groups"] for card in group["cards"])
    choose(app, "Order", "What looks alike")
    assert headings(app) == ["4 that look alike"] * 3
    assert paths(app)[:4] == [path_of(index) for index in (0, 3, 6, 9)]
    choose(app, "Order", "Path")
    assert paths(app) == sorted(paths(app))


def test_decisions_are_marked_and_disputes_too(store: Store) -> None:
    store.decisions.append(AUDIT_ID, path_of(0), "keep", reviewer="Ada")
    store.decisions.append(AUDIT_ID, path_of(1), "keep", reviewer="Ada")
    store.decisions.append(AUDIT_ID, path_of(1), "relabel", new_label="kite", reviewer="Bob")
    app = opened("grid", **{"decided-undecided": "All"})
    assert marks(app)[:3] == ["right", "→ kite · disputed", ""]
    choose(app, "Order", "Decided last")
    assert paths(app)[:2] == [path_of(1), path_of(0)]


def test_page_size_and_order_are_taken_from_the_address_and_filters_start_at_the_first_page(large: Store) -> None:
    app = opened("grid", page="3", size="24", order="Path")
    assert len(paths(app)) == MANY - 48
    assert any(caption.value == "49 to 60 of 60 images" for caption in app.caption)
    app.text_input(key="contains").input("class").run()
    assert any(caption.value.startswith("1 to 24 of ") for caption in app.caption)
    assert len(opened("grid", page="99", size="24").get("bidi_component")) == 1


def test_the_last_page_that_becomes_empty_leads_to_the_one_before(large: Store) -> None:
    app = opened("grid", page="3", size="24")
    press(select(app, range(12)), "Remove")
    assert any(caption.value == "25 to 48 of 48 images" for caption in app.caption)


def test_a_new_order_moves_no_picture_that_is_shown(store: Store) -> None:
    app = opened("grid")
    shown = paths(app)
    order = store.candidates.page(AUDIT_ID)["path"].tolist()
    store.review.rerank(AUDIT_ID, order, np.linspace(0.1, 0.9, len(order)), decisions=1, learnt_by="near")
    assert paths(app.run()) == shown
    assert paths(opened("grid")) == shown[::-1]


def test_read_only_shows_pictures_and_no_way_to_decide(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADATTN_READ_ONLY", "1")
    app = opened("grid")
    [gallery] = app.get("bidi_component")
    assert '"selectable": false' in gallery.proto.json
    assert not [button for button in app.button if button.label in ("Remove", "Undo")]


def test_without_a_name_nothing_can_be_decided(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADATTN_REVIEWER", "")
    app = select(opened("grid"), [0])
    assert all(button.disabled for button in app.button if button.label in ("Remove", "Label is right"))
    app.text_input(key="reviewer").input("Grace <i>").run()
    press(select(app, [0]), "Remove")
    assert said(store) == {path_of(0): ("remove", "", "Grace <i>")}
