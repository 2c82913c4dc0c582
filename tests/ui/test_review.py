"""The review page without a browser: what it shows, and that what is pressed reaches the database."""

from __future__ import annotations

import importlib.machinery
import io
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from gradattn_core.store.store import Store
from tests.helpers import pictured_audit
from tests.helpers.app_pages import (
    APP,
    choose,
    note,
    opened,
    opened_by,
    pictures,
    press,
    progress,
    suspect,
    texts,
    waterfalls,
)
from tests.helpers.hostile import HOSTILE_LABELS
from tests.helpers.pictured_audit import AUDIT_ID, CONTRADICTED, SUSPECTS, WITHOUT_SUMS, path_of
from ui.pictures import Subject, View, evidence, evidence_overlay
from ui.review.queue import Queue


@pytest.fixture
def store(tmp_path: Path, show: Callable[[Store], Store]) -> Store:
    return show(pictured_audit.pictured_store(tmp_path))


def test_the_first_suspect_is_shown_with_its_pictures_labels_and_evidence(store: Store) -> None:
    app = opened("review")
    shown = texts(app)
    assert shown[shown.index("kite") + 1] == "owl"
    assert "speaks for kite" in shown and "speaks for owl" in shown and "of the map" not in shown
    assert "kite: the model alone 25% (of these two classes) · with neighbours and other voters <0.1% (of all)" in shown
    assert len(pictures(app)) == 2
    assert progress(app) == "0 of 12 decided"
    assert suspect(app) == path_of(0)


@pytest.mark.parametrize(
    ("label", "decision", "new_label"),
    [
        ("Label is right", "keep", ""),
        ("Remove", "remove", ""),
        ("Unsure", "unsure", ""),
        ("Relabel to owl", "relabel", "owl"),
    ],
)
def test_each_button_stores_its_decision_and_shows_the_next_suspect(
    store: Store, label: str, decision: str, new_label: str
) -> None:
    app = opened("review")
    note(app).input("=1+1 <b>why</b>")
    press(app, label)
    row = store.decisions.page().iloc[0]
    assert (row["path"], row["decision"], row["new_label"]) == (path_of(0), decision, new_label)
    assert (row["reviewer"], row["note"]) == ("Ada", "=1+1 <b>why</b>")
    assert progress(app) == "1 of 12 decided"
    assert suspect(app) == path_of(1)
    assert note(app).value == ""


def test_choosing_another_class_relabels_to_it(store: Store) -> None:
    app = opened("review")
    [other] = [box for box in app.selectbox if box.label == "Another class"]
    assert "kite" not in other.options
    other.select("=cmd()").run()
    assert store.decisions.page().iloc[0][["path", "decision", "new_label"]].tolist() == [
        path_of(0),
        "relabel",
        "=cmd()",
    ]
    assert suspect(app) == path_of(1)


def test_undo_takes_back_the_newest_decision_and_shows_that_suspect_again(store: Store) -> None:
    app = press(press(opened("review"), "Label is right"), "Remove")
    press(app, "Undo")
    assert (suspect(app), progress(app)) == (path_of(1), "1 of 12 decided")
    press(app, "Undo")
    assert (suspect(app), progress(app)) == (path_of(0), "0 of 12 decided")
    assert store.decisions.page()["decision"].tolist() == ["undo", "undo", "remove", "keep"]


def test_back_shows_what_was_decided_and_skip_leads_on_from_there(store: Store) -> None:
    app = press(press(opened("review"), "Skip"), "Label is right")
    assert suspect(app) == path_of(2)
    press(app, "Back")
    assert suspect(app) == path_of(1)
    assert "Decided: label is right by Ada" in texts(app)
    press(app, "Skip")
    assert suspect(app) == path_of(2)
    press(press(app, "Back"), "Back")
    assert suspect(app) == path_of(0)


def test_every_suspect_can_be_decided_even_without_picture_or_evidence(store: Store) -> None:
    app = opened("review")
    for index in range(SUSPECTS):
        assert suspect(app) == path_of(index)
        shown = texts(app)
        if path_of(index) == pictured_audit.MISSING:
            assert app.warning[0].value == "The picture cannot be shown. You can still decide."
            assert not pictures(app)
        if index == 1:
            assert "Looks most like tape player, which is not a class here." in shown
        if index == 2:
            assert any(text.startswith("The model alone names owl; with neighbours and other") for text in shown)
        if index == 3:
            said = "No map for this picture: its gradients are not finite. The probability does not need it."
            assert said in shown and not waterfalls(app)
        press(app, "Label is right")
    assert "Nothing left in this list" in [heading.value for heading in app.subheader]
    assert store.review.progress(AUDIT_ID).suspects_decided == SUSPECTS


