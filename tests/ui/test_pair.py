"""The page of one class pair: what its suspects have in common, and deciding about all of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gradattn_core.store.store import Store
from tests.helpers import sample_audit
from tests.helpers.app_pages import opened, paths, press, select, texts, waterfalls
from tests.helpers.hostile import HOSTILE_LABELS
from tests.helpers.pictured_audit import AUDIT_ID, path_of
from ui.pair import pattern
from ui.pair.pattern import Pair


def standing(store: Store) -> dict[str, str]:
    rows = store.candidates.page(AUDIT_ID, decided="yes")
    return dict(zip(rows["path"], rows["decision"] + rows["new_label"], strict=True))


def test_the_pair_in_the_address_is_shown_with_its_numbers_its_evidence_and_its_suspects(store: Store) -> None:
    store.decisions.append(AUDIT_ID, path_of(7), "keep", reviewer="Ada")
    app = opened("pair", given="kite", suggested="owl")
    assert paths(app) == [path_of(0), path_of(7)]
    numbers = {metric.label: metric.value for metric in app.metric}
    assert (numbers["Suspects"], numbers["Decided"], numbers["Lift"]) == ("2", "1", "2.5")
    sentence = "What speaks for owl lies most often in the middle."
    assert any(sentence in text for text in texts(app))
    assert sentence in app.image[0].proto.imgs[0].alt
    # Both suspects have the same sums, so these are their means.
    [mean] = waterfalls(app)
    assert mean.startswith(
        "Means over this pair's suspects. kite against owl: of these two, the model alone gives 25% to kite"
    )
    # The suspects, and typical images of both classes.
    assert len(app.get("bidi_component")) == 3


def test_without_an_address_the_worst_pair_is_shown_and_another_can_be_chosen(store: Store) -> None:
    app = opened("pair")
    worst = store.audits.class_pairs(AUDIT_ID).iloc[0]
    asked = (app.query_params["given"], app.query_params["suggested"])
    assert asked == (worst["given_label"], worst["suggested_label"])
    box = next(box for box in app.selectbox if box.label.startswith("Class pair"))
    box.select_index(3).run()
    other = store.audits.class_pairs(AUDIT_ID).iloc[3]
    assert app.query_params["given"] == other["given_label"]
    assert paths(app) == store.candidates.page(AUDIT_ID, given=other["given_label"])["path"].tolist()


def test_an_unknown_pair_in_the_address_leads_to_the_worst_one(store: Store) -> None:
    app = opened("pair", given="<script>", suggested="kite")
    assert app.query_params["given"] == store.audits.class_pairs(AUDIT_ID).iloc[0]["given_label"]


def test_all_undecided_of_a_pair_are_relabelled_once_somebody_has_confirmed_and_undone_together(store: Store) -> None:
    store.decisions.append(AUDIT_ID, path_of(7), "keep", reviewer="Bob")
    app = press(opened("pair", given="kite", suggested="owl"), "All 1 undecided are owl")
    assert standing(store) == {path_of(7): "keep"}
    press(app, "Relabel 1")
    assert standing(store) == {path_of(0): "relabelowl", path_of(7): "keep"}
    press(app, "Undo")
    assert standing(store) == {path_of(7): "keep"}


def test_what_is_selected_among_the_suspects_is_decided(store: Store) -> None:
    press(select(opened("pair", given="kite", suggested="owl"), [1]), "Remove")
    assert standing(store) == {path_of(7): "remove"}


def test_hostile_labels_reach_no_markdown(store: Store) -> None:
    app = opened("pair", given="=cmd()", suggested="**bold** [link](http://x) :smile:")
    markdown = [element.value for element in [*app.markdown, *app.caption]] + [button.label for button in app.button]
    assert not [text for text in markdown if any(label in text for label in HOSTILE_LABELS)]


def test_an_audit_without_suspects_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["a.png", "b.png"]
    tables = sample_audit.tables(names, suspects=0)
    told = {name: tables[name] for name in ("images", "predictions", "scores")}
    Store(tmp_path).audits.merge(sample_audit.audit_row(), told)
    monkeypatch.setenv("GRADATTN_OUT", str(tmp_path))
    assert "No label of this audit is in doubt" in opened("pair").markdown[0].value


def test_read_only_offers_no_bulk(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADATTN_READ_ONLY", "1")
    app = opened("pair", given="kite", suggested="owl")
    assert [button.label for button in app.button] == ["Review one by one"]


def test_words_name_the_place_that_holds_most_of_each_sign() -> None:
    scores = np.zeros((7, 7), np.float32)
    scores[6, 6], scores[0, 0], scores[0, 1] = 3.0, -2.0, -2.0
    assert pattern.sentences(scores, ("kite", "owl")) == [
        "What speaks for kite lies most often at the lower right.",
        "What speaks for owl lies most often at the upper left.",
    ]
    assert pattern.sentences(np.ones((4, 4), np.float32), ("kite", "owl")) == [
        "What speaks for kite is spread over the whole picture.",
        "On average no part speaks for owl.",
    ]


def test_fields_share_patches_that_lie_between_them() -> None:
    scores = np.zeros((3, 4), np.float32)
    scores[1, 1] = 1.0  # from 1/4 to 1/2 of the width: a third of it in the left third
    [first, _] = pattern.sentences(scores, ("kite", "owl"))
    assert "lies most often in the middle" in first


def test_a_pair_is_found_by_its_labels_and_offered_even_beyond_the_worst_ones() -> None:
    frame = sample_audit.tables(["a"], suspects=1)["class_pairs"]
    options, first = pattern.choices(frame, ("kite", "bald eagle"))
    assert first == Pair("kite", "bald eagle") and first in options and len(options) == 2
    assert pattern.choices(frame, ("kite", None))[1] == Pair("albatross", "bald eagle")
