"""The overview's offer to learn from the decisions, pressed without a browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from gradattn_core.store.review import Review
from gradattn_core.store.store import Store
from tests.helpers.app_pages import opened, press, texts
from tests.helpers.pictured_audit import AUDIT_ID, CLASSES, copied_store, path_of

SUSPECTS, DECIDED = 52, 44
AGAIN, BACK = "Re-rank with 44 decisions", "Back to the audit's order"


@pytest.fixture
def store(tmp_path: Path, show: Callable[[Store], Store]) -> Store:
    return show(copied_store(tmp_path, images=SUSPECTS, suspects=SUSPECTS))


def right(index: int) -> bool:
    return index % len(CLASSES) < 3


def decide(store: Store) -> None:
    """The labels of three classes are right and those of the others wrong."""
    decided = range(DECIDED)
    store.decisions.append_many(AUDIT_ID, [path_of(index) for index in decided if right(index)], "keep", reviewer="Ada")
    store.decisions.append_many(
        AUDIT_ID, [path_of(index) for index in decided if not right(index)], "remove", reviewer="Ada"
    )


def buttons(app: AppTest) -> list[str]:
    return [button.label for button in app.button if button.label.startswith(("Re-rank", "Back to the audit"))]


def test_nothing_is_offered_before_there_is_enough(store: Store) -> None:
    store.decisions.append_many(AUDIT_ID, [path_of(index) for index in range(DECIDED)], "keep", reviewer="Ada")
    assert buttons(opened()) == []


def test_one_press_ranks_anew_says_so_and_another_takes_it_back(store: Store) -> None:
    decide(store)
    app = opened()
    assert buttons(app) == [AGAIN]
    press(app, AGAIN)
    [said] = [text for text in texts(app) if "clearly better" in text]
    assert "Now the model believes about" in said and "of 8 undecided suspects are wrong" in said
    rest = [path_of(index) for index in range(DECIDED, SUSPECTS)]
    ordered = store.candidates.page(AUDIT_ID, decided="no")["path"].tolist()
    assert ordered != rest and not right(int(ordered[0].split("/")[1][:4]))
    assert buttons(app) == [BACK]
    [said] = [text for text in texts(opened()) if "ordered by what 44 decisions taught" in text]
    assert "no features of the images are left" in said and "often wrong than believed" in said
    press(app, BACK)
    assert store.candidates.page(AUDIT_ID, decided="no")["path"].tolist() == rest
    assert any(text.startswith("The audit's own order is back; it stays") for text in texts(app)) and buttons(app) == [
        AGAIN
    ]


def test_the_switch_is_kept_with_the_audit(store: Store) -> None:
    decide(store)
    app = opened()
    [switch] = [toggle for toggle in app.toggle if toggle.label == "Learn from every 50 decisions"]
    assert switch.value
    switch.set_value(False).run()
    assert not Store(store.directory).review.learning(AUDIT_ID).on
    [switch] = [toggle for toggle in app.toggle if toggle.label == "Learn from every 50 decisions"]
    assert not switch.value
    switch.set_value(True).run()
    assert store.review.learning(AUDIT_ID).on


def test_after_one_more_decision_it_is_offered_again(store: Store) -> None:
    decide(store)
    press(opened(), AGAIN)
    store.decisions.append(AUDIT_ID, path_of(DECIDED), "unsure", reviewer="Ada")
    assert buttons(opened()) == [BACK]
    store.decisions.append(AUDIT_ID, path_of(DECIDED + 1), "remove", reviewer="Ada")
    assert buttons(opened()) == ["Re-rank with 45 decisions", BACK]


def test_who_may_only_read_is_offered_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    decide(store)
    press(opened(), AGAIN)
    monkeypatch.setenv("GRADATTN_READ_ONLY", "1")
    assert buttons(opened()) == []


def test_a_database_that_cannot_be_written_is_told_in_a_sentence(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    decide(store)
    app = opened()
    monkeypatch.setattr(Review, "rerank", Store(store.directory, read_only=True).review.rerank)
    press(app, AGAIN)
    assert any("opened read-only" in text for text in texts(app))
