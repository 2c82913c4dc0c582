"""Which output of the model speaks for which class of the dataset."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm

from gradattn_core.errors import ClassAlignmentError
from gradattn_core.model.classes import Alignment, ClassNames, align_classes, class_names, find_class, outside_names

KITE, EAGLE, DRUMSTICK = 21, 22, 7


@pytest.fixture(scope="module")
def imagenet() -> ClassNames:
    return class_names(timm.create_model("vit_tiny_patch16_224", embed_dim=8, depth=1, num_heads=1))


def test_an_imagenet_head_knows_its_names(imagenet: ClassNames) -> None:
    assert len(imagenet.wnids) == len(imagenet.synonyms) == 1000
    assert imagenet.display(KITE) == "kite"
    assert "American eagle" in imagenet.synonyms[EAGLE]


def test_a_head_of_another_size_has_no_names() -> None:
    model = timm.create_model("vit_tiny_patch16_224", embed_dim=8, depth=1, num_heads=1, num_classes=12)
    assert class_names(model) == ClassNames()
    assert class_names(model).display(3) == "class 3"


def test_wnids_are_found_first(imagenet: ClassNames) -> None:
    assert align_classes(["n01608432", "n01614925"], 1000, imagenet) == Alignment((KITE, EAGLE), "wnid")


@pytest.mark.parametrize(
    "eagle", ["bald eagle", "Bald_Eagle", "bald-eagle", " BALD  EAGLE ", "Haliaeetus leucocephalus"]
)
def test_names_and_synonyms_are_found_however_they_are_written(imagenet: ClassNames, eagle: str) -> None:
    assert align_classes([eagle, "kite"], 1000, imagenet) == Alignment((EAGLE, KITE), "name")


def test_without_names_the_order_of_the_outputs_is_that_of_the_sorted_classes() -> None:
    assert align_classes(["a", "b", "c"], 3, ClassNames()) == Alignment((0, 1, 2), "index order")


def test_unmatched_classes_are_listed_with_the_nearest_names(imagenet: ClassNames) -> None:
    with pytest.raises(ClassAlignmentError) as refused:
        align_classes(["kite", "bald eagel", "zzzz"], 1000, imagenet)
    message = str(refused.value)
    assert "2 of 3 classes" in message and "'bald eagel' (nearest: bald eagle" in message and "'zzzz'" in message
    assert "--class-map" in message and "--head probe" in message


def test_a_name_of_two_outputs_is_called_ambiguous(imagenet: ClassNames) -> None:
    with pytest.raises(ClassAlignmentError, match="'crane' \\(ambiguous: outputs 134, 517\\)"):
        align_classes(["crane", "kite"], 1000, imagenet)


def test_two_names_of_one_output_are_refused(imagenet: ClassNames) -> None:
    with pytest.raises(ClassAlignmentError):
        align_classes(["bald eagle", "American eagle"], 1000, imagenet)


def test_hostile_names_do_not_break_the_message(imagenet: ClassNames) -> None:
    names = ["../../etc", "=cmd()", "<b>x</b>", "a\nb", "", "🦅"] + [f"class {i}" for i in range(20)]
    with pytest.raises(ClassAlignmentError, match=r"26 of 26 .* and 18 more"):
        align_classes(names, 1000, imagenet)


@pytest.mark.parametrize("kind", ["json", "csv"])
def test_a_class_map_takes_indices_wnids_and_names(tmp_path: Path, imagenet: ClassNames, kind: str) -> None:
    entries = {"Milan": str(KITE), "Adler, groß": "n01614925", "Hahn": "cock", "unused": "0"}
    path = tmp_path / f"map.{kind}"
    if kind == "json":
        path.write_text(json.dumps(entries | {"Milan": KITE}), "utf-8")
    else:
        rows = "".join(f'"{label}",{output}\n' for label, output in entries.items())
        path.write_text("label,output\n" + rows, "utf-8")
    found = align_classes(["Adler, groß", "Hahn", "Milan"], 1000, imagenet, path)
    assert found == Alignment((EAGLE, DRUMSTICK, KITE), "class map")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"a": 1}', "has no entry for class 'b'"),
        ('{"a": 1, "b": 1}', "output 1 is given to more than one class"),
        ('{"a": 1, "b": 1000}', "'1000' for class 'b' is none of the model's 1000 outputs"),
        ('{"a": 1, "b": "-1"}', "'-1' for class 'b' is none"),
        ('{"a": 1, "b": "crane"}', "'crane' for class 'b' is none"),
        ("[1, 2]", "expected JSON"),
        ("{", "expected JSON"),
    ],
)
def test_a_wrong_class_map_is_refused(tmp_path: Path, imagenet: ClassNames, content: str, message: str) -> None:
    path = tmp_path / "map.json"
    path.write_text(content, "utf-8")
    with pytest.raises(ClassAlignmentError, match=message):
        align_classes(["a", "b"], 1000, imagenet, path)


def test_a_class_map_without_its_columns_or_file_is_refused(tmp_path: Path, imagenet: ClassNames) -> None:
    path = tmp_path / "map.csv"
    path.write_text("class,index\na,1\n", "utf-8")
    with pytest.raises(ClassAlignmentError, match="CSV with the columns label and output"):
        align_classes(["a"], 1000, imagenet, path)
    with pytest.raises(ClassAlignmentError, match=r"nowhere\.csv: no such file"):
        align_classes(["a"], 1000, imagenet, tmp_path / "nowhere.csv")
    with pytest.raises(ClassAlignmentError, match="it is a folder, not a file"):
        align_classes(["a"], 1000, imagenet, tmp_path)


@pytest.mark.parametrize("text", ["21", "n01608432", "kite", "KITE"])
def test_one_class_is_found_by_index_wnid_or_name(imagenet: ClassNames, text: str) -> None:
    assert find_class(text, 1000, imagenet) == KITE


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1000", "none of the model's 1000"),
        ("crane", "ambiguous: give one of the outputs 134, 517"),
        ("kiet", "nearest"),
    ],
)
def test_a_class_that_is_not_there_is_refused_with_what_would_work(
    imagenet: ClassNames, text: str, message: str
) -> None:
    with pytest.raises(ClassAlignmentError, match=message):
        find_class(text, 1000, imagenet)


def test_one_matching_name_rules_out_the_order_of_the_sorted_names() -> None:
    names = ClassNames(("w0", "w1"), (("kite",), ("bald eagle",)))
    with pytest.raises(ClassAlignmentError, match="bald eagel"):
        align_classes(["bald eagel", "kite"], 2, names)
    assert align_classes(["a", "b"], 2, names).method == "index order"


def test_a_class_map_that_names_a_class_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "map.csv").write_text("label,output\na,0\nb,1\na,1\n")
    with pytest.raises(ClassAlignmentError, match="more than one row"):
        align_classes(["a", "b"], 2, ClassNames(), tmp_path / "map.csv")


def test_outputs_outside_the_dataset_have_a_name_each(imagenet: ClassNames) -> None:
    aligned = Alignment((KITE, EAGLE), "class map")
    # There are two cranes, and one class of the dataset is called as another output is.
    names = outside_names(["kite", "drumstick"], aligned, imagenet, 1000)
    assert len(names) == len(set(names.values())) == 998 and not {KITE, EAGLE} & names.keys()
    assert {names[134], names[517]} == {"crane (output 134)", "crane (output 517)"}
    assert "drumstick" not in names.values() and "robin" in names.values()
    assert outside_names(["a"], Alignment((1,), "class map"), ClassNames(), 3) == {0: "class 0", 2: "class 2"}
    assert outside_names(["a"], None, imagenet, 1000) == {}