def test_filters_choose_the_list_and_decided_suspects_can_be_listed(store: Store) -> None:
    store.decisions.append(AUDIT_ID, path_of(3), "unsure", reviewer="Bob")
    app = opened("review")
    choose(app, "Decision", "Unsure")
    assert suspect(app) == path_of(3)
    assert "Decided: unsure by Bob" in texts(app)
    choose(app, "Decision", "All")
    app.number_input(key="least").set_value(0.5).run()
    assert progress(app) == "1 of 26 decided"


def test_suspects_that_came_since_they_were_counted_do_not_overfill_the_progress(store: Store) -> None:
    app = opened("review")
    assert progress(app) == "0 of 12 decided"
    risen = store.candidates.page(AUDIT_ID, everything=True).query("not is_suspect")["path"].iloc[0]
    store.review.rerank(AUDIT_ID, [risen], [0.9], decisions=50, learnt_by="near")
    everyone = store.candidates.page(AUDIT_ID)["path"].tolist()
    assert len(everyone) == SUSPECTS + 1
    store.decisions.append_many(AUDIT_ID, everyone, "keep", reviewer="Ada")
    app.run()
    assert not app.exception and progress(app) == "13 of 13 decided"


def test_the_place_in_the_list_is_taken_from_the_url(store: Store) -> None:
    assert suspect(opened("review", at="2")) == path_of(2)
    assert suspect(opened("review", at="-1; drop table")) == path_of(0)


def test_labels_never_reach_html_and_reach_markdown_escaped(store: Store) -> None:
    app = opened("review")
    for _ in range(SUSPECTS):
        assert not [html for html in app.get("html") if any(label in str(html.proto) for label in HOSTILE_LABELS)]
        markdown = [*(element.value for element in app.markdown), *(element.value for element in app.caption)]
        assert not [text for text in markdown if any(label in text for label in [*HOSTILE_LABELS, "<b>"])]
        assert not [button.label for button in app.button if "<b>" in button.label or "**bold**" in button.label]
        press(app, "Skip")


@pytest.mark.parametrize("field", ["name-asked", "reviewer"])
def test_without_a_name_nothing_can_be_decided(store: Store, monkeypatch: pytest.MonkeyPatch, field: str) -> None:
    monkeypatch.setenv("GRADATTN_REVIEWER", "")
    app = opened("review")
    assert all(button.disabled for button in app.button if button.label in ("Label is right", "Remove", "Unsure"))
    app.text_input(key=field).input("Grace <i>").run()
    assert app.text_input(key="reviewer").value == "Grace <i>"
    press(app, "Label is right")
    assert store.decisions.page().iloc[0]["reviewer"] == "Grace <i>"


def test_read_only_shows_everything_and_decides_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADATTN_READ_ONLY", "1")
    app = opened("review")
    assert suspect(app) == path_of(0)
    assert all(button.disabled for button in app.button if button.label in ("Label is right", "Remove", "Undo"))


def test_a_second_press_for_a_suspect_that_is_gone_decides_nothing(store: Store) -> None:
    queue = Queue(AUDIT_ID, {"decided": "no"})
    assert queue.show(store) is not None
    for _ in range(2):
        queue.decide(store, path_of(0), "keep", new_label=None, reviewer="Ada", note="")
    queue.decide(store, path_of(1), "keep", new_label=None, reviewer="Ada", note="")
    assert store.decisions.page()["path"].tolist() == [path_of(0)]


def test_a_new_order_moves_only_what_is_neither_shown_nor_prepared_nor_passed(store: Store) -> None:
    queue = Queue(AUDIT_ID, {"decided": "no"})

    def shown() -> str | None:
        row = queue.show(store)
        return None if row is None else str(row["path"])

    order = store.candidates.page(AUDIT_ID)["path"].tolist()
    assert shown() == order[0]
    queue.skip(store, order[0])
    assert shown() == order[1] and queue.at == 1
    assert [row["path"] for row in queue.ahead(store, 2)] == order[1:3]
    store.review.rerank(AUDIT_ID, order, np.linspace(0.1, 0.9, len(order)), decisions=1, learnt_by="near")
    assert shown() == order[1]
    seen = []
    while (path := shown()) is not None:
        seen.append(path)
        queue.decide(store, path, "keep", new_label=None, reviewer="Ada", note="")
    assert seen == [*order[1:3], *order[:2:-1]]
    assert store.candidates.page(AUDIT_ID, decided="no")["path"].tolist() == [order[0]]
    queue.back()
    assert shown() == order[3]
    queue.restart()
    assert shown() == order[0]


def test_the_view_is_chosen_and_kept(store: Store) -> None:
    app = opened("review")
    original, overlay = "The suspect, filed as kite", "The suspect in grey, with what speaks for and against kite"
    assert [alt.split(" in two")[0] for alt in pictures(app)] == [original, overlay]
    for mode, shown in (("Original", [original]), ("Overlay", [overlay]), ("Side by side", [original, overlay])):
        app.segmented_control(key="mode").set_value(mode).run()
        assert [alt.split(" in two")[0] for alt in pictures(app)] == shown


