"""Where evidence lies, what classes are called and how numbers are written, in words."""

from __future__ import annotations

import ast
import html
import math
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gradattn_core.export import write_candidates
from gradattn_core.progress import duration
from gradattn_core.records import Box, FloatArray
from gradattn_core.report.document import report_of
from gradattn_core.wording import (
    STANDS_OUT,
    Ninth,
    belief,
    disagreement,
    distinct_names,
    estimate,
    full_name,
    heaviest_ninth,
    names_of,
    ninth_of,
    number_and_range,
    part_name,
    place,
    short_name,
)
from tests.helpers.asking import to_json
from tests.helpers.pictured_audit import AUDIT_ID, copied_store
from ui.api import cards
from ui.api.suspect import suspects

SIZE = (300, 300)
NAMES = ("kite", "bald eagle")
NINTHS = [
    (0, 0, "upper left", "at the upper left"), (0, 1, "top", "at the top"), (0, 2, "upper right", "at the upper right"),
    (1, 0, "left", "on the left"), (1, 1, "middle", "in the middle"), (1, 2, "right", "on the right"),
    (2, 0, "lower left", "at the lower left"), (2, 1, "bottom", "at the bottom"),
    (2, 2, "lower right", "at the lower right"),
]  # fmt: skip


def heaviest(mass: FloatArray) -> tuple[Ninth, float]:
    """The ninth and its share, to three digits, where there is one."""
    found = heaviest_ninth(mass)
    assert found is not None
    return found[0], round(found[1], 3)


@pytest.mark.parametrize(("row", "column", "name", "phrase"), NINTHS)
def test_a_ninth_is_found_by_a_point_and_by_mass_and_has_a_name(row: int, column: int, name: str, phrase: str) -> None:
    assert ninth_of((column + 0.5) / 3, (row + 0.5) / 3) == Ninth(row, column)
    mass = np.full((9, 9), 0.01, np.float32)
    mass[3 * row + 1, 3 * column + 1] = 1
    assert heaviest(mass) == (Ninth(row, column), round((1 + 8 * 0.01) / (1 + 80 * 0.01), 3))
    assert (Ninth(row, column).name, Ninth(row, column).phrase) == (name, phrase)


@pytest.mark.parametrize(
    ("share", "third"), [(0.0, 0), (0.333, 0), (0.334, 1), (0.5, 1), (2 / 3, 1), (0.667, 2), (1.0, 2)]
)
def test_the_thirds_are_of_equal_width(share: float, third: int) -> None:
    assert ninth_of(share, 0.5) == Ninth(1, third) and ninth_of(0.5, share) == Ninth(third, 1)


def test_a_patch_on_the_border_of_two_ninths_counts_for_both_in_proportion() -> None:
    # Of five rows the second lies to two thirds in the upper third, and the third one wholly in the middle one.
    mass = np.zeros((5, 5), np.float32)
    mass[1, 2] = 1
    assert heaviest(mass) == (Ninth(0, 1), 0.667)
    mass[2, 2] = 1
    assert heaviest(mass) == (Ninth(1, 1), 0.667)
    mass[0, 2] = 1
    assert heaviest(mass) == (Ninth(0, 1), 0.556)


def test_mass_that_lies_everywhere_stands_out_nowhere_and_no_mass_has_no_place() -> None:
    assert heaviest(np.full((14, 14), 0.1, np.float32))[1] == 0.111 < STANDS_OUT
    assert heaviest_ninth(np.zeros((14, 14), np.float32)) is None
    assert heaviest_ninth(np.full((14, 14), np.nan, np.float32)) is None


def test_the_estimate_is_the_models_belief_with_what_it_depends_on() -> None:
    assert estimate(1700.4, 1580.2, 2210.0, images=10_000, first=2_000, found=0.853) == (
        "the model believes about 1,700 of 10,000 labels are wrong; 1,580 to 2,210, depending on whether annotators "
        "mix up classes whatever the picture shows or err where the model itself doubts; it believes 85% of them to be "
        "among the first 2,000"
    )
    older = estimate(1700, None, None, images=10_000, first=2_000, found=0.853)
    assert older.startswith("the model believes about 1,700 of 10,000 labels are wrong; it believes 85% of them")
    # Where both assumptions say the same there is nothing to depend on.
    assert estimate(0.2, 0.1, 0.3, images=50, first=0, found=0.0) == "the model believes about 0 of 50 labels are wrong"
    assert estimate(3, 2, 4, images=50, first=20, found=1.0).endswith(
        "it believes >99% of them to be among the first 20"
    )
    assert belief(1.2, math.nan, math.nan, of="6 suspects") == "the model believes about 1 of 6 suspects is wrong"
    assert belief(math.nan, 1, 2, of="6 labels") == "how many of 6 labels the model believes to be wrong was not kept"


