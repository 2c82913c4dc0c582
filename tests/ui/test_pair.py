"""What the page of a class pair is told: its finding, its zones, its numbers; and the words of an empty audit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gradattn_core import belief
from gradattn_core.store.store import Store
from tests.helpers import sample_audit
from tests.helpers.asking import asked
from tests.helpers.believed import believed
from tests.helpers.hostile import HOSTILE_LABELS
from tests.helpers.pictured_audit import AUDIT_ID, path_of
from ui.api import pair
from ui.api.cards import rows_of

# Of kite and owl there are the suspects at rank 1 and 8; what is believed of all twelve.
CHANCES = [(0.02, 0.95), *[(0.1, 0.85)] * 6, (0.9, 0.06), *[(0.3, 0.6)] * 4]


def told(given: str = "kite", suggested: str = "owl") -> dict[str, Any]:
    answer = pair.pair(asked(audit=AUDIT_ID, given=given, suggested=suggested))
    assert isinstance(answer, dict)
    return answer


def words(rich: Any) -> str:
    return "".join(text for text, _ in rich)


def test_the_finding_and_its_numbers_follow_the_decisions(store: Store) -> None:
    believed(store, CHANCES)
    found = told()
    assert words(found["headline"]) == "2 pictures filed as kite look like owl"
    assert words(found["sentence"]) == (
        "Of the 2 undecided, 1 is probably wrong and 1 is probably right (1.1 expected wrong). "
        "The other way round: none."
    )
    assert [(zone["name"], zone["count"]) for zone in found["zones"]] == [("given", 1), ("open", 0), ("other", 1)]
    assert found["gap"] == "nothing between 35 and 65%"
    assert found["step"]["relabel"] == "Relabel the 1 above 90%…"
    store.decisions.append(AUDIT_ID, path_of(0), "relabel", new_label="owl", reviewer="Bob")
    found = told()
    assert words(found["headline"]) == "2 pictures filed as kite look like owl"
    assert words(found["sentence"]).startswith(
        "1 was relabelled. One is undecided: Probably right (0.1 expected wrong)."
    )
    assert [each["text"] for each in found["decided"]] == ["now owl"]
    assert found["step"] is None  # what is left is not for many
    store.decisions.append(AUDIT_ID, path_of(7), "keep", reviewer="Bob")
    found = told()
    assert words(found["sentence"]).startswith("1 was relabelled, 1 is right. All are decided.")
    assert found["finished_note"] == "Finished: all are decided."


def test_every_undecided_picture_lies_in_its_zone_of_the_line(store: Store) -> None:
    names = store.audits.class_pairs(AUDIT_ID)
    for given, suggested in zip(names["given_label"], names["suggested_label"], strict=True):
        found = told(given, suggested)
        thoughts = {
            str(row["path"]): belief.of_row(row)
            for row in rows_of(store.candidates.page(AUDIT_ID, given=given, suggested=suggested))
        }
        assert {dot["path"] for dot in found["dots"]} == thoughts.keys()
        for dot in found["dots"]:
            own, other = (thoughts[dot["path"]].of(label) for label in (given, suggested))
            zone = "given" if own >= 0.65 else "other" if other >= 0.65 else "open"
            assert dot["zone"] == zone
            assert {"given": dot["at"] <= 0.35, "open": 0.35 <= dot["at"] <= 0.65, "other": dot["at"] >= 0.65}[zone]
        shown = [card["path"] for zone in found["zones"] for card in zone["cards"]]
        assert sorted(shown) == sorted(thoughts)


def test_of_very_many_pictures_the_line_shows_an_even_sample(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    believed(store, CHANCES)
    whole = told()["dots"]
    assert [dot["zone"] for dot in whole] == ["given", "other"]
    monkeypatch.setattr(pair, "_DOTS", 1)
    assert told()["dots"] == whole[:1]


@pytest.mark.usefixtures("store")
def test_the_strongest_part_of_each_sign_is_cut_out_of_every_picture_that_has_a_map() -> None:
    found = told()
    for crops, left in ((found["blue"], 2), (found["red"], 4)):
        first = next(crop for crop in crops if crop["path"] == path_of(0))
        # Seven patches to the middle square of 320 x 240 pixels.
        assert first["box"][0] == pytest.approx(40 + left * 240 / 7, abs=0.01)


def test_without_an_address_or_with_a_wrong_one_it_is_the_worst_pair(store: Store) -> None:
    worst = store.audits.class_pairs(AUDIT_ID).iloc[0]
    for given, remark in (("", ""), ("<script>", "No suspect filed as <script> looks like kite.")):
        found = told(given, "kite")
        assert (found["given"]["label"], found["other"]["label"]) == (worst["given_label"], worst["suggested_label"])
        assert found["remark"] == remark and found["number"] == 1 and found["before"] is None
    after = found["after"]
    assert told(after["given"], after["suggested"])["number"] == 2


def test_a_pair_is_called_finished_and_not_after_all(store: Store) -> None:
    def finish(on: bool) -> None:
        pair.finish(asked(audit=AUDIT_ID, given="kite", suggested="owl", reviewer="Ada", on=on))

    finish(True)
    found = told()
    assert found["finished"] and found["finished_note"] == "Called finished by Ada."
    assert not told(*HOSTILE_LABELS[:2])["finished"]
    finish(False)
    assert told()["finished_note"] == "Finished when all 2 are decided"


def test_an_audit_without_suspects_has_no_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = sample_audit.tables(["a.png", "b.png"], suspects=0)
    row = sample_audit.audit_row()
    Store(tmp_path).audits.merge(row, {name: tables[name] for name in ("images", "predictions", "scores")})
    monkeypatch.setenv("GRADATTN_OUT", str(tmp_path))
    assert pair.pair(asked(audit=row["audit_id"])) is None
