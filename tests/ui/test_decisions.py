"""The log of decisions: filters, what stands, what is disputed, and taking it back."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from gradattn_core.store.store import Store
from tests.helpers.app_pages import choose, opened, press, table, texts
from tests.helpers.pictured_audit import AUDIT_ID, path_of


def log(app: AppTest, part: int) -> list[str]:
    """One part of each entry's line: 0 what was said, 1 the path, 3 who and when, the rest its state and note."""
    return [box.label.replace("\\", "").split(" · ")[part] for box in app.checkbox]


def who(app: AppTest) -> list[str]:
    return [words.split(", ")[0] for words in log(app, 3)]


def select(app: AppTest, rows: list[int]) -> AppTest:
    for row in rows:
        app.checkbox[row].check()
    app.run()
    assert not app.exception
    return app


def test_an_empty_log_says_where_decisions_are_made(store: Store) -> None:
    assert "Nothing has been decided yet" in opened("decisions").markdown[0].value


def test_the_log_lists_decisions_newest_first_and_what_stands(store: Store) -> None:
    store.decisions.append(AUDIT_ID, path_of(0), "keep", reviewer="Ada")
    store.decisions.append(AUDIT_ID, path_of(0), "relabel", new_label="kite", reviewer="Bob", note="<b>n</b>")
    store.decisions.append(AUDIT_ID, path_of(1), "unsure", reviewer="Ada")
    app = opened("decisions", form="By time")
    assert who(app) == ["Ada", "Bob", "Ada"]
    assert log(app, 0) == ["**Unsure**", "**Relabelled → kite**", "**Label is right**"]
    assert log(app, 1) == [path_of(1), path_of(0), path_of(0)]
    assert [box.label.split(" · ")[4:] for box in app.checkbox] == [
        ["stands"],
        ["stands", "**disputed**", r"“\<b\>n\<\/b\>”"],
        ["**disputed**"],
    ]


def test_filters_choose_entries_and_are_taken_from_the_address(store: Store) -> None:
    store.decisions.append(AUDIT_ID, path_of(0), "keep", reviewer="Ada")
    store.decisions.append(AUDIT_ID, path_of(0), "remove", reviewer="Bob")
    store.decisions.append(AUDIT_ID, path_of(1), "remove", reviewer="<i>Cy</i>")
    assert who(opened("decisions", standing="true")) == ["<i>Cy</i>", "Bob"]
    assert who(opened("decisions", conflicts="true")) == ["Bob", "Ada"]
    app = opened("decisions", form="By time")
    choose(app, "Decision", "Removed")
    assert who(app) == ["<i>Cy</i>", "Bob"]
    choose(app, "Who", "Bob")
    assert log(app, 1) == [path_of(0)]
    app.text_input(key="contains").input("nowhere").run()
    assert "No entry passes these filters" in app.markdown[0].value


def test_a_long_log_comes_in_pages(store: Store) -> None:
    for _ in range(5):
        store.decisions.append_many(AUDIT_ID, [path_of(index) for index in range(12)], "unsure", reviewer="Ada")
    assert len(opened("decisions", form="By time").checkbox) == 50
    app = opened("decisions", form="By time", page="2")
    assert len(app.checkbox) == 10
    assert any(caption.value == "51 to 60 of 60 entries" for caption in app.caption)


def test_selected_entries_that_stand_are_undone_and_the_words_before_them_stand_again(store: Store) -> None:
    store.decisions.append(AUDIT_ID, path_of(0), "keep", reviewer="Bob")
    store.decisions.append_many(AUDIT_ID, [path_of(0), path_of(1)], "remove", reviewer="Bob")
    app = select(opened("decisions", form="By time"), [0, 1, 2])
    assert any(caption.value == "2 of the 2 were decided by somebody else." for caption in app.caption)
    press(app, "Undo 2")
    assert "Taken back for 2 images" in texts(app)
    newest = store.decisions.page(top=2)
    assert newest[["decision", "reviewer"]].to_numpy().tolist() == [["undo", "Ada"]] * 2
    assert store.candidates.page(AUDIT_ID, decided="yes")["decision"].tolist() == ["keep"]