def test_boxes_opacity_and_palette_change_the_pictures(store: Store) -> None:
    app = opened("review")
    seen = {tuple(image.value[0] for image in app.image[:2])}
    app.slider(key="opacity").set_value(0.4).run()
    seen.add(tuple(image.value[0] for image in app.image[:2]))
    app.toggle(key="regions").set_value(True).run()
    seen.add(tuple(image.value[0] for image in app.image[:2]))
    assert any("The strongest blue part" in text for text in texts(app))
    app.toggle(key="colour_blind").set_value(True).run()
    seen.add(tuple(image.value[0] for image in app.image[:2]))
    assert any("The strongest purple part" in text for text in texts(app))
    assert len(seen) == 4
    assert len({original for original, _ in seen}) == 3, "boxes are drawn on the original too, in both palettes"


def test_the_card_says_what_kind_of_doubt_it_is_and_compares(store: Store) -> None:
    app = opened("review")
    shown = texts(app)
    assert "Mislabel" in shown
    assert "Runner-up: <b>x</b> · 10.0%" in shown
    assert [text for text in shown if text.startswith("The strongest")] == [
        "The strongest blue part, in the middle, takes away 6.06 by the map. Hide it, measured: 25% → 94.8% for kite.",
        "The strongest red part, in the middle, adds 4.46 by the map. Hide it, measured: 25% → 6.9% for kite.",
    ]
    titles = ["Typical: kite", "Typical: owl", "Most like it"]
    assert [text for text in shown if text in titles] == titles
    typical, other, nearest = app.image[3:]
    assert (len(typical.value), len(other.value)) == (3, 3)
    assert nearest.captions[0] == "owl"
    assert len(nearest.value) == 5, "the sixth neighbour's file is missing"
    assert "Of the 6 images most like it, 1 is filed as owl and none as kite." in shown


def test_the_waterfall_says_in_words_what_it_draws_and_begins_where_it_is_told_to(store: Store) -> None:
    app = opened("review")
    # From 0.5, the average answer, to −1.1: 3 and 9 are scaled so that they differ by 1.6.
    [said] = waterfalls(app)
    assert said == (
        "kite against owl: of these two, the model alone gives 25% to kite (log-odds −1.10). For an average picture of "
        "this dataset it gives 62% (+0.50); the red patches add 4.46, the blue ones take away 6.06."
    )
    app.segmented_control(key="origin").set_value("picture").run()
    [said] = waterfalls(app)
    assert (
        "Without any picture it would give 99.3% (+4.90); the red patches add 3.00, the blue ones take away 9.00"
        in said
    )
    app.toggle(key="colour_blind").set_value(True).run()
    [said] = waterfalls(app)
    assert "the orange patches add 3.00, the purple ones take away 9.00" in said


def test_what_contradicts_its_number_is_hatched_and_said(store: Store) -> None:
    app = opened("review", at=str(CONTRADICTED))
    sentences = [text for text in texts(app) if text.startswith("The strongest")]
    assert len(sentences) == 2 and all(text.endswith("the opposite; it is drawn hatched.") for text in sentences)
    shown = Subject(str(store.directory), AUDIT_ID, path_of(CONTRADICTED), "")
    found = evidence(shown.directory, AUDIT_ID, shown.path)
    assert found is not None
    regions = tuple(replace(region, measured=region.log_odds) for region in found.statistics.regions)
    agreeing = replace(found, statistics=replace(found.statistics, regions=regions))
    view = View(0.8, False, "red-blue", False)
    drawn = [Image.open(io.BytesIO(evidence_overlay(shown, each, view))) for each in (found, agreeing)]
    hatched, plain = (np.asarray(picture).astype(int) for picture in drawn)
    assert (np.abs(hatched - plain).max(-1) > 60).mean() > 0.02


def test_a_map_that_does_not_add_up_is_shown_without_numbers_and_says_why(store: Store) -> None:
    app = opened("review", at=str(WITHOUT_SUMS))
    shown = texts(app)
    assert len(pictures(app)) == 2 and not waterfalls(app)
    assert any("one by the complete correction does not add up to the model's answer" in text for text in shown)
    assert not any("the model alone" in text for text in shown)


def test_reviewers_who_differ_are_shown_and_the_newest_stands(store: Store) -> None:
    store.decisions.append(AUDIT_ID, path_of(0), "keep", reviewer="bob <b>")
    store.decisions.append(AUDIT_ID, path_of(0), "remove", reviewer="ann", note="blurred")
    app = opened("review")
    choose(app, "Decision", "All")
    assert "Decided: removed by ann (blurred)" in texts(app)
    assert "Reviewers differ: ann said remove, bob <b> said keep. The newest stands." in texts(app)
    press(app, "Skip")
    assert not any(text.startswith("Reviewers differ") for text in texts(app))


