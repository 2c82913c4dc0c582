"""The pages without a browser: what they show, and that what is pressed reaches the database."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import TextInput

from gradattn_core.store import Store
from tests import small_audit
from tests.small_audit import AUDIT_ID, HOSTILE_LABELS, SUSPECTS, path_of
from ui.components import escaped
from ui.reviewing import Queue

APP = Path(__file__).resolve().parents[1] / "ui" / "app.py"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    store = small_audit.build(tmp_path)
    monkeypatch.setenv("GRADATTN_OUT", str(store.directory))
    monkeypatch.setenv("GRADATTN_REVIEWER", "Ada")
    return store


def opened(page: str = "overview", **query: str) -> AppTest:
    app = AppTest.from_file(str(APP), default_timeout=60).run()
    for key, value in query.items():
        app.query_params[key] = value
    app.switch_page(f"views/{page}.py").run()
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


def progress(app: AppTest) -> str:
    return str(app.get("progress")[0].proto.text)


def test_a_folder_without_an_audit_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADATTN_OUT", str(tmp_path / "my results"))
    for page in ("overview", "review", "decisions", "export"):
        app = opened(page)
        assert app.header[0].value == "No audit here yet"
        assert app.code[0].value == f"gradattn audit DATASET --out '{tmp_path / 'my results'}'"


def test_a_database_that_is_none_is_reported_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gradattn.duckdb").write_bytes(b"this is no database" * 100)
    monkeypatch.setenv("GRADATTN_OUT", str(tmp_path))
    app = opened("review")
    assert app.error[0].value == "The results cannot be read."
    assert "gradattn.duckdb" in texts(app)[0]


def test_the_overview_counts_and_lists_class_pairs_and_failures(store: Store) -> None:
    store.decide(AUDIT_ID, path_of(0), "keep", reviewer="Ada")
    app = opened()
    assert {metric.label: metric.value for metric in app.metric} == {
        "Images": "40",
        "Suspects": "12",
        "Wrong labels, estimated": "10",
        "Decided": "1",
        "Unreadable": "1",
    }
    pairs, failures = app.dataframe[0].value, app.dataframe[1].value
    assert set(pairs["given_label"]) == set(small_audit.CLASSES)
    assert failures["path"].tolist() == ["<i>broken</i>.png"]
    assert "One class has fewer than 5 images: <b>x</b>" in texts(app)


def test_selecting_a_class_pair_opens_the_review_with_that_filter(store: Store) -> None:
    app = opened()
    pairs = app.dataframe[0].value
    row = pairs.index[pairs["given_label"] == "<b>x</b>"][0]
    app.session_state["pairs"] = {"selection": {"rows": [int(row)], "columns": [], "cells": []}}
    app.run()
    assert progress(app) == "0 of 2 decided"
    assert "<b>x</b>" in texts(app)
    assert (app.query_params["given"], app.query_params["suggested"]) == ("<b>x</b>", "=cmd()")


def test_the_first_suspect_is_shown_with_its_pictures_labels_and_evidence(store: Store) -> None:
    app = opened("review")
    shown = texts(app)
    assert shown[shown.index("kite") + 1] == "owl"
    assert "25% of the map speaks for kite" in shown and "75% of the map speaks for owl" in shown
    assert len(app.image) == 2
    assert progress(app) == "0 of 12 decided"
    assert app.code[0].value == path_of(0)


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
    row = store.decisions().iloc[0]
    assert (row["path"], row["decision"], row["new_label"]) == (path_of(0), decision, new_label)
    assert (row["reviewer"], row["note"]) == ("Ada", "=1+1 <b>why</b>")
    assert progress(app) == "1 of 12 decided"
    assert app.code[0].value == path_of(1)
    assert note(app).value == ""


def test_choosing_another_class_relabels_to_it(store: Store) -> None:
    app = opened("review")
    [other] = [box for box in app.selectbox if box.label == "Another class"]
    assert "kite" not in other.options
    other.select("=cmd()").run()
    assert store.decisions().iloc[0][["path", "decision", "new_label"]].tolist() == [path_of(0), "relabel", "=cmd()"]
    assert app.code[0].value == path_of(1)


def test_undo_takes_back_the_newest_decision_and_shows_that_suspect_again(store: Store) -> None:
    app = press(press(opened("review"), "Label is right"), "Remove")
    press(app, "Undo")
    assert (app.code[0].value, progress(app)) == (path_of(1), "1 of 12 decided")
    press(app, "Undo")
    assert (app.code[0].value, progress(app)) == (path_of(0), "0 of 12 decided")
    assert store.decisions()["decision"].tolist() == ["undo", "undo", "remove", "keep"]


def test_back_shows_what_was_decided_and_skip_leads_on_from_there(store: Store) -> None:
    app = press(press(opened("review"), "Skip"), "Label is right")
    assert app.code[0].value == path_of(2)
    press(app, "Back")
    assert app.code[0].value == path_of(1)
    assert "Decided: label is right by Ada" in texts(app)
    press(app, "Skip")
    assert app.code[0].value == path_of(2)
    press(press(app, "Back"), "Back")
    assert app.code[0].value == path_of(0)


def test_every_suspect_can_be_decided_even_without_picture_or_evidence(store: Store) -> None:
    app = opened("review")
    for index in range(SUSPECTS):
        assert app.code[0].value == path_of(index)
        shown = texts(app)
        if path_of(index) == small_audit.MISSING:
            assert app.warning[0].value == "The picture cannot be shown. You can still decide."
            assert not app.image
        if index == 1:
            assert "Looks most like tape player, which is not a class here." in shown
        if index == 2:
            assert any(text.startswith("The head that the colours explain names owl;") for text in shown)
        if index == 3:
            assert "No evidence was computed for this image." in [caption.value for caption in app.caption]
        press(app, "Label is right")
    assert "Nothing left in this list" in [heading.value for heading in app.subheader]
    assert store.summary(AUDIT_ID)["decided"] == SUSPECTS


def test_filters_choose_the_list_and_decided_suspects_can_be_listed(store: Store) -> None:
    store.decide(AUDIT_ID, path_of(3), "unsure", reviewer="Bob")
    app = opened("review")
    choose(app, "Decision", "Unsure")
    assert app.code[0].value == path_of(3)
    assert "Decided: unsure by Bob" in texts(app)
    choose(app, "Decision", "All")
    app.number_input(key="least").set_value(0.5).run()
    assert progress(app) == "1 of 26 decided"


def test_the_place_in_the_list_is_taken_from_the_url(store: Store) -> None:
    assert opened("review", at="2").code[0].value == path_of(2)
    assert opened("review", at="-1; drop table").code[0].value == path_of(0)


def test_labels_never_reach_html_and_reach_markdown_escaped(store: Store) -> None:
    app = opened("review")
    for _ in range(SUSPECTS):
        assert not [html for html in app.get("html") if any(label in str(html.proto) for label in HOSTILE_LABELS)]
        markdown = [*(element.value for element in app.markdown), *(element.value for element in app.caption)]
        assert not [text for text in markdown if any(label in text for label in [*HOSTILE_LABELS, "<b>"])]
        assert not [button.label for button in app.button if "<b>" in button.label or "**bold**" in button.label]
        press(app, "Skip")


def test_escaped_text_has_no_markdown_left_and_keeps_its_letters() -> None:
    text = escaped("**a** [x](http://y) :smile: $z$ `c` <b>\n# h")
    assert "\n" not in text
    assert text.replace("\\", "").replace("\u2060", "") == "**a** [x](http://y) :smile: $z$ `c` <b> # h"
    assert all(text[index - 1] == "\\" for index, sign in enumerate(text) if sign in "*[]()`$<>#_")
    assert ":smile:" not in text.replace("\\", "")
    assert len(escaped("x" * 500)) == 60


def test_without_a_name_nothing_can_be_decided(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADATTN_REVIEWER", "")
    app = opened("review")
    assert "Who is reviewing?" in app.info[0].value
    assert all(button.disabled for button in app.button if button.label in ("Label is right", "Remove", "Unsure"))
    app.text_input(key="reviewer").input("Grace <i>").run()
    press(app, "Label is right")
    assert store.decisions().iloc[0]["reviewer"] == "Grace <i>"


def test_read_only_shows_everything_and_decides_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADATTN_READ_ONLY", "1")
    app = opened("review")
    assert app.code[0].value == path_of(0)
    assert all(button.disabled for button in app.button if button.label in ("Label is right", "Remove", "Undo"))


def test_a_second_press_for_a_suspect_that_is_gone_decides_nothing(store: Store) -> None:
    queue = Queue(AUDIT_ID, {"decided": "no"})
    assert queue.show(store) is not None
    for _ in range(2):
        queue.decide(store, path_of(0), "keep", new_label=None, reviewer="Ada", note="")
    queue.decide(store, path_of(1), "keep", new_label=None, reviewer="Ada", note="")
    assert store.decisions()["path"].tolist() == [path_of(0)]


def test_the_log_lists_decisions_newest_first(store: Store) -> None:
    assert "Nothing has been decided yet" in opened("decisions").markdown[0].value
    store.decide(AUDIT_ID, path_of(0), "keep", reviewer="Ada")
    store.decide(AUDIT_ID, path_of(1), "relabel", new_label="kite", reviewer="Bob", note="<b>n</b>")
    log = opened("decisions").dataframe[0].value
    assert log["reviewer"].tolist() == ["Bob", "Ada"]
    assert log["note"].tolist() == ["<b>n</b>", ""]


def test_the_export_previews_the_rows_it_will_write(store: Store) -> None:
    store.decide(AUDIT_ID, path_of(2), "remove", reviewer="Ada")
    app = opened("export")
    assert app.download_button[0].label == "Download 12 rows as CSV"
    assert app.dataframe[0].value["rank"].tolist() == list(range(1, 13))
    app.number_input(key="top").set_value(3).run()
    assert app.download_button[0].label == "Download 3 rows as CSV"
    choose(app, "Decision", "Removed")
    assert app.dataframe[0].value["path"].tolist() == [path_of(2)]
    choose(app, "Decision", "Unsure")
    assert "No suspect passes these filters" in app.markdown[0].value