def test_a_range_that_is_not_known_is_not_written() -> None:
    assert number_and_range(1683.6, 1483.2, 1918) == "1,684 (1,483–1,918)"
    assert number_and_range(1683.6, math.nan, 1918) == "1,684"
    assert number_and_range(math.nan, math.nan, math.nan) == "–"


def test_an_estimate_is_the_same_number_wherever_it_is_said() -> None:
    assert number_and_range(102.6, 97.1, 137.9).startswith("103 (97–138)")
    assert belief(102.6, 97.1, 137.9, of="1,200 labels").startswith("the model believes about 103 of 1,200 labels")


def test_durations_are_written_with_the_digits_they_deserve() -> None:
    assert [duration(seconds) for seconds in (0.2, 45, 119, 700, 11_100)] == [
        "0 s",
        "45 s",
        "2 min",
        "12 min",
        "3 h 5 min",
    ]


@pytest.mark.parametrize(
    ("box", "where"),
    [
        (Box(0, 0, 60, 60), "upper left"),
        (Box(120, 0, 180, 60), "at the top"),
        (Box(240, 240, 300, 300), "lower right"),
        (Box(0, 120, 60, 180), "on the left"),
        (Box(240, 120, 300, 180), "on the right"),
        (Box(100, 100, 200, 200), "in the middle"),
        (Box(0, 0, 300, 200), "over most of the picture"),
    ],
)
def test_a_place_is_the_third_of_the_picture_that_the_middle_of_the_box_lies_in(box: Box, where: str) -> None:
    assert place(box, SIZE) == where


def test_reviewers_who_differ_are_quoted_newest_first() -> None:
    words = [("ann", "remove", ""), ("bob", "relabel", "owl"), ("cy", "keep", "")]
    assert (
        disagreement(words)
        == "Reviewers differ: ann said remove, bob said relabel to owl, cy said keep. The newest stands."
    )


def test_imagenet_ids_have_the_names_that_timm_gives_them() -> None:
    from timm.data import ImageNetInfo

    info = ImageNetInfo("imagenet-22k")
    for index, wnid in enumerate(info.label_names()):
        name = info.index_to_description(index).split(",")[0].strip()
        assert full_name(wnid) == f"{name} · {wnid}"


def test_other_labels_are_left_as_they_are() -> None:
    for label in ("kite", "n123", "n99999999", "xn01440764", "n01440764 ", "", "<b>"):
        assert (full_name(label), short_name(label)) == (label, label)


def test_names_of_one_text_are_short_unless_two_share_one() -> None:
    assert names_of(["n01440764", "kite"]) == {"n01440764": "tench", "kite": "kite"}
    cranes = names_of(["n02012849", "n03126707", "kite"])
    assert cranes["n02012849"] == "crane · n02012849" and cranes["kite"] == "kite"


def test_two_classes_of_one_name_are_told_apart_by_their_ids() -> None:
    assert distinct_names("n01440764", "n03425413") == ("tench", "gas pump")
    assert distinct_names("n02012849", "n03126707") == ("crane · n02012849", "crane · n03126707")


def test_it_imports_nothing_that_is_slow() -> None:
    check = "import sys; import gradattn_core.wording; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", check], check=True, capture_output=True, text=True).stdout.split()
    assert not {"torch", "pandas", "duckdb", "streamlit", "prefect", "rich"} & set(modules)


ROOT = Path(__file__).resolve().parents[1]
# A number beside "wrong", or a heading of such numbers.
NUMBER = re.compile(r"\{\}[^.;:]*\bwrong\b|^Wrong,|\b(expected|estimated|believed) wrong\b")
SOURCE = re.compile(
    # What the model believes; what random pictures measured or prove; what reviewers said; what was planted.
    r"believe|as the model|the model is right|random|confidence|checked|can be left|"
    r"decided|decisions|reviewed|clear ones|on purpose|under several labels"
)


def sentences(node: ast.AST) -> Iterator[str]:
    """Every text below ``node`` but docstrings, ``{}`` in the place of what is filled in."""
    if isinstance(node, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    else:
        for child in ast.iter_child_nodes(node):
            if not (isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)):
                yield from sentences(child)


# Pieces of the page whose neighbour says who says so: "the audit's own belief", "(95% confidence)"
# or "checked"; what is expected is so by the audit's probabilities, which the page names.
BESIDE = {
    "About {} may be wrong",
    "{} of {} wrong",
    # In the parentheses stands with which confidence.
    "{} of {} {} wrong. So {} of the {} labels are wrong ({}).",
    " In all {} labels are wrong ({}).",
    " ({} expected wrong). ",
    "expected wrong among them",
}


