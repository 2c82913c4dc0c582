"""Cards of a list: a page of it, the likelier class first, what was decided, where the evidence lies; and as JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gradattn_core import belief
from gradattn_core.store.store import Store
from tests.helpers.asking import asked
from tests.helpers.believed import believed
from tests.helpers.hostile import HOSTILE_LABELS
from tests.helpers.pictured_audit import AUDIT_ID, path_of
from ui.api import cards
from ui.api.answers import as_json


def page(**parameters: object) -> dict[str, Any]:
    """What a browser is told."""
    answer = as_json(cards.page(asked(audit=AUDIT_ID, **{"as": "card"}, **parameters)))
    told = json.loads(bytes(answer.body))
    assert isinstance(told, dict)
    return told


def paths(**parameters: object) -> list[str]:
    return [card["path"] for card in page(**parameters)["suspects"]]


def test_a_page_has_its_place_in_the_list_and_says_how_much_there_is(store: Store) -> None:
    whole = store.candidates.page(AUDIT_ID)["path"].tolist()
    assert paths(count="5") + paths(count="5", offset="5") + paths(count="5", offset="10") == whole
    store.decisions.append(AUDIT_ID, whole[0], "keep", reviewer="Ada")
    told = page(given="kite")
    left = store.candidates.count(AUDIT_ID, given="kite", decided="no")
    assert (told["total"], told["outside"]) == (left, 11 - left)
    assert told["progress"] == "1 of 12 decided · 11 left"
    decided = page(decided="yes")
    assert (decided["total"], decided["outside"], decided["all"]) == (1, 11, 12), "all undecided are outside of it"
    assert page(decided="any")["total"] == 12


def test_the_likelier_class_comes_first_and_its_bar_adds_up(store: Store) -> None:
    believed(store, [(0.12, 0.85), (0.7, 0.2), (0.005, 0.9951)])
    first, second, third = page(count="3")["suspects"]
    assert (first["first"]["role"], first["first"]["text"], first["second"]["text"]) == ("other", "85%", "12%")
    assert (second["first"]["role"], second["first"]["text"]) == ("given", "70%")
    assert third["first"]["text"] == "99.5%"
    for card in page()["suspects"]:
        parts = [card["given"]["probability"], card["other"]["probability"], card["rest"]]
        assert sum(parts) == pytest.approx(1)
        row = store.candidates.page(AUDIT_ID, paths=[card["path"]]).to_dict("records")[0]
        thought = belief.of_row({str(name): cell for name, cell in row.items()})
        assert card["other"]["label"] == thought.other


def test_what_was_decided_is_marked_and_who_differs_and_tags_are_shown(store: Store) -> None:
    for index, (decision, label) in enumerate((("relabel", "owl"), ("keep", None), ("unsure", None), ("remove", None))):
        path = path_of(index + 1)
        store.decisions.append(AUDIT_ID, path, decision, new_label=label, reviewer="Ada")
    store.decisions.append(AUDIT_ID, path_of(2), "remove", reviewer="<b>Bob</b>")
    store.tags.change(AUDIT_ID, [path_of(2)], add=["<i>blurry</i>"], reviewer="Ada")
    told = {card["path"]: card for card in page(decided="any")["suspects"]}
    marks = [(told[path_of(index)]["mark"], told[path_of(index)]["now"]) for index in range(1, 5)]
    assert marks == [("A", "now owl"), ("X", "removed"), ("U", "unsure"), ("X", "removed")]
    disputed = told[path_of(2)]
    assert disputed["conflict"] and disputed["by"] == "<b>Bob</b>" and disputed["tags"] == ["<i>blurry</i>"]
    assert disputed["said"].endswith("; decided: removed") and disputed["seen"]
    assert not told[path_of(1)]["conflict"] and told[path_of(0)]["seen"] == ""


def test_outlines_are_the_strongest_part_of_each_sign_where_there_is_a_map(store: Store) -> None:
    assert all(card["outlines"] == [] for card in page()["suspects"])
    told = {card["path"]: card["outlines"] for card in page(outlines="1")["suspects"]}
    assert told[path_of(3)] == []  # it has no map
    evidence = store.images.evidence(AUDIT_ID, path_of(0))
    assert evidence is not None
    boxes = {region.sign: region.box for region in evidence.statistics.regions if region.rank == 1}
    assert {part["sign"]: part["box"][0] for part in told[path_of(0)]} == {
        sign: pytest.approx(box.left) for sign, box in boxes.items()
    }


def test_labels_stay_as_they_are(store: Store) -> None:
    names = {card["given"]["name"] for card in page()["suspects"]}
    assert set(HOSTILE_LABELS) <= names
