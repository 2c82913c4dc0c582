"""What is said of a picture: every case, its grammar for one and many, and that no sentence contradicts a number."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from gradattn_core.belief import Belief, believe, in_percent, primary
from gradattn_core.neighbourhood import Neighbour, neighbourhood
from gradattn_core.verdict import Facts, Measured, decided, filed_as, in_words, judge

G, C, D = "kite", "eagle", "owl"


def thought(own: float, other: float, third: float = 0.0) -> Belief:
    """A belief with these probabilities of given, suggested and runner-up label."""
    wrong = 1 - own
    shares = [0.0, other / wrong, third / wrong] if wrong else [1.0, 0.0, 0.0]
    return believe(G, wrong, [G, C, D], shares)


def near(*labels: str, suspects: str = "", wrong: str = "") -> tuple[Neighbour, ...]:
    """Neighbours with these labels; those at the places in ``suspects`` and ``wrong`` are that."""
    return tuple(
        Neighbour(label, str(place) in suspects + wrong, "relabel" if str(place) in wrong else "", C)
        for place, label in enumerate(labels)
    )


def said(facts: Facts) -> tuple[str, str, str]:
    verdict = judge(facts)
    return verdict.case, in_words(verdict.headline), in_words(verdict.reason)


SURE = thought(0.026, 0.96, 0.013)


def test_a_mislabel_says_what_it_probably_is_and_how_similar_pictures_are_filed() -> None:
    facts = Facts(SURE, 0.11, "mislabel", neighbours=near(G, C, C, D, C, C, wrong="0"))
    verdict = judge(facts)
    assert said(facts) == (
        "mislabel",
        "Probably eagle, filed as kite",
        "4 of the 6 most similar pictures are filed as eagle; the only kite among them was itself wrong.",
    )
    assert verdict.primary == C and not verdict.notice
    assert verdict.headline == (("Probably ", ""), (C, "other"), (", filed as ", ""), (G, "given"))


@pytest.mark.parametrize(
    ("neighbours", "sentence"),
    [
        (near(C), "The most similar picture is as eagle."),
        (near(D), "The most similar picture is not as eagle."),
        (near(C, C, C), "All 3 ~ are as eagle; none as kite."),
        (near(D, D), "None of the 2 ~ is as eagle or kite."),
        (near(C, D, G), "1 of the 3 ~ is as eagle; 1 as kite."),
        (near(C, G, G), "1 of the 3 ~ is as eagle; 2 as kite."),
        (near(C, C, G, suspects="2"), "2 of the 3 ~ are as eagle; the only kite among them is a suspect itself."),
        (near(C, G, G, wrong="12"), "1 of the 3 ~ is as eagle; 2 as kite, but both were themselves wrong."),
        (near(C, G, G, suspects="1", wrong="2"), "1 of the 3 ~ is as eagle; 2 as kite, but both are in doubt."),
        (near(C, G, G, suspects="1"), "1 of the 3 ~ is as eagle; 2 as kite, but one of them is a suspect itself."),
        (near(C, C, D, suspects="0"), "2 of the 3 ~ are as eagle, but one of them is a suspect itself; none as kite."),
        (near(C, C, C, suspects="01"), "All 3 ~ are as eagle, but 2 of them are suspects themselves; none as kite."),
        (near(C, D, suspects="0"), "1 of the 2 ~ is as eagle, but it is a suspect itself; none as kite."),
    ],
)  # fmt: skip
def test_similar_pictures_are_counted_and_suspects_among_them_apart(
    neighbours: tuple[Neighbour, ...], sentence: str
) -> None:
    assert said(Facts(SURE, neighbours=neighbours))[2] == sentence.replace("~", "most similar pictures").replace(
        "as eagle", "filed as eagle"
    )


def test_a_suspect_that_was_found_right_supports_its_label() -> None:
    kept = replace(near(G)[0], suspect=True, decision="keep")
    assert "1 as kite." in said(Facts(SURE, neighbours=(*near(C), kept)))[2]


def test_a_label_that_is_probably_right_is_said_to_be_with_what_the_model_alone_says() -> None:
    belief = thought(0.987, 0.012)
    assert said(Facts(belief, 0.58, neighbours=near(G, G, C, C, suspects="3"))) == (
        "right",
        "Probably right: kite. Looks a little like eagle",
        "The model alone is unsure (58%); neighbours and the other voters make the label 98.7% likely.",
    )
    # What similar pictures do not say is not put in their mouth.
    assert "; all voters together make the label 98.7% likely" in said(Facts(belief, 0.58, neighbours=near(G, C)))[2]
    assert judge(Facts(belief, 0.58)).primary == G
    sure = said(Facts(belief, 0.8, neighbours=near(G, G, C, suspects="2")))
    assert (
        sure[2] == "2 of the 3 most similar pictures are filed as kite; the only eagle among them is a suspect itself."
    )
    assert said(Facts(thought(0.9999, 0.0001), 0.8))[1] == "Probably right: kite"


def test_two_or_more_classes_are_named_and_nothing_is_proposed() -> None:
    facts = Facts(thought(0.064, 0.64, 0.26))
    case, headline, reason = said(facts)
    assert (case, headline) == ("several", "Not kite. Perhaps eagle, perhaps owl")
    assert reason == "eagle 64%, owl 26%, kite 6.4%. Nothing is proposed."
    assert judge(facts).primary is None
    assert said(Facts(thought(0.064, 0.64, 0.01)))[1] == "Perhaps eagle, filed as kite"
    assert said(Facts(thought(0.11, 0.55, 0.31)))[1:] == (
        "eagle, owl or kite: all are possible",
        "eagle 55%, owl 31%, kite 11%. Nothing is proposed.",
    )
    assert said(Facts(thought(0.53, 0.47)))[1:] == (
        "kite or eagle: both are possible",
        "53% to 47%. Nothing is proposed.",
    )
    assert said(Facts(thought(0.6, 0.05, 0.04)))[1:] == (
        "Perhaps right: kite. Looks a little like eagle",
        "The label is 60% likely and no other class is near. Nothing is proposed.",
    )


def test_confusable_classes_are_said_to_be_with_their_suspects_both_ways() -> None:
    facts = Facts(thought(0.5, 0.45), kind="confusable", mixed=(12, 9))
    assert said(facts) == (
        "confusable",
        "kite and eagle are hard to tell apart here",
        "12 suspects filed as kite look like eagle, 9 the other way round.",
    )
    assert "1 suspect filed as kite looks like eagle, none the other way" in said(replace(facts, mixed=(1, 0)))[2]
    # A verdict of the probabilities goes before the kind.
    assert said(replace(facts, belief=SURE))[0] == "mislabel"
    assert said(replace(facts, belief=thought(0.9, 0.1)))[0] == "right"


def test_unlike_every_class_is_never_said_beside_a_class_above_half() -> None:
    unlike = Facts(thought(0.4, 0.35, 0.2), kind="out of place", numbers={"more_unlike": 0.015})
    assert said(unlike) == (
        "out of place",
        "Unlike the pictures of every class",
        "The likeliest class has 40%; only 1.5% of the unsuspicious ones lie as far from every class.",
    )
    assert "fewer than 0.1% of the unsuspicious" in said(replace(unlike, numbers={"more_unlike": 0.0}))[2]
    case, headline, reason = said(replace(unlike, belief=thought(0.005, 0.99)))
    assert (case, headline) == ("mislabel", "Probably eagle, filed as kite")
    assert reason.startswith("eagle is likeliest (99.0%), but the picture is unusual: only 1.5%")
    for own, other in itertools.product((0.01, 0.3, 0.45, 0.51, 0.9), (0.05, 0.3, 0.45, 0.49, 0.51, 0.98)):
        if own + other <= 1:
            belief = thought(own, other)
            unlike_all = "Unlike" in said(replace(unlike, belief=belief))[1]
            assert unlike_all == (belief.of(belief.likeliest) <= 0.5)


def test_none_of_the_classes_is_said_with_the_models_own_name() -> None:
    belief = believe(G, 0.95, [G, C], [0.02, 0.28], outside=0.7)
    facts = Facts(belief, kind="out of place", outside="Komodo dragon")
    verdict = judge(facts)
    assert said(facts)[1:] == (
        "None of this dataset’s classes",
        "The model’s own name for it: Komodo dragon. X removes it.",
    )
    assert verdict.primary == "" and ("Komodo dragon", "name") in verdict.reason
    unsure = believe(G, 0.6, [G, C], [0.2, 0.3], outside=0.5)
    assert said(Facts(unsure, kind="mislabel"))[1] == "kite or none of these classes: both are possible"


def test_two_objects_are_said_with_what_hiding_did_where_both_are_possible() -> None:
    facts = Facts(thought(0.3, 0.65), kind="two objects", lifted=(-0.9, 1.4))
    case, headline, reason = said(facts)
    assert (case, headline) == ("two objects", "kite and eagle seem to be in the picture")
    assert reason == (
        "With the part for eagle hidden, the model alone goes from 71% to 20% for it; kite is left. "
        "Keep the label if kite is the subject."
    )
    assert said(replace(facts, belief=thought(0.981, 0.018)))[0] == "right"
    # Of a class that the model hardly saw, hiding its part says nothing.
    assert said(replace(facts, belief=thought(0.73, 0.26), lifted=(2.6, 5.5)))[0] == "right"


def test_copies_and_near_copies_are_said_with_their_labels() -> None:
    facts = Facts(SURE, kind="duplicate", numbers={"identical": 1.0}, filed=(G, C))
    assert said(facts) == (
        "duplicate",
        "The same picture is also filed as eagle",
        "2 exact copies, filed as kite, eagle: at most one label is right.",
    )
    assert "also filed as eagle and owl" in said(replace(facts, filed=(G, C, D, D)))[1]
    assert said(replace(facts, filed=(G, C, D, D)))[2].startswith("4 exact copies, filed as kite, eagle, owl, owl: at")
    assert said(replace(facts, filed=(G, *[C] * 30)))[2].startswith(
        "31 exact copies, filed as kite (1), eagle (30): at"
    )
    similar = Facts(SURE, kind="duplicate", filed=(G,), neighbours=(replace(near(D)[0], similarity=0.968),))
    assert said(similar)[1:] == (
        "Nearly the same picture is filed as owl",
        "Similarity 0.97. A decision here is about this one only.",
    )


def test_a_picture_that_shows_nothing_proposes_nothing() -> None:
    facts = Facts(SURE, kind="nothing to see", size=(32, 32))
    assert said(facts)[1:] == ("Too dark, empty or too small to tell", "32 × 32 pixels. Unsure or remove?")
    assert judge(facts).primary is None


def test_where_the_model_alone_says_the_other_one_it_is_said_and_nothing_is_proposed() -> None:
    facts = Facts(thought(0.18, 0.75, 0.06), alone=0.81, neighbours=near(C, C, G))
    verdict = judge(facts)
    assert (verdict.case, in_words(verdict.headline)) == ("disagreement", "Perhaps eagle, filed as kite")
    assert in_words(verdict.notice) == (
        "The model alone says kite (81% against eagle). Neighbours and the other voters say eagle."
    )
    assert verdict.primary is None and ("kite", "given") in verdict.notice
    other = judge(Facts(thought(0.8, 0.15), alone=0.2))
    assert in_words(other.headline) == "Perhaps right: kite. Looks a little like eagle"
    assert in_words(other.notice) == ("The model alone says eagle (80% against kite). All voters together say kite.")


def test_a_contradicted_part_is_a_warning_and_the_verdict_stays() -> None:
    part = Measured(2, +1, 0.11, "+0.11", 0.041, 0.043, ("4.1%", "4.3%"))
    verdict = judge(Facts(SURE, parts=(part,)))
    assert in_words(verdict.notice) == (
        "Part 2 is red on the map (+0.11), but hiding it raises kite: 4.1% → 4.3%. The measured number stands."
    )
    assert in_words(verdict.headline) == "Probably eagle, filed as kite" and verdict.primary == C
    blue = Measured(1, -1, -0.2, "−0.20", 0.5, 0.4, ("50%", "40%"))
    assert "Part 1 is blue on the map (−0.20), but hiding it lowers kite: 50% → 40%." in in_words(
        judge(Facts(SURE, parts=(blue, part))).notice
    )
    agreeing = Measured(1, -1, -2.28, "−2.28", 0.11, 0.37, ("11%", "37%"))
    assert judge(Facts(SURE, parts=(agreeing,))).notice == ()


def test_no_single_part_decides_where_hiding_changes_less_than_two_points() -> None:
    little, much = (
        Measured(1, -1, -0.2, "−0.20", 0.11, 0.125, ("11%", "13%")),
        Measured(1, -1, -2.28, "−2.28", 0.11, 0.37, ("11%", "37%")),
    )
    assert in_words(judge(Facts(SURE, parts=(little,))).remark) == (
        "No single part decides: hiding the strongest changes less than 2 points."
    )
    assert judge(Facts(SURE, parts=(much, little))).remark == () and judge(Facts(SURE)).remark == ()


def test_what_was_decided_is_said_with_who_said_it() -> None:
    assert in_words(decided(G, "relabel", C, "you")) == "Decided by you: eagle instead of kite"
    assert in_words(decided(G, "keep", "", "<b>Ann</b>")) == "Decided by <b>Ann</b>: kite is right"
    assert ("<b>Ann</b>", "name") in decided(G, "keep", "", "<b>Ann</b>")
    assert in_words(decided(G, "remove", "", "you")) == "Decided by you: remove it"
    assert in_words(decided(G, "unsure", "", "you")) == "Decided by you: unsure"


def test_a_drawn_picture_is_asked_about_its_label_alone() -> None:
    verdict = filed_as("tench")
    assert in_words(verdict.headline) == "Filed as tench. Is that right?" and not verdict.reason


def test_names_are_pieces_of_their_own_and_two_of_one_name_are_told_apart() -> None:
    birds, machines = "n02012849", "n03126707"  # both are called crane
    belief = believe(birds, 0.96, [birds, machines], [0.02, 0.98])
    headline = judge(Facts(belief)).headline
    assert in_words(headline) == f"Probably crane · {machines}, filed as crane · {birds}"
    hostile = "<img src=x>" * 30
    belief = believe(hostile, 0.96, [hostile, C], [0.02, 0.98])
    assert (hostile, "given") in judge(Facts(belief)).headline


def test_whatever_the_numbers_are_no_sentence_contradicts_them() -> None:
    shares = (0.0, 0.004, 0.03, 0.06, 0.2, 0.34, 0.36, 0.5, 0.66, 0.94, 1.0)
    kinds = (
        "",
        "mislabel",
        "confusable",
        "out of place",
        "two objects",
        "duplicate",
        "nothing to see",
        "two spellings",
    )
    for own, other, third, kind, alone in itertools.product(shares, shares, (0.0, 0.1), kinds, (None, 0.2, 0.5, 0.8)):
        if own + other + third > 1 + 1e-9:
            continue
        facts = Facts(thought(own, other, third), alone, kind, neighbours=near(G, C), lifted=(-1.0, 1.0))
        verdict = judge(facts)
        text = in_words(verdict.headline)
        assert text and "  " not in text and not text.endswith(".")
        proposed = primary(facts.belief, alone)
        if verdict.primary is not None:
            assert verdict.primary == proposed and facts.belief.of(verdict.primary) >= 0.65
        if text.startswith("Probably right"):
            assert facts.belief.of(G) >= 0.65 and verdict.primary == G
        elif text.startswith("Probably"):
            assert facts.belief.of(C) >= 0.65 and verdict.primary == C
        if text.startswith("Not "):
            assert facts.belief.of(G) < 0.1
        if "Nothing is proposed" in in_words(verdict.reason):
            assert verdict.primary is None
        if verdict.notice:
            assert in_percent(alone or 0) in in_words(verdict.notice) or in_percent(1 - (alone or 0)) in in_words(
                verdict.notice
            )


def test_no_neighbours_say_nothing() -> None:
    assert neighbourhood((), SURE, lambda label: (label, "")) == []


def test_where_nothing_says_what_is_alike_the_numbers_stand_beside_what_is_proposed() -> None:
    case, headline, reason = said(Facts(SURE, 0.02, "mislabel"))
    assert (case, headline) == ("mislabel", "Probably eagle, filed as kite")
    assert reason.startswith("eagle 96") and "Nothing is proposed" not in reason
    unsure = Facts(thought(0.5, 0.45), None, "either")
    assert judge(unsure).primary is None and said(unsure)[2].endswith("Nothing is proposed.")