def test_whoever_says_how_many_are_wrong_says_who_says_so() -> None:
    rooms = ("gradattn_core/cli", "gradattn_core/audit", "gradattn_core/store", "ui", "flows")
    files = [file for room in rooms for file in (ROOT / room).rglob("*.py")] + [ROOT / "gradattn_core/wording.py"]
    said = {text for file in files for text in sentences(ast.parse(file.read_text("utf-8"))) if NUMBER.search(text)}
    # Queries are no sentences, what may be left is asked for, not found, and arithmetic needs nobody to believe it.
    said = {text for text in said if "SELECT" not in text and not text.startswith(("at most ", "Even if "))}
    assert len(said) > 15 and "Wrong, the model believes" in said
    assert {text for text in said if not SOURCE.search(text)} <= BESIDE


# A share of a map that is said of a class: it is no part of any sum.
SHARE_OF_MAP = re.compile(
    r"(?:%|\}|\bper ?cent|\bshare|\bmost|\bmajority|\bhalf) of (?:the|this|that|its|an?|each) "
    r"(?:map|evidence|mass|saliency)\b[^.;|]{0,40}\b(?:speaks?|for|against)\b"
    r"|\bspeaks? (?:for|against) [^.;|]{0,60}(?:%|\bper ?cent)",
    re.IGNORECASE,
)
TAKEN_OUT = (
    "56% of the map speaks for 6",
    "{} of the map speaks for {}",
    "{} of the evidence is for {}",
    "${share} % of the map speaks for ${name}",
    "Most of the map speaks against kite",
    "the map speaks for kite by 25 per cent",
    "speaks for owl: 75%",
)


@pytest.mark.parametrize("words", TAKEN_OUT, ids=range(len(TAKEN_OUT)))
def test_a_share_of_a_map_is_known_by_its_words(words: str) -> None:
    assert SHARE_OF_MAP.search(words)


def test_no_source_and_no_page_of_the_docs_says_what_share_of_a_map_speaks_for_a_class() -> None:
    said: list[tuple[str, str]] = []
    for room in ("gradattn_core", "ui", "flows", "examples", "scripts"):
        for file in (ROOT / room).rglob("*.py"):
            said += [(file.name, text) for text in sentences(ast.parse(file.read_text("utf-8")))]
        said += [
            (file.name, file.read_text("utf-8")) for end in ("js", "css") for file in (ROOT / room).rglob(f"*.{end}")
        ]
    prose = [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]
    said += [(file.name, file.read_text("utf-8")) for file in prose]
    assert len(said) > 1000
    found = {(name, match.group()) for name, text in said for match in SHARE_OF_MAP.finditer(" ".join(text.split()))}
    # That it is said nowhere is said once.
    assert found == {("interpretation.md", "share of a map speaks for")}


def test_nothing_that_is_told_of_a_picture_says_what_share_of_its_map_speaks_for_a_class(tmp_path: Path) -> None:
    store = copied_store(tmp_path)
    frame = store.candidates.page(AUDIT_ID)
    report = report_of(store, AUDIT_ID, top=len(frame)).content.decode()
    told = {
        "Review": to_json(suspects(store, AUDIT_ID, cards.rows_of(frame), "me")),
        "Grid": to_json(cards.cards(store, AUDIT_ID, frame, outlines=True)),
        # With what stands for its pictures.
        "report": html.unescape(re.sub(r'src="data:[^"]*"|<(?:style|bdi|span|/bdi|/span)[^>]*>', "", report)),
        "CSV": write_candidates(frame, tmp_path / "candidates.csv").read_text("utf-8"),
    }
    # The same places do say what is true: numbers of a sum, and what was measured.
    assert "patches add" in told["report"] and "Red patches add" in told["Review"] and "red_log_odds" in told["CSV"]
    for where, text in told.items():
        assert not SHARE_OF_MAP.search(" ".join(text.split())), where
        assert not re.search(r"positive_mass|negative_mass|\bbalance\b|mass_share", text), where


@pytest.mark.parametrize(
    ("box", "name"),
    [
        (Box(0, 0, 20, 20), "upper left"),
        (Box(0, 130, 60, 170), "middle left"),
        (Box(130, 140, 160, 160), "middle"),
        (Box(130, 0, 160, 20), "upper middle"),
        (Box(280, 280, 300, 300), "lower right"),
        (Box(0, 0, 300, 290), "most of the picture"),
    ],
)
def test_a_part_is_called_by_its_place_alone(box: Box, name: str) -> None:
    assert part_name(box, (300, 300)) == name
