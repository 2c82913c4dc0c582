"""What Review's client is told of a picture: every number from the belief, the map and the log, in one stretch."""

from __future__ import annotations

import json
import math
from pathlib import Path

import duckdb
import numpy as np
import pytest

from gradattn_core.belief import in_percent, of_row
from gradattn_core.facts import Row
from gradattn_core.interpret.regions import region_masks
from gradattn_core.reasons import account
from gradattn_core.store.store import Store
from gradattn_core.verdict import in_words
from tests.helpers.asking import to_json
from tests.helpers.pictured_audit import AUDIT_ID, CONTRADICTED, SUSPECTS, WITHOUT_SUMS, pictured_store
from ui.api.shapes import Suspect
from ui.api.suspect import suspects


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return pictured_store(tmp_path_factory.mktemp("suspects"))


def rows(store: Store) -> list[Row]:
    found = store.candidates.page(AUDIT_ID).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in found]


def all_of(store: Store, *, blind: bool = False, reviewer: str = "me") -> list[Suspect]:
    return suspects(store, AUDIT_ID, rows(store), reviewer, blind=blind)


def test_each_has_the_probabilities_of_the_belief_and_they_add_up(store: Store) -> None:
    for row, shown in zip(rows(store), all_of(store), strict=True):
        belief = of_row(row)
        said = {each.label: each.probability for each in shown.classes}
        assert said == pytest.approx(dict(belief.with_keys))
        assert sum(said.values()) <= 1 + 1e-9 and row["given_label"] in said
        assert [each.text for each in shown.classes] == [in_percent(each.probability) for each in shown.classes]
        probabilities = [each.probability for each in shown.classes if each.label != row["given_label"]]
        assert probabilities == sorted(probabilities, reverse=True)
        assert said[str(row["given_label"])] == pytest.approx(1 - float(str(row["suspicion"])))
        [given] = [each for each in shown.classes if each.role == "given"]
        assert (given.decision, given.new_label) == ("keep", None)


def test_a_key_and_a_digit_decide_what_they_say(store: Store) -> None:
    for shown in all_of(store):
        for each in shown.classes:
            if each.role != "given":
                assert (each.decision, each.new_label) == (("relabel", each.label) if each.label else ("remove", None))
        if shown.primary == "A":
            assert shown.actions["A"].new_label == shown.classes[0].label
        if shown.primary == "K":
            assert shown.classes[0].label == shown.given.label
        assert shown.actions["K"].decision == "keep"


def test_the_waterfall_adds_up_as_printed_and_bars_join(store: Store) -> None:
    drawn = [shown.map for shown in all_of(store) if shown.map is not None]
    assert drawn
    for each in (some for some in drawn if some.waterfall):
        values = [float(bar.text.replace("−", "-")) for bar in each.waterfall]
        assert values[0] + values[1] + values[2] == pytest.approx(values[3], abs=1e-9)
        first, red, blue, answer = each.waterfall
        assert first.end == red.start and red.end == blue.start and blue.end == answer.start == answer.end
        assert (red.end - red.start, blue.end - blue.start) == pytest.approx((red.value, blue.value), abs=1e-9)
        assert 1 <= len(each.ticks) <= 5
        for tick in each.ticks:
            assert 100 / (1 + math.exp(-tick.at)) == pytest.approx(float(tick.text[:-1]))


def test_parts_are_those_of_the_map_with_what_hiding_them_was_measured_to_do(store: Store) -> None:
    for shown in all_of(store):
        evidence = store.images.evidence(AUDIT_ID, shown.path)
        if shown.map is None or evidence is None:
            continue
        assert np.allclose(np.array(shown.map.scores), evidence.scores, rtol=1e-3)
        masks, told = region_masks(evidence.scores), account(evidence)
        for part in shown.map.regions:
            cells = {(int(row), int(column)) for row, column in part.cells}
            assert any(cells == {(int(r), int(c)) for r, c in np.argwhere(mask)} for mask in masks.values())
            if part.measured is not None and told is not None and part.before:
                left = float(part.hidden[1].replace("−", "-"))
                assert left == pytest.approx(told.sums.log_odds - part.measured, abs=0.006)


def test_a_contradicted_part_is_said_and_a_map_without_sums_has_no_numbers(store: Store) -> None:
    shown = all_of(store)
    contradicted = shown[CONTRADICTED]
    assert contradicted.map is not None and any(part.contradicted for part in contradicted.map.regions)
    assert "The measured number stands." in in_words(contradicted.notice)
    without = shown[WITHOUT_SUMS]
    assert without.map is not None and not without.map.waterfall and "does not add up" in without.map.title_note
    assert not any(part.before or part.on_map for part in without.map.regions)
    missing = shown[3]
    assert missing.map is None and missing.no_map.endswith("The probability does not need it.")


