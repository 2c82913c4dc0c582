"""Parts of a dataset: which pictures are in them, what is said of the rest, and what an audit of a part is."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from gradattn_core.apply.corrections import read_corrections
from gradattn_core.apply.tree import make_tree
from gradattn_core.audit.run import audit_images
from gradattn_core.config import AuditConfig
from gradattn_core.dataset.listing import list_dataset
from gradattn_core.dataset.subset import BEYOND_LIMIT, NOT_DRAWN, OTHER_CLASS
from gradattn_core.errors import GradattnError
from gradattn_core.store.store import Store
from tests.helpers.command_line import run_here
from tests.helpers.dataset_files import refusal, rows, touch
from tests.helpers.tiny import make_tiny


def forty(root: Path) -> Path:
    return touch(
        root, *(f"{label}/{number:02d}.jpg" for label in ("a, b", "cat", "dog", "owl") for number in range(10))
    )


def test_a_sample_is_the_same_for_a_seed_another_for_another_and_mostly_stays_when_the_dataset_grows(
    tmp_path: Path,
) -> None:
    root = forty(tmp_path)
    first = rows(list_dataset(root, sample=12, seed=1))
    assert first == rows(list_dataset(root, sample=12, seed=1)) and len(first) == 12
    assert first != rows(list_dataset(root, sample=12, seed=2))
    assert set(first) < set(rows(list_dataset(root, sample=13, seed=1)))
    touch(root, *(f"cat/new-{number}.jpg" for number in range(4)))
    assert len(set(first) & set(rows(list_dataset(root, sample=12, seed=1)))) >= 8


def test_each_picture_is_as_likely_to_be_drawn(tmp_path: Path) -> None:
    root = forty(tmp_path)
    counts = Counter(path for seed in range(300) for path, _ in rows(list_dataset(root, sample=20, seed=seed)))
    # 150 of 300 expected, with a standard deviation of 8.7.
    assert len(counts) == 40 and all(110 < count < 190 for count in counts.values())


def test_a_limit_takes_pictures_from_the_whole_list(tmp_path: Path) -> None:
    listing = list_dataset(forty(tmp_path), limit=8)
    assert Counter(image.label for image in listing.images) == {"a, b": 2, "cat": 2, "dog": 2, "owl": 2}
    assert {failure.reason for failure in listing.skipped} == {BEYOND_LIMIT} and len(listing.skipped) == 32
    [note] = listing.notes
    assert note.startswith("8 of 40 pictures are audited, taken evenly") and "not of the dataset" in note


def test_what_was_not_drawn_is_named_with_its_label(tmp_path: Path) -> None:
    listing = list_dataset(forty(tmp_path), sample=5, seed=3)
    assert sorted(rows(listing) + [(each.path, each.given_label) for each in listing.skipped]) == rows(
        list_dataset(tmp_path)
    )
    assert {failure.reason for failure in listing.skipped} == {NOT_DRAWN}
    assert "5 of 40 pictures are audited, drawn at random (--sample, --seed 3)" in listing.notes[0]


def test_a_part_as_large_as_the_whole_is_the_whole_and_said_to_be(tmp_path: Path) -> None:
    listing = list_dataset(forty(tmp_path), sample=40)
    assert len(listing.images) == 40 and listing.notes == (
        "--sample 40 is no fewer than there are: all 40 pictures are audited.",
    )


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        (["cat,dog"], {"cat", "dog"}),
        (["cat", "owl"], {"cat", "owl"}),
        (["a, b", "cat"], {"a, b", "cat"}),
        ([" cat , dog,"], {"cat", "dog"}),
    ],
)
def test_only_the_classes_that_were_asked_for(tmp_path: Path, asked: list[str], kept: set[str]) -> None:
    listing = list_dataset(forty(tmp_path), classes=asked)
    assert set(listing.classes) == kept and {each.reason for each in listing.skipped} == {OTHER_CLASS}
    assert "Only 2 of 4 classes are audited" in listing.notes[0]


def test_a_class_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    message = refusal(forty(tmp_path), classes=["cat,dgo"])
    assert "'dgo'" in message and "Did you mean 'dog'?" in message
    assert "names no class" in refusal(tmp_path, classes=[" , "])
    assert "one class only" in refusal(tmp_path, classes=["cat"])


def test_a_sample_and_a_limit_do_not_go_together() -> None:
    with pytest.raises(GradattnError, match="give one of them"):
        AuditConfig(dataset="x", limit=3, sample=3)


def test_the_part_is_part_of_what_an_audit_is_and_the_whole_keeps_its_keys() -> None:
    whole = AuditConfig(dataset="x")
    assert not {"classes", "limit", "sample"} & set(whole.identity())
    parts = [
        AuditConfig(dataset="x", sample=5),
        AuditConfig(dataset="x", sample=5, seed=1),
        AuditConfig(dataset="x", limit=5),
        AuditConfig(dataset="x", classes=["a"]),
        whole,
    ]
    assert len({json.dumps(each.identity()) for each in parts}) == len({each.listing_key() for each in parts}) == 5
    assert AuditConfig.from_json(json.dumps({"dataset": "x", "finetuning": {}, "sample": 5})).sample == 5


def test_an_audit_of_a_part_says_so_counts_itself_only_and_its_corrected_tree_takes_the_rest_along(
    tmp_path: Path,
) -> None:
    tiny, out = make_tiny(tmp_path), tmp_path / "out"
    summary = audit_images(tiny.config(out, sample=30))
    assert summary.images == 30 and summary.skipped == 42 and summary.estimated_errors < 30
    assert any(warning.startswith("30 of 72 pictures are audited") for warning in summary.warnings)
    assert not any("Nothing of" in warning or "not judged" in warning for warning in summary.warnings)
    status, shown = run_here("summary", out=out)
    assert status == 0 and "30 of 72 pictures are audited" in shown
    store = Store(out)
    corrections = read_corrections(store, summary.audit_id, everything=True)
    result = make_tree(corrections, tmp_path / "corrected", "symlink", lambda done, total: None)
    assert (result.as_before, result.taken_along, result.left_out) == (30, 42, 0)
    assert len(list((tmp_path / "corrected").glob("*/*.png"))) == 72
    # The whole dataset is another one: nothing of it is news since the part.
    whole = audit_images(tiny.config(out))
    assert whole.images == 72 and whole.news is None
