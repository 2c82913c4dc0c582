"""Labels as folders and back, and image names that neither collide nor lead out of their folder."""

from __future__ import annotations

import random
from pathlib import Path, PurePosixPath

import pytest

from gradattn_core.apply.names import LONGEST_NAME, below_class, folder_name, label_of, tree_paths
from gradattn_core.errors import ApplyError
from tests.helpers.hostile import HOSTILE

ODD = [
    *(
        "a/b",
        "/",
        "..",
        ".",
        "...",
        ".hidden",
        "../../etc",
        "/etc/passwd",
        "nul\0in",
        "%",
        "100%",
        "%2F",
        "a%2Fb",
        "%25",
    ),
    *("%FF", "é", "e\u0301", "CON", "nul", "com1.txt", "what?", "ends.", "ends ", " starts", "\n", "~", "-rf", "*"),
    *("a" * LONGEST_NAME, "鷹" * 85),
]


@pytest.mark.parametrize("windows", [False, True])
@pytest.mark.parametrize("label", [*ODD, *(text for text in HOSTILE if len(text) < 200)])
def test_every_label_becomes_one_visible_name_and_comes_back(label: str, windows: bool) -> None:
    name = folder_name(label, windows=windows)
    assert label_of(name) == label
    assert "/" not in name and "\0" not in name and not name.startswith(".") and len(name.encode()) <= LONGEST_NAME
    if windows:
        assert not set(name) & set('<>:"\\|?*') and not name.endswith((".", " ")) and name.upper() != "CON"


def test_labels_that_can_name_a_folder_are_the_folder() -> None:
    for label in ("kite", "bald eagle", "100%", "a & b", "CON", "what?", "<b>x", "=cmd()", "鷹", " x", "-rf"):
        assert folder_name(label, windows=False) == label
    assert folder_name("a/b") == "a%2Fb" and folder_name("a%2Fb") == "a%252Fb" and folder_name("..") == "%2E."


def test_different_labels_get_different_folders() -> None:
    choose = random.Random(1)
    labels = {"".join(choose.choices("a./%2F5\0", k=choose.randrange(1, 7))) for _ in range(20_000)}
    assert len({folder_name(label) for label in labels}) == len(labels)


@pytest.mark.parametrize(("label", "words"), [("", "empty"), ("x" * 256, "too long"), ("a/" + "x" * 252, "256 bytes")])
def test_labels_that_no_name_can_hold_are_refused(label: str, words: str) -> None:
    with pytest.raises(ApplyError, match=words) as caught:
        folder_name(label)
    assert "--manifest" in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("path", "given", "below"),
    [
        ("kite/a.jpg", "kite", "a.jpg"),
        ("kite/2020/a.jpg", "kite", "2020/a.jpg"),
        ("images/a.jpg", "kite", "a.jpg"),
        ("/elsewhere/a.jpg", "kite", "a.jpg"),
        ("a/b/c.jpg", "a/b", "c.jpg"),
        ("kite/../../etc/a.jpg", "kite", "a.jpg"),
        ("kite/.hidden.jpg", "kite", "%2Ehidden.jpg"),
        ("kite/a%20b.jpg", "kite", "a%20b.jpg"),
        ("kite//a.jpg", "kite", "a.jpg"),
    ],
)
def test_images_keep_their_name_below_their_class(path: str, given: str, below: str) -> None:
    assert below_class(path, given) == below


def test_images_that_would_collide_get_names_of_their_own_whatever_the_order() -> None:
    long = "x" * 251 + ".jpg"
    wanted = [
        ("kite/a.jpg", "owl", "a.jpg"),
        ("owl/a.jpg", "owl", "a.jpg"),
        ("owl/A.JPG", "owl", "A.JPG"),
        ("owl/b.jpg", "owl", "b.jpg"),
        ("hawk/a.jpg", "hawk", "a.jpg"),
        ("1", "owl", long),
        ("2", "owl", long),
        ("e\u0301", "owl", "e\u0301.jpg"),
        ("\u00e9", "owl", "\u00e9.jpg"),
    ]
    found = {path: place for (path, _, _), place in zip(wanted, tree_paths(wanted), strict=True)}
    assert len({str(place).casefold() for place in found.values()}) == len(wanted)
    assert str(found["owl/b.jpg"]) == "owl/b.jpg" and str(found["hawk/a.jpg"]) == "hawk/a.jpg"
    for path in ("kite/a.jpg", "owl/a.jpg", "owl/A.JPG"):
        assert found[path].name.startswith(("a~", "A~")) and PurePosixPath(found[path].name).suffix.lower() == ".jpg"
    assert all(len(place.name.encode()) <= LONGEST_NAME for place in found.values())
    turned = {path: place for (path, _, _), place in zip(wanted[::-1], tree_paths(wanted[::-1]), strict=True)}
    assert turned == found


def test_a_name_made_to_avoid_a_collision_does_not_collide_itself() -> None:
    pair = [("1", "owl", "a.jpg"), ("2", "owl", "a.jpg")]
    occupied = [("3", "owl", place.name) for place in tree_paths(pair)]
    assert len({place.name for place in tree_paths([*pair, *occupied])}) == 4


def test_names_are_what_the_file_system_takes(tmp_path: Path) -> None:
    for label in ODD:
        folder = tmp_path / folder_name(label)
        folder.mkdir(exist_ok=True)
        assert folder.parent.resolve() == tmp_path.resolve()
    assert len(list(tmp_path.iterdir())) == len(set(ODD))
