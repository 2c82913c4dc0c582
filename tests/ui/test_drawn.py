"""Spot checks and reviews with an end on the review page: in their order, blind, and as the store says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from gradattn_core.store.store import Store
from gradattn_core.wording import full_name, sentence
from tests.helpers.app_pages import opened, press, progress, texts
from tests.helpers.pictured_audit import AUDIT_ID, MISSING, copied_store
from ui.review.drawn import Drawn, blinded
from ui.review.standing import _plot

SPOT, UNTIL = {"list": "Spot check"}, {"list": "Until few are left"}
HINTS = ("suspicion", "suggest", "relabel to ", "rank ", "runner", "looks", "typical", "most like")


@pytest.fixture
def store(tmp_path: Path, show: Callable[[Store], Store]) -> Store:
    return show(copied_store(tmp_path))


def shown(app: AppTest) -> str:
    queue = app.session_state["queue"]
    assert isinstance(queue, Drawn) and queue.showing is not None
    return queue.showing


def sent(app: AppTest) -> Iterator[str]:
    """Everything that the page sent to the browser, but for the classes to choose from and the help."""

    def below(block: Any) -> Iterator[Any]:
        for child in block.children.values():
            yield from below(child) if hasattr(child, "children") else [child]

    for element in below(app._tree):
        if element.type not in ("selectbox", "html"):
            yield str(element.proto)


def test_a_spot_check_is_drawn_reviewed_blind_in_its_order_and_told(store: Store) -> None:
    app = opened("review", **SPOT, least="0.5", kind="mislabel", at="7")
    assert "Nothing waits for a random check" in [each.value for each in app.subheader]
    [count] = [box for box in app.number_input if box.label == "How many"]
    count.set_value(6).run()
    press(app, "Draw 6 pictures at random")
    waiting = store.draws.waiting(AUDIT_ID, "spot check")
    assert len(waiting) == 6
    page = store.candidates.page(AUDIT_ID, paths=waiting).set_index("path")
    for place, path in enumerate(waiting):
        assert shown(app) == path and progress(app) == f"{place} of 6 decided"
        assert full_name(page["given_label"][path]) in texts(app)
        assert set(app.query_params) <= {"list"}
        everything = "\n".join(sent(app)).lower()
        assert [hint for hint in HINTS if hint in everything] == []
        assert f"{page['suspicion'][path]:.3f}" not in everything
        buttons = ["Label is right", "Unsure", "Remove", "Back", "Undo", "Skip"]
        assert [button.label for button in app.button] == ["?", *buttons]
        assert not any(button.proto.type == "primary" for button in app.button)
        alts = [picture.alt for image in app.image for picture in image.proto.imgs]
        assert alts == ([] if path == MISSING else [f"The picture, filed as {full_name(page['given_label'][path])}"])
        press(app, "Remove" if place == 2 else "Label is right")
    check = store.draws.checked(AUDIT_ID)
    assert check is not None and (check.total.checked, check.total.wrong, check.waiting) == (6, 1, 0)
    assert sentence(check.sentence) in texts(app) and "1 had a wrong label" in check.sentence
    assert store.decisions.page()["drawn"].tolist() == [True] * 6


def test_undo_back_and_skip_go_where_they_go_among_suspects(store: Store) -> None:
    waiting = list(store.draws.spot_check(AUDIT_ID, 4, seed=1).paths)
    app = press(press(opened("review", **SPOT), "Label is right"), "Remove")
    assert shown(app) == waiting[2]
    press(app, "Undo")
    assert (shown(app), progress(app)) == (waiting[1], "1 of 4 decided")
    assert not any("emove" in text for text in texts(app))
    press(app, "Back")
    assert shown(app) == waiting[1]
    press(app, "Back")
    assert shown(app) == waiting[0] and "You said: label is right" in texts(app)
    for place in (1, 2, 3):
        press(app, "Skip")
        assert shown(app) == waiting[place]
    press(app, "Skip")
    assert "Nothing left in this list" in [each.value for each in app.subheader]
    press(app, "Start again")
    left = [path for path in waiting if path in store.draws.waiting(AUDIT_ID)]
    assert shown(app) == left[0] == waiting[1]
    # What somebody else has decided meanwhile is passed over.
    store.decisions.append(AUDIT_ID, waiting[2], "keep", reviewer="Bob")
    press(app, "Unsure")
    assert shown(app) == waiting[3]
    assert {row["path"] for row in store.decisions.page(standing=True).to_dict("records")} == set(waiting[:3])


def test_a_second_press_for_what_is_no_longer_shown_does_nothing(store: Store) -> None:
    first, second, third = store.draws.spot_check(AUDIT_ID, 3, seed=2).paths
    queue = Drawn(AUDIT_ID, {})
    assert (row := queue.show(store)) is not None and row["path"] == first
    for _ in range(2):
        queue.decide(store, first, "keep", new_label=None, reviewer="Ada", note="")
    assert (row := queue.show(store)) is not None and row["path"] == second
    queue.decide(store, third, "keep", new_label=None, reviewer="Ada", note="")
    assert store.decisions.page()["path"].tolist() == [first]
    again = Drawn(AUDIT_ID, {})
    assert (row := again.show(store)) is not None and row["path"] == second


def test_more_than_are_left_are_refused_in_a_sentence(store: Store) -> None:
    app = opened("review", **SPOT)
    [count] = [box for box in app.number_input if box.label == "How many"]
    count.set_value(4000).run()
    press(app, "Draw 4,000 pictures at random")
    assert [error.value for error in app.error] == ["Nothing was drawn."]
    assert any("only 40 are left" in text for text in texts(app)) and store.draws.drawn(AUDIT_ID) == []


def test_a_review_with_an_end_shows_suspects_as_ever_and_random_pictures_blind(store: Store) -> None:
    app = opened("review", **UNTIL, left="5.0")
    first = shown(app)
    assert any(text.startswith("Rank ") for text in texts(app)) and first == store.candidates.page(AUDIT_ID)["path"][0]
    everything = "\n".join(sent(app)).lower()
    assert [hint for hint in HINTS if hint in everything] == list(HINTS)
    kind, paths = store.draws.next_page(AUDIT_ID, 0.05)
    assert kind == "suspects"
    store.decisions.append_many(AUDIT_ID, list(paths), "keep", reviewer="Bob")
    press(app, "Skip")
    kind, waiting = store.draws.next_page(AUDIT_ID, 0.05)
    assert kind == "random" and shown(app) == waiting[0]
    everything = "\n".join(sent(app)).lower()
    assert [hint for hint in HINTS if hint in everything] == []
    assert "Drawn at random, and shown without what the model thinks of it." in texts(app)
    until = store.draws.until(AUDIT_ID, 0.05)
    assert sentence(until.sentence) in texts(app)
    assert "It ends once at most 2 of all 40 labels (5%) can be left wrong." in texts(app)
    store.decisions.append_many(AUDIT_ID, list(waiting), "keep", reviewer="Bob")
    press(app, "Skip")
    done = store.draws.until(AUDIT_ID, 0.05)
    assert done.kind == "done" and "Few enough are left" in [each.value for each in app.subheader]
    assert sentence(done.sentence) in texts(app)
    [plot] = [toggle for toggle in app.toggle if toggle.label == "Plot"]
    plot.set_value(True).run()
    [alt] = [picture.alt for image in app.image for picture in image.proto.imgs]
    assert f"with 95% confidence at most {done.wrong + done.high} are wrong in all" in alt
    assert _plot(done).startswith(b"\x89PNG")


def test_back_to_a_random_picture_is_blind_still(store: Store) -> None:
    [drawn] = store.draws.spot_check(AUDIT_ID, 1, seed=3).paths
    queue = Drawn(AUDIT_ID, {}, purpose="until", share=0.05)

    def show() -> tuple[bool, str, str]:
        row = queue.show(store)
        assert row is not None
        return queue.blind, str(row["path"]), str(row["suggested_label"])

    assert show() == (True, drawn, "")
    queue.decide(store, drawn, "keep", new_label=None, reviewer="Ada", note="")
    blind, path, suggested = show()
    assert not blind and path != drawn and suggested
    queue.back()
    assert show() == (True, drawn, "")


def test_who_may_only_read_draws_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADATTN_READ_ONLY", "1")
    app = opened("review", **SPOT)
    assert not [button for button in app.button if button.label.startswith("Draw")]
    app = opened("review", **UNTIL)
    assert shown(app) == store.candidates.page(AUDIT_ID)["path"][0]
    assert next(button for button in app.button if button.label == "Label is right").disabled


def test_a_blind_row_says_nothing_but_what_may_be_known(store: Store) -> None:
    [row] = store.candidates.page(AUDIT_ID, top=1).to_dict("records")
    bare = blinded({str(name): value for name, value in row.items()})
    told = {name for name, value in bare.items() if value == value and value not in ("", False)}
    assert told <= {"path", "content_hash", "given_label", "width", "height"} and set(bare) == set(row)


def test_the_overview_says_what_was_measured_and_what_is_proved(store: Store) -> None:
    drawn = store.draws.spot_check(AUDIT_ID, 20, seed=4).paths
    store.decisions.append_many(AUDIT_ID, list(drawn[:3]), "remove", reviewer="Ada")
    store.decisions.append_many(AUDIT_ID, list(drawn[3:]), "keep", reviewer="Ada")
    check, until = store.draws.checked(AUDIT_ID), store.draws.until(AUDIT_ID, 0.01)
    assert check is not None
    app = opened()
    metrics = {metric.label: (metric.value, metric.delta) for metric in app.metric}
    assert metrics["Wrong, a random check says"] == (f"{check.total.low}–{check.total.high}", "3 of 20 checked, 95%")
    assert metrics["Left at most, proved"] == (f"{until.high}", "of 20 unseen, 95%")
    assert {sentence(check.sentence), sentence(until.sentence)} <= set(texts(app))
    assert press(app, "Spot check").query_params["list"] in ("Spot check", ["Spot check"])
