"""Pictures of none of the dataset's classes on the pages: they are named, and the likelier answer is to remove them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from gradattn_core.store.store import Store
from tests.helpers.app_pages import opened
from tests.helpers.asking import asked
from tests.helpers.hostile import HOSTILE_LABELS
from tests.helpers.pictured_audit import AUDIT_ID, copied_store, path_of
from ui.api import bulk, cards, pair

FOREIGN = (0, 7)
OUTSIDE = HOSTILE_LABELS[0]


@pytest.fixture
def store(tmp_path: Path, show: Callable[[Store], Store]) -> Store:
    """The audit with pictures; the model finds both suspects of kite that looked like owl to be of none of these."""
    store = show(copied_store(tmp_path))
    names = [path_of(row) for row in FOREIGN]
    with duckdb.connect(store.database) as connection:
        for statement, values in {
            "UPDATE scores SET suggested_label = '', outside_suspicion = 0.75, kind = 'out of place', "
            "kind_numbers = MAP {'outside_suspicion': 0.75}, suggested_probability = 0.75": [],
            "UPDATE predictions SET outside_label = ?": [OUTSIDE],
            "UPDATE interpretations SET against_label = ?": [OUTSIDE],
        }.items():
            connection.execute(f"{statement} WHERE path IN (SELECT unnest(?))", [*values, names])
        connection.execute(
            "UPDATE class_pairs SET suggested_label = '' WHERE given_label = 'kite' AND suggested_label = 'owl'"
        )
    return store


def standing(store: Store) -> dict[str, str]:
    rows = store.candidates.page(AUDIT_ID, decided="yes")
    return dict(zip(rows["path"], rows["decision"] + rows["new_label"], strict=True))


def test_the_list_can_be_narrowed_to_them(store: Store) -> None:
    answer = cards.page(asked(audit=AUDIT_ID, suggested="none", **{"as": "card"}))
    assert isinstance(answer["suspects"], list)
    assert [card["path"] for card in answer["suspects"]] == [path_of(row) for row in FOREIGN]
    assert {(card["other"]["name"], card["note"]) for card in answer["suspects"]} == {
        ("none of these classes", f"the model says {OUTSIDE}")
    }


def test_to_relabel_as_suggested_removes_them(store: Store) -> None:
    preview = bulk.preview(asked(audit=AUDIT_ID, decision="accept", paths=[path_of(0), path_of(1)]))
    assert isinstance(preview, dict)
    decisions = {choice["card"]["path"]: (choice["decision"], choice["new_label"]) for choice in preview["choices"]}
    other = store.candidates.one(AUDIT_ID, path_of(1))
    assert other is not None
    assert decisions == {path_of(0): ("remove", None), path_of(1): ("relabel", other.suggested_label)}


def test_their_pair_has_a_page(store: Store) -> None:
    found = pair.pair(asked(audit=AUDIT_ID, given="kite", suggested=""))
    assert isinstance(found, dict)
    headline = "".join(text for text, _ in found["headline"])
    assert headline == "2 pictures filed as kite look like none of these classes"
    assert found["other"]["labels"] == (OUTSIDE,)
    assert sorted(dot["path"] for dot in found["dots"]) == [path_of(row) for row in FOREIGN]


def test_the_overview_counts_the_pair_as_none_of_these(store: Store) -> None:
    [foreign] = [each for each in store.tally.of(AUDIT_ID).pairs if each.given == "kite" and not each.other]
    assert foreign.undecided == len(FOREIGN)
    [panels] = [part.proto.body for part in opened("overview").get("html") if '"panels"' in part.proto.body]
    assert "none of these" in panels and OUTSIDE not in panels