def test_an_undo_is_signed_with_the_name_that_stands_in_the_field_when_it_is_pressed(store: Store) -> None:
    store.decisions.append(AUDIT_ID, path_of(0), "remove", reviewer="Ada")
    app = select(opened("decisions"), [0])
    app.text_input(key="reviewer").set_value("Bob")
    press(app, "Undo 1")
    assert store.decisions.page(top=1)[["decision", "reviewer"]].to_numpy().tolist() == [["undo", "Bob"]]


def test_what_somebody_has_decided_anew_meanwhile_is_not_undone(store: Store) -> None:
    store.decisions.append(AUDIT_ID, path_of(0), "remove", reviewer="Ada")
    app = select(opened("decisions"), [0])
    store.decisions.append(AUDIT_ID, path_of(0), "keep", reviewer="Bob")
    press(app, "Undo 1")
    assert "Taken back for 0 images; 1 has been decided anew since" in texts(app)
    assert store.candidates.page(AUDIT_ID, decided="yes")["reviewer"].tolist() == ["Bob"]


def test_agreement_is_shown_where_two_have_judged_the_same_images(store: Store) -> None:
    store.decisions.append_many(AUDIT_ID, [path_of(0), path_of(1)], "keep", reviewer="Ada")
    assert not [header for header in opened("decisions").header if header.value == "Agreement"]
    store.decisions.append(AUDIT_ID, path_of(2), "keep", reviewer="Bob")
    assert "No two reviewers" in [caption.value for caption in opened("decisions").caption][-1]
    store.decisions.append(AUDIT_ID, path_of(0), "keep", reviewer="Bob")
    store.decisions.append(AUDIT_ID, path_of(1), "remove", reviewer="Bob")
    agreement = table(opened("decisions"), "Agreement of reviewers")
    assert [cell for [cell] in agreement.values()] == ["Ada", "Bob", "2", "1", "50%", "0.00"]


def test_agreement_of_two_who_always_said_one_thing_is_undefined(store: Store) -> None:
    for reviewer in ("Ada", "Bob"):
        store.decisions.append_many(AUDIT_ID, [path_of(0), path_of(1)], "keep", reviewer=reviewer)
    agreement = table(opened("decisions"), "Agreement of reviewers")
    assert (agreement["Share"], agreement["Kappa"]) == (["100%"], ["undefined"])


def test_each_picture_has_one_row_with_all_that_was_said_of_it(store: Store) -> None:
    store.decisions.append(AUDIT_ID, path_of(0), "keep", reviewer="Ada")
    store.decisions.append(AUDIT_ID, path_of(1), "unsure", reviewer="Ada")
    store.decisions.append(AUDIT_ID, path_of(0), "relabel", new_label="kite", reviewer="<i>Bob</i>")
    app = opened("decisions")
    assert log(app, 1) == [path_of(0), path_of(1)]
    first, second = [part.proto.body for part in app.get("html") if 'class="entry"' in part.proto.body]
    assert "Relabelled → kite" in first and "Label is right, Ada" in first and "disputed" in first
    assert "<i>Bob" not in first and "Unsure" in second and "Ada, 20" not in second


def test_the_list_can_be_narrowed_to_a_tag(store: Store) -> None:
    store.decisions.append_many(AUDIT_ID, [path_of(0), path_of(1)], "keep", reviewer="Ada")
    store.tags.change(AUDIT_ID, [path_of(1)], add=["blurry"], reviewer="Ada")
    assert log(opened("decisions", tagged="blurry"), 1) == [path_of(1)]


def test_everybody_sees_how_they_get_on(store: Store) -> None:
    store.decisions.append_many(AUDIT_ID, [path_of(index) for index in range(5)], "keep", reviewer="Ada")
    pace = table(opened("decisions"), "Reviewers")
    assert (pace["Reviewer"], pace["Decisions"], pace["Today"]) == (["Ada"], ["5"], ["5"])
    assert pace["For the 7 undecided suspects"] == ["–"]


def test_read_only_shows_the_log_and_no_undo(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.decisions.append(AUDIT_ID, path_of(0), "remove", reviewer="Ada")
    monkeypatch.setenv("GRADATTN_READ_ONLY", "1")
    app = opened("decisions")
    assert "Choose an entry to open it in Review." in [caption.value for caption in app.caption]
    app = select(app, [0])
    assert [button.label for button in app.button] == ["Open in Review"]
