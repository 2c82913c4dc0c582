"""The rules that tell the kind of a doubt, one by one, and the sentences that say it."""

from __future__ import annotations

import pandas as pd
import pytest

from gradattn_core.kinds import suggestion
from gradattn_core.ranking.rules import NUMBERS, kinds_of

# A clear mislabel that no other rule claims.
PLAIN = {
    "given_probability": 0.02, "suggested_probability": 0.9, "runner_up_probability": 0.05,
    "same_class": False, "identical": False,
    "similarity": 0.5, "usual_similarity": 0.4, "detail": 0.2, "unlikeness": 0.5, "more_unlike": 0.4,
    "hidden_margin": -3.0, "hidden_is_given": False, "hidden_probability": 0.8, "lift": 2.0, "reverse_lift": 2.0,
}  # fmt: skip
ASKED = {"hidden_is_given": True, "hidden_probability": 0.62}
CLOSE = {"given_probability": 0.3, "suggested_probability": 0.6}
FAR = {"more_unlike": 0.005, "suggested_probability": 0.6}


def told(**changes: object) -> tuple[str, dict[str, float]]:
    row = kinds_of(pd.DataFrame([{**PLAIN, **changes}])).iloc[0]
    return row["kind"], row["kind_numbers"]


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, "mislabel"),
        ({"identical": True}, "duplicate"),
        ({"same_class": True, "identical": True, "detail": 0.0, **FAR}, "two spellings"),
        ({"same_class": False}, "mislabel"),
        ({"similarity": 0.97}, "duplicate"),
        ({"similarity": 0.89, "usual_similarity": 0.1}, "mislabel"),
        # In a narrow world all pictures are that similar.
        ({"similarity": 0.97, "usual_similarity": 0.95}, "mislabel"),
        ({"detail": 0.02}, "nothing to see"),
        (FAR, "out of place"),
        ({**FAR, "more_unlike": 0.03}, "mislabel"),
        ({**ASKED, "hidden_margin": 0.7}, "two objects"),
        ({**ASKED, "hidden_margin": 0.69}, "mislabel"),
        # What is out of the question does not get into the picture by hiding a part of it.
        ({**ASKED, "hidden_margin": 5.0, "given_probability": 0.0009}, "mislabel"),
        ({**ASKED, "hidden_margin": 5.0, "given_probability": 0.001}, "two objects"),
        ({**ASKED, "hidden_margin": 5.0, "given_probability": None}, "two objects"),
        # A third class is best: the given one is not what is left.
        ({"hidden_margin": 5.0}, "mislabel"),
        (CLOSE, "confusable"),
        ({**CLOSE, "reverse_lift": 0.9}, "mislabel"),
        ({**CLOSE, "lift": 0.9}, "mislabel"),
        ({**CLOSE, "reverse_lift": None}, "mislabel"),
        ({"given_probability": 0.2, "suggested_probability": 0.61}, "mislabel"),
        # What the ranking itself thinks right is no mislabel, whether or not the pair is confused both ways.
        ({"given_probability": 0.6, "suggested_probability": 0.3, "reverse_lift": None}, "confusable"),
        # The surer rule wins.
        ({**ASKED, "hidden_margin": 5.0, "identical": True, "detail": 0.0, **FAR}, "nothing to see"),
        ({**ASKED, "hidden_margin": 5.0, "identical": True, **FAR}, "duplicate"),
        ({**ASKED, "hidden_margin": 5.0, **FAR}, "out of place"),
        ({**ASKED, "hidden_margin": 5.0, **CLOSE}, "two objects"),
        # No class of the dataset is suggested.
        ({**ASKED, "hidden_margin": 5.0, "outside_suspicion": 0.2}, "out of place"),
        ({"outside_suspicion": 0.2, "identical": True}, "duplicate"),
        ({"outside_suspicion": None}, "mislabel"),
    ],
)
def test_each_rule_tells_its_kind(changes: dict[str, object], kind: str) -> None:
    assert told(**changes)[0] == kind


def test_the_numbers_are_those_that_are_known() -> None:
    assert told()[1] == pytest.approx({name: float(value) for name, value in PLAIN.items()})
    known = told(hidden_margin=None, hidden_is_given=None, hidden_probability=None, reverse_lift=float("nan"))[1]
    assert set(NUMBERS) - set(known) == {"hidden_margin", "hidden_is_given", "hidden_probability", "reverse_lift"}


def test_with_probabilities_alone_a_kind_is_told_all_the_same() -> None:
    facts = pd.DataFrame({"given_probability": [0.1, 0.6], "suggested_probability": [0.8, 0.3]})
    assert kinds_of(facts)["kind"].tolist() == ["mislabel", "confusable"]
    assert kinds_of(facts)["kind_numbers"][0] == {"given_probability": 0.1, "suggested_probability": 0.8}


def test_no_suspects_have_no_kinds() -> None:
    assert kinds_of(pd.DataFrame([PLAIN]).iloc[:0]).empty


def test_the_empty_suggestion_has_a_name() -> None:
    assert (suggestion("none"), suggestion("")) == ("none", "none of these classes")
    assert suggestion("", "Komodo dragon") == "none of these classes; the model says Komodo dragon"