def test_a_blind_picture_says_nothing_that_a_model_or_another_reviewer_thinks(tmp_path: Path) -> None:
    store = pictured_store(tmp_path)
    path = str(rows(store)[0]["path"])
    store.decisions.append(AUDIT_ID, path, "remove", reviewer="Ann")
    [blind, *_] = all_of(store, blind=True)
    told = json.loads(to_json(blind))
    for name in ("classes", "typical", "notice", "reason", "tags"):
        assert told[name] == []
    for name in ("map", "similar", "primary", "decision"):
        assert told[name] is None
    assert told["rank"] == 0 and "A" not in told["actions"] and told["order"] == [path]
    assert told["seen"] != "" and "Ann" not in to_json(blind)
    given = rows(store)[0]["given_label"]
    assert in_words(blind.headline) == f"Filed as {given}. Is that right?"
    others = {str(row["suggested_label"]) for row in rows(store)[:1]} - {given, ""}
    assert not any(other in to_json(blind) for other in others)
    [mine, *_] = all_of(store, blind=True, reviewer="Ann")
    assert mine.decision is not None and mine.decision.mine


def test_what_was_decided_is_the_headline_and_says_by_whom(tmp_path: Path) -> None:
    store = pictured_store(tmp_path)
    path, given = str(rows(store)[0]["path"]), str(rows(store)[0]["given_label"])
    store.decisions.append(AUDIT_ID, path, "relabel", new_label="owl", reviewer="me", note="<i>!</i>")
    [first, *_] = all_of(store)
    assert in_words(first.headline) == f"Decided by you: owl instead of {given}"
    assert first.decision is not None and first.decision.note == "<i>!</i>" and first.decision.id == first.seen
    store.decisions.append(AUDIT_ID, path, "keep", reviewer="Ann")
    [first, *_] = all_of(store)
    assert in_words(first.headline) == f"Decided by Ann: {given} is right"
    assert first.conflict.startswith("Reviewers differ: Ann said keep, me said relabel to owl")
    assert first.decision is not None and not first.decision.mine
    store.decisions.undo(AUDIT_ID, path, reviewer="Ann")
    [first, *_] = all_of(store)
    assert first.decision is not None and first.decision.decision == "relabel" and first.seen != first.decision.id


def test_a_picture_of_none_of_the_classes_is_proposed_for_removal(tmp_path: Path) -> None:
    store = pictured_store(tmp_path)
    path = str(rows(store)[0]["path"])
    with duckdb.connect(store.database) as connection:
        connection.execute(
            """UPDATE scores SET suspicion = .97, outside_suspicion = .8, kind = 'out of place', likely_labels = NULL,
                   suggested_label = '', suggested_probability = .8, given_probability = .05,
                   runner_up_label = 'owl', runner_up_probability = .1 WHERE path = ?""",
            [path],
        )
        connection.execute("UPDATE predictions SET outside_label = 'Komodo dragon' WHERE path = ?", [path])
    [shown] = [each for each in all_of(store) if each.path == path]
    assert in_words(shown.headline) == "None of this dataset’s classes" and shown.primary == "X"
    assert "Komodo dragon" in in_words(shown.reason)
    assert (shown.classes[0].label, shown.classes[0].decision, shown.classes[0].text) == ("", "remove", "80%")
    assert shown.actions["A"].new_label == "owl"


def test_similar_pictures_that_are_suspects_bear_their_state(tmp_path: Path) -> None:
    store = pictured_store(tmp_path)
    near = store.images.neighbours(AUDIT_ID, str(rows(store)[0]["path"]))
    all_rows = {row["path"]: row for row in rows(store)}
    [first, *_] = all_of(store)
    assert first.similar is not None and {each.path for each in first.similar.pictures} == set(near["path"])
    for each in first.similar.pictures:
        assert each.suspect == (each.path in all_rows)
        assert each.state == ("suspect, undecided" if each.suspect else "")
    first_labels = [each.role for each in first.similar.pictures]
    assert first_labels == sorted(first_labels, key=lambda role: role != "given")


def test_it_travels_as_strict_json_and_every_path_of_the_stretch_has_one(store: Store) -> None:
    shown = all_of(store)
    told = json.loads(to_json(shown))
    assert [each["path"] for each in told] == [row["path"] for row in rows(store)] and len(told) == SUSPECTS
    assert {"for", "against"} <= set(told[0]["map"]) and "for_name" not in told[0]["map"]
