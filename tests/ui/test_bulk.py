"""Many pictures decided as one: what is said beforehand, what is stored, what is left alone, and the way back."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb
import numpy as np
import pytest

from gradattn_core import belief, outfolder
from gradattn_core.belief import Belief
from gradattn_core.errors import GradattnError
from gradattn_core.store.chances import Chances, Followed
from gradattn_core.store.connection import transaction
from gradattn_core.store.outbox import Receipt
from gradattn_core.store.store import Store
from tests.helpers.asking import asked
from tests.helpers.believed import believed
from tests.helpers.pictured_audit import AUDIT_ID, copied_store, path_of
from ui.api import bulk, threshold
from ui.api.bulk import in_words
from ui.api.cards import rows_of
from ui.api.threshold import NOTHING_DECIDED, by_threshold, in_tenths

# Of twelve suspects: the given label, and what is suggested. Seven suggestions are above 90 %, three of them barely.
CHANCES = [
    *((0.002, 0.997), (0.004, 0.994), (0.01, 0.98), (0.02, 0.971), (0.05, 0.92), (0.07, 0.913), (0.04, 0.905)),
    *((0.2, 0.7), (0.3, 0.62), (0.4, 0.51), (0.53, 0.47), (0.9, 0.05)),
]


@pytest.fixture
def doubtful(store: Store) -> Store:
    return believed(store, CHANCES)


def beliefs(chances: list[tuple[float, float]]) -> list[Belief]:
    return [Belief("given", (("given", own), ("other", other)), 1 - own - other) for own, other in chances]


def chances_of(thoughts: list[Belief]) -> Chances:
    return Chances(*(np.array([thought.of(label) for thought in thoughts]) for label in ("other", "given")))


def previewed(**parameters: object) -> dict[str, Any]:
    answer = bulk.preview(asked(audit=AUDIT_ID, **parameters))
    assert isinstance(answer, dict)
    return answer


def stored(preview: Mapping[str, Any], decision: str = "accept", reviewer: str = "Ada") -> Mapping[str, Any]:
    decisions = [
        {name: choice[name] for name in ("id", "decision", "new_label")}
        | {"path": choice["card"]["path"], "seen": choice["card"]["seen"]}
        for choice in preview["choices"]
    ]
    answer = bulk.store_bulk(
        asked(audit=AUDIT_ID, reviewer=reviewer, batch=preview["batch"], decision=decision, decisions=decisions)
    )
    assert isinstance(answer, dict)
    return answer


def standing(store: Store) -> dict[str, str]:
    rows = store.candidates.page(AUDIT_ID, decided="yes")
    return dict(zip(rows["path"], rows["decision"] + rows["new_label"], strict=True))


def words(rich: Any) -> str:
    return "".join(text for text, _ in rich)


def test_each_threshold_says_what_the_beliefs_above_it_add_up_to() -> None:
    rng = np.random.default_rng(7)
    thoughts = beliefs([(float(own), float((1 - own) * share)) for own, share in rng.uniform(0, 1, (300, 2))])
    histogram = by_threshold(chances_of(thoughts), NOTHING_DECIDED)
    assert [step.at for step in histogram.steps] == list(range(50, 100))
    for step in histogram.steps:
        above = [thought for thought in thoughts if thought.of("other") >= step.at / 100]
        expected = belief.expected(above)
        numbers = [float(text.split()[0].replace(",", "")) for text, role in step.expected if role == "strong"]
        assert step.count == len(above)
        assert np.allclose(numbers, [expected.right, expected.spoilt, expected.neither], atol=0.101)
        assert math.isclose(sum(numbers), step.count, abs_tol=1e-9)
    assert sum(histogram.bins) == histogram.steps[0].count
    assert histogram.above == (
        f"{sum(histogram.bins)} undecided above 50%; the other {300 - sum(histogram.bins)} are not for bulk"
    )


def test_numbers_add_up_as_they_are_printed() -> None:
    for sums, whole in (((8.56, 0.24, 0.2), 9), ((0.35, 0.35, 0.3), 1), ((1.95, 0.05, 0.0), 2), ((0, 0, 0), 0)):
        printed = in_tenths(sums, whole)
        assert math.isclose(sum(map(float, printed)), whole, abs_tol=1e-9)
        assert all(float(number) >= 0 for number in printed)
        assert np.allclose([float(number) for number in printed], sums, atol=0.1 + 1e-9)


def test_the_bar_says_what_was_decided_at_these_probabilities_and_what_another_threshold_would_do() -> None:
    chances = np.array([0.91, 0.95, 0.997] * 3 + [0.96, 0.6])
    evidence = Followed(chances, np.ones(11, bool))
    [step] = [step for step in by_threshold(chances_of(beliefs(CHANCES)), evidence).steps if step.at == 90]
    assert step.relabel == "Relabel the 7 above 90%…"
    assert words(step.expected) == "Expected: 6.7 right · 0.2 right labels spoilt · 0.1 wrong either way"
    assert step.belief == (
        "By the audit's own probabilities. 10 were decided so far at 91.0% to 99.7%, all as suggested: so up to 1 of "
        "the 7 may still be wrong (95%). At 65% it would be 8: 7.4 right, 0.4 spoilt."
    )


def test_the_bar_says_whether_a_random_check_has_tested_the_beliefs(doubtful: Store) -> None:
    def check() -> str:
        answer = threshold.histogram(asked(audit=AUDIT_ID))
        assert isinstance(answer, dict)
        return str(answer["check"])

    assert check() == "No random check has tested them yet."
    drawn = doubtful.draws.spot_check(AUDIT_ID, 10, seed=1).paths
    assert check() == "No random check has tested them yet."
    for number, path in enumerate(drawn):
        doubtful.decisions.append(AUDIT_ID, path, "remove" if number < 2 else "keep", reviewer="Ada")
    assert check() == "A random check found 2 of 10 labels wrong."


def test_a_bulk_comes_first_only_after_59_of_59_one_by_one() -> None:
    for count, wrong, supported in ((58, 0, False), (59, 0, True), (60, 1, False)):
        evidence = Followed(np.full(count, 0.97), np.arange(count) >= wrong)
        steps = {step.at: step for step in by_threshold(chances_of(beliefs(CHANCES)), evidence).steps}
        assert steps[90].supported is supported
        assert not steps[98].supported  # nothing was decided that high


@pytest.mark.usefixtures("doubtful")
def test_a_dialog_shows_what_is_above_the_threshold_the_least_sure_first() -> None:
    preview = previewed(decision="accept", above=90)
    shown = [choice["card"]["other"]["probability"] for choice in preview["choices"]]
    assert np.allclose(shown, sorted(other for _, other in CHANCES if other >= 0.9))
    expected = belief.expected(beliefs([each for each in CHANCES if each[1] >= 0.9]))
    sums = np.sum([choice["parts"] for choice in preview["choices"]], axis=0)
    assert np.allclose(sums, [expected.right, expected.spoilt, expected.neither])
    assert preview["sums"] == ("expected right", "right labels spoilt", "wrong either way")
    assert not preview["supported"]


@pytest.mark.usefixtures("doubtful")
def test_more_taken_out_than_these_are_a_surprise() -> None:
    preview = previewed(decision="accept", above=90)
    wrong = [1 - other for _, other in CHANCES if other >= 0.9]
    # Every way in which some of the seven may be wrong, with its probability.
    chances = np.zeros(len(wrong) + 1)
    for which in itertools.product((False, True), repeat=len(wrong)):
        chances[sum(which)] += math.prod(q if is_wrong else 1 - q for q, is_wrong in zip(wrong, which, strict=True))
    most = preview["most_out"]
    assert chances[most + 1 :].sum() < 0.05 <= chances[most:].sum()
    assert preview["expected_out"] == "fewer than 1 was expected"


@pytest.mark.usefixtures("doubtful")
def test_what_is_less_likely_than_50_percent_is_never_one_of_many() -> None:
    preview = previewed(decision="accept", paths=[path_of(index) for index in (0, 10, 11)])
    assert [choice["card"]["path"] for choice in preview["choices"]] == [path_of(0)]
    assert preview["note"].startswith("The suggestion of 2 of them is below 50%: they stay undecided")
    kept = previewed(decision="keep", paths=[path_of(index) for index in (0, 10, 11)])
    assert [choice["card"]["path"] for choice in kept["choices"]] == [path_of(index) for index in (0, 10, 11)]
    assert np.allclose(np.sum([choice["parts"] for choice in kept["choices"]], axis=0), [1.432, 3 - 1.432])


def test_what_was_confirmed_is_stored_as_one_and_one_undo_takes_it_back(doubtful: Store) -> None:
    preview = previewed(decision="accept", above=90)
    answer = stored(preview)
    assert answer == {"stored": 7, "sentence": "7 pictures: decided as suggested."}
    suggested = doubtful.candidates.page(AUDIT_ID, paths=[path_of(index) for index in range(7)])
    assert standing(doubtful) == {
        row["path"]: f"relabel{row['suggested_label']}" for row in suggested.to_dict("records")
    }
    # The answer was lost, and it is sent again.
    assert stored(preview)["stored"] == 7
    assert doubtful.decisions.count() == 7
    undone = doubtful.decisions.undo_last(AUDIT_ID, "Ada", str(uuid4()))
    assert len(undone.paths) == 7 and standing(doubtful) == {}


def test_what_somebody_decided_meanwhile_stays_and_is_told_by_name(doubtful: Store) -> None:
    preview = previewed(decision="accept", above=90)
    doubtful.decisions.append(AUDIT_ID, path_of(1), "keep", reviewer="<b>Bob</b>")
    answer = stored(preview)
    assert answer["sentence"] == (
        "6 pictures: decided as suggested. <b>Bob</b> decided 1 meanwhile: it stays as it is."
    )
    assert standing(doubtful)[path_of(1)] == "keep"


def test_a_bulk_is_no_evidence_for_the_next_one(doubtful: Store) -> None:
    stored(previewed(decision="accept", above=90))
    assert doubtful.proposals.followed(AUDIT_ID).chances.size == 0
    doubtful.decisions.append(AUDIT_ID, path_of(7), "keep", reviewer="Ada")
    evidence = doubtful.proposals.followed(AUDIT_ID)
    assert np.allclose(evidence.chances, [0.7]) and evidence.followed.tolist() == [False]
    # Decided in another audit of the same pictures, it speaks for the probabilities of that one.
    with transaction(doubtful.database, write=True, patience=5) as connection:
        connection.execute("UPDATE decisions SET audit_id = 'another'")
    assert doubtful.proposals.followed(AUDIT_ID).chances.size == 0


def test_the_chances_of_a_list_are_those_of_its_beliefs(doubtful: Store) -> None:
    thoughts = [belief.of_row(row) for row in rows_of(doubtful.candidates.page(AUDIT_ID))]
    chances = doubtful.proposals.of(AUDIT_ID)
    assert np.allclose(np.sort(chances.suggested), sorted(thought.of(thought.other or "") for thought in thoughts))
    assert np.allclose(np.sort(chances.given), sorted(thought.of(thought.given) for thought in thoughts))


def test_each_is_decided_for_its_own_suggestion_and_what_is_of_no_class_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = copied_store(tmp_path)
    monkeypatch.setenv("GRADATTN_OUT", str(store.directory))
    believed(store, CHANCES)
    with duckdb.connect(str(outfolder.database(store.directory))) as connection:
        connection.execute("UPDATE scores SET suggested_label = '', outside_suspicion = 0.99 WHERE rank = 2")
    preview = previewed(decision="accept", above=95)
    decisions = {choice["card"]["path"]: (choice["decision"], choice["new_label"]) for choice in preview["choices"]}
    assert decisions[path_of(1)] == ("remove", None)
    assert decisions[path_of(0)][0] == "relabel"
    assert stored(preview)["stored"] == len(decisions)
    assert standing(store)[path_of(1)] == "remove"


def test_all_are_relabelled_to_one_class_but_those_that_have_it(doubtful: Store) -> None:
    rows = doubtful.candidates.page(AUDIT_ID, top=4)
    label = str(rows["given_label"][0])
    preview = previewed(decision="relabel", new_label=label, paths=rows["path"].tolist())
    decisions = {choice["card"]["path"]: choice["decision"] for choice in preview["choices"]}
    assert decisions == {path: "keep" if path == path_of(0) else "relabel" for path in rows["path"]}
    for choice in preview["choices"]:
        right, spoilt, neither = choice["parts"]
        assert right + spoilt + neither == pytest.approx(1)
        assert (spoilt == 0) == (choice["decision"] == "keep"), "a label that stays is not spoilt"
    assert stored(preview, "relabel")["stored"] == 4


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"decision": "all"}, "decision='all' is unknown"),
        ({"decision": "relabel"}, "new_label is for relabel"),
        ({"decision": "accept", "above": 20}, "above is a whole number from 50 to 99"),
        ({"decision": "accept", "above": True}, "above is a whole number"),
        ({"decision": "accept", "paths": ["a", 1]}, "paths is no list of texts"),
    ],
)
@pytest.mark.usefixtures("store")
def test_a_question_that_makes_no_sense_is_answered_with_one_sentence(
    parameters: dict[str, object], sentence: str
) -> None:
    with pytest.raises(GradattnError, match=sentence):
        previewed(**parameters)


def test_of_a_list_of_decided_pictures_nothing_is_for_bulk(doubtful: Store) -> None:
    for decided in ("yes", "keep"):
        answer = threshold.histogram(asked(audit=AUDIT_ID, decided=decided))
        assert isinstance(answer, dict) and answer["undecided"] == 0
        assert previewed(decision="accept", above=50, decided=decided)["choices"] == ()
    doubtful.decisions.append(AUDIT_ID, path_of(0), "keep", reviewer="Ada")
    answer = threshold.histogram(asked(audit=AUDIT_ID, decided="any"))
    assert isinstance(answer, dict) and answer["undecided"] == len(CHANCES) - 1


@pytest.mark.usefixtures("doubtful")
def test_an_unknown_kind_of_bulk_stores_nothing(store: Store) -> None:
    preview = previewed(decision="accept", paths=[path_of(0), path_of(1)])
    with pytest.raises(GradattnError, match="decision='all' is unknown"):
        stored(preview, "all")
    assert not standing(store)


@pytest.mark.parametrize("decisions", [None, "all", [{"id": "1"}], [{}] * 241])
@pytest.mark.usefixtures("store")
def test_what_is_sent_is_checked(decisions: object) -> None:
    with pytest.raises(GradattnError, match="decision"):
        bulk.store_bulk(asked(audit=AUDIT_ID, reviewer="Ada", batch="1", decision="accept", decisions=decisions))


@pytest.mark.usefixtures("store")
def test_a_page_that_is_read_only_stores_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADATTN_READ_ONLY", "1")
    with pytest.raises(GradattnError, match="read-only"):
        bulk.store_bulk(asked(audit=AUDIT_ID, reviewer="Ada", batch="1", decision="accept", decisions=[]))


def test_what_was_refused_is_counted_and_told() -> None:
    receipts = [Receipt("1", "stored"), Receipt("2", "refused", "this audit has no such picture")]
    assert in_words(receipts, "remove") == (
        "1 picture: marked for removal. 1 was refused: this audit has no such picture."
    )