def test_while_the_keys_are_being_read_none_of_them_decides(store: Store) -> None:
    app = opened("review")
    press(app, "?")
    decisive = [button for button in app.button if button.label in ("Label is right", "Remove", "Unsure", "Skip")]
    assert len(decisive) == 4
    assert all(button.disabled for button in decisive)
    assert any("<kbd>K</kbd>" in str(html.proto) for html in app.get("html"))
    app.run()
    press(app, "Label is right")


def test_kind_reviewer_suspicion_and_path_filter_the_list_from_the_address(store: Store) -> None:
    assert progress(opened("review", kind="mislabel")) == "0 of 2 decided"
    assert progress(opened("review", contains="0007 'a'")) == "0 of 1 decided"
    assert progress(opened("review", least="0.7", most="0.8")) == "0 of 6 decided"
    store.decisions.append(AUDIT_ID, path_of(3), "unsure", reviewer="Bob")
    app = opened("review", by="Bob", **{"decided-undecided": "All"})
    assert (suspect(app), progress(app)) == (path_of(3), "1 of 1 decided")


def test_moved_pictures_are_found_below_a_folder_that_has_the_very_same_files(store: Store, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    (tmp_path / "pictures").rename(moved)
    other = tmp_path / "others" / path_of(0)
    other.parent.mkdir(parents=True)
    other.write_bytes((moved / path_of(1)).read_bytes())
    app = opened("review")
    assert app.warning[0].value == "The picture cannot be shown. You can still decide."
    for wrong in (str(tmp_path / "nowhere"), str(other.parents[1]), "nul\x00byte"):
        app.text_input(key="new-root").input(wrong).run()
        assert not pictures(app)
        assert any(text.startswith("That folder does not have this picture") for text in texts(app))
    app.text_input(key="new-root").input(f" {moved} ").run()
    assert len(pictures(app)) == 2
    # What was not there at the beginning is checked just as well.
    (moved / path_of(2)).write_bytes(other.read_bytes())
    press(press(app, "Label is right"), "Label is right")
    assert not pictures(app)
    assert any("another picture" in text for text in texts(app))
    assert store.review.progress(AUDIT_ID).suspects_decided == 2


def test_imagenet_ids_are_shown_with_their_names(tmp_path: Path, show: Callable[[Store], Store]) -> None:
    classes = ["n01440764", "n03425413", "n02012849", "kite"]
    store = show(pictured_audit.pictured_store(tmp_path, classes=classes))
    app = opened("review", given="n03425413")
    assert "gas pump · n03425413" in texts(app)
    assert "crane · n02012849" in texts(app)
    assert progress(app) == "0 of 3 decided"
    [other] = [box for box in app.selectbox if box.label == "Another class"]
    assert "tench · n01440764" in other.options
    other.select("tench · n01440764").run()
    assert store.decisions.page().iloc[0]["new_label"] == "n01440764"
    press(app, "Relabel to crane")
    assert store.decisions.page().iloc[0]["new_label"] == "n02012849"


def test_nobody_sees_anything_before_the_login_where_one_is_configured(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = AppTest.from_file(str(APP), default_timeout=60)
    app.user = {"is_logged_in": False}
    app.secrets = {"auth": {"client_id": "x", "client_kwargs": {}, "acme": {"client_id": "y"}}}
    monkeypatch.setitem(sys.modules, "authlib", None)
    app.run()
    assert "the package that does it is missing" in app.error[0].value
    installed = types.ModuleType("authlib")
    installed.__spec__ = importlib.machinery.ModuleSpec("authlib", None)
    monkeypatch.setitem(sys.modules, "authlib", installed)
    app.run()
    assert [button.label for button in app.button] == ["Log in", "Log in with Acme"]
    assert not app.metric
    assert not app.text


def test_who_has_logged_in_is_the_reviewer(store: Store) -> None:
    app = opened_by({"is_logged_in": True, "name": "Ada L.", "email": "ada@example.org"}, "review")
    assert "Logged in as ada@example.org" in texts(app)
    assert not [box for box in app.text_input if box.label == "Reviewer"]
    press(app, "Label is right")
    assert store.decisions.page().iloc[0]["reviewer"] == "ada@example.org"


def test_the_suspect_that_the_address_names_is_shown_until_the_reviewer_goes_on(store: Store) -> None:
    app = opened("review", path=path_of(5))
    assert suspect(app) == path_of(5)
    press(app, "Skip")
    assert suspect(app) == path_of(0)
    assert "path" not in app.query_params
    press(app, "Back")
    assert suspect(app) == path_of(5)
    assert suspect(opened("review", path="never listed")) == path_of(0)
