"""What people keep beside their decisions: tags, views, selections, and what they call finished."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from gradattn_core.errors import StoreError
from gradattn_core.store.kept import LONGEST, View
from gradattn_core.store.store import Store
from tests.helpers.hostile import HOSTILE
from tests.helpers.sample_audit import PATHS, audit_row, sample_store, tables


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return sample_store(tmp_path)


def test_tags_come_and_go_and_outlive_their_audit(store: Store) -> None:
    changed = store.tags.change("first", PATHS[:2], add=["blurry", " ask the lab "], reviewer="ann")
    assert changed == {path: ["ask the lab", "blurry"] for path in PATHS[:2]}
    # Again, by somebody else, and one of them taken away.
    changed = store.tags.change("first", PATHS[:3], add=["blurry"], remove=["ask the lab"], reviewer="bob")
    assert changed == {path: ["blurry"] for path in PATHS[:3]}
    assert store.tags.counts("first") == {"blurry": 3}
    assert list(store.tags.page("first")[["path", "reviewer"]].itertuples(index=False, name=None)) == [
        (PATHS[1], "ann"),
        (PATHS[0], "ann"),
        (PATHS[2], "bob"),
    ]
    frames = tables(PATHS[2:], suspects=2)
    store.audits.merge(audit_row("second"), frames)
    store.audits.remove("first")
    assert store.tags.counts("second") == {"blurry": 1}
    assert store.candidates.page("second")["tags"].tolist() == [["blurry"], []]
    candidate = store.candidates.one("second", PATHS[2])
    assert candidate is not None and candidate.tags == ["blurry"]


def test_copies_of_a_picture_share_their_tags(tmp_path: Path) -> None:
    frames = tables(PATHS, suspects=6)
    frames["images"].loc[2, "content_hash"] = frames["images"]["content_hash"][0]
    store = Store(tmp_path)
    store.audits.merge(audit_row(), frames)
    assert store.tags.change("first", [PATHS[0], PATHS[2]], add=["twice"], reviewer="ann")[PATHS[2]] == ["twice"]
    assert store.tags.counts("first") == {"twice": 2}
    assert store.tags.change("first", [PATHS[2]], remove=["twice"], reviewer="ann") == {PATHS[2]: []}
    assert store.tags.counts("first") == {}


def test_a_tag_is_text_whatever_is_in_it(store: Store) -> None:
    tags = sorted(
        {name.strip() for name in HOSTILE if name.strip() and len(name.strip()) <= LONGEST and "\0" not in name}
    )
    assert store.tags.change("first", [PATHS[0]], add=tags, reviewer=HOSTILE[0])[PATHS[0]] == tags
    assert list(store.tags.counts("first").items()) == [(tag, 1) for tag in tags]


@pytest.mark.parametrize(
    ("tag", "message"), [(" ", "a tag needs a name"), ("x" * (LONGEST + 1), "at most 80 characters")]
)
def test_a_tag_that_is_none_is_refused_and_nothing_is_changed(store: Store, tag: str, message: str) -> None:
    with pytest.raises(StoreError, match=message):
        store.tags.change("first", [PATHS[0]], add=["good", tag], reviewer="ann")
    with pytest.raises(StoreError, match=r"no image 'elsewhere.jpg'"):
        store.tags.change("first", [PATHS[0], "elsewhere.jpg"], add=["good"], reviewer="ann")
    with pytest.raises(StoreError, match="needs the name of who keeps it"):
        store.tags.change("first", [PATHS[0]], add=["good"], reviewer=" ")
    assert store.tags.counts("first") == {}


def test_threads_that_tag_the_same_picture_tag_it_once(store: Store) -> None:
    def tag() -> None:
        for name in ("one", "two"):
            store.tags.change("first", PATHS[:2], add=[name], reviewer="ann")

    threads = [threading.Thread(target=tag) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.tags.page("first")) == 4


def test_a_view_is_kept_under_its_name_replaced_and_taken_away(store: Store) -> None:
    store.views.save("review", " doubtful dogs ", "given=dog&order=surest", reviewer="ann")
    store.views.save("review", "doubtful dogs", "given=cat", reviewer="bob")
    store.views.save("grid", HOSTILE[0], HOSTILE[0], reviewer="ann")
    store.views.save("review", "doubtful dogs", "given=dog", reviewer="ann")
    views = store.views.all("review")
    assert [View(*(view.page, view.name, view.query, view.reviewer), "") for view in views] == [
        View("review", "doubtful dogs", "given=dog", "ann", ""),
        View("review", "doubtful dogs", "given=cat", "bob", ""),
    ]
    assert all(view.saved_at.endswith("+00:00") for view in views)
    assert len(store.views.all()) == 3
    assert store.views.remove("review", "doubtful dogs", reviewer="ann")
    assert not store.views.remove("review", "doubtful dogs", reviewer="ann")
    assert [view.reviewer for view in store.views.all("review")] == ["bob"]
    with pytest.raises(StoreError, match="a view needs a name"):
        store.views.save("review", "", "", reviewer="ann")
    with pytest.raises(StoreError, match="more than 10,000 characters"):
        store.views.save("review", "long", "x" * 10_001, reviewer="ann")


def test_a_selection_has_one_id_in_any_order_and_goes_with_its_audit(store: Store) -> None:
    selection = store.selections.keep("first", [PATHS[3], PATHS[1], PATHS[3]], reviewer="ann")
    assert store.selections.keep("first", [PATHS[1], PATHS[3]], reviewer="bob") == selection
    assert store.selections.keep("first", [PATHS[1]], reviewer="bob") != selection
    assert store.selections.paths("first", selection) == sorted([PATHS[1], PATHS[3]])
    with pytest.raises(StoreError, match=r"no image 'elsewhere.jpg'"):
        store.selections.keep("first", ["elsewhere.jpg"], reviewer="ann")
    with pytest.raises(StoreError, match="no pictures"):
        store.selections.keep("first", [], reviewer="ann")
    store.audits.merge(audit_row("second"), tables(PATHS, suspects=2))
    with pytest.raises(StoreError, match="not kept here any more"):
        store.selections.paths("second", selection)
    # Put anew, the audit may have other pictures.
    store.audits.merge(audit_row("first"), tables(PATHS, suspects=2))
    with pytest.raises(StoreError, match="not kept here any more"):
        store.selections.paths("first", selection)


def test_what_is_finished_is_so_in_every_audit_of_the_dataset_until_it_is_taken_back(store: Store) -> None:
    store.audits.merge(audit_row("second"), tables(PATHS, suspects=2))
    store.audits.merge(audit_row("elsewhere", root="/data/other"), tables(PATHS, suspects=2))
    store.finished.mark("first", "kite", reviewer="ann")
    store.finished.mark("first", "kite", "bald eagle", reviewer="ann")
    store.finished.mark("second", "kite", reviewer="bob")
    marks = [(mark.given_label, mark.suggested_label, mark.reviewer) for mark in store.finished.all("first")]
    assert marks == [("kite", "", "bob"), ("kite", "bald eagle", "ann")]
    assert store.finished.all("second") == store.finished.all("first") and store.finished.all("elsewhere") == ()
    assert store.finished.take_back("second", "kite") and not store.finished.take_back("second", "kite")
    assert [mark.suggested_label for mark in store.finished.all("first")] == ["bald eagle"]
    with pytest.raises(StoreError, match="no class 'dodo'"):
        store.finished.mark("first", "dodo", reviewer="ann")
